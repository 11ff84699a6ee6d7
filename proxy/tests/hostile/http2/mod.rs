//! Input over HTTP/2: each row is one stream of a connection of its own, before an endpoint that speaks HTTP/1.1.

mod rows;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::row::Form;
use crate::world::{World, eventually};
use tenbin_hostile::frames::{self, END_STREAM, GOAWAY, HEADERS, RST_STREAM};

pub(crate) use rows::sections;

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An input.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shown: String,
    pub(crate) answer: Answer,
    pub(crate) rule: &'static str,
    frames: Vec<u8>,
}

/// What must come of it.
pub(crate) enum Answer {
    /// The stream is malformed: 400, RST_STREAM or GOAWAY with PROTOCOL_ERROR (RFC 9113 §8.1.1); not a byte reaches an endpoint.
    Malformed,
    /// The same, but the endpoint may have seen the beginning: never the end.
    Broken,
    /// This status; not a byte reaches an endpoint.
    Refused(u16),
    /// The connection ends; not a byte reaches an endpoint.
    Closed,
    /// It reaches an endpoint in this form.
    Passes(Form),
}

impl Answer {
    pub(crate) fn told(&self) -> String {
        match self {
            Answer::Malformed => "malformed".to_owned(),
            Answer::Broken => "malformed; broken off towards the endpoint".to_owned(),
            Answer::Refused(status) => status.to_string(),
            Answer::Closed => "GOAWAY, closed".to_owned(),
            Answer::Passes(form) => form.told(),
        }
    }
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Status(u16),
    /// RST_STREAM, with this code.
    Reset(u32),
    /// GOAWAY, with this code.
    Goaway(u32),
    /// The end of the connection, without a word.
    Closed,
    Nothing,
}

const PROTOCOL_ERROR: u32 = 1;

#[tokio::test]
async fn http2() {
    let world = World::start("", "").await;
    let mut failed = Vec::new();
    for section in sections() {
        for row in section.rows {
            if let Err(why) = judge(&world, &row).await {
                failed.push(format!("{}: {} [{}]\n    {why}", section.title, row.name, row.shown));
            }
        }
    }
    assert!(failed.is_empty(), "{} rows fail:\n{}", failed.len(), failed.join("\n"));
}

async fn judge(world: &World, row: &Row) -> Result<(), String> {
    world.endpoint.begin(None);
    let became = stream(world, &row.frames).await;
    world.probe().await?;
    let is_malformed = matches!(
        became,
        Became::Status(400) | Became::Reset(PROTOCOL_ERROR) | Became::Goaway(PROTOCOL_ERROR)
    );
    let good = match &row.answer {
        Answer::Malformed | Answer::Broken => is_malformed,
        Answer::Refused(status) => became == Became::Status(*status),
        Answer::Closed => matches!(became, Became::Goaway(_) | Became::Closed),
        Answer::Passes(_) => became == Became::Status(200),
    };
    if !good {
        let lines: Vec<_> = world
            .endpoint
            .record()
            .seen
            .iter()
            .map(|seen| seen.request.text())
            .collect();
        return Err(format!("it became {became:?}; the endpoint saw {lines:?}"));
    }
    if matches!(row.answer, Answer::Broken) {
        let closed = || {
            let record = world.endpoint.record();
            let mut begun = record
                .connections
                .iter()
                .filter(|connection| !connection.rest.is_empty());
            begun.all(|connection| connection.closed).then_some(())
        };
        eventually("the end of the connection to the endpoint", PATIENCE, closed).await?;
    }
    let record = world.endpoint.record();
    let rest = record.connections.iter().find(|connection| !connection.rest.is_empty());
    match (&row.answer, rest) {
        (Answer::Broken, _) | (_, None) => {}
        (_, Some(rest)) => return Err(format!("the endpoint got {:?}", String::from_utf8_lossy(&rest.rest))),
    }
    match (&row.answer, &record.seen[..]) {
        (Answer::Passes(form), [seen]) => form.judge(seen),
        (Answer::Passes(_), other) => Err(format!("the endpoint saw {other:?}")),
        (_, []) => Ok(()),
        (_, seen) => Err(format!("the endpoint saw {seen:?}")),
    }
}

/// Sends these frames on a connection of their own, and waits for what becomes of its first stream.
async fn stream(world: &World, frames: &[u8]) -> Became {
    let mut stream = TcpStream::connect(world.web).await.unwrap();
    let (mut read, mut write) = stream.split();
    let input = [&frames::begin(&[]), frames].concat();
    let mut bytes = Vec::new();
    let became = async {
        let sent = write.write_all(&input);
        let got = async {
            let mut status = None;
            loop {
                while let Some(frame) = frames::next(&mut bytes) {
                    let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
                    match (frame.kind, frame.stream) {
                        (RST_STREAM, 1) => return status.unwrap_or(Became::Reset(code(0))),
                        (GOAWAY, _) if code(4) != 0 => return status.unwrap_or(Became::Goaway(code(4))),
                        (HEADERS, 1) if status.is_none() => status = frames::status(&frame.payload).map(Became::Status),
                        _ => {}
                    }
                    if frame.stream == 1 && frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
                        return status.unwrap_or(Became::Nothing);
                    }
                }
                if !matches!(read.read_buf(&mut bytes).await, Ok(n) if n > 0) {
                    return Became::Closed;
                }
            }
        };
        tokio::join!(sent, got).1
    };
    timeout(PATIENCE, became).await.unwrap_or(Became::Nothing)
}
