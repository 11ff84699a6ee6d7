//! What a row is: an input, what must come of it, and the rule; how both look on the page.

use crate::recorder::Seen;

/// A table of them.
pub(crate) struct Section<R> {
    pub(crate) title: &'static str,
    pub(crate) intro: &'static str,
    pub(crate) rows: Vec<R>,
}

/// An input over HTTP/1.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) input: Input,
    pub(crate) answer: Answer,
    pub(crate) rule: &'static str,
    /// Whether it comes from a hop that is trusted.
    pub(crate) behind: bool,
}

/// Bytes, and what of them is shown.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) bytes: Vec<u8>,
    pub(crate) shown: String,
}

/// What must come of an input.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A response with this status and nothing else, then the end of the connection; not a byte reaches an endpoint.
    Refused(u16),
    /// The same, but the endpoint may have seen the beginning of the request: never its end.
    Broken(u16),
    /// It reaches an endpoint in this form, and so does what follows it on the connection, as a request of its own.
    Passes(Form),
    /// It reaches an endpoint in this form, and the connection ends after the response.
    Last(Form),
    /// It passes, and what follows it on the connection is refused with this status.
    Then(Form, u16),
}

/// What an endpoint sees.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) line: String,
    at: &'static str,
    has: Vec<&'static str>,
    lacks: Vec<&'static str>,
    body: Vec<u8>,
}

/// A row from a client that nobody trusts.
pub(crate) fn row(name: &'static str, input: Input, answer: Answer, rule: &'static str) -> Row {
    Row {
        name,
        input,
        answer,
        rule,
        behind: false,
    }
}

/// A row from a trusted hop.
pub(crate) fn behind(name: &'static str, input: Input, answer: Answer, rule: &'static str) -> Row {
    Row {
        behind: true,
        ..row(name, input, answer, rule)
    }
}

/// All of the bytes.
pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Input {
    Input {
        bytes: bytes.as_ref().to_vec(),
        shown: shown(bytes.as_ref()),
    }
}

/// A GET with these lines of headers, each with its end.
pub(crate) fn get(lines: impl AsRef<[u8]>) -> Input {
    let mut input = raw(lines);
    input.bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", &input.bytes[..], b"\r\n"].concat();
    input
}

/// A POST with these lines of headers and this body.
pub(crate) fn post(lines: impl AsRef<[u8]>, body: &str) -> Input {
    let mut input = raw(lines);
    input.bytes = [
        b"POST / HTTP/1.1\r\nHost: a\r\n",
        &input.bytes[..],
        b"\r\n",
        body.as_bytes(),
    ]
    .concat();
    input
}

/// A POST with this body in chunks, as it is on the wire.
pub(crate) fn chunked(body: impl AsRef<[u8]>) -> Input {
    let mut input = raw(body);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    input.bytes = [&head[..], &input.bytes].concat();
    input
}

/// A request with this first line and a Host.
pub(crate) fn line(line: impl AsRef<[u8]>) -> Input {
    let mut input = raw(line);
    input.bytes = [&input.bytes[..], b"\r\nHost: a\r\n\r\n"].concat();
    input
}

/// A GET of this target.
pub(crate) fn target(target: impl AsRef<[u8]>) -> Input {
    let mut input = raw(target);
    input.bytes = [b"GET ", &input.bytes[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    input
}

impl Input {
    /// Shows this in place of all of it.
    pub(crate) fn shown(self, shown: &str) -> Self {
        Input {
            shown: shown.to_owned(),
            ..self
        }
    }
}

/// Bytes as they are written in Rust; of a long run of one byte, how long it is. The last line end goes without saying.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        let one = match run[0] {
            b'`' => "\\x60".to_owned(),
            b'\'' | b'"' | b'\\' => char::from(run[0]).to_string(),
            other => other.escape_ascii().to_string(),
        };
        match run.len() {
            n @ 17.. => text.push_str(&format!("{one}…({n}×)")),
            n => text.push_str(&one.repeat(n)),
        }
    }
    text
}

pub(crate) fn refused(status: u16) -> Answer {
    Answer::Refused(status)
}

pub(crate) fn broken(status: u16) -> Answer {
    Answer::Broken(status)
}

/// It reaches the app with this first line.
pub(crate) fn form(line: &str) -> Form {
    Form {
        line: line.to_owned(),
        at: "app",
        has: Vec::new(),
        lacks: Vec::new(),
        body: Vec::new(),
    }
}

impl Form {
    /// The other app.
    pub(crate) fn admin(self) -> Self {
        Form { at: "admin", ..self }
    }

    /// With this header, in lower case, once.
    pub(crate) fn has(mut self, header: &'static str) -> Self {
        self.has.push(header);
        self
    }

    /// Without this text anywhere, in lower case.
    pub(crate) fn lacks(mut self, text: &'static str) -> Self {
        self.lacks.push(text);
        self
    }

    pub(crate) fn body(self, body: &str) -> Self {
        Form {
            body: body.as_bytes().to_vec(),
            ..self
        }
    }

    pub(crate) fn passes(self) -> Answer {
        Answer::Passes(self)
    }

    pub(crate) fn last(self) -> Answer {
        Answer::Last(self)
    }

    /// What is wrong with what an endpoint saw.
    pub(crate) fn judge(&self, seen: &Seen) -> Result<(), String> {
        let Seen { at, request, .. } = seen;
        let text = request.text().to_ascii_lowercase();
        let fail = |what: String| Err(format!("{what} in {:?} at {at}", request.text()));
        if (request.line.as_str(), *at) != (self.line.as_str(), self.at) {
            return fail(format!("not {:?} at {}", self.line, self.at));
        }
        if request.body != self.body {
            return fail(format!("not the body {:?}", self.body.escape_ascii().to_string()));
        }
        for header in &self.has {
            let (name, value) = header.split_once(": ").unwrap_or((header.trim_end_matches(':'), ""));
            if request.all(name) != [value] {
                return fail(format!("no single {header:?}"));
            }
        }
        for lacking in &self.lacks {
            if text.contains(lacking) {
                return fail(format!("there is {lacking:?}"));
            }
        }
        // What must hold for every request that passes.
        for never in [
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "http2-settings",
            "proxy",
        ] {
            if !request.all(never).is_empty() {
                return fail(format!("there is {never:?}"));
            }
        }
        for once in [
            "host",
            "x-forwarded-for",
            "x-real-ip",
            "x-forwarded-proto",
            "x-request-id",
        ] {
            if request.all(once).len() != 1 {
                return fail(format!("not one {once:?}"));
            }
        }
        Ok(())
    }

    /// As it is told on the page.
    pub(crate) fn told(&self) -> String {
        let mut text = format!("passes as {}", code(&self.line));
        if self.at != "app" {
            text += " to the route `/admin`";
        }
        let list = |of: &[&str]| of.iter().map(|one| code(one)).collect::<Vec<_>>().join(", ");
        if !self.has.is_empty() {
            text += &format!(", with {}", list(&self.has));
        }
        if !self.lacks.is_empty() {
            text += &format!(", without {}", list(&self.lacks));
        }
        if !self.body.is_empty() {
            text += &format!(", its body {}", code(&shown(&self.body)));
        }
        text
    }
}

impl Answer {
    pub(crate) fn told(&self) -> String {
        match self {
            Answer::Refused(status) => format!("{status}, closed"),
            Answer::Broken(status) => format!("{status}, closed; broken off towards the endpoint"),
            Answer::Passes(form) => form.told(),
            Answer::Last(form) => format!("{}; closed", form.told()),
            Answer::Then(form, status) => format!("{}; then {status}, closed", form.told()),
        }
    }
}

/// Text as code in a cell of a table.
pub(crate) fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    // Tabs of headers that pass are shown as tabs of inputs are.
    format!("`{}`", text.replace('|', "\\|").replace('\t', "\\t"))
}
