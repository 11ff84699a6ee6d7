//! The access log: one line for each request, written by one task off the workers. A worker never waits for it; what does not fit is
//! dropped and counted.
//!
//! | JSON | what |
//! |---|---|
//! | `time`, `listener`, `client`, `source` | when it ended, where and over which connection it came, who sent it: the peer, or whom trusted hops name |
//! | `method`, `host`, `path` | what it asked for |
//! | `status`, `code`, `duration_ms` | what the client was told, what went wrong (see `serve::error`), headers to end of response |
//! | `tries`, `endpoint` | how many endpoints it was sent to, and the last of them |
//! | `reason` | why that one was picked: `policy` (the algorithm), `affinity` (its session), `hash` (its key), `overflow` (its key's endpoint is full, left out, or was tried), `floor` (it had been left alone for long), `trial` (left out until now), `panic` (all are left out), `reserve` (only weight 0 is left), `draining` (only draining ones are left) |
//! | `candidates` | among how many endpoints; 0 where none was picked |
//! | `affinity` | `hit`, `none`, `new`, `expired`, `forged`, `unknown_key`, `gone`, `moved`: see [`Outcome`] |
//!
//! A line of text has the same: `time listener client source "method host path" status code duration tries endpoint reason candidates
//! affinity`.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, StatusCode, Uri};
use serde_json::json;
use tenbin_balance::Reason;
use tenbin_model::ResourceName;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::affinity::Outcome;

/// Lines that may wait to be written.
const WAITING: usize = 4096;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Words in a fixed order.
    Text,
    /// One JSON object a line.
    Json,
}

/// A finished request.
#[derive(Debug)]
pub struct Record {
    /// Where it was accepted.
    pub listener: ResourceName,
    /// The client's address.
    pub client: SocketAddr,
    /// Who the client is, behind the proxies that are trusted.
    pub source: IpAddr,
    /// Its method.
    pub method: Method,
    /// The host it was for.
    pub host: String,
    /// Its target.
    pub uri: Uri,
    /// Its id, the client's or ours.
    pub request_id: Option<HeaderValue>,
    /// What the client was told; `None` if nothing.
    pub status: Option<StatusCode>,
    /// The short code of what went wrong.
    pub code: Option<&'static str>,
    /// From its headers to the end of its response.
    pub duration: Duration,
    /// How many endpoints it was tried on.
    pub tries: u32,
    /// The last of them.
    pub endpoint: Option<Arc<str>>,
    /// Why that one was picked.
    pub reason: Option<Reason>,
    /// Among how many.
    pub candidates: u32,
    /// What became of its affinity.
    pub affinity: Outcome,
}

/// The workers' end of the log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: mpsc::Sender<(SystemTime, Record)>,
    dropped: Arc<AtomicU64>,
}

/// The writer's end of the log.
#[derive(Debug)]
pub struct Lines(mpsc::Receiver<(SystemTime, Record)>);

impl AccessLog {
    /// A log, and the end that has to be written with [`Lines::write_to`].
    pub fn new() -> (Self, Lines) {
        let (lines, waiting) = mpsc::channel(WAITING);
        let dropped = Arc::default();
        (AccessLog { lines, dropped }, Lines(waiting))
    }

    /// Logs a request, or drops it if too many wait.
    #[expect(clippy::disallowed_methods, reason = "people want to know the time of day")]
    pub fn write(&self, record: Record) {
        if self.lines.try_send((SystemTime::now(), record)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Lines {
    /// Writes lines until the log is gone.
    ///
    /// # Errors
    /// The output is broken.
    pub async fn write_to(mut self, mut output: impl AsyncWrite + Unpin, format: Format) -> io::Result<()> {
        let mut waiting = Vec::new();
        let mut text = String::new();
        while self.0.recv_many(&mut waiting, 256).await > 0 {
            text.clear();
            for (time, record) in waiting.drain(..) {
                line(&mut text, time, &record, format);
            }
            output.write_all(text.as_bytes()).await?;
            output.flush().await?;
        }
        Ok(())
    }
}

fn line(text: &mut String, time: SystemTime, record: &Record, format: Format) {
    let time = rfc3339(time);
    let status = record.status.map(|status| status.as_u16());
    let reason = record.reason.map(Reason::as_str);
    let affinity = record.affinity.name();
    let path = record.uri.path_and_query().map_or("*", |path| path.as_str());
    let millis = record.duration.as_secs_f64() * 1e3;
    match format {
        Format::Json => {
            let object = json!({
                "time": time,
                "listener": record.listener.as_str(),
                "client": record.client.to_string(),
                "source": record.source.to_string(),
                "method": record.method.as_str(),
                "host": record.host,
                "path": path,
                "status": status,
                "code": record.code,
                "duration_ms": (millis * 1e3).round() / 1e3,
                "tries": record.tries,
                "endpoint": record.endpoint.as_deref(),
                "reason": reason,
                "candidates": record.candidates,
                "affinity": affinity,
            });
            let _ = writeln!(text, "{object}");
        }
        Format::Text => {
            let _ = writeln!(
                text,
                "{time} {} {} {} \"{} {} {}\" {} {} {millis:.3}ms {} {} {} {} {affinity}",
                record.listener,
                record.client,
                record.source,
                record.method,
                record.host.escape_debug(),
                path.escape_debug(),
                status.unwrap_or(0),
                record.code.unwrap_or("-"),
                record.tries,
                record.endpoint.as_deref().unwrap_or("-"),
                reason.unwrap_or("-"),
                record.candidates,
            );
        }
    }
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
    use super::*;

    fn record() -> Record {
        Record {
            listener: ResourceName::app_port("ns", "hello", "http"),
            client: "10.0.0.9:4000".parse().unwrap(),
            source: "192.0.2.1".parse().unwrap(),
            method: Method::GET,
            host: "a\nb".to_owned(),
            uri: "/x?y=1".parse().unwrap(),
            request_id: None,
            status: Some(StatusCode::OK),
            code: None,
            duration: Duration::from_micros(1_500),
            tries: 1,
            endpoint: Some("hello-1".into()),
            reason: Some(Reason::Affinity),
            candidates: 1,
            affinity: Outcome::Hit,
        }
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
        let mut text = String::new();
        line(&mut text, UNIX_EPOCH, &record(), Format::Text);
        let expected = "1970-01-01T00:00:00.000Z ns/hello/http 10.0.0.9:4000 192.0.2.1 \"GET a\\nb /x?y=1\" 200 - 1.500ms 1 hello-1 affinity 1 hit\n";
        assert_eq!(text, expected, "nothing that a client sends starts a new line");
        text.clear();
        line(&mut text, UNIX_EPOCH, &record(), Format::Json);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["duration_ms"], 1.5);
        assert_eq!(
            (&object["status"], &object["endpoint"]),
            (&json!(200), &json!("hello-1"))
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_it() {
        let (log, lines) = AccessLog::new();
        for _ in 0..WAITING + 3 {
            log.write(record());
        }
        assert_eq!(log.dropped(), 3);
        drop(log);
        let mut out = Vec::new();
        lines.write_to(&mut out, Format::Text).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), WAITING);
    }
}
