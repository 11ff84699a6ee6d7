//! A request as those get it who tell of it afterwards: the access log and the exporter of spans. Gathered only where one of them is on, of
//! what costs no copy. Plain data; how it is shown is theirs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use rustls::{ProtocolVersion, ServerConnection};
use tenbin_balance::{Reason, Time};
use tenbin_model::{AccessLogFormat, Listener};

use crate::affinity::Outcome;
use crate::serve::error::Failure;
use crate::spans::{Context, SpanId};

/// The header of a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is believed, in bytes.
const MAX_REQUEST_ID: usize = 128;
/// The most tries that are told one by one; there are no more.
const MAX_TRIES: usize = tenbin_model::Retry::MAX_TRIES as usize;

/// A request.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it was accepted.
    pub listener: Arc<Listener>,
    /// How its line looks; off where there is to be none.
    pub format: AccessLogFormat,
    /// Whether it has a line even if it goes well.
    pub chosen: bool,
    /// The client's address.
    pub client: SocketAddr,
    /// Who the client is, behind the proxies that are trusted.
    pub source: IpAddr,
    /// Its method.
    pub method: Method,
    /// Its target, as it came.
    pub uri: Uri,
    /// Its Host header.
    pub host: Option<HeaderValue>,
    /// The protocol it came by.
    pub version: Version,
    /// What its connection agreed on, where that is TLS.
    pub tls: Option<Arc<TlsSeen>>,
    /// Its id.
    pub request_id: Option<HeaderValue>,
    /// When its headers were there.
    pub began: Time,
    /// From then to the end of its response.
    pub duration: Duration,
    /// From when it was sent to the last endpoint to the head of the response.
    pub first_byte: Option<Duration>,
    /// Bytes of its body, as far as they were relayed.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// What the client was told; `None` if nothing.
    pub status: Option<StatusCode>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// Why the last endpoint was picked.
    pub reason: Option<Reason>,
    /// Among how many.
    pub candidates: u32,
    /// What became of its affinity.
    pub affinity: Outcome,
    /// The endpoints it was sent to, in their order.
    pub tries: Vec<Try>,
    /// Its place in a trace, where it is in one.
    pub trace: Option<Context>,
}

/// One try of a request.
#[derive(Clone, Debug)]
pub struct Try {
    /// The endpoint's name.
    pub instance: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// When it was picked.
    pub began: Time,
    /// When it was over; `None` where it lasted to the end of the response.
    pub ended: Option<Time>,
    /// The status it answered with, or what went wrong; `None` where the client left before.
    pub result: Option<Result<StatusCode, Failure>>,
    /// Its span.
    pub span: SpanId,
}

/// What was agreed on in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// The version, as `TLSv1.3`.
    pub version: &'static str,
    /// The name that was asked for (SNI).
    pub sni: Option<String>,
}

impl TlsSeen {
    /// What a connection agreed on.
    pub fn of(connection: &ServerConnection) -> Self {
        TlsSeen {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            sni: connection.server_name().map(str::to_owned),
        }
    }
}

impl Record {
    /// What is known of a request when it begins.
    pub fn begin<B>(
        listener: &Arc<Listener>,
        request: &Request<B>,
        client: SocketAddr,
        source: IpAddr,
        began: Time,
    ) -> Self {
        Record {
            listener: Arc::clone(listener),
            format: AccessLogFormat::Off,
            chosen: false,
            client,
            source,
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
            version: request.version(),
            tls: None,
            request_id: request_id(request.headers()),
            began,
            duration: Duration::ZERO,
            first_byte: None,
            received: 0,
            sent: 0,
            status: None,
            failure: None,
            reason: None,
            candidates: 0,
            affinity: Outcome::None,
            tries: Vec::new(),
            trace: None,
        }
    }

    /// It is tried on an endpoint; the try before is over.
    pub fn try_on(&mut self, instance: &Arc<str>, address: SocketAddr, span: SpanId, now: Time) {
        self.try_over(now);
        if self.tries.len() < MAX_TRIES {
            self.tries.push(Try {
                instance: Arc::clone(instance),
                address,
                began: now,
                ended: None,
                result: None,
                span,
            });
        }
    }

    /// This came of the last try.
    pub fn try_result(&mut self, result: Result<StatusCode, Failure>) {
        if let Some(last) = self.tries.last_mut() {
            last.result = Some(result);
        }
    }

    /// The last try is over.
    pub fn try_over(&mut self, now: Time) {
        if let Some(last) = self.tries.last_mut() {
            last.ended.get_or_insert(now);
        }
    }

    /// Whether it went wrong: by what we say, or by the endpoint's 5xx.
    pub fn failed(&self) -> bool {
        self.failure.is_some() || self.status.is_some_and(|status| status.is_server_error())
    }

    /// The host it was for, of its target where that names one, as the client wrote it.
    pub fn host(&self) -> String {
        match (self.uri.host(), &self.host) {
            (Some(host), _) => match self.uri.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            (None, None) => String::new(),
        }
    }

    /// Its path and query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("*", |path| path.as_str())
    }

    /// Its id; nothing but visible ASCII.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok())
    }
}

/// The id that headers carry, if it is one that can stand in a line as it is.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let fits = (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    fits.then(|| id.clone())
}

#[cfg(test)]
pub(crate) mod tests {
    use tenbin_model::ResourceName;

    use super::*;

    /// A request that went well at its second endpoint.
    pub(crate) fn record() -> Record {
        let name = ResourceName::app_port("ns", "hello", "http");
        let listener = Arc::new(Listener::new(name.clone(), ([0, 0, 0, 0], 1).into(), name));
        let request = Request::get("/x?y=1")
            .header("host", "test")
            .header("x-request-id", "r-1");
        let mut record = Record::begin(
            &listener,
            &request.body(()).unwrap(),
            "10.0.0.9:4000".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
            Time::default(),
        );
        record.format = AccessLogFormat::Text;
        record.try_on(
            &"hello-0".into(),
            "10.0.0.1:1".parse().unwrap(),
            [1; 8],
            Time::default(),
        );
        record.try_result(Err(Failure::Connect));
        record.try_on(
            &"hello-1".into(),
            "10.0.0.2:1".parse().unwrap(),
            [2; 8],
            Time::default(),
        );
        record.try_result(Ok(StatusCode::OK));
        record.status = Some(StatusCode::OK);
        record.duration = Duration::from_micros(1_500);
        record.first_byte = Some(Duration::from_micros(1_250));
        (record.received, record.sent) = (7, 1024);
        record.reason = Some(Reason::Affinity);
        record.candidates = 1;
        record.affinity = Outcome::Hit;
        record
    }

    #[test]
    fn an_endpoints_failure_is_one_too() {
        let mut record = record();
        assert!(!record.failed());
        record.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        assert!(record.failed());
        record.status = Some(StatusCode::NOT_FOUND);
        assert!(!record.failed(), "the client's own");
        record.failure = Some(Failure::ClientGone);
        assert!(record.failed());
    }

    #[test]
    fn tries_are_bounded() {
        let mut record = record();
        for _ in 0..100 {
            record.try_on(&"x".into(), "10.0.0.3:1".parse().unwrap(), [3; 8], Time::default());
        }
        assert_eq!(record.tries.len(), MAX_TRIES);
    }
}
