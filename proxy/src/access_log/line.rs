//! One line of the access log, made of a record. Nothing that a client sends can end a line or a field: what may hold anything is
//! escaped, what else stands there is ours or was checked.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;
use serde_json::{Value, json};
use tenbin_balance::Reason;
use tenbin_model::AccessLogFormat;

use crate::record::{Record, Try};
use crate::serve::error::Failure;
use crate::spans::Context;

/// Adds the line of `record`, which ended at `time`.
pub(super) fn write(text: &mut String, time: SystemTime, record: &Record) {
    match record.format {
        AccessLogFormat::Off => {}
        AccessLogFormat::Text => words(text, &rfc3339(time), record),
        AccessLogFormat::Json => {
            let _ = writeln!(text, "{}", object(&rfc3339(time), record));
        }
    }
}

fn object(time: &str, record: &Record) -> Value {
    let tried = record.tries.iter().map(|one| {
        json!({
            "endpoint": &*one.instance,
            "result": result(one),
        })
    });
    json!({
        "time": time,
        "listener": record.listener.name.as_str(),
        "client": record.client.to_string(),
        "source": record.source.to_string(),
        "protocol": protocol(record.version),
        "tls": record.tls.as_ref().map(|tls| tls.version),
        "sni": record.tls.as_ref().and_then(|tls| tls.sni.as_deref()),
        "method": record.method.as_str(),
        "host": record.host(),
        "path": record.path(),
        "request_id": record.request_id(),
        "trace_id": record.trace.as_ref().map(Context::trace_id),
        "status": record.status.map(|status| status.as_u16()),
        "code": record.failure.map(Failure::code),
        "duration_ms": rounded(record.duration),
        "first_byte_ms": record.first_byte.map(rounded),
        "received": record.received,
        "sent": record.sent,
        "tries": record.tries.len(),
        "tried": tried.collect::<Value>(),
        "endpoint": record.tries.last().map(|last| &*last.instance),
        "reason": record.reason.map(Reason::as_str),
        "candidates": record.candidates,
        "affinity": record.affinity.name(),
    })
}

fn words(text: &mut String, time: &str, record: &Record) {
    let _ = write!(
        text,
        "{time} {} {} {} \"{} {} {}\" {} {} {:.3}ms {} {} {} {} {}",
        record.listener.name,
        record.client,
        record.source,
        record.method,
        record.host().escape_debug(),
        record.path().escape_debug(),
        record.status.map_or(0, |status| status.as_u16()),
        record.failure.map_or("-", Failure::code),
        record.duration.as_secs_f64() * 1e3,
        record.tries.len(),
        record.tries.last().map_or("-", |last| &last.instance),
        record.reason.map_or("-", Reason::as_str),
        record.candidates,
        record.affinity.name(),
    );
    let _ = write!(
        text,
        " {} {} {}/{} ",
        protocol(record.version),
        record.tls.as_ref().map_or("-", |tls| tls.version),
        record.received,
        record.sent
    );
    let _ = match record.first_byte {
        Some(first) => write!(text, "{:.3}ms", first.as_secs_f64() * 1e3),
        None => write!(text, "-"),
    };
    let _ = write!(text, " {} ", record.request_id().unwrap_or("-"));
    for (i, one) in record.tries.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{}={}", one.instance, result(one));
    }
    text.push_str(if record.tries.is_empty() { "-\n" } else { "\n" });
}

/// What came of a try: a status, a short code, or that the client left before.
fn result(one: &Try) -> String {
    match one.result {
        Some(Ok(status)) => status.as_u16().to_string(),
        Some(Err(failure)) => failure.code().to_owned(),
        None => "-".to_owned(),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// In milliseconds with three places after the point.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A time of day in UTC with milliseconds, as `2026-01-31T23:59:59.000Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // From days to a date, after Howard Hinnant's "chrono-compatible low-level date algorithms": eras of 400 years that begin in March.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use tenbin_balance::Time;

    use super::*;
    use crate::record::tests::record;

    fn text(record: &Record) -> String {
        let mut text = String::new();
        write(&mut text, UNIX_EPOCH, record);
        text
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn lines_of_both_kinds() {
        let mut record = record();
        let expected = "1970-01-01T00:00:00.000Z ns/hello/http 10.0.0.9:4000 192.0.2.1 \"GET test /x?y=1\" 200 - 1.500ms 2 hello-1 \
                        affinity 1 hit HTTP/1.1 - 7/1024 1.250ms r-1 hello-0=UF,hello-1=200\n";
        assert_eq!(text(&record), expected);
        record.format = AccessLogFormat::Json;
        let object: Value = serde_json::from_str(&text(&record)).unwrap();
        assert_eq!(object["duration_ms"], 1.5);
        assert_eq!(
            (&object["status"], &object["endpoint"]),
            (&json!(200), &json!("hello-1"))
        );
        assert_eq!(object["tried"][0], json!({ "endpoint": "hello-0", "result": "UF" }));
        record.format = AccessLogFormat::Off;
        assert_eq!(text(&record), "");
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_a_line() {
        let hostile = b"a\"b c\t\xff\xe2\x80\xa8d\\".as_slice();
        let mut record = record();
        record.host = Some(HeaderValue::from_bytes(hostile).unwrap());
        record.uri = "/%0a\"%0d?q".parse().unwrap();
        let line = text(&record);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.contains(r#"/%0a\"%0d?q" 200 "#), "{line}");
        assert!(line.contains(r#""GET a\"b c\t"#), "{line}");
        assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1, "{line}");
        record.format = AccessLogFormat::Json;
        let line = text(&record);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["host"], String::from_utf8_lossy(hostile).into_owned());

        for (id, kept) in [("two words", None), ("r-2", Some("r-2"))] {
            let request = Request::get("/").header("x-request-id", id).body(()).unwrap();
            let client = "10.0.0.9:4000".parse().unwrap();
            let other = Record::begin(&record.listener, &request, client, record.source, Time::default());
            assert_eq!(other.request_id(), kept, "{id}");
        }
    }
}
