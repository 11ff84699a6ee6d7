//! The head of a request on its way from a client to what an endpoint is sent. The first byte says whether it came over TLS (1) and from a
//! trusted hop (2), the rest is HTTP/1.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Version};
use http_body::{Body, Frame, SizeHint};
use tenbin_http1::{HeadReader, Length, Limits, RequestHead, write_request};
use tenbin_proxy::limits;
use tenbin_proxy::serve::fuzzing::{Passed, pass};

use super::fields::values;
use super::world::web;

/// What only the connection is told, and what is said anew of the request.
const OWN: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
];

/// A body of which only the length matters.
struct Announced(Length);

impl Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.0 == Length::Exact(0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.0 {
            Length::Exact(length) => SizeHint::with_exact(length),
            Length::Chunked | Length::UntilClose => SizeHint::new(),
        }
    }
}

fn read(wire: &[u8], limits: &Limits) -> Option<(RequestHead, usize)> {
    let mut buf = BytesMut::from(wire);
    let head = HeadReader::default().request(&mut buf, limits).ok()??;
    Some((head, wire.len() - buf.len()))
}

fn request(head: RequestHead) -> Request<Announced> {
    head.request.map(|()| Announced(head.body))
}

/// What is let through is one request to the next proxy too, for the same host, with the same path on the same route; nothing of a
/// connection is passed on, all else as it came; nobody untrusted says who the client is.
pub(crate) fn law(wire: &[u8]) {
    let Some((flags, wire)) = wire.split_first() else {
        return;
    };
    let Some((head, _)) = read(wire, &limits::HEAD) else {
        return;
    };
    let (secure, trusted) = (flags & 1 != 0, flags & 2 != 0);
    let client: SocketAddr = if trusted {
        ([10, 0, 0, 9], 4711)
    } else {
        ([203, 0, 113, 9], 4711)
    }
    .into();
    let length = head.body;
    let mut passed = request(head);
    let before = passed.headers().clone();
    let version = passed.version();
    let Ok(way) = pass(&mut passed, client, secure, web()) else {
        return;
    };
    assert_eq!(way.upgrade, passed.headers().contains_key("upgrade"));
    kept(&before, passed.headers(), &way);
    let next = written(&passed, length, &way, version);
    said(&next, client, trusted);
}

/// What a client says of its connection stays with it; all else that is not about the client goes on as it came.
fn kept(before: &HeaderMap, after: &HeaderMap, way: &Passed) {
    let options = values(before, "connection")
        .into_iter()
        .flat_map(|line| line.split(|&b| b == b','));
    let named: BTreeSet<String> = options
        .map(|option| String::from_utf8_lossy(option).trim_ascii().to_ascii_lowercase())
        .collect();
    let about =
        |name: &str| name == "forwarded" || name == "x-real-ip" || name.replace('_', "-").starts_with("x-forwarded-");
    let imitates = |name: &str| {
        let genuine = name.replace('_', "-");
        genuine != name
            && ["content-length", "transfer-encoding", "x-real-ip", "x-request-id"].contains(&genuine.as_str())
    };
    let own = |name: &str| OWN.contains(&name) || name == "upgrade" || about(name) || imitates(name);
    for name in before.keys().map(http::HeaderName::as_str).filter(|name| !own(name)) {
        let expected = if named.contains(name) && name != "x-request-id" {
            vec![]
        } else {
            values(before, name)
        };
        // `close` and `keep-alive` name no headers.
        if !matches!(name, "close" | "keep-alive") {
            assert_eq!(values(after, name), expected, "{name}");
        }
    }
    for name in after.keys().map(http::HeaderName::as_str) {
        assert!(own(name) || before.contains_key(name), "{name} was made up");
        assert!(
            !imitates(name) && (!about(name) || !name.contains('_')),
            "{name} imitates another"
        );
        let of_connection =
            OWN.contains(&name) && !matches!(name, "connection" | "content-length" | "expect" | "host" | "te");
        assert!(!of_connection, "{name} is of a connection");
    }
    let connection = values(after, "connection");
    assert_eq!(connection, if way.upgrade { vec![&b"upgrade"[..]] } else { vec![] });
    assert!(values(after, "te").iter().all(|te| te == b"trailers"));
    assert_eq!(values(after, "host").len(), 1);
}

/// What an endpoint is told of the client.
fn said(after: &HeaderMap, client: SocketAddr, trusted: bool) {
    let peer = client.ip().to_string();
    let [chain] = values(after, "x-forwarded-for")[..] else {
        panic!("one chain");
    };
    let last = chain.rsplit(|&b| b == b',').next().unwrap_or_default().trim_ascii();
    assert_eq!(last, peer.as_bytes(), "whom we saw");
    let [real] = values(after, "x-real-ip")[..] else {
        panic!("one address");
    };
    let real = std::str::from_utf8(real)
        .expect("an address")
        .parse::<std::net::IpAddr>()
        .expect("an address");
    let [forwarded] = values(after, "forwarded")[..] else {
        panic!("one Forwarded");
    };
    let element = format!("for={peer};proto=");
    if trusted {
        assert!(forwarded.windows(element.len()).any(|part| part == element.as_bytes()));
        return;
    }
    assert_eq!(
        (chain, real),
        (peer.as_bytes(), client.ip()),
        "only we say who a stranger is"
    );
    assert!(forwarded.starts_with(element.as_bytes()) && !forwarded.contains(&b','));
    let ours = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
    ];
    for name in after
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-forwarded-"))
    {
        assert!(ours.contains(&name), "{name} from a stranger");
    }
}

/// The next proxy gets one request, whose headers these are, and makes the same of it.
fn written(passed: &Request<Announced>, length: Length, way: &Passed, version: Version) -> HeaderMap {
    assert_eq!(passed.version(), Version::HTTP_11);
    let target = passed.uri().to_string();
    assert!(
        target == "*" || target.starts_with('/'),
        "the form of an origin's target: {target}"
    );
    let mut out = BytesMut::new();
    let announced = (length != Length::Exact(0)).then_some(length);
    write_request(
        &mut out,
        passed.method(),
        &target,
        passed.headers(),
        &way.told,
        announced,
    );
    let roomy = Limits {
        head: limits::MAX_HEAD * 4,
        headers: limits::MAX_HEADERS + 16,
        target: limits::MAX_TARGET,
    };
    let (again, taken) = read(&out, &roomy).expect("what is sent is a request");
    assert_eq!(taken, out.len(), "one request and nothing after it");
    assert_eq!(again.body, length);
    assert_eq!(
        (again.request.method(), again.request.uri().to_string()),
        (passed.method(), target)
    );
    let headers = again.request.headers().clone();
    // Who speaks HTTP/1.0 may name no host; the next one wants to know.
    if version == Version::HTTP_10 && way.host.is_empty() {
        return headers;
    }
    let mut next = request(again);
    let second = pass(&mut next, ([10, 0, 0, 1], 4711).into(), false, web()).expect("the next proxy lets it through");
    assert_eq!((&second.host, second.upgrade), (&way.host, way.upgrade));
    assert_eq!(second.routed.path, None, "the path is in its form");
    assert_eq!(
        (second.routed.route, next.uri().to_string()),
        (way.routed.route.clone(), passed.uri().to_string())
    );
    headers
}
