//! HTTP/2 with clients: its limits, the driver of a connection, and what makes a stream a request like any other (cookies in one line,
//! WebSockets over CONNECT as upgrades). What a request means is not its business.
//!
//! | what | limit |
//! |---|---|
//! | open streams of a connection | [`MAX_STREAMS`] |
//! | list of headers | [`limits::MAX_HEAD`], as HTTP/2 counts it (32 bytes more for each header) |
//! | bytes of bodies that wait to be sent to endpoints | [`CONNECTION_WINDOW`] for a connection, [`STREAM_WINDOW`] for a stream |
//! | bytes of a response that wait for the client | [`SEND_BUFFER`] and one chunk for a stream |
//! | streams reset by the client before they were looked at | [`MAX_RESETS`] |
//! | streams broken off within [`YOUNG`] before they were answered | [`MAX_CUT`], and then at most half of all |
//! | a dead peer | is noticed after [`PING_INTERVAL`] and [`PING_TIMEOUT`] |

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, COOKIE, Entry, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tenbin_balance::Time;
use tokio::time::sleep_until;
use tracing::debug;

use super::body::ResponseBody;
use super::connection::{Connection, rearm};
use super::incoming::Incoming as Body;
use super::informer::Informer;
use super::io::Counted;
use super::request;
use crate::limits;

/// The most open streams of a connection.
pub(super) const MAX_STREAMS: u32 = 250;
/// How many bytes of bodies a client may send ahead of the endpoints, over all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The same on one stream.
const STREAM_WINDOW: u32 = 256 << 10;
/// How many bytes of a response may wait for the client.
const SEND_BUFFER: usize = 64 << 10;
/// The most streams that the client reset before they were looked at, and that we reset for its errors: more end the connection.
const MAX_RESETS: usize = 64;
/// So many streams may be broken off by the client while they are young and unanswered; beyond, a connection of which these are the
/// greater part ends.
const MAX_CUT: u32 = 500;
/// Until when a stream is young: who gives up later has waited.
const YOUNG: Duration = Duration::from_secs(1);
/// How often a peer is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client that was told to go may hold its connection without a stream.
const FAREWELL: Duration = Duration::from_secs(1);
/// What each connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// Runs the streams of a connection on its worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver of a connection: each stream is a task"
    )]
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// The limits of every connection.
pub(super) fn builder() -> http2::Builder<Local> {
    let mut http = http2::Builder::new(Local);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits::MAX_HEAD).unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .enable_connect_protocol();
    http
}

/// Serves a connection until it ends.
pub(super) async fn serve(connection: &Rc<Connection>, io: Counted) {
    let service = service_fn({
        let connection = Rc::clone(connection);
        move |request| {
            let served = stream(Rc::clone(&connection), request);
            async move { Ok::<_, Infallible>(served.await) }
        }
    });
    let mut http = pin!(connection.worker.http2.serve_connection(TokioIo::new(io), service));
    let clock = connection.worker.clock;
    let mut timer = pin!(sleep_until(clock.at(connection.next_look(&connection.settings()))));
    let mut closing = pin!(connection.worker.closing.notified());
    let mut woken_by_both = false;
    let mut told = None;
    let ended = poll_fn(|cx: &mut Context<'_>| {
        loop {
            if let Poll::Ready(result) = http.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            if !woken_by_both {
                woken_by_both = true;
                let _ = closing.as_mut().poll(cx);
                let _ = timer.as_mut().poll(cx);
            }
            if connection.streams.is_flood() {
                return Poll::Ready(None);
            }
            let goes = connection.worker.lifecycle.is_closing() || connection.is_told_to_go();
            if goes && told.is_none() {
                told = Some(clock.now());
                http.as_mut().graceful_shutdown();
                rearm(timer.as_mut(), clock.at(clock.now().plus(FAREWELL)), cx);
                continue;
            }
            if !timer.is_elapsed() {
                return Poll::Pending;
            }
            let settings = connection.settings();
            let idle_since = connection.idle_since(PREFACE.len() as u64);
            let over = match told {
                Some(told) => idle_since.map(|since| told.max(since).plus(FAREWELL)),
                None => connection.deadline(&settings),
            };
            if over.is_some_and(|over| clock.now() >= over) {
                if told.is_some() || idle_since.is_none() {
                    return Poll::Ready(None);
                }
                told = Some(clock.now());
                http.as_mut().graceful_shutdown();
            }
            let look = match told {
                Some(_) => clock.now().plus(FAREWELL),
                None => connection.next_look(&settings),
            };
            rearm(timer.as_mut(), clock.at(look), cx);
        }
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            debug!(client = %connection.client, %error, "a client connection failed");
            let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
            if cause.is_some_and(|cause| cause.is_library() && cause.reason() != Some(h2::Reason::NO_ERROR)) {
                crate::state::count(&connection.settings().stats.malformed);
            }
        }
        None if connection.streams.is_flood() => {
            debug!(client = %connection.client, "a client broke off most of its streams");
            crate::state::count(&connection.settings().stats.malformed);
        }
        None => {}
    }
}

/// Counts the streams of a connection, and those that the client broke off before they were answered.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Cell<u32>,
    cut: Cell<u32>,
}

impl Streams {
    fn is_flood(&self) -> bool {
        let cut = self.cut.get();
        cut > MAX_CUT && cut > self.all.get() / 2
    }
}

/// An unanswered stream: dropped young and before it is answered, it counts as cut.
struct Unanswered<'a> {
    connection: &'a Connection,
    began: Time,
    answered: bool,
}

impl<'a> Unanswered<'a> {
    fn begin(connection: &'a Connection) -> Self {
        let all = &connection.streams.all;
        all.set(all.get().saturating_add(1));
        Unanswered {
            connection,
            began: connection.worker.clock.now(),
            answered: false,
        }
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let connection = self.connection;
        if !self.answered && connection.worker.clock.now().since(self.began) < YOUNG {
            let cut = &connection.streams.cut;
            cut.set(cut.get().saturating_add(1));
        }
    }
}

/// Serves one stream.
#[expect(
    clippy::disallowed_methods,
    reason = "the driver of a connection: a stream that was upgraded is a task"
)]
async fn stream(connection: Rc<Connection>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let mut unanswered = Unanswered::begin(&connection);
    join_cookies(request.headers_mut());
    let connects = to_upgrade(&mut request, || connection.random());
    let upgrade = connects.then(|| hyper::upgrade::on(&mut request));
    let mut response = request::serve(Rc::clone(&connection), request.map(Body::Http2), Informer::Http2).await;
    if connects {
        from_upgrade(&mut response);
        if let Some(tunnel) = connection.take_tunnel() {
            tokio::task::spawn_local(async move {
                if let Some(upgrade) = upgrade && let Ok(client) = upgrade.await {
                    tunnel.run(TokioIo::new(client)).await;
                }
            });
        }
    }
    unanswered.answered = true;
    response
}

/// Makes one header of a cookie's crumbs, as HTTP/1.1 wants it (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(mut crumbs) = headers.entry(COOKIE) else {
        return;
    };
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        crumbs.insert(cookie);
    }
}

/// Makes a CONNECT that names a protocol (RFC 8441) the upgrade that an HTTP/1.1 client would have asked for; true if it was one.
fn to_upgrade<B>(request: &mut Request<B>, random: impl Fn() -> u64) -> bool {
    if *request.method() != Method::CONNECT {
        return false;
    }
    let protocol = request.extensions_mut().remove::<Protocol>();
    let upgrade = protocol.and_then(|protocol| HeaderValue::from_str(protocol.as_str()).ok());
    let host = request
        .uri()
        .authority()
        .map(|host| HeaderValue::from_str(host.as_str()));
    let (Some(upgrade), Some(Ok(host))) = (upgrade, host) else {
        return false;
    };
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.entry(HOST).or_insert(host);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let is_websocket = upgrade.as_bytes().eq_ignore_ascii_case(b"websocket");
    headers.insert(UPGRADE, upgrade);
    if is_websocket {
        // HTTP/2 has no key; what an endpoint makes of it goes nowhere.
        let nonce = [random().to_be_bytes(), random().to_be_bytes()].concat();
        if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(nonce)) {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }
    true
}

/// Makes the answer to an upgrade the answer to a CONNECT: 200 says that it is open, so nothing else may.
fn from_upgrade<B>(response: &mut Response<B>) {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        response.headers_mut().remove(UPGRADE);
        response.headers_mut().remove(CONNECTION);
    } else if status.is_success() {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_one_cookie() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn a_connect_with_a_protocol_is_an_upgrade() {
        let connect = |protocol: Option<&'static str>| {
            let mut request = Request::builder().method("CONNECT").version(Version::HTTP_2);
            request = request.uri("https://a.example/chat");
            if let Some(protocol) = protocol {
                request = request.extension(Protocol::from_static(protocol));
            }
            request.body(()).unwrap()
        };
        let mut socket = connect(Some("websocket"));
        assert!(to_upgrade(&mut socket, || 7));
        assert_eq!((socket.method(), socket.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(
            (&socket.headers()[UPGRADE], &socket.headers()[HOST]),
            (&"websocket".parse().unwrap(), &"a.example".parse().unwrap())
        );
        assert_eq!(socket.headers()[SEC_WEBSOCKET_KEY], "AAAAAAAAAAcAAAAAAAAABw==");

        let mut plain = connect(None);
        assert!(!to_upgrade(&mut plain, || 7));
        assert_eq!(plain.method(), Method::CONNECT, "it is refused later");

        let answer = |status: u16| {
            let mut response = Response::builder()
                .status(status)
                .header(SEC_WEBSOCKET_ACCEPT, "x")
                .body(())
                .unwrap();
            from_upgrade(&mut response);
            (response.status().as_u16(), response.headers().len())
        };
        assert_eq!(answer(101), (200, 0));
        assert_eq!(
            answer(200),
            (502, 1),
            "an endpoint that did not switch has not opened anything"
        );
        assert_eq!(answer(403), (403, 1));
    }
}
