//! What makes a stream's messages like those of HTTP/1.1, so that nothing behind knows the difference, and its responses like those of
//! HTTP/2 again. Pure functions on heads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, DATE, Entry, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use tenbin_http2::Protocol;

use crate::serve::headers::{is_h2c, remove};

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// Headers of one connection, which HTTP/2 says in frames or not at all (RFC 9113 §8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection"
    )
}

/// Removes what no response of HTTP/2 may have, nor its trailers.
pub(super) fn strip(headers: &mut HeaderMap) {
    remove(headers, |name| is_of_connection(name) || *name == TE);
}

/// Removes what no request of HTTP/2 may have; TE may stay, if it asks for trailers.
pub(in crate::serve) fn strip_request(headers: &mut HeaderMap) {
    remove(headers, is_of_connection);
}

/// Makes one header of a cookie's crumbs, as HTTP/1.1 wants it (RFC 9113 §8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
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
pub(super) fn to_upgrade<B>(request: &mut Request<B>, random: impl Fn() -> u64) -> bool {
    if *request.method() != Method::CONNECT {
        return false;
    }
    // What would carry requests past the routes is no protocol to switch to.
    let of_http = |protocol: &Protocol| is_h2c(&protocol.0);
    if request.extensions().get::<Protocol>().is_none_or(of_http) {
        return false;
    }
    let protocol = request.extensions_mut().remove::<Protocol>();
    let upgrade = protocol.and_then(|protocol| HeaderValue::from_maybe_shared(protocol.0).ok());
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
pub(super) fn from_upgrade<B>(response: &mut Response<B>) {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.remove(SEC_WEBSOCKET_ACCEPT);
        headers.remove(CONTENT_LENGTH);
    } else if status.is_success() {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
}

/// Makes a response fit for HTTP/2, with the date if it has none, and its length where that is known and it has none.
pub(super) fn finish<B>(response: &mut Response<B>, length: Option<u64>, date: impl FnOnce() -> HeaderValue) {
    let headers = response.headers_mut();
    strip(headers);
    headers.entry(DATE).or_insert_with(date);
    if let Some(length) = length {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// Whether a response has no body, whatever comes of one (RFC 9110 §6.4.1).
pub(super) fn has_no_body<B>(response: &Response<B>, to_head: bool) -> bool {
    to_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
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
                request = request.extension(Protocol(protocol.into()));
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
