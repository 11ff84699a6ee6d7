//! What a proxy owes the headers that pass it: Host and target are checked, what belongs to one connection only stays behind
//! (RFC 9110 §7.6.1), lengths are said in one way. Pure functions on heads.

use std::net::Ipv6Addr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tenbin_http2::Protocol;

use super::error::Failure;
use super::forwarding;
use super::parcel::takes_trailers;
use super::request_id::REQUEST_ID;

/// What a head has of what is looked for on its way: one look at each name costs less than a search for each that may be there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Connection.
    connection: bool,
    /// A line of TE that says `trailers` and nothing else; a second one is among the others.
    trailers: bool,
    /// Something else that is about its connection only.
    others: bool,
    /// Expect.
    pub(super) expect: bool,
    /// What only proxies may say of clients, or what imitates that.
    pub(super) client: bool,
    /// Grpc-Timeout.
    pub(super) grpc_timeout: bool,
    /// Grpc-Status.
    pub(super) grpc_status: bool,
}

impl Seen {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Seen::default();
        for (name, value) in headers {
            match name.as_str() {
                "connection" => seen.connection = true,
                "te" if value.as_bytes() == b"trailers" && !seen.trailers => seen.trailers = true,
                "expect" => seen.expect = true,
                "grpc-timeout" => seen.grpc_timeout = true,
                "grpc-status" => seen.grpc_status = true,
                name if is_of_connection(name) => seen.others = true,
                name => seen.client |= forwarding::is_of_client(name.as_bytes()),
            }
        }
        seen
    }
}

/// Whether a header is about one connection only, or the settings that only the upgrade to cleartext HTTP/2 carries. `Proxy` is no header
/// at all; apps with CGI's variables take it for the proxy that they are to use (CVE-2016-5385).
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "proxy"
    )
}

/// Removes such headers.
pub(super) fn remove(headers: &mut HeaderMap, is_bad: impl Fn(&HeaderName) -> bool) {
    // There is hardly ever any: one look at each name costs less than a search for each that may be there.
    while let Some(name) = headers.keys().find(|name| is_bad(name)).cloned() {
        headers.remove(name);
    }
}

/// Checks what routing and the endpoint will rely on, in a request that came over TLS where `secure`. The host that it is for: of its target
/// where that is absolute, else of its Host header.
///
/// # Errors
/// CONNECT and TRACE; an expectation that nobody can meet; a target that is none of an app's, or is for a secure connection where this is
/// none; a Host that is missing (in HTTP/1.1), doubled or not a host; in HTTP/2, one that is not the `:authority`.
pub(super) fn check<B>(request: &Request<B>, seen: Seen, secure: bool) -> Result<&str, Failure> {
    let uri = request.uri();
    match *request.method() {
        // A protocol that is none of an upgrade (RFC 8441 §4, RFC 9220 §3).
        Method::CONNECT if request.extensions().get::<Protocol>().is_some() => return Err(Failure::NoUpgrade),
        // It names a host and a port, and in HTTP/2 neither scheme nor path unless it is for another protocol (RFC 9113 §8.5).
        Method::CONNECT if uri.authority().is_none() || uri.scheme().is_some() => return Err(Failure::BadTarget),
        Method::CONNECT | Method::TRACE => return Err(Failure::BadMethod),
        _ => {}
    }
    check_target(request, secure)?;
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) && agrees(request, host) => host.to_str().unwrap_or_default(),
        (None, None) if request.version() == Version::HTTP_2 && request.uri().authority().is_some() => "",
        (None, None) if request.version() == Version::HTTP_10 => "",
        _ => return Err(Failure::BadRequest),
    };
    // Who speaks HTTP/1.0 does not know of expectations (RFC 9110 §10.1.1).
    if seen.expect && request.version() != Version::HTTP_10 && !is_known_expectation(request.headers()) {
        return Err(Failure::BadExpectation);
    }
    Ok(uri.authority().map_or(host, Authority::as_str))
}

/// Whether nothing else is expected than to be told to go on (RFC 9110 §10.1.1).
fn is_known_expectation(headers: &HeaderMap) -> bool {
    let mut expectations = headers.get_all(EXPECT).iter();
    expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Which forms of target are served (RFC 9112 §3.2), and for which hosts.
fn check_target<B>(request: &Request<B>, secure: bool) -> Result<(), Failure> {
    let uri = request.uri();
    if let Some(authority) = uri.authority() {
        // An authority with a user in it is no host either (RFC 9110 §4.2.4).
        if !is_host(authority.as_str().as_bytes()) {
            return Err(Failure::BadRequest);
        }
        let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
        if !is_secure && uri.scheme() != Some(&Scheme::HTTP) {
            return Err(Failure::BadTarget);
        }
        // Over HTTP/2, proxies that ended TLS say `https` over cleartext.
        if is_secure && !secure && request.version() < Version::HTTP_2 {
            return Err(Failure::Misdirected);
        }
    }
    match uri.path() {
        "*" if *request.method() == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        _ => Err(Failure::BadTarget),
    }
}

/// Whether `:authority` and Host of an HTTP/2 request are the same (RFC 9113 §8.3.1), where both are there. In HTTP/1.1 an absolute target wins.
fn agrees<B>(request: &Request<B>, host: &HeaderValue) -> bool {
    let authority = request
        .uri()
        .authority()
        .filter(|_| request.version() == Version::HTTP_2);
    authority.is_none_or(|authority| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
}

/// The bytes of names of hosts.
const OF_NAMES: [bool; 256] = {
    let mut good = [false; 256];
    let mut byte = 0;
    while byte < good.len() {
        good[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    good
};

/// `uri-host [ ":" port ]` (RFC 9112 §3.2) as hosts are written: a name of letters, digits, `-`, `.`, `_` and `~`, or an address. What else
/// RFC 3986 has for names (commas, percent-encoding …) is read differently by those who come after us.
fn is_host(host: &[u8]) -> bool {
    let (good, port) = match host.strip_prefix(b"[") {
        Some(bracketed) => {
            let (address, rest) = split_at_first(bracketed, b']');
            let address = std::str::from_utf8(address).ok().map(str::parse::<Ipv6Addr>);
            match rest {
                Some(b"") => (matches!(address, Some(Ok(_))), None),
                Some([b':', port @ ..]) => (matches!(address, Some(Ok(_))), Some(port)),
                _ => (false, None),
            }
        }
        None => {
            let (name, port) = split_at_first(host, b':');
            let good = name.iter().all(|&b| OF_NAMES[usize::from(b)]);
            (good && !name.is_empty(), port)
        }
    };
    good && port.is_none_or(is_port)
}

/// Digits, or nothing (RFC 3986 §3.2.3).
fn is_port(port: &[u8]) -> bool {
    let number = std::str::from_utf8(port).unwrap_or("-");
    port.is_empty() || (port.iter().all(u8::is_ascii_digit) && number.parse::<u16>().is_ok())
}

/// What stands before the first `separator`, and what after it where there is one.
fn split_at_first(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&b| b == separator) {
        Some(at) => {
            let (before, after) = text.split_at(at);
            (before, after.get(1..))
        }
        None => (text, None),
    }
}

/// Makes `path` that of a request; its query stays.
pub(super) fn set_path<B>(request: &mut Request<B>, path: &str) -> Result<(), Failure> {
    let query = request.uri().query();
    let path_and_query = match query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query.map_err(|_| Failure::BadTarget)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Failure::BadTarget)?;
    Ok(())
}

/// Makes a checked request what is sent to the endpoint, in the form of HTTP/1.1; but one of HTTP/2 that goes on as one (`to_http2`) keeps
/// its `:authority`. True if it asks for an upgrade that may pass.
pub(super) fn to_endpoint<B: Body>(request: &mut Request<B>, seen: Seen, to_http2: bool) -> bool {
    let stays = to_http2 && request.version() == Version::HTTP_2;
    if let Some(authority) = request.uri().authority()
        && !stays
    {
        let host = HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        request.headers_mut().insert(HOST, host);
        let mut origin = Parts::default();
        origin.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(origin).unwrap_or(Uri::from_static("/"));
    }
    // With a body, nobody could say where it ends and the other protocol begins.
    let may_upgrade = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    let is_old = request.version() == Version::HTTP_10;
    let headers = request.headers_mut();
    let takes_trailers = seen.trailers || seen.others && takes_trailers(headers);
    let upgrade = strip(headers, seen).filter(|_| may_upgrade);
    if is_old {
        // Who speaks HTTP/1.0 does not know of it: no expectation counts, and none is passed on as one of HTTP/1.1.
        headers.remove(EXPECT);
        headers.entry(HOST).or_insert(HeaderValue::from_static(""));
    }
    let unknown_length = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    *request.version_mut() = Version::HTTP_11;

    let headers = request.headers_mut();
    if unknown_length {
        headers.remove(CONTENT_LENGTH);
    }
    if takes_trailers && (seen.connection || seen.others) {
        // Ours, and true: trailers are passed on. gRPC's endpoints insist on it.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match upgrade {
        // An upgrade to cleartext HTTP/2 would carry requests past the routes.
        Some(protocol) if !is_h2c(protocol.as_bytes()) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
            true
        }
        _ => false,
    }
}

/// Whether an upgrade to these protocols may be one to cleartext HTTP/2.
pub(super) fn is_h2c(protocols: &[u8]) -> bool {
    protocols
        .split(|&b| b == b',')
        .any(|p| p.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// Makes an endpoint's response what is sent to the client; `upgrade` tells that the request asked for one.
///
/// # Errors
/// A transfer coding that nobody asked for, or a switch of protocols that nobody asked for.
pub(super) fn to_client<B>(response: &mut Response<B>, seen: Seen, upgrade: bool) -> Result<(), Failure> {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !upgrade {
        return Err(Failure::Protocol);
    }
    let headers = response.headers_mut();
    if seen.others
        && let Some(coding) = headers.get(TRANSFER_ENCODING)
    {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Failure::Protocol);
        }
        headers.remove(CONTENT_LENGTH);
    }
    let protocol = strip(headers, seen);
    if seen.trailers {
        headers.remove(TE);
    }
    if let (true, Some(protocol)) = (switching, protocol) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    Ok(())
}

/// Removes what belongs to one connection. The value of Upgrade if Connection names it.
fn strip(headers: &mut HeaderMap, seen: Seen) -> Option<HeaderValue> {
    let upgrade = if seen.connection {
        strip_nominated(headers)
    } else {
        None
    };
    if seen.others {
        remove(headers, |name| is_of_connection(name.as_str()));
    }
    upgrade
}

/// Removes Connection and every header that it names.
fn strip_nominated(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            // What routing relied on stays, and what we say of the client and the request, whatever it says about that.
            if let Ok(name) = HeaderName::from_bytes(option)
                && name != HOST
                && name != REQUEST_ID
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

    fn check(request: &Request<Body>, secure: bool) -> Result<(), Failure> {
        super::check(request, Seen::of(request.headers()), secure).map(drop)
    }

    fn to_endpoint(request: &mut Request<Body>) -> bool {
        let seen = Seen::of(request.headers());
        super::to_endpoint(request, seen, false)
    }

    fn to_client(response: &mut Response<()>, upgrade: bool) -> Result<(), Failure> {
        let seen = Seen::of(response.headers());
        super::to_client(response, seen, upgrade)
    }

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
        for host in ["a", "A_b.c-d.:80", "a:", "[::1]:80", "[2001:db8::1]", "1.2.3.4"] {
            assert_eq!(check(&request("/", &[("host", host)]), false), Ok(()), "{host}");
        }
        for host in [
            "", ":80", "a b", "u@a", "a/b", "a,b", "a%41", "a:x", "a:65536", "a:80:80", "::1", "[::1", "[::1]x", "[a]",
            "[]", "a?", "a\\b",
        ] {
            assert_eq!(
                check(&request("/", &[("host", host)]), false),
                Err(Failure::BadRequest),
                "{host}"
            );
        }
        for hosts in [&[][..], &[("host", "a"), ("host", "a")]] {
            assert_eq!(
                check(&request("/", hosts), false),
                Err(Failure::BadRequest),
                "{hosts:?}"
            );
        }
        let mut old = request("/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(check(&old, false), Ok(()));
        to_endpoint(&mut old);
        assert_eq!(old.headers()[HOST], "");
        assert_eq!(old.version(), Version::HTTP_11);
        let mut tunnel = request("a:80", &[("host", "a:80")]);
        *tunnel.method_mut() = Method::CONNECT;
        assert_eq!(check(&tunnel, false), Err(Failure::BadMethod));
    }

    #[test]
    fn targets() {
        let of = |method: &str, uri: &str, secure: bool| {
            let mut request = request(uri, &[("host", "a")]);
            *request.method_mut() = method.parse().unwrap();
            check(&request, secure)
        };
        for good in ["/", "//a", "http://b/x", "http://b:80?y"] {
            assert_eq!(of("GET", good, false), Ok(()), "{good}");
        }
        assert_eq!(of("OPTIONS", "*", false), Ok(()));
        assert_eq!(of("GET", "https://a/", true), Ok(()));
        assert_eq!(of("GET", "https://a/", false), Err(Failure::Misdirected));
        for bad in ["*", "a:80", "ftp://a/"] {
            assert_eq!(of("GET", bad, false), Err(Failure::BadTarget), "{bad}");
        }
        assert_eq!(of("GET", "http://u:p@a/", false), Err(Failure::BadRequest));
        assert_eq!(of("TRACE", "/", false), Err(Failure::BadMethod));
        for bad in ["/", "https://a/"] {
            assert_eq!(of("CONNECT", bad, true), Err(Failure::BadTarget), "{bad}");
        }
    }

    #[test]
    fn only_going_on_can_be_expected() {
        let of = |expect: &str, version: Version| {
            let mut request = request("/", &[("host", "a"), ("expect", expect)]);
            *request.version_mut() = version;
            check(&request, false)
        };
        assert_eq!(of("100-Continue", Version::HTTP_11), Ok(()));
        for unknown in ["gold", "100-continue, gold", ""] {
            assert_eq!(of(unknown, Version::HTTP_11), Err(Failure::BadExpectation), "{unknown}");
        }
        assert_eq!(of("gold", Version::HTTP_10), Ok(()));
        let mut old = request("/", &[("host", "a"), ("expect", "gold")]);
        *old.version_mut() = Version::HTTP_10;
        to_endpoint(&mut old);
        assert_eq!(names(old.headers()), ["host"], "it is nobody's expectation");
    }

    #[test]
    fn a_path_is_set_and_its_query_stays() {
        for (uri, after) in [("/a/../b?x=/../", "/b?x=/../"), ("http://h/a/../b", "http://h/b")] {
            let mut request = request(uri, &[]);
            assert_eq!(set_path(&mut request, "/b"), Ok(()));
            assert_eq!(request.uri(), after);
        }
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        let mut request = request(
            "/",
            &[
                ("host", "a"),
                ("connection", "close, X-One"),
                ("connection", " x-two ,keep-alive, host, x-real-ip, x-request-id"),
                ("x-real-ip", "192.0.2.1"),
                ("x-request-id", "id"),
                ("proxy", "evil:80"),
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
        let left = [
            "authorization",
            "expect",
            "host",
            "x-real-ip",
            "x-request-id",
            "x-three",
        ];
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
            check(&request, false).map(|()| {
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
    fn from_http2_to_http2_the_authority_stays() {
        let request2 = |headers: &[(&str, &str)]| {
            let mut request = request("https://a:1/x", headers);
            *request.version_mut() = Version::HTTP_2;
            request
        };
        let mut request = request2(&[("te", "trailers"), ("te", "gzip"), ("x", "1")]);
        let seen = Seen::of(request.headers());
        assert!(!super::to_endpoint(&mut request, seen, true));
        assert_eq!(request.uri(), "https://a:1/x");
        assert_eq!(names(request.headers()), ["te", "x"]);
        assert_eq!(request.headers().get_all(TE).iter().collect::<Vec<_>>(), ["trailers"]);
        let mut twice = request2(&[("te", "trailers"), ("te", "trailers")]);
        let seen = Seen::of(twice.headers());
        super::to_endpoint(&mut twice, seen, true);
        assert_eq!(twice.headers().get_all(TE).iter().collect::<Vec<_>>(), ["trailers"]);
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
        let host = |request: &Request<Body>| super::check(request, Seen::default(), false).map(str::to_owned);
        let mut absolute = request("http://real.example:81/x?y=1", &[("host", "other")]);
        assert_eq!(host(&absolute).as_deref(), Ok("real.example:81"));
        to_endpoint(&mut absolute);
        assert_eq!(absolute.headers()[HOST], "real.example:81");
        assert_eq!(absolute.uri(), "/x?y=1");
        assert_eq!(host(&request("/x", &[("host", "other")])).as_deref(), Ok("other"));
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
                ("te", "trailers"),
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
