//! What a proxy owes the headers that pass it: Host is checked, what belongs to one connection only stays behind (RFC 9110 §7.6.1),
//! lengths are said in one way. Pure functions on heads.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Parts, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;

use super::error::Failure;
use super::parcel::takes_trailers;
use super::{expect, forwarding};

/// Headers of one connection that have no name in `http`, and the settings that only the upgrade to cleartext HTTP/2 carries.
const UNNAMED: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Checks what routing and the endpoint will rely on.
///
/// # Errors
/// CONNECT; a Host that is missing (in HTTP/1.1), doubled or not a host; in HTTP/2, one that is not the `:authority`.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Failure> {
    if request.method() == Method::CONNECT {
        return Err(Failure::BadMethod);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) && agrees(request, host) => Ok(()),
        (None, None) if request.version() == Version::HTTP_2 && has_host(request) => Ok(()),
        (None, None) if request.version() == Version::HTTP_10 => Ok(()),
        _ => Err(Failure::BadRequest),
    }
}

/// Whether a request without a Host header is for one.
fn has_host<B>(request: &Request<B>) -> bool {
    let host = host(request);
    !host.is_empty() && is_host(host.as_bytes())
}

/// Whether `:authority` and Host of an HTTP/2 request are the same (RFC 9113 §8.3.1), where both are there. In HTTP/1.1 an absolute target wins.
fn agrees<B>(request: &Request<B>, host: &HeaderValue) -> bool {
    let authority = request
        .uri()
        .authority()
        .filter(|_| request.version() == Version::HTTP_2);
    authority.is_none_or(|authority| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
}

/// `uri-host [ ":" port ]`, or nothing (RFC 9112 §3.2), by its characters.
fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b))
}

/// The host that a checked request is for: of its target where that is absolute, else of its Host header.
pub(super) fn host<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        // What stands before an `@` is not part of the host.
        Some(authority) => authority.as_str().rsplit('@').next().unwrap_or_default(),
        None => request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    }
}

/// Makes a checked request what is sent to the endpoint. True if it asks for an upgrade that may pass.
pub(super) fn to_endpoint<B: Body>(request: &mut Request<B>) -> bool {
    if request.uri().authority().is_some() {
        let host = HeaderValue::from_str(host(request)).unwrap_or(HeaderValue::from_static(""));
        request.headers_mut().insert(HOST, host);
        let mut origin = Parts::default();
        origin.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(origin).unwrap_or(Uri::from_static("/"));
    }
    let takes_trailers = takes_trailers(request.headers());
    let upgrade = strip(request.headers_mut()).filter(|_| request.version() == Version::HTTP_11);
    // Who speaks HTTP/1.0 does not know of it.
    if request.version() == Version::HTTP_10 && expect::is_expected(request.headers()) {
        request.headers_mut().remove(EXPECT);
    }
    let unknown_length = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    *request.version_mut() = Version::HTTP_11;

    let headers = request.headers_mut();
    if unknown_length {
        headers.remove(CONTENT_LENGTH);
    }
    if takes_trailers {
        // Ours, and true: trailers are passed on. gRPC's endpoints insist on it.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_static(""));
    }
    match upgrade {
        // An upgrade to cleartext HTTP/2 would carry requests past the routes.
        Some(protocol) if !is_h2c(&protocol) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
            true
        }
        _ => false,
    }
}

fn is_h2c(protocol: &HeaderValue) -> bool {
    protocol
        .as_bytes()
        .split(|&b| b == b',')
        .any(|p| p.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// Makes an endpoint's response what is sent to the client; `upgrade` tells that the request asked for one.
///
/// # Errors
/// A transfer coding that nobody asked for, or a switch of protocols that nobody asked for.
pub(super) fn to_client<B>(response: &mut Response<B>, upgrade: bool) -> Result<(), Failure> {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !upgrade {
        return Err(Failure::Protocol);
    }
    let headers = response.headers_mut();
    if let Some(coding) = headers.get(TRANSFER_ENCODING) {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Failure::Protocol);
        }
        headers.remove(CONTENT_LENGTH);
    }
    let protocol = strip(headers);
    if let (true, Some(protocol)) = (switching, protocol) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    Ok(())
}

/// Removes what belongs to one connection. The value of Upgrade if Connection names it.
fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(CONNECTION) {
        upgrade = strip_nominated(headers);
    }
    for name in [TE, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    for name in UNNAMED {
        headers.remove(name);
    }
    upgrade
}

/// Removes Connection and every header that it names.
fn strip_nominated(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let known = option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive");
            // What routing relied on stays, and what we say of the client, whatever it says about that.
            if let (false, Ok(name)) = (known, HeaderName::from_bytes(option))
                && name != HOST
                && !forwarding::is_ours(&name)
            {
                named.push(name);
            }
        }
    }
    headers.remove(CONNECTION);
    let mut upgrade = None;
    for name in named {
        let value = headers.remove(&name);
        if name == UPGRADE {
            upgrade = value;
        }
    }
    upgrade
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;

    type Body = Empty<&'static [u8]>;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::new()).unwrap()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn exactly_one_good_host() {
        for host in ["a", "a.b:80", "[::1]:80", "", "1.2.3.4"] {
            assert_eq!(check(&request("/", &[("host", host)])), Ok(()), "{host}");
        }
        for hosts in [
            &[][..],
            &[("host", "a"), ("host", "a")],
            &[("host", "a b")],
            &[("host", "u@a")],
            &[("host", "a/b")],
        ] {
            assert_eq!(check(&request("/", hosts)), Err(Failure::BadRequest), "{hosts:?}");
        }
        let mut old = request("/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(check(&old), Ok(()));
        to_endpoint(&mut old);
        assert_eq!(old.headers()[HOST], "");
        assert_eq!(old.version(), Version::HTTP_11);
        let mut tunnel = request("a:80", &[("host", "a:80")]);
        *tunnel.method_mut() = Method::CONNECT;
        assert_eq!(check(&tunnel), Err(Failure::BadMethod));
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        let mut request = request(
            "/",
            &[
                ("host", "a"),
                ("connection", "close, X-One"),
                ("connection", " x-two ,keep-alive, host, x-real-ip"),
                ("x-real-ip", "192.0.2.1"),
                ("x-one", "1"),
                ("x-two", "2"),
                ("x-three", "3"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic x"),
                ("te", "gzip"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "websocket"),
                ("expect", "100-Continue"),
                ("authorization", "Bearer x"),
            ],
        );
        assert!(!to_endpoint(&mut request), "Connection does not name Upgrade");
        let left = ["authorization", "expect", "host", "x-real-ip", "x-three"];
        assert_eq!(names(request.headers()), left);
    }

    #[test]
    fn who_takes_trailers_gets_them() {
        for (te, passed) in [("trailers", true), ("gzip;q=0.5, Trailers", true), ("gzip", false)] {
            let mut request = request("/", &[("host", "a"), ("te", te), ("connection", "te")]);
            to_endpoint(&mut request);
            assert_eq!(
                request.headers().get(TE).is_some_and(|te| te == "trailers"),
                passed,
                "{te}"
            );
        }
    }

    #[test]
    fn in_http2_the_authority_is_the_host() {
        let of = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = request(uri, headers);
            *request.version_mut() = Version::HTTP_2;
            check(&request).map(|()| {
                to_endpoint(&mut request);
                request.headers()[HOST].to_str().unwrap().to_owned()
            })
        };
        assert_eq!(of("https://a:1/x", &[]), Ok("a:1".to_owned()));
        assert_eq!(of("https://a:1/x", &[("host", "A:1")]), Ok("a:1".to_owned()));
        assert_eq!(of("https://a:1/x", &[("host", "b")]), Err(Failure::BadRequest));
        assert_eq!(of("/x", &[("host", "b")]), Ok("b".to_owned()));
        assert_eq!(of("/x", &[]), Err(Failure::BadRequest));
    }

    #[test]
    fn upgrades_pass_but_for_h2c() {
        let mut socket = request(
            "/",
            &[("host", "a"), ("connection", "Upgrade"), ("upgrade", "websocket")],
        );
        assert!(to_endpoint(&mut socket));
        assert_eq!(socket.headers()[UPGRADE], "websocket");
        assert_eq!(socket.headers()[CONNECTION], "upgrade");
        for protocol in ["h2c", "websocket, H2C"] {
            let headers = [
                ("host", "a"),
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", protocol),
                ("http2-settings", "x"),
            ];
            let mut h2c = request("/", &headers);
            assert!(!to_endpoint(&mut h2c), "{protocol}");
            assert_eq!(names(h2c.headers()), ["host"]);
        }
    }

    #[test]
    fn an_absolute_target_decides_the_host() {
        let mut absolute = request("http://user@real.example:81/x?y=1", &[("host", "other")]);
        assert_eq!(host(&absolute), "real.example:81");
        to_endpoint(&mut absolute);
        assert_eq!(absolute.headers()[HOST], "real.example:81");
        assert_eq!(absolute.uri(), "/x?y=1");
        assert_eq!(host(&request("/x", &[("host", "other")])), "other");
    }

    #[test]
    fn responses() {
        let response = |headers: &[(&str, &str)], status: u16| {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(()).unwrap()
        };
        let mut plain = response(
            &[
                ("connection", "close, x-a"),
                ("x-a", "1"),
                ("keep-alive", "x"),
                ("x-b", "2"),
            ],
            200,
        );
        assert_eq!(to_client(&mut plain, false), Ok(()));
        assert_eq!(names(plain.headers()), ["x-b"]);

        let mut both = response(&[("transfer-encoding", "chunked"), ("content-length", "3")], 200);
        assert_eq!(to_client(&mut both, false), Ok(()));
        assert!(both.headers().is_empty());

        let unasked = &[("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(to_client(&mut response(unasked, 101), false), Err(Failure::Protocol));
        let mut asked = response(unasked, 101);
        assert_eq!(to_client(&mut asked, true), Ok(()));
        assert_eq!(names(asked.headers()), ["connection", "upgrade"]);
        assert_eq!(
            to_client(&mut response(&[("transfer-encoding", "gzip, chunked")], 200), false),
            Err(Failure::Protocol)
        );
    }
}
