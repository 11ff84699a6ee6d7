//! What is wrong with streams: how their rows are made. The rows stand beside.

mod bodies;
mod fields;
mod pseudo;

use crate::http2::{Answer, Row};
use crate::row::{Form, Section};
use tenbin_hostile::frames::{self, DATA, END_STREAM, block, frame, headers};

type Fields = Vec<(String, Vec<u8>)>;

fn shown(fields: &[(&str, &[u8])]) -> String {
    let one = |(name, value): &(&str, &[u8])| {
        let value = match value {
            [first, rest @ ..] if rest.len() > 40 && rest.iter().all(|b| b == first) => {
                format!("{}…({}×)", first.escape_ascii(), value.len())
            }
            value => value.escape_ascii().to_string(),
        };
        format!("{}: {value}", name.escape_debug())
    };
    fields
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(", ")
        .replace('`', "\\x60")
}

fn row(name: &'static str, shown: String, frames: Vec<u8>, answer: Answer, rule: &'static str) -> Row {
    Row {
        name,
        shown,
        answer,
        rule,
        frames,
    }
}

fn owned(fields: &[(&str, &[u8])]) -> Fields {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

/// A GET with further fields.
fn and(name: &'static str, more: &[(&str, &[u8])], answer: Answer, rule: &'static str) -> Row {
    let all = [frames::fields("GET", "/"), owned(more)].concat();
    row(name, shown(more), headers(1, END_STREAM, &block(&all)), answer, rule)
}

/// A GET with another value of a field.
fn but(name: &'static str, field: &str, value: &[u8], answer: Answer, rule: &'static str) -> Row {
    let mut all = frames::fields("GET", "/");
    for (known, its) in &mut all {
        if known == field {
            *its = value.to_vec();
        }
    }
    row(
        name,
        shown(&[(field, value)]),
        headers(1, END_STREAM, &block(&all)),
        answer,
        rule,
    )
}

/// A request of these fields alone.
fn of(name: &'static str, all: &[(&str, &[u8])], answer: Answer, rule: &'static str) -> Row {
    row(
        name,
        shown(all),
        headers(1, END_STREAM, &block(&owned(all))),
        answer,
        rule,
    )
}

/// A POST with further fields and this body, in frames.
fn post(name: &'static str, more: &[(&str, &[u8])], body: &[&[u8]], answer: Answer, rule: &'static str) -> Row {
    let all = [frames::fields("POST", "/"), owned(more)].concat();
    let mut frames = headers(1, 0, &block(&all));
    for (at, data) in body.iter().enumerate() {
        let end = if at + 1 == body.len() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, end, 1, data));
    }
    let data: Vec<String> = body
        .iter()
        .map(|data| format!("DATA {}", data.escape_ascii()))
        .collect();
    let shown = [shown(more), data.join(", ")].join(", ");
    row(name, shown.trim_start_matches(", ").to_owned(), frames, answer, rule)
}

fn passes(form: Form) -> Answer {
    Answer::Passes(form)
}

pub(crate) fn sections() -> Vec<Section<Row>> {
    vec![
        Section {
            title: "HTTP/2: fields",
            intro: "A GET of `/` with such fields. *malformed*: the stream is answered 400 or reset with PROTOCOL_ERROR, or the connection ends with \
                    it (RFC 9113 §8.1.1), and nothing reaches an endpoint.",
            rows: fields::rows(),
        },
        Section {
            title: "HTTP/2: pseudo-headers",
            intro: "",
            rows: pseudo::rows(),
        },
        Section {
            title: "HTTP/2: bodies",
            intro: "",
            rows: bodies::rows(),
        },
    ]
}
