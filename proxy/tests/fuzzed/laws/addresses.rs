//! Whom a chain of `X-Forwarded-For` makes the client. The first line is the peer's address, each other one a line of the header.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use tenbin_proxy::affinity::TrustedHops;

const TRUSTED: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/112"];
const SEEN: &str = "198.51.100.77";

fn hops(networks: &[&str]) -> TrustedHops {
    let networks: Vec<_> = networks.iter().map(|text| text.parse().expect("a network")).collect();
    TrustedHops::new(&networks)
}

fn headers(lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("x-forwarded-for", HeaderValue::from_bytes(line).expect("a value"));
    }
    headers
}

/// Nothing is believed that nobody trusted wrote; whoever is named is the peer or stands in the chain, and all that is nearer is trusted;
/// how the chain is spread over lines, and what stands before the client, changes nothing.
pub(crate) fn law(wire: &[u8]) {
    let mut lines = wire.split(|&b| b == b'\n');
    let peer = lines
        .next()
        .and_then(|line| std::str::from_utf8(line).ok()?.parse::<IpAddr>().ok());
    let peer = peer.unwrap_or(IpAddr::from([10, 0, 0, 1]));
    let mut lines: Vec<&[u8]> = lines.filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();
    let trusted = hops(&TRUSTED);

    let found = trusted.client(peer, &headers(&lines));
    assert_eq!(found, found.to_canonical());
    assert_eq!(
        hops(&[]).client(peer, &headers(&lines)),
        peer.to_canonical(),
        "nobody is trusted"
    );
    if !trusted.trusts(peer) {
        assert_eq!(found, peer.to_canonical(), "a stranger speaks for itself");
    }
    let joined = lines.join(&b", "[..]);
    assert_eq!(
        trusted.client(peer, &headers(&[&joined])),
        found,
        "lines are one list (RFC 9110 §5.3)"
    );
    if found != peer.to_canonical() {
        chain(&trusted, peer, found, &joined);
    }
    // The last trusted hop appends whom it saw.
    lines.push(SEEN.as_bytes());
    let expected = if trusted.trusts(peer) {
        SEEN.parse().expect("an address")
    } else {
        peer.to_canonical()
    };
    assert_eq!(trusted.client(peer, &headers(&lines)), expected);
    let everybody = hops(&["0.0.0.0/0", "::/0"]);
    let first = everybody.client(peer, &headers(&lines));
    assert_eq!(first, first.to_canonical());
}

/// `found` stands in the chain, and so does a way of trusted hops to it.
fn chain(trusted: &TrustedHops, peer: IpAddr, found: IpAddr, joined: &[u8]) {
    assert!(trusted.trusts(peer));
    let text = |entry: &[u8]| String::from_utf8_lossy(entry).trim_ascii().to_owned();
    let mut nearer = joined
        .rsplit(|&b| b == b',')
        .map(text)
        .filter(|entry| !entry.is_empty());
    let reached = nearer.any(|entry| {
        let address = address(&entry).expect("every entry up to the client is an address");
        address == found || {
            assert!(trusted.trusts(address), "{address} is nearer and a stranger");
            false
        }
    });
    assert!(reached, "{found} is not in the chain");
}

/// Another reading of an entry: without brackets and port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = match entry.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        None if entry.matches(':').count() == 1 => entry.split_once(':')?.0,
        None => entry,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}
