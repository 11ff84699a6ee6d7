//! A request of the corpus: read from its YAML, and as bytes with a body that would be a request of its own to whoever reads the
//! framing otherwise. What must come of it stands elsewhere.

use serde::Deserialize;

/// What an attacker would have another client's connection begin with.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n";

/// The most of a body that is made; whatever asks for more is refused by its head.
const LARGEST: usize = 8 << 20;

const FILES: [&str; 10] = [
    include_str!("corpus/acceptable.yaml"),
    include_str!("corpus/ambiguous.yaml"),
    include_str!("corpus/bad-header-characters.yaml"),
    include_str!("corpus/edge-cases.yaml"),
    include_str!("corpus/more-compliant-tests.yaml"),
    include_str!("corpus/real-life-test-cases.yaml"),
    include_str!("corpus/rfc-compliant.yaml"),
    include_str!("corpus/severe.yaml"),
    include_str!("corpus/single-case.yaml"),
    include_str!("corpus/uri-specific-test-cases.yaml"),
];

/// How dangerous the corpus holds a request for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Tier {
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    uri: String,
    pub(crate) method: String,
    version: String,
    headers: Option<Vec<Header>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct Expected {
    tier: Tier,
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let read = |text| serde_saphyr::from_str::<Vec<Case>>(text).unwrap();
    FILES.into_iter().flat_map(read).collect()
}

impl Case {
    pub(crate) fn tier(&self) -> Tier {
        self.expected.tier
    }

    /// Its first line as an endpoint has it.
    pub(crate) fn line(&self) -> String {
        format!("{} {} HTTP/1.1", self.method, unescaped(&self.uri))
    }

    /// Its headers, names in lower case, values without the whitespace around them.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let headers = self.headers.iter().flatten();
        let pair = |header: &Header| {
            let value = unescaped(&header.value);
            (
                unescaped(&header.name).to_ascii_lowercase(),
                value.trim_matches([' ', '\t']).to_owned(),
            )
        };
        headers.map(pair).collect()
    }

    /// Its bytes as they go to the proxy. It has a Host, so that it is not the lack of one that is judged.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.method, self.uri, self.version);
        if !self.headers().iter().any(|(name, _)| name == "host") {
            head += "Host: a\r\n";
        }
        for Header { name, value } in self.headers.iter().flatten() {
            head += &format!("{name}: {value}\r\n");
        }
        let body = match self.framing() {
            Some(Framing::Chunked) => format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
            _ => self.body(),
        };
        [raw(&unescaped(&head)), b"\r\n".to_vec(), body.into_bytes()].concat()
    }

    /// Its body as an endpoint has it.
    pub(crate) fn body(&self) -> String {
        match self.framing() {
            None => String::new(),
            Some(Framing::Chunked) => SMUGGLED.to_owned(),
            Some(Framing::Length(length)) => SMUGGLED.chars().cycle().take(length).collect(),
        }
    }

    /// What a strict reader takes for the length of its body, where the head is good.
    fn framing(&self) -> Option<Framing> {
        let headers = self.headers();
        let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        if find("transfer-encoding").is_some() {
            return Some(Framing::Chunked);
        }
        let length = find("content-length")?.parse().ok();
        length.filter(|&length| length <= LARGEST).map(Framing::Length)
    }
}

enum Framing {
    Chunked,
    Length(usize),
}

/// Text with the escapes undone that YAML leaves: those outside of double quotes.
fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            result.push(char);
            continue;
        }
        result.push(match chars.next() {
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                char::from(u8::from_str_radix(&digits, 16).unwrap())
            }
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(other) => other,
            None => panic!("{text:?} ends in an escape"),
        });
    }
    result
}

/// Text as bytes: a character up to U+00FF came from an escape and is that byte, others are UTF-8.
fn raw(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for char in text.chars() {
        match u8::try_from(u32::from(char)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}
