//! How a path is read. What routes are matched against is what is sent on, and a path that another reader would find another route
//! with is told from one that reads the same to all. What a route is must not come here.

use std::borrow::Cow;

/// The most ways in which a path may be read, and the most bytes that they may come to: by far more than any has that means well.
const MOST: usize = 32;
const MOST_BYTES: usize = 128 << 10;

/// A path that no two readers need to read alike: it is in bad form, or climbs above the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unclear;

/// How a path is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading<'a> {
    /// The path that is sent on: the client's own, but with unreserved characters decoded and dot segments resolved (RFC 3986 §6.2.2).
    pub(crate) sent: Cow<'a, str>,
    /// As it came, with unreserved characters decoded; `None` where nobody can read it in another way.
    decoded: Option<String>,
}

/// Reads a path. Most are plain and stay as they are.
///
/// # Errors
/// It does not begin with `/` (and is not `*`); a backslash or something else than ASCII stands in it; a `%` without two hexadecimal
/// digits, an encoded NUL or overlong UTF-8; dot segments that climb above the root, or are hidden from who does not decode `%2f` and
/// `%5c` or drop what follows a `;`.
pub(crate) fn read(path: &str) -> Result<Reading<'_>, Unclear> {
    if path == "*" || is_plain(path) {
        return Ok(Reading {
            sent: Cow::Borrowed(path),
            decoded: None,
        });
    }
    judge(path)?;
    let decoded = decode_unreserved(path);
    let sent = resolve(&decoded)?;
    Ok(Reading {
        decoded: Some(decoded),
        sent: if sent == path {
            Cow::Borrowed(path)
        } else {
            Cow::Owned(sent)
        },
    })
}

impl Reading<'_> {
    /// What readers might make of it who decode encoded slashes or backslashes, drop parameters of segments or merge slashes, any of these
    /// or all, in any order: those before us of what came, those behind us of what is sent. Only what is something else.
    ///
    /// # Errors
    /// There are more than 32 ways to read it, or they come to more than 128 KiB.
    pub(crate) fn otherwise(&self) -> Result<Vec<String>, Unclear> {
        let Some(came) = &self.decoded else {
            return Ok(Vec::new());
        };
        let mut readings = Readings::of(self.sent.to_string());
        if resolve(came).as_deref() != Ok(came) {
            // Whoever reads the segments before a dot segment in another way leaves other ones.
            let mut before = Readings::of(came.clone());
            before.close(|path| [bare(path, &SLASHES), bare(path, &BACKSLASHES), without_parameters(path)])?;
            for path in before.all {
                readings.add(canonical(&path).into_owned());
                readings.add(resolve(&path)?);
            }
        }
        readings.close(|path| {
            let merged = canonical(path).into_owned();
            [
                bare(path, &SLASHES),
                bare(path, &BACKSLASHES),
                without_parameters(path),
                merged,
            ]
        })?;
        readings.all.swap_remove(0);
        readings.all.sort_unstable();
        Ok(readings.all)
    }
}

/// Ways to read a path, each once.
struct Readings {
    all: Vec<String>,
    bytes: usize,
}

impl Readings {
    fn of(path: String) -> Self {
        Readings {
            bytes: path.len(),
            all: vec![path],
        }
    }

    fn add(&mut self, path: String) {
        if !self.all.contains(&path) {
            self.bytes += path.len();
            self.all.push(path);
        }
    }

    /// Adds what `again` makes of each, and of what it makes.
    fn close<const N: usize>(&mut self, again: impl Fn(&str) -> [String; N]) -> Result<(), Unclear> {
        let mut next = 0;
        while let Some(path) = self.all.get(next) {
            for path in again(path) {
                self.add(path);
            }
            if self.all.len() > MOST || self.bytes > MOST_BYTES {
                return Err(Unclear);
            }
            next += 1;
        }
        Ok(())
    }
}

/// Whether nobody can read it in another way.
fn is_plain(path: &str) -> bool {
    is_canonical(path) && !path.bytes().any(|b| matches!(b, b';' | b'\\') || !b.is_ascii())
}

fn judge(path: &str) -> Result<(), Unclear> {
    let mut bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Unclear);
    }
    while let [first, rest @ ..] = bytes {
        bytes = match (first, rest) {
            (b'\\', _) | (0x80.., _) => return Err(Unclear),
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let encoded = [high.to_ascii_lowercase(), low.to_ascii_lowercase()];
                let continues = matches!(rest, [b'%', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..]);
                // C0 and C1 begin nothing but longer spellings of ASCII (RFC 3629 §3).
                let overlong = matches!(&encoded, b"c0" | b"c1") && continues;
                if &encoded == b"00" || overlong {
                    return Err(Unclear);
                }
                rest
            }
            (b'%', _) => return Err(Unclear),
            _ => rest,
        };
    }
    Ok(())
}

/// Without dot segments (RFC 3986 §5.2.4): what is between two slashes stays, also where that is nothing.
fn resolve(decoded: &str) -> Result<String, Unclear> {
    let mut segments: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in decoded.split('/').skip(1) {
        directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(segments.pop().ok_or(Unclear)?),
            other if hides_dots(other) => return Err(Unclear),
            other => segments.push(other),
        }
    }
    if directory {
        segments.push("");
    }
    Ok(format!("/{}", segments.join("/")))
}

/// Whether a segment is or holds a dot segment for who decodes separators or drops parameters.
fn hides_dots(segment: &str) -> bool {
    let separated = bare(segment, &SEPARATORS);
    let mut parts = separated.split('/');
    parts.any(|part| matches!(part.split(';').next(), Some("." | "..")))
}

fn without_parameters(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/")
}

const SLASHES: [&str; 2] = ["%2f", "%2F"];
const BACKSLASHES: [&str; 2] = ["%5c", "%5C"];
/// All of these.
const SEPARATORS: [&str; 4] = ["%2f", "%2F", "%5c", "%5C"];

/// With such encoded separators as slashes.
fn bare(path: &str, separators: &[&str]) -> String {
    separators
        .iter()
        .fold(path.to_owned(), |path, separator| path.replace(separator, "/"))
}

/// The form that all spellings of a path have in common: `path` with unreserved characters decoded, dot segments resolved and repeated slashes merged (RFC 3986 §6.2.2). Most paths are
/// canonical already and come back as they are.
pub(crate) fn canonical(path: &str) -> Cow<'_, str> {
    if is_canonical(path) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut canonical = String::with_capacity(decoded.len() + 1);
    for segment in &segments {
        canonical.push('/');
        canonical.push_str(segment);
    }
    let directory = ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end));
    if directory || segments.is_empty() {
        canonical.push('/');
    }
    Cow::Owned(canonical)
}

fn is_canonical(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && !bytes.contains(&b'%')
        && !bytes
            .windows(2)
            .any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'))
}

fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let unreserved = rest
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b));
        match unreserved {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{Unclear, canonical, read};
    use proptest::prelude::*;

    #[test]
    fn every_spelling_has_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//a", "/a"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/public/%2e%2E/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/a%2fb", "/a%2fb"),
            ("/a%zz%", "/a%zz%"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a...b/..c", "/a...b/..c"),
            ("*", "/*"),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_sent_on_is_what_is_routed() {
        for (path, sent, otherwise) in [
            ("/", "/", None),
            ("*", "*", None),
            ("/a/.well-known/b...c", "/a/.well-known/b...c", None),
            ("/a/../b", "/b", None),
            ("/a/b/..", "/a/", None),
            ("/a/.", "/a/", None),
            ("/a/%2e%2E/admin", "/admin", None),
            ("/%61%7e", "/a~", None),
            ("/%20%c3%a9", "/%20%c3%a9", None),
            ("/a//b", "/a//b", Some("/a/b")),
            ("//a", "//a", Some("/a")),
            ("/a//../b", "/a/b", Some("/b")),
            ("/a%2Fb", "/a%2Fb", Some("/a/b")),
            ("/a%5cb", "/a%5cb", Some("/a/b")),
            ("/a;x=1/b;y", "/a;x=1/b;y", Some("/a/b")),
            ("/%252e%252e/a", "/%252e%252e/a", None),
        ] {
            let reading = read(path).unwrap();
            assert_eq!(
                (&*reading.sent, reading.otherwise().unwrap()),
                (sent, Vec::from_iter(otherwise.map(str::to_owned))),
                "{path}"
            );
        }
    }

    #[test]
    fn every_reader_counts_whatever_it_does_first() {
        let readings = |path: &str| read(path).unwrap().otherwise().unwrap();
        assert_eq!(
            readings("/a%2fb%5cc"),
            ["/a%2fb/c", "/a/b%5cc", "/a/b/c"],
            "one separator"
        );
        assert!(
            readings("/r;//;x/s").contains(&"/r//s".to_owned()),
            "merges, then drops"
        );
        assert!(
            readings("/p;x%2fq/r%2fs").contains(&"/p/r/s".to_owned()),
            "drops, then decodes"
        );
    }

    #[test]
    fn readers_of_what_is_sent_count_as_those_of_what_came() {
        let reading = read("//a//..").unwrap();
        assert_eq!(
            (&*reading.sent, reading.otherwise().unwrap()),
            ("//a/", vec!["/".to_owned(), "/a/".to_owned()])
        );
        let one_or_all = read("//a;b").unwrap().otherwise().unwrap();
        assert_eq!(one_or_all, ["//a", "/a", "/a;b"], "not everybody does everything");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for path in [
            "",
            "a",
            "/..",
            "/a/../..",
            "/a/../../b",
            "/%2e%2e/b",
            "/a\\b",
            "/\u{e4}",
            "/%",
            "/%2",
            "/%zz",
            "/%00",
            "/a%00b",
            "/..;/a",
            "/a/..;x=1/b",
            "/.;/a",
            "/a/..%2fb",
            "/a%2f..",
            "/a/..%5Cb",
            "/a%5c%2e%2e/b",
            "/%c0%ae%c0%ae/a",
            "/%C1%9c",
        ] {
            assert_eq!(read(path), Err(Unclear), "{path}");
        }
    }

    proptest! {
        #[test]
        fn read_twice_is_read_once(path in "/[a-c./%25E;F\\\\]{0,24}") {
            if let Ok(reading) = read(&path) {
                let sent = reading.sent.into_owned();
                prop_assert!(sent.starts_with('/') && !sent.contains("/../") && !sent.contains("/./"));
                // Its own form, unless decoding brought an escape to light, which nobody but who decodes twice reads.
                if !path.contains("%25") && !sent.contains('%') {
                    prop_assert_eq!(&*read(&sent).unwrap().sent, &*sent);
                }
            }
        }

        #[test]
        fn anything_is_read_or_refused(path in any::<String>()) {
            let _ = read(&path);
        }

        #[test]
        fn twice_is_once(path in "/[a-c./%25E]{0,24}") {
            let once = canonical(&path).into_owned();
            // Decoding can bring a `%` sequence to light only where the `%` itself was encoded, and that is not decoded.
            prop_assert_eq!(canonical(&once).into_owned(), once.clone());
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.contains("//") && !once.contains("/../") && !once.contains("/./"));
        }
    }
}
