//! What a request says of its trace (W3C Trace Context) and of how long its client waits (`grpc-timeout`). Fields, a line each.

use std::time::Duration;

use http::HeaderMap;
use tenbin_balance::Rng;
use tenbin_model::Tracing;
use tenbin_proxy::serve::fuzzing::grpc_timeout;
use tenbin_proxy::spans::Context;

use super::fields::{fields, values, without};

fn tracing(sampled: u32) -> Tracing {
    Tracing {
        collector: "http://collector:4317".to_owned(),
        sampled,
        service: "hello".to_owned(),
    }
}

fn begin(headers: &HeaderMap, sampled: u32) -> Option<Context> {
    Context::begin(&tracing(sampled), headers, &mut Rng::new(3))
}

/// A trace goes on exactly where one good `traceparent` says so, else a new one begins; what an endpoint is told is good, and the next
/// proxy reads the same of it; nothing else is touched. A timeout is the number and unit that stand there, or none.
pub(crate) fn law(wire: &[u8]) {
    let headers = fields(wire);
    assert_eq!(
        grpc_timeout(&headers),
        values(&headers, "grpc-timeout").first().and_then(|text| timeout(text))
    );
    let parent = match values(&headers, "traceparent")[..] {
        [one] => parent(one),
        _ => None,
    };
    for sampled in [0, Tracing::ALL] {
        let context = begin(&headers, sampled);
        let Some(context) = context else {
            assert!(
                matches!(parent, Some((_, false))),
                "only who began it leaves a trace out"
            );
            continue;
        };
        match &parent {
            Some((trace, is_sampled)) => {
                assert_eq!((context.trace_id(), context.is_sampled()), (trace.clone(), *is_sampled));
            }
            None => assert_eq!(context.is_sampled(), sampled == Tracing::ALL),
        }
        told(&headers, &context, parent.is_some());
    }
}

fn told(before: &HeaderMap, context: &Context, goes_on: bool) {
    let mut after = before.clone();
    context.inject(&mut after, [0xab; 8]);
    let [told] = values(&after, "traceparent")[..] else {
        panic!("one traceparent is told");
    };
    let (trace, is_sampled) = parent(told).expect("what is told is good");
    assert_eq!((&trace, is_sampled), (&context.trace_id(), context.is_sampled()));
    let next = begin(&after, 0);
    assert_eq!(next.map(|next| next.trace_id()), context.is_sampled().then_some(trace));
    let state = values(before, "tracestate");
    assert_eq!(values(&after, "tracestate"), if goes_on { state } else { vec![] });
    let names = ["traceparent", "tracestate"];
    assert_eq!(without(&after, &names), without(before, &names));
}

/// Another reading of `traceparent`: the trace, and whether it is sampled.
fn parent(text: &[u8]) -> Option<(String, bool)> {
    // What a later version adds may be anything.
    let text = String::from_utf8_lossy(text);
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags, rest @ ..] = &parts[..] else {
        return None;
    };
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    };
    let good = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    let known = *version != "ff" && (*version != "00" || rest.is_empty());
    let zeros = |part: &str| part.bytes().all(|b| b == b'0');
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (good && known && !zeros(trace) && !zeros(span)).then(|| ((*trace).to_owned(), flags % 2 == 1))
}

/// Another reading of `grpc-timeout`: 1 to 8 digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if !(1..=8).contains(&digits.len()) || digits.starts_with('+') {
        return None;
    }
    let nanos: u64 = match unit {
        'H' => 3_600_000_000_000,
        'M' => 60_000_000_000,
        'S' => 1_000_000_000,
        'm' => 1_000_000,
        'u' => 1000,
        'n' => 1,
        _ => return None,
    };
    let nanos = u128::from(digits.parse::<u64>().ok()?) * u128::from(nanos);
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}
