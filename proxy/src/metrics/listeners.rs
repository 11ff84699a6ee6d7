//! What listeners counted: requests and connections of clients.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tenbin_balance::Reason;

use super::out::Out;
use crate::affinity::Outcome;
use crate::serve::Refused;
use crate::serve::error::Failure;
use crate::state::Listener;

/// Classes of status, as they lie in [`crate::state::PortStats::requests`].
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes all of it.
pub(super) fn write(out: &mut Out<'_>, listeners: &[Arc<Listener>]) -> fmt::Result {
    let classes = listeners.iter().flat_map(|listener| {
        let counts = CLASSES.iter().zip(&listener.stats.requests);
        counts.map(|(&code, n)| ([("listener", listener.name.as_str()), ("code", code)], n.load(Relaxed)))
    });
    out.counters("requests", "Finished requests by class of status", classes)?;
    // Two failures share a code, and a series must be there only once.
    let mut reasons: Vec<&'static str> = Failure::ALL.iter().map(|failure| failure.code()).collect();
    reasons.dedup();
    let failures = listeners.iter().flat_map(|listener| {
        reasons.iter().map(|&reason| {
            let same = Failure::ALL.iter().filter(|failure| failure.code() == reason);
            let n = same
                .map(|&failure| listener.stats.failures[failure as usize].load(Relaxed))
                .sum();
            ([("listener", listener.name.as_str()), ("reason", reason)], n)
        })
    });
    out.counters("request_failures", "Failed requests by reason", failures)?;

    let outcomes = listeners.iter().flat_map(|listener| {
        let counts = Outcome::ALL.iter().zip(&listener.stats.affinity);
        counts.map(|(outcome, n)| {
            (
                [("listener", listener.name.as_str()), ("outcome", outcome.name())],
                n.load(Relaxed),
            )
        })
    });
    out.counters("affinity", "Requests by what became of their affinity", outcomes)?;
    let reasons = listeners.iter().flat_map(|listener| {
        let counts = Reason::ALL.iter().zip(&listener.stats.picks);
        counts.map(|(reason, n)| {
            (
                [("listener", listener.name.as_str()), ("reason", reason.as_str())],
                n.load(Relaxed),
            )
        })
    });
    out.counters("picks", "Picks by their reason", reasons)?;

    let refused = listeners.iter().flat_map(|listener| {
        let counts = Refused::ALL.iter().zip(&listener.stats.handshake_failures);
        counts.map(|(reason, n)| {
            (
                [("listener", listener.name.as_str()), ("reason", reason.name())],
                n.load(Relaxed),
            )
        })
    });
    out.counters("tls_handshake_failures", "TLS handshakes that failed", refused)?;

    let by = |value: fn(&Listener) -> &AtomicU64| {
        listeners
            .iter()
            .map(move |l| ([("listener", l.name.as_str())], value(l).load(Relaxed)))
    };
    out.counters(
        "tls_handshakes",
        "TLS handshakes carried out",
        by(|l| &l.stats.handshakes),
    )?;
    out.counters(
        "received_bytes",
        "Bytes of bodies and tunnels from clients",
        by(|l| &l.stats.received),
    )?;
    out.counters(
        "sent_bytes",
        "Bytes of bodies and tunnels to clients",
        by(|l| &l.stats.sent),
    )?;
    out.counters("request_retries", "Tries beyond the first", by(|l| &l.stats.retries))?;
    out.counters(
        "connections_accepted",
        "Client connections accepted",
        by(|l| &l.stats.accepted),
    )?;
    out.counters(
        "connections_refused",
        "Client connections turned away",
        by(|l| &l.stats.refused),
    )?;
    out.counters(
        "connections_malformed",
        "Client connections closed for bad HTTP",
        by(|l| &l.stats.malformed),
    )?;
    let help = "Client connections closed because headers took too long";
    out.counters("connections_header_timeouts", help, by(|l| &l.stats.header_timeouts))?;
    let by = |value: fn(&Listener) -> &AtomicU64| {
        listeners
            .iter()
            .map(move |l| ([("listener", l.name.as_str())], value(l).load(Relaxed) as f64))
    };
    out.gauges(
        "requests_in_flight",
        "Open requests and upgraded connections",
        by(|l| &l.stats.in_flight),
    )?;
    out.gauges(
        "upgraded_connections",
        "Open upgraded connections",
        by(|l| &l.stats.tunnels),
    )?;
    out.gauges("connections", "Open client connections", by(|l| &l.stats.connections))?;

    let durations = listeners
        .iter()
        .map(|l| ([("listener", l.name.as_str())], l.stats.duration.read()));
    out.histograms(
        "request_duration_seconds",
        "Headers of a request to the end of its response",
        durations,
    )?;
    let first_bytes = listeners
        .iter()
        .map(|l| ([("listener", l.name.as_str())], l.stats.first_byte.read()));
    out.histograms(
        "request_first_byte_seconds",
        "A request's way to an endpoint until the head of the response",
        first_bytes,
    )
}
