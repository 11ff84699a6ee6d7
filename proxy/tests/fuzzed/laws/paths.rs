//! How a path is read and routed: what is sent on is what was routed, whoever reads it.

use std::ptr;

use tenbin_proxy::state::{Listener, Routed};

use super::world::web;

const HOSTS: [&str; 2] = ["a.example", "other"];

fn route(listener: &Listener, host: &str, path: &str) -> Option<(usize, String)> {
    let Routed {
        cluster,
        route,
        path: sent,
    } = listener.route(host, path).ok()?;
    assert_eq!(cluster.name, route.cluster);
    assert!(
        sent.as_deref().is_none_or(|sent| sent != path),
        "a path that stays is not written anew"
    );
    let sent = sent.unwrap_or_else(|| path.to_owned());
    Some((ptr::from_ref(&*route).addr(), sent))
}

/// What is sent on is read as itself and finds the same route; it is the normal form of what came (RFC 3986 §6.2.2), its dots resolved; and
/// whoever decodes separators, drops parameters or merges slashes, any of these or all, finds that route too.
pub(crate) fn law(wire: &[u8]) {
    let Ok(path) = std::str::from_utf8(wire) else { return };
    let listener = web();
    for host in HOSTS {
        let Some((found, sent)) = route(listener, host, path) else {
            continue;
        };
        if path == "*" {
            assert_eq!(sent, "*");
            continue;
        }
        assert_eq!(sent, normal(path), "the normal form of {path}");
        assert!(
            sent.starts_with('/') && !sent.split('/').any(|segment| matches!(segment, "." | "..")),
            "{sent}"
        );
        assert!(sent.bytes().all(|b| b.is_ascii() && b != b'\\'));
        assert_eq!(route(listener, host, &sent), Some((found, sent.clone())), "{sent}");
        for reader in 0..16 {
            let read = otherwise(&sent, reader);
            let theirs = route(listener, host, &read).map(|(route, _)| route);
            assert_eq!(
                theirs,
                Some(found),
                "{path} is sent as {sent}, which is {read} to another reader"
            );
        }
    }
}

/// Unreserved characters decoded, then dot segments removed, as RFC 3986 §5.2.4 writes it.
fn normal(path: &str) -> String {
    let mut input = decoded(path, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let mut output = String::new();
    while !input.is_empty() {
        if let Some(rest) = input.strip_prefix("/./") {
            input = format!("/{rest}");
        } else if input == "/." {
            "/".clone_into(&mut input);
        } else if let Some(rest) = input.strip_prefix("/../") {
            input = format!("/{rest}");
            output.truncate(output.rfind('/').unwrap_or(0));
        } else if input == "/.." {
            "/".clone_into(&mut input);
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input = input[end..].to_owned();
        }
    }
    output
}

/// A path with those escapes decoded that `which` takes.
fn decoded(path: &str, which: impl Fn(u8) -> bool) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|&byte| which(byte)) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[2..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

/// The path as it is read by one who decodes `%2f` (1) or `%5c` (2), drops what follows a `;` (4), merges slashes (8).
fn otherwise(path: &str, reader: u8) -> String {
    let mut read = path.to_owned();
    if reader & 1 != 0 {
        read = decoded(&read, |b| b == b'/');
    }
    if reader & 2 != 0 {
        read = read.replace("%5c", "/").replace("%5C", "/");
    }
    if reader & 4 != 0 {
        let segments: Vec<&str> = read
            .split('/')
            .map(|segment| segment.split(';').next().unwrap_or_default())
            .collect();
        read = segments.join("/");
    }
    while reader & 8 != 0 && read.contains("//") {
        read = read.replace("//", "/");
    }
    read
}
