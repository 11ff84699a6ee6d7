//! What a fuzzer's bytes say of a connection: its role and limits, how its owner answers events, how the wire is cut, and then step by
//! step what comes and what the owner does.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use tenbin_http2::Config;

use super::build::{self, Kind};

/// Steps that are taken.
const STEPS: usize = 200;

/// How the owner answers events, one bit each.
pub(crate) mod policy {
    /// Bytes of bodies are released as they come.
    pub(crate) const RELEASES: u8 = 1;
    /// A request has the head of its response at once.
    pub(crate) const RESPONDS: u8 = 2;
    /// And that is all of it.
    pub(crate) const ENDS: u8 = 4;
    /// A piece of a body is answered with one.
    pub(crate) const ECHOES: u8 = 8;
    /// A message that ends is answered with trailers.
    pub(crate) const TRAILERS: u8 = 16;
    /// A piece of a body resets its stream.
    pub(crate) const RESETS: u8 = 32;
    /// All is written after each event.
    pub(crate) const WRITES: u8 = 64;
    /// A request ends the connection when its streams have ended.
    pub(crate) const LEAVES: u8 = 128;
}

/// What the owner does by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Begins a stream, or answers the one that `stream` picks, with a head of some shape.
    Head {
        stream: u8,
        shape: u8,
    },
    Data {
        stream: u8,
        length: usize,
        end: bool,
    },
    Trailers {
        stream: u8,
    },
    Reset {
        stream: u8,
    },
    Release {
        stream: u8,
        bytes: u32,
    },
    Ping,
    ShutDown,
    GoAway,
    Write(usize),
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wire(Vec<u8>),
    Use(Use),
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) is_server: bool,
    pub(crate) config: Config,
    pub(crate) policy: u8,
    /// Lengths of pieces, used over and over.
    pub(crate) cuts: [usize; 3],
    pub(crate) steps: Vec<Step>,
}

/// Bytes that run out.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
        Some(u32::from_be_bytes(bytes))
    }

    /// As many as there are, at most `length`.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }

    /// A stream's number in one byte, or in the four after 255.
    fn stream(&mut self) -> Option<u32> {
        match self.byte()? {
            255 => self.number(),
            stream => Some(stream.into()),
        }
    }
}

impl Script {
    pub(crate) fn read(data: &[u8]) -> Option<Script> {
        let mut input = Input(data);
        let [kind, policy, a, b, c] = [0; 5].map(|_| input.byte());
        let (kind, policy) = (kind?, policy?);
        let is_server = kind & 1 == 0;
        let mut script = Script {
            is_server,
            config: config(kind >> 2),
            policy,
            cuts: [a?, b?, c?].map(|cut| usize::from(cut) + 1),
            steps: Vec::new(),
        };
        // The rest of a fuzzer's time would go to finding the preface again and again.
        if kind & 2 == 0 {
            script.steps.push(Step::Wire(beginning(is_server)));
        }
        while script.steps.len() < STEPS
            && let Some(step) = step(&mut input, is_server)
        {
            script.steps.push(step);
        }
        Some(script)
    }
}

/// What a good peer says first.
fn beginning(is_server: bool) -> Vec<u8> {
    let preface: &[u8] = if is_server {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    } else {
        b""
    };
    [preface, &build::frame(4, 0, 0, b"")].concat()
}

fn config(which: u8) -> Config {
    let usual = Config::default();
    match which & 3 {
        0 => usual,
        1 => Config {
            max_streams: 2,
            stream_window: 100,
            connection_window: 0,
            header_list: 512,
            headers: 8,
            output: 1000,
            max_resets: 4,
            connect_protocol: true,
        },
        2 => Config {
            stream_window: 70_000,
            output: 20_000,
            header_list: 4096,
            ..usual
        },
        _ => Config {
            max_streams: 10,
            stream_window: 1,
            output: 1,
            max_resets: 0,
            ..usual
        },
    }
}

fn step(input: &mut Input<'_>, is_server: bool) -> Option<Step> {
    let wire = match input.byte()? & 15 {
        0 => {
            let length = input.byte()?;
            input.bytes(length.into())
        }
        1 => {
            let (kind, flags) = (input.byte()? % 12, input.byte()?);
            let (stream, length) = (input.stream()?, input.byte()?);
            build::frame(kind, flags, stream, &input.bytes(length.into()))
        }
        2 => {
            let (stream, shape) = (input.stream()?, input.byte()?);
            head(is_server, stream, shape)
        }
        3 => {
            let (stream, length, flags) = (input.stream()?, input.byte()?, input.byte()?);
            build::frame(0, flags & 9, stream, &vec![0; usize::from(length) * 64])
        }
        4 => {
            let (stream, size) = (input.stream()?, input.byte()?);
            let increment = u32::from(size & 7) << (size >> 3);
            build::frame(8, 0, stream, &increment.to_be_bytes())
        }
        5 => {
            let (id, value) = (input.byte()? % 10, input.number()?);
            build::frame(4, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
        }
        6 => build::frame(4, 1, 0, b""),
        used => return used_by_owner(used, input).map(Step::Use),
    };
    Some(Step::Wire(wire))
}

fn used_by_owner(which: u8, input: &mut Input<'_>) -> Option<Use> {
    Some(match which {
        7 | 15 => Use::Head {
            stream: input.byte()?,
            shape: input.byte()?,
        },
        8 => {
            let (stream, length) = (input.byte()?, input.byte()?);
            Use::Data {
                stream,
                length: usize::from(length >> 1) * usize::from(length >> 1) * 4,
                end: length & 1 == 1,
            }
        }
        9 => Use::Trailers { stream: input.byte()? },
        10 => Use::Reset { stream: input.byte()? },
        11 => Use::Release {
            stream: input.byte()?,
            bytes: u32::from(input.byte()?) * 100,
        },
        12 => Use::Ping,
        13 => match input.byte()? {
            0 => Use::GoAway,
            _ => Use::ShutDown,
        },
        _ => match input.byte()? {
            255 => Use::Write(usize::MAX),
            bytes => Use::Write(usize::from(bytes) * 16),
        },
    })
}

/// A head that is good, most of the time: what is in it is told by the lower bits of `shape`.
fn head(is_server: bool, stream: u32, shape: u8) -> Vec<u8> {
    let text: &[(&str, &str)] = match (is_server, shape & 7) {
        (true, 0) => &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ],
        (true, 1) => &[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            ("content-length", "64"),
        ],
        (true, 2) => &[(":method", "CONNECT"), (":authority", "a:1")],
        (true, 3) => &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
        ],
        (true, 4) => &[(":method", "HEAD"), (":scheme", "https"), (":path", "*")],
        (true, 5) => &[(":path", "/")],
        (false, 0) => &[(":status", "200")],
        (false, 1) => &[(":status", "200"), ("content-length", "64")],
        (false, 2) => &[(":status", "103"), ("link", "x")],
        (false, 3) => &[(":status", "204")],
        (false, 4) => &[(":status", "304"), ("content-length", "9")],
        (false, 5) => &[("a", "b")],
        (_, 6) => &[("trailer", "x"), ("cookie", "secret")],
        (_, _) => &[("Bad", "x")],
    };
    let fields = text.iter().map(|(name, value)| {
        let kind = if shape & 32 == 0 { Kind::Plain } else { Kind::Indexed };
        build::field(kind, name.as_bytes(), value.as_bytes())
    });
    let mut block: Vec<u8> = fields.flatten().collect();
    // Beyond some limits; beyond one frame where there is a continuation.
    if shape & 64 != 0 {
        block.extend(build::field(Kind::Plain, b"large", &[b'x'; 5000]));
    }
    let end = shape >> 3 & 1;
    if shape & 16 == 0 {
        return build::frame(1, end | 4, stream, &block);
    }
    let (first, rest) = block.split_at(block.len() / 2);
    let last = if shape & 128 == 0 { 4 } else { 0 };
    [build::frame(1, end, stream, first), build::frame(9, last, stream, rest)].concat()
}
