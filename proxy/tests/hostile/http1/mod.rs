//! Input over HTTP/1. After each row comes one more request on the same connection: it is answered where the row's passes, and
//! neither answered nor passed on where that is refused. Another client's request over the same connection to the endpoint
//! comes out whole after either.

mod fields;
mod framing;
mod hops;
mod lines;
mod paths;
mod targets;
mod upgrades;

use std::time::Duration;

use crate::message::{Cut, Ends, Message};
use crate::recorder::{Connection, Seen};
use crate::row::{Answer, Form, Row, Section};
use crate::world::{Got, World, eventually, exchange};

/// What follows each row on its connection.
pub(crate) const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: after\r\nConnection: close\r\n\r\n";
pub(crate) const AFTER_LINE: &str = "GET /after HTTP/1.1";

/// How long a row may take: all end at once, or after the second that a connection lingers.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn sections() -> Vec<Section<Row>> {
    vec![
        framing::lengths(),
        framing::codings(),
        framing::chunks(),
        lines::request_lines(),
        lines::line_ends(),
        fields::section(),
        targets::targets(),
        targets::hosts(),
        paths::section(),
        hops::connections(),
        hops::trust(),
        upgrades::section(),
    ]
}

#[tokio::test]
async fn http1() {
    let world = World::start("", ", requestBodyBytes: 1000").await;
    let mut failed = Vec::new();
    for section in sections() {
        for row in section.rows {
            if let Err(why) = judge(&world, &row).await {
                failed.push(format!(
                    "{}: {} [{}]\n    {why}",
                    section.title, row.name, row.input.shown
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{} rows fail:\n{}", failed.len(), failed.join("\n"));
}

async fn judge(world: &World, row: &Row) -> Result<(), String> {
    world.endpoint.begin(None);
    let input = [&row.input.bytes, AFTER].concat();
    let address = if row.behind { world.behind } else { world.web };
    let got = exchange(address, &input, PATIENCE).await;
    world.probe().await?;
    let responses = responses(&got)?;
    let (seen, rests) = {
        let record = world.endpoint.record();
        (record.seen.clone(), record.connections.clone())
    };
    let seen = seen_at(&seen, &responses)?;
    match &row.answer {
        Answer::Refused(status) => {
            is_told(&responses, &[*status])?;
            is_seen(&seen, &[])?;
            is_untouched(&rests)
        }
        Answer::Broken(status) => {
            is_told(&responses, &[*status])?;
            is_seen(&seen, &[])?;
            is_broken_off(world).await
        }
        Answer::Passes(form) => {
            is_told(&responses, &[200, 200])?;
            is_seen(&seen, &[Some(form), None])?;
            is_untouched(&rests)
        }
        Answer::Last(form) => {
            is_told(&responses, &[200])?;
            is_seen(&seen, &[Some(form)])?;
            is_untouched(&rests)
        }
        Answer::Then(form, status) => {
            is_told(&responses, &[200, *status])?;
            is_seen(&seen, &[Some(form)])?;
            is_untouched(&rests)
        }
    }?;
    if got.closed {
        Ok(())
    } else {
        Err("the connection stays open".to_owned())
    }
}

/// All responses that came, but for interim ones.
pub(crate) fn responses(got: &Got) -> Result<Vec<Message>, String> {
    let mut rest = &got.bytes[..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        // What is told of an endpoint's answer has a length; the rest is ours.
        let ends = if rest.starts_with(b"HTTP/1.1 1") {
            Ends::AtOnce
        } else {
            Ends::WithConnection { ended: got.closed }
        };
        match Message::read(rest, ends) {
            Ok((response, length)) => {
                rest = &rest[length..];
                if response.status().is_some_and(|status| status >= 200) {
                    all.push(response);
                }
            }
            Err(Cut::More | Cut::Bad(_)) => return Err(format!("it got {:?}", String::from_utf8_lossy(&got.bytes))),
        }
    }
    Ok(all)
}

fn is_told(responses: &[Message], expected: &[u16]) -> Result<(), String> {
    let statuses: Vec<_> = responses.iter().filter_map(Message::status).collect();
    if statuses == expected {
        return Ok(());
    }
    Err(format!("it is told {statuses:?}, not {expected:?}"))
}

/// The requests that endpoints saw, each of which was answered to the client as it was seen.
fn seen_at<'a>(seen: &'a [Seen], responses: &[Message]) -> Result<Vec<&'a Seen>, String> {
    let bodies: Vec<_> = responses
        .iter()
        .filter(|response| response.status() == Some(200))
        .collect();
    for (response, seen) in bodies.iter().zip(seen) {
        if response.body != seen.request.line.as_bytes() {
            return Err(format!(
                "the answer to {:?} is {:?}",
                seen.request.line,
                response.text()
            ));
        }
    }
    Ok(seen.iter().collect())
}

/// `None` stands for the request that follows a row.
fn is_seen(seen: &[&Seen], expected: &[Option<&Form>]) -> Result<(), String> {
    if seen.len() != expected.len() {
        let lines: Vec<_> = seen.iter().map(|seen| seen.request.text()).collect();
        return Err(format!(
            "{} requests are expected, the endpoint saw {lines:?}",
            expected.len()
        ));
    }
    for (seen, form) in seen.iter().zip(expected) {
        match form {
            Some(form) => form.judge(seen)?,
            None if seen.request.line == AFTER_LINE && seen.request.all("x-forwarded-for") == ["127.0.0.1"] => {}
            None => return Err(format!("what follows became {:?}", seen.request.text())),
        }
    }
    Ok(())
}

/// Nothing that is no request reached the endpoint.
pub(crate) fn is_untouched(connections: &[Connection]) -> Result<(), String> {
    match connections.iter().find(|connection| !connection.rest.is_empty()) {
        None => Ok(()),
        Some(touched) => Err(format!("the endpoint got {:?}", String::from_utf8_lossy(&touched.rest))),
    }
}

/// What reached the endpoint of a request has neither its end nor what follows it, and its connection is closed.
async fn is_broken_off(world: &World) -> Result<(), String> {
    let closed = || {
        let record = world.endpoint.record();
        let mut open = record.connections.iter().filter(|connection| !connection.closed);
        open.all(|connection| connection.rest.is_empty()).then_some(())
    };
    eventually("the end of the connection to the endpoint", PATIENCE, closed).await?;
    let record = world.endpoint.record();
    let mut rests = record
        .connections
        .iter()
        .map(|connection| String::from_utf8_lossy(&connection.rest));
    match rests.find(|rest| rest.contains("after")) {
        Some(rest) => Err(format!("the endpoint got {rest:?}")),
        None => Ok(()),
    }
}
