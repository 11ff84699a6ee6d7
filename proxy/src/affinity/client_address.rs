//! Who sent a request: the peer, or behind proxies that are trusted, whom they name in `X-Forwarded-For`. What nobody trusted has
//! written is never believed. Pure functions on addresses and headers.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HeaderName;
use ipnet::{IpNet, Ipv4Net};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The most entries that are looked at, from the nearest on: a longer chain of proxies is none.
pub const MAX_HOPS: usize = 32;

/// The proxies in front of a listener that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedHops(Box<[IpNet]>);

impl TrustedHops {
    /// The proxies in `networks`. IPv4 networks written as IPv6 ones (`::ffff:10.0.0.0/104`) are IPv4 networks.
    pub fn new(networks: &[IpNet]) -> Self {
        TrustedHops(networks.iter().map(unmapped).collect())
    }

    /// The trusted networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// Whether what the peer at `address` says is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the client whose request came from `peer` with `headers`: the peer, unless it is trusted; then, from the nearest
    /// entry on (the last of the last line), the first that is not, or the last that is. What is no address ends the search, as do
    /// [`MAX_HOPS`]; the one before it is the client then. An IPv4 address mapped into IPv6 is given as IPv4.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() {
            return client;
        }
        for entry in entries(headers).take(MAX_HOPS) {
            if !self.trusts(client) {
                break;
            }
            match entry {
                Entry::Address(address) => client = address,
                Entry::Empty => {}
                Entry::Garbage => break,
            }
        }
        client
    }
}

fn unmapped(network: &IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return *network;
    };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok())
        .map_or(*network, IpNet::V4)
}

enum Entry {
    Address(IpAddr),
    /// Nothing between two commas, which means nothing (RFC 9110 §5.6.1.2).
    Empty,
    Garbage,
}

/// The entries of all lines, the nearest first.
fn entries(headers: &HeaderMap) -> impl Iterator<Item = Entry> {
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|&b| b == b',')).map(entry)
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`. A zone (`fe80::1%2`) means something only to
/// whoever wrote it: such an address is none.
fn entry(text: &[u8]) -> Entry {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Entry::Empty;
    }
    if text.contains(&b'%') {
        return Entry::Garbage;
    }
    let bracketed = || text.strip_prefix(b"[")?.strip_suffix(b"]");
    let address = parse::<IpAddr>(text)
        .or_else(|| parse::<SocketAddr>(text).map(|address| address.ip()))
        .or_else(|| parse::<std::net::Ipv6Addr>(bracketed()?).map(IpAddr::V6));
    address.map_or(Entry::Garbage, |address| Entry::Address(address.to_canonical()))
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const TRUSTED: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/112"];

    fn client(peer: &str, lines: &[&str]) -> String {
        let networks: Vec<IpNet> = TRUSTED.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let hops = TrustedHops::new(&networks);
        hops.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("192.168.3.4", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
        let nobody = TrustedHops::default();
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("198.51.100.1"));
        assert_eq!(nobody.client([10, 0, 0, 1].into(), &headers).to_string(), "10.0.0.1");
    }

    #[test]
    fn from_the_nearest_on_to_the_first_that_is_not_trusted() {
        for (lines, expected) in [
            (&["1.1.1.1, 2.2.2.2"][..], "2.2.2.2"),
            (&["1.1.1.1, 2.2.2.2, 10.9.9.9"], "2.2.2.2"),
            (&["1.1.1.1", "2.2.2.2", "10.9.9.9,fd00::1"], "2.2.2.2"),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2"),
            (&["1.1.1.1, 10.2.2.2, x"], "10.0.0.1"),
            (&["1.1.1.1,, 10.2.2.2 ,"], "1.1.1.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["198.51.100.1:80, [fd00::2]:80"], "198.51.100.1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["[::ffff:198.51.100.1]:80"], "198.51.100.1"),
            (&["1.1.1.1\t"], "1.1.1.1"),
            (&["300.1.1.1"], "10.0.0.1"),
            (&["[1.1.1.1]"], "10.0.0.1"),
            (&["fe80::1%eth0"], "10.0.0.1"),
            (&["[fe80::1%2]:80"], "10.0.0.1"),
            (&["\u{e4}"], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_chain_without_end_has_one() {
        let chain = vec!["10.2.2.2"; MAX_HOPS];
        let endless = format!("1.1.1.1, {}", chain.join(", "));
        assert_eq!(client("10.0.0.1", &[&endless]), "10.2.2.2");
        let just = format!("1.1.1.1, {}", chain[1..].join(", "));
        assert_eq!(client("10.0.0.1", &[&just]), "1.1.1.1");
    }

    proptest! {
        #[test]
        fn a_client_writes_what_it_likes_and_is_who_it_is(
            written in proptest::collection::vec("[0-9a-f:.,\\[\\] %]{0,60}|(1\\.1\\.1\\.1, ?|10\\.0\\.0\\.1,|\\[::1\\]:){0,40}", 0..4),
        ) {
            let mut lines: Vec<&str> = written.iter().map(String::as_str).collect();
            // The trusted hop in front appends whom it saw.
            lines.push("198.51.100.77");
            prop_assert_eq!(client("10.0.0.1", &lines), "198.51.100.77");
            prop_assert_eq!(client("198.51.100.77", &lines), "198.51.100.77");
        }

        #[test]
        fn hostile_lines_from_trusted_hops_do_no_harm(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                headers.append(FORWARDED_FOR, value);
            }
            let hops = TrustedHops::new(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
            let found = hops.client([10, 0, 0, 1].into(), &headers);
            prop_assert_eq!(found, found.to_canonical());
        }
    }
}
