//! What is said of a request to a collector: OTLP's spans with the stable names of OpenTelemetry's conventions for HTTP. Pure. Queries
//! and user agents are left out: they are personal data, or hold secrets.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use tenbin_balance::Time;

use super::context::Context;
use crate::record::{Record, Try};
use crate::serve::error::Failure;

/// Methods that stand in spans by their name; any other is `_OTHER`, so that clients can't make up names.
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// The flags of a span (W3C): sampled.
const SAMPLED: u32 = 1;

/// The spans of one service.
pub(super) fn of_service(service: &str, instance: &str, spans: Vec<Span>) -> ResourceSpans {
    let mut attributes = vec![
        text("service.name", service),
        text("telemetry.sdk.name", env!("CARGO_PKG_NAME")),
        text("telemetry.sdk.language", "rust"),
        text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    if !instance.is_empty() {
        attributes.push(text("service.instance.id", instance));
    }
    ResourceSpans {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

/// The spans of a request: its own, and one for each try. `epoch` is when the clock of its times began.
pub(super) fn spans(record: &Record, epoch: Duration) -> Vec<Span> {
    let Some(context) = &record.trace else {
        return Vec::new();
    };
    let tries = record.tries.iter().enumerate();
    let mut spans = vec![of_request(record, context, epoch)];
    spans.extend(tries.map(|(n, one)| of_try(record, context, one, n, epoch)));
    spans
}

fn of_request(record: &Record, context: &Context, epoch: Duration) -> Span {
    let host = record.host();
    let (server, port) = split(&host);
    let mut attributes = vec![
        text(
            "url.scheme",
            if record.listener.tls.is_some() { "https" } else { "http" },
        ),
        text("url.path", record.uri.path()),
        text("client.address", record.source.to_string()),
        text("network.peer.address", record.client.ip().to_canonical().to_string()),
        number("network.peer.port", record.client.port().into()),
        text("network.protocol.version", version(record.version)),
        text("tenbin.listener", record.listener.name.as_str()),
    ];
    if !server.is_empty() {
        attributes.push(text("server.address", server));
    }
    attributes.extend(port.map(|port| number("server.port", port.into())));
    attributes.extend(record.request_id().map(|id| text("tenbin.request_id", id)));
    let error = match (record.failure, record.status) {
        (Some(failure), _) => Some(failure.code().to_owned()),
        (None, Some(status)) if status.is_server_error() => Some(status.as_u16().to_string()),
        _ => None,
    };
    let span = Span {
        span_id: context.span().to_vec(),
        parent_span_id: context.parent().map(|parent| parent.to_vec()).unwrap_or_default(),
        kind: SpanKind::Server.into(),
        attributes,
        ..times(record.began, record.began.plus(record.duration), epoch)
    };
    common(span, record, context, record.status, error)
}

fn of_try(record: &Record, context: &Context, one: &Try, n: usize, epoch: Duration) -> Span {
    let address = one.address.ip().to_string();
    let mut attributes = vec![
        text("server.address", address.clone()),
        number("server.port", one.address.port().into()),
        text("network.peer.address", address),
        number("network.peer.port", one.address.port().into()),
        text("url.full", format!("http://{}{}", one.address, record.uri.path())),
        text("tenbin.endpoint", &*one.instance),
    ];
    if n > 0 {
        attributes.push(number("http.request.resend_count", n as i64));
    }
    let (status, error) = match one.result {
        Some(Ok(status)) if status.as_u16() >= 400 => (Some(status), Some(status.as_u16().to_string())),
        Some(Ok(status)) => (Some(status), None),
        Some(Err(failure)) => (None, Some(failure.code().to_owned())),
        None => (None, Some(Failure::ClientGone.code().to_owned())),
    };
    let ended = one.ended.unwrap_or(record.began.plus(record.duration));
    let span = Span {
        span_id: one.span.to_vec(),
        parent_span_id: context.span().to_vec(),
        kind: SpanKind::Client.into(),
        attributes,
        ..times(one.began, ended, epoch)
    };
    common(span, record, context, status, error)
}

/// What the spans of a request and of its tries say alike.
fn common(
    mut span: Span,
    record: &Record,
    context: &Context,
    status: Option<StatusCode>,
    error: Option<String>,
) -> Span {
    span.trace_id = context.trace().to_vec();
    context.state().clone_into(&mut span.trace_state);
    span.flags = SAMPLED;
    if METHODS.contains(&record.method) {
        record.method.as_str().clone_into(&mut span.name);
        span.attributes
            .push(text("http.request.method", record.method.as_str()));
    } else {
        "HTTP".clone_into(&mut span.name);
        span.attributes.push(text("http.request.method", "_OTHER"));
    }
    let code = status.map(|status| number("http.response.status_code", status.as_u16().into()));
    span.attributes.extend(code);
    if let Some(error) = error {
        span.attributes.push(text("error.type", error));
        span.status = Some(Status {
            code: SpanStatus::Error.into(),
            ..Status::default()
        });
    }
    span
}

/// A span that lasted from `began` to `ended`.
fn times(began: Time, ended: Time, epoch: Duration) -> Span {
    let nanos = |time: Time| {
        let since = epoch.saturating_add(time.since(Time::default()));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    Span {
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(ended),
        ..Span::default()
    }
}

/// A host and its port, where it names one.
fn split(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !port.contains(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn hosts_and_ports() {
        for (host, expected) in [
            ("a.test", ("a.test", None)),
            ("a.test:80", ("a.test", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("a:b", ("a:b", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split(host), expected);
        }
    }
}
