//! Hostile answers of endpoints: what the client gets of them, and that the connection to the endpoint is not used again.

mod rows;

use std::time::Duration;

use crate::message::{Ends, Message};
use crate::recorder::Script;
use crate::row::code;
pub(crate) use rows::sections;

use crate::world::{Got, World, eventually, exchange};

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer of an endpoint.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shown: String,
    pub(crate) answer: Answer,
    pub(crate) rule: &'static str,
    script: Script,
    method: &'static str,
}

/// What comes of it.
pub(crate) enum Answer {
    /// The client gets a 502.
    Refused,
    /// The client gets the beginning, and is told by the end of its connection that it is no more than that.
    Broken,
    /// The client gets this; the connection to the endpoint is not used again.
    Cleaned(Clean),
    /// The client gets this; the connection to the endpoint may be used again.
    Passes(Clean),
}

/// A response as the client gets it.
pub(crate) struct Clean {
    status: u16,
    body: &'static str,
    has: Vec<&'static str>,
    lacks: Vec<&'static str>,
}

fn clean(status: u16, body: &'static str) -> Clean {
    Clean {
        status,
        body,
        has: Vec::new(),
        lacks: Vec::new(),
    }
}

impl Clean {
    fn has(mut self, header: &'static str) -> Self {
        self.has.push(header);
        self
    }

    fn lacks(mut self, text: &'static str) -> Self {
        self.lacks.push(text);
        self
    }

    fn told(&self) -> String {
        let mut text = self.status.to_string();
        if !self.body.is_empty() {
            text += &format!(" and {}", code(self.body));
        }
        for has in &self.has {
            text += &format!(", with {}", code(has));
        }
        for lacking in &self.lacks {
            text += &format!(", without {}", code(lacking));
        }
        text
    }
}

impl Answer {
    pub(crate) fn told(&self) -> String {
        match self {
            Answer::Refused => "502; its connection is closed".to_owned(),
            Answer::Broken => "broken off; its connection is closed".to_owned(),
            Answer::Cleaned(clean) => format!("{}; its connection is closed", clean.told()),
            Answer::Passes(clean) => clean.told(),
        }
    }
}

#[tokio::test]
async fn answers() {
    let mut world = World::start("", "").await;
    let mut failed = Vec::new();
    for section in sections() {
        for row in section.rows {
            if let Err(why) = judge(&world, &row).await {
                failed.push(format!("{}: {} [{}]\n    {why}", section.title, row.name, row.shown));
                // It may be busy with that for ever.
                world = World::start("", "").await;
            }
        }
    }
    assert!(failed.is_empty(), "{} rows fail:\n{}", failed.len(), failed.join("\n"));
}

async fn judge(world: &World, row: &Row) -> Result<(), String> {
    world.endpoint.begin(Some(row.script.clone()));
    let ask = format!(
        "{} /row HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te, close\r\n\r\n",
        row.method
    );
    let got = exchange(world.web, ask.as_bytes(), PATIENCE).await;
    if !got.closed {
        return Err(format!("no end came after {:?}", String::from_utf8_lossy(&got.bytes)));
    }
    told(&row.answer, &got, row.method)?;
    world.probe().await?;
    if matches!(row.answer, Answer::Passes(_)) {
        return Ok(());
    }
    let connection = {
        let record = world.endpoint.record();
        let seen = record.seen.first().ok_or("the endpoint was not asked")?;
        seen.connection
    };
    let closed = || world.endpoint.record().connections[connection].closed.then_some(());
    eventually("the end of the connection to the endpoint", PATIENCE, closed).await
}

/// The final response, and what comes after it.
fn response(got: &Got, method: &str) -> Result<Message, String> {
    let mut rest = &got.bytes[..];
    loop {
        let is_interim = rest.starts_with(b"HTTP/1.1 1");
        let bodiless =
            is_interim || method == "HEAD" || rest.starts_with(b"HTTP/1.1 204") || rest.starts_with(b"HTTP/1.1 304");
        let head = rest
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|end| &rest[..end + 4]);
        let (message, length) = match head {
            Some(head) if bodiless => {
                // What a length says of a response without a body is not read.
                let without: String = String::from_utf8_lossy(head)
                    .split_inclusive("\r\n")
                    .filter(|line| !line.to_ascii_lowercase().starts_with("content-length"))
                    .collect();
                let (mut message, _) =
                    Message::read(without.as_bytes(), Ends::AtOnce).map_err(|cut| format!("{cut:?}"))?;
                if without.len() < head.len() {
                    message.headers.push(("content-length".to_owned(), String::new()));
                }
                (message, head.len())
            }
            _ => Message::read(rest, Ends::WithConnection { ended: true }).map_err(|cut| format!("{cut:?}"))?,
        };
        rest = &rest[length..];
        match (is_interim, rest) {
            (true, _) => {}
            (false, []) => return Ok(message),
            (false, more) => return Err(format!("after it came {:?}", String::from_utf8_lossy(more))),
        }
    }
}

fn told(answer: &Answer, got: &Got, method: &str) -> Result<(), String> {
    let all = || format!("it got {:?}", String::from_utf8_lossy(&got.bytes));
    let response = response(got, method);
    match answer {
        Answer::Refused => match response {
            Ok(response) if response.status() == Some(502) && !response.text().contains("evil") => Ok(()),
            _ => Err(all()),
        },
        Answer::Broken => match response {
            Err(_) if !got.bytes.windows(4).any(|four| four == b"evil") => Ok(()),
            Ok(response) if response.status() == Some(502) => Ok(()),
            _ => Err(all()),
        },
        Answer::Cleaned(clean) | Answer::Passes(clean) => {
            let response = response.map_err(|why| format!("{why}; {}", all()))?;
            let text = response.text().to_ascii_lowercase();
            let good = response.status() == Some(clean.status)
                && response.body == clean.body.as_bytes()
                && clean.has.iter().all(|has| text.contains(has))
                && !clean.lacks.iter().any(|lacking| text.contains(lacking))
                && !text.contains("evil");
            if good { Ok(()) } else { Err(all()) }
        }
    }
}
