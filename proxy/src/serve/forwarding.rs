//! What endpoints are told of the client: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `X-Real-IP` and `Forwarded` (RFC 7239). A client
//! that is no trusted hop has written none of them, nor anything else that begins with `X-Forwarded-`: they are made anew from its
//! connection, of values that are made once for it. What a trusted hop wrote is kept and added to. Whom to believe about a client's
//! address is `affinity`'s.

use std::cell::{OnceCell, RefCell};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::BytesMut;
use http::Request;
use http::header::{Entry, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};

use super::headers;
use crate::state::Listener;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers that tell of the client: no client can have them removed by naming them in Connection.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    [
        FORWARDED,
        FORWARDED_FOR,
        FORWARDED_PROTO,
        FORWARDED_HOST,
        FORWARDED_PORT,
        REAL_IP,
    ]
    .contains(name)
}

/// The longest host for which a connection keeps what is told of it: no name is longer (RFC 1035 §2.3.4), with a port behind it.
const KEPT_HOST: usize = 255 + 6;

/// What the names of all headers begin with that proxies tell of clients.
const HOPS: &[u8] = b"x-forwarded-";
/// Further names that must not be imitated with `_` for `-`: CGI, WSGI and PHP make one variable of both. [`is_imitation`] knows their lengths.
const GENUINE: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"x-real-ip", b"x-request-id"];

/// Whether a header is one that only proxies may send, or imitates one.
pub(super) fn is_of_client(name: &[u8]) -> bool {
    match name.first() {
        Some(b'x') => name.starts_with(HOPS) || name == b"x-real-ip" || is_imitation(name),
        Some(b'f') => name == b"forwarded",
        Some(b'c' | b't') => is_imitation(name),
        _ => false,
    }
}

/// Whether a header is dropped whoever sent it: it would be taken for another one.
fn is_imitation(name: &[u8]) -> bool {
    // Two looks tell nearly all others.
    let may_be = matches!(name, [b'x', _, b'f', ..]) || matches!(name.len(), 9 | 12 | 14 | 17);
    if !may_be || !name.contains(&b'_') {
        return false;
    }
    let dashed = |b: &u8| if *b == b'_' { b'-' } else { *b };
    let is = |genuine: &[u8]| name.iter().map(dashed).eq(genuine.iter().copied());
    name.get(..HOPS.len())
        .is_some_and(|begin| begin.iter().map(dashed).eq(HOPS.iter().copied()))
        || GENUINE.into_iter().any(is)
}

/// Removes what only proxies may say, unless a trusted one does, and what imitates it.
fn disarm(headers: &mut HeaderMap, is_trusted: bool) {
    let is_bad = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        if is_trusted {
            is_imitation(name)
        } else {
            is_of_client(name)
        }
    };
    headers::remove(headers, is_bad);
}

/// What is said of the peer of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    ip: IpAddr,
    address: HeaderValue,
    scheme: &'static str,
    /// The port of that scheme.
    usual_port: &'static str,
    /// What was told of it last.
    told: RefCell<Option<Rc<Told>>>,
}

/// What endpoints are told of a client that is no trusted hop, as it is sent: the same for all requests of its connection for one host.
#[derive(Debug)]
pub(crate) struct Told {
    host: Box<[u8]>,
    /// Whether `Forwarded` is among it.
    forwarded: bool,
    http1: Box<[u8]>,
    /// Made when it is first asked for.
    http2: OnceCell<Box<[u8]>>,
}

impl Told {
    fn new(peer: &Peer, host: &[u8], forwarded: bool) -> Self {
        let mut http1 = Vec::with_capacity(256);
        peer.each(host, forwarded, |name, value| {
            tenbin_http1::write_line(&mut http1, name, value);
        });
        Told {
            host: host.into(),
            forwarded,
            http1: http1.into_boxed_slice(),
            http2: OnceCell::new(),
        }
    }

    /// As header lines of HTTP/1.
    pub(crate) fn http1(&self) -> &[u8] {
        &self.http1
    }

    /// As a part of a header block of HTTP/2.
    pub(crate) fn http2(&self) -> &[u8] {
        self.http2.get_or_init(|| {
            let mut block = BytesMut::new();
            for line in self.http1.split(|&byte| byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or_default();
                let colon = line.iter().position(|&byte| byte == b':').unwrap_or_default();
                let name = line.get(..colon).and_then(|name| HeaderName::from_bytes(name).ok());
                let value = line
                    .get(colon + 2..)
                    .and_then(|value| HeaderValue::from_bytes(value).ok());
                if let (Some(name), Some(value)) = (name, value) {
                    tenbin_http2::hpack::put_header(&mut block, &name, &value);
                }
            }
            block[..].into()
        })
    }
}

impl Peer {
    /// A peer at `client`, which came over TLS where `secure`.
    pub(super) fn new(client: SocketAddr, secure: bool) -> Self {
        let ip = client.ip().to_canonical();
        let (scheme, usual_port) = if secure { ("https", "443") } else { ("http", "80") };
        Peer {
            ip,
            address: address(ip),
            scheme,
            usual_port,
            told: RefCell::new(None),
        }
    }

    /// What an endpoint is told of it with a request to `listener` for `host`, which is checked; `None` where it is a trusted hop: what it
    /// says of others is [added to](add).
    pub(super) fn told(&self, host: &str, listener: &Listener) -> Option<Rc<Told>> {
        let host = host.as_bytes();
        if listener.trusted.trusts(self.ip) {
            return None;
        }
        if host.len() > KEPT_HOST {
            return Some(Rc::new(Told::new(self, host, listener.forwarded)));
        }
        let known = &mut *self.told.borrow_mut();
        let is_same = |told: &&Rc<Told>| *told.host == *host && told.forwarded == listener.forwarded;
        if let Some(told) = known.as_ref().filter(is_same) {
            return Some(Rc::clone(told));
        }
        let told = Rc::new(Told::new(self, host, listener.forwarded));
        Some(Rc::clone(known.insert(told)))
    }

    /// Each header that tells of a peer that is no trusted hop.
    fn each(&self, host: &[u8], forwarded: bool, mut tell: impl FnMut(&HeaderName, &HeaderValue)) {
        if forwarded {
            tell(&FORWARDED, &value(&self.element(host)));
        }
        tell(&FORWARDED_FOR, &self.address);
        tell(&REAL_IP, &self.address);
        tell(&FORWARDED_PROTO, &HeaderValue::from_static(self.scheme));
        tell(&FORWARDED_PORT, &self.port(host));
        if let Ok(host) = HeaderValue::from_bytes(host)
            && !host.is_empty()
        {
            tell(&FORWARDED_HOST, &host);
        }
    }

    /// The port that the client asked for. Ours says nothing: it stands behind a Service, which has its own.
    fn port(&self, host: &[u8]) -> HeaderValue {
        let colon = host.iter().rposition(|&b| b == b':');
        let named = colon.and_then(|at| host.get(at + 1..));
        let named = named.filter(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
        let named = named.and_then(|port| HeaderValue::from_bytes(port).ok());
        named.unwrap_or(HeaderValue::from_static(self.usual_port))
    }

    /// The element of `Forwarded` that tells of it (RFC 7239 §4); IPv6 addresses and hosts with a port are quoted.
    fn element(&self, host: &[u8]) -> String {
        let mut element = match self.ip {
            IpAddr::V4(ip) => format!("for={ip}"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
        };
        let _ = write!(element, ";proto={}", self.scheme);
        match std::str::from_utf8(host) {
            Ok(host) if !host.is_empty() && host.bytes().all(is_token) => drop(write!(element, ";host={host}")),
            // A checked host has nothing in it that a quoted string would have to escape.
            Ok(host) if !host.is_empty() => drop(write!(element, ";host=\"{host}\"")),
            _ => {}
        }
        element
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// An address as text. IPv4's is put together here: formatting it takes ten times as long, for every new connection.
fn address(ip: IpAddr) -> HeaderValue {
    let IpAddr::V4(ip) = ip else {
        return value(&ip.to_string());
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        if octet >= 100 {
            text.push(char::from(b'0' + octet / 100));
        }
        if octet >= 10 {
            text.push(char::from(b'0' + octet / 10 % 10));
        }
        text.push(char::from(b'0' + octet % 10));
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Has a checked request say nothing of its client that is not true, beside what the endpoint is [`Told`]. Where there is no such thing, the
/// peer is a trusted hop, and its headers are added to.
pub(super) fn tell<B>(request: &mut Request<B>, peer: &Peer, told: Option<&Told>, listener: &Listener) {
    disarm(request.headers_mut(), told.is_none());
    if told.is_some() {
        return;
    }
    let host = match request.uri().authority() {
        Some(authority) => value(authority.as_str()),
        None => request
            .headers()
            .get(HOST)
            .cloned()
            .unwrap_or(HeaderValue::from_static("")),
    };
    let headers = request.headers_mut();
    let client = listener.trusted.client(peer.ip, headers);
    add(headers, peer, host.as_bytes(), listener.forwarded, client);
}

/// A trusted hop sent these headers: it is one more in the chain. `client` is whom it is believed to stand for.
fn add(headers: &mut HeaderMap, peer: &Peer, host: &[u8], forwarded: bool, client: IpAddr) {
    if forwarded || headers.contains_key(FORWARDED) {
        append(headers, FORWARDED, peer.element(host).as_bytes());
    }
    append(headers, FORWARDED_FOR, peer.address.as_bytes());
    let real = if client == peer.ip {
        peer.address.clone()
    } else {
        value(&client.to_string())
    };
    headers.insert(REAL_IP, real);
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(peer.scheme));
    headers.entry(FORWARDED_PORT).or_insert_with(|| peer.port(host));
    if let Ok(host) = HeaderValue::from_bytes(host)
        && !host.is_empty()
    {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
}

/// Adds an element to a list, and makes one line of it.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &[u8]) {
    match headers.entry(name) {
        Entry::Vacant(none) => {
            let only = HeaderValue::from_bytes(element);
            none.insert(only.unwrap_or(HeaderValue::from_static("")));
        }
        Entry::Occupied(mut lines) => {
            let before = lines.iter().map(HeaderValue::as_bytes);
            let all: Vec<&[u8]> = before.filter(|line| !line.is_empty()).chain([element]).collect();
            if let Ok(all) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
                lines.insert(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tenbin_http2::hpack::{Decoder, Field};

    use super::*;

    const NAMES: [&str; 6] = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    ];

    fn peer(client: &str, secure: bool) -> Peer {
        Peer::new(client.parse().unwrap(), secure)
    }

    fn written() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "666"),
            ("x-forwarded-proto", "gopher"),
            ("x-real-ip", "6.6.6.6"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn all(headers: &HeaderMap) -> [String; 6] {
        NAMES.map(|name| {
            let lines: Vec<_> = headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
            lines.join(" | ")
        })
    }

    #[test]
    fn addresses_are_written_as_everywhere() {
        for ip in ["0.9.10.99", "100.101.199.200", "255.255.255.255", "2001:db8::1"] {
            assert_eq!(address(ip.parse().unwrap()), ip);
        }
    }

    #[test]
    fn what_an_untrusted_client_wrote_is_gone() {
        let said = |client: &str, secure: bool, host: &str, forwarded: bool| {
            let peer = peer(client, secure);
            let told = Told::new(&peer, host.as_bytes(), forwarded);
            let mut headers = written();
            disarm(&mut headers, false);
            assert!(headers.is_empty());
            let lines = std::str::from_utf8(told.http1()).unwrap();
            for line in lines.split_terminator("\r\n") {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            }
            let mut block = Vec::new();
            let mut each = |field: Field, _| {
                let Field::Header(name, value) = field else {
                    unreachable!("headers alone")
                };
                block.push((name, value));
                true
            };
            let http2 = Bytes::copy_from_slice(told.http2());
            Decoder::new(0).decode(&http2, &mut each).unwrap();
            let mut again = HeaderMap::new();
            again.extend(block);
            assert_eq!(again, headers, "the same in both forms");
            headers
        };
        assert_eq!(
            all(&said("[::ffff:192.0.2.1]:4711", true, "a.example:8443", false)),
            ["", "192.0.2.1", "a.example:8443", "8443", "https", "192.0.2.1"]
        );
        assert_eq!(
            all(&said("[2001:db8::1]:1", false, "", true)),
            [
                "for=\"[2001:db8::1]\";proto=http",
                "2001:db8::1",
                "",
                "80",
                "http",
                "2001:db8::1"
            ]
        );
    }

    #[test]
    fn nobody_but_trusted_hops_speaks_as_a_proxy_and_nobody_imitates_one() {
        let names = [
            "x-forwarded-prefix",
            "x-forwarded-client-cert",
            "x_forwarded_for",
            "x-forwarded_proto",
            "x_real_ip",
            "x-request_id",
            "content_length",
            "x_forwarded",
            "api_key",
        ];
        let left = |is_trusted: bool| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.insert(name, HeaderValue::from_static("1"));
            }
            disarm(&mut headers, is_trusted);
            let mut left: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
            left.sort_unstable();
            left
        };
        assert_eq!(left(false), ["api_key", "x_forwarded"]);
        assert_eq!(
            left(true),
            [
                "api_key",
                "x-forwarded-client-cert",
                "x-forwarded-prefix",
                "x_forwarded"
            ]
        );
    }

    #[test]
    fn what_a_trusted_hop_wrote_is_added_to() {
        let mut headers = written();
        add(
            &mut headers,
            &peer("10.0.0.1:1", true),
            b"b",
            false,
            [7, 7, 7, 7].into(),
        );
        assert_eq!(
            all(&headers),
            [
                "for=6.6.6.6, for=10.0.0.1;proto=https;host=b",
                "6.6.6.6, 7.7.7.7, 10.0.0.1",
                "evil",
                "666",
                "gopher",
                "7.7.7.7"
            ]
        );
        let mut bare = HeaderMap::new();
        add(
            &mut bare,
            &peer("10.0.0.1:1", false),
            b"b:80",
            false,
            [10, 0, 0, 1].into(),
        );
        assert_eq!(all(&bare), ["", "10.0.0.1", "b:80", "80", "http", "10.0.0.1"]);
        add(
            &mut bare,
            &peer("10.0.0.2:1", false),
            b"[::1]:80",
            true,
            [10, 0, 0, 1].into(),
        );
        assert_eq!(all(&bare)[0], "for=10.0.0.2;proto=http;host=\"[::1]:80\"");
    }

    #[test]
    fn the_port_is_that_of_the_host_or_the_usual_one() {
        for (host, secure, port) in [
            ("a.example", false, "80"),
            ("a.example", true, "443"),
            ("a.example:8443", true, "8443"),
            ("[2001:db8::1]", false, "80"),
            ("[2001:db8::1]:81", false, "81"),
            ("a.example:", false, "80"),
            ("8080", false, "80"),
            ("", true, "443"),
        ] {
            assert_eq!(peer("10.0.0.1:1", secure).port(host.as_bytes()), port, "{host}");
        }
    }
}
