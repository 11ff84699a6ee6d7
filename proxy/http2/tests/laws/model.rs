//! Header compression as RFC 7541 says it, without a thought for speed: what the decoder is held against.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use std::collections::HashMap;
use std::sync::LazyLock;

use super::huffman::{CODES, EOS};

/// Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// A name and a value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

pub(crate) fn size((name, value): &Pair) -> usize {
    name.len() + value.len() + 32
}

pub(crate) struct Model {
    /// The newest first.
    table: Vec<Pair>,
    limit: usize,
    most: usize,
}

impl Model {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            table: Vec::new(),
            limit: most.min(4096),
            most,
        }
    }

    /// The fields of a block, and whether each was to be never indexed; `None`: it cannot be decoded.
    pub(crate) fn decode(&mut self, mut block: &[u8]) -> Option<Vec<(Pair, bool)>> {
        let mut fields = Vec::new();
        while let Some(&first) = block.first() {
            if first >= 0x80 {
                let index = integer(&mut block, 7)?;
                fields.push((self.entry(index)?, false));
            } else if first >= 0x40 {
                let pair = self.literal(&mut block, 6)?;
                self.table.insert(0, pair.clone());
                self.evict();
                fields.push((pair, false));
            } else if first >= 0x20 {
                let limit = integer(&mut block, 5)?;
                if !fields.is_empty() || limit > self.most as u64 {
                    return None;
                }
                self.limit = limit as usize;
                self.evict();
            } else {
                fields.push((self.literal(&mut block, 4)?, first >= 0x10));
            }
        }
        Some(fields)
    }

    fn evict(&mut self) {
        while self.table.iter().map(size).sum::<usize>() > self.limit {
            self.table.pop();
        }
    }

    fn entry(&self, index: u64) -> Option<Pair> {
        let at = usize::try_from(index.checked_sub(1)?).ok()?;
        let of_static = STATIC
            .get(at)
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        of_static.or_else(|| self.table.get(at.checked_sub(61)?).cloned())
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Option<Pair> {
        let name = match integer(block, prefix)? {
            0 => string(block)?,
            index => self.entry(index)?.0,
        };
        Some((name, string(block)?))
    }
}

/// §5.1; at most 5 bytes follow the first.
fn integer(block: &mut &[u8], prefix: u32) -> Option<u64> {
    let (&first, mut rest) = block.split_first()?;
    let mask = (1_u64 << prefix) - 1;
    let mut value = u64::from(first) & mask;
    if value == mask {
        for follows in 0.. {
            if follows == 5 {
                return None;
            }
            let (&byte, after) = rest.split_first()?;
            rest = after;
            value += (u64::from(byte) & 0x7f) << (7 * follows);
            if byte < 0x80 {
                break;
            }
        }
    }
    *block = rest;
    Some(value)
}

/// §5.2
fn string(block: &mut &[u8]) -> Option<Vec<u8>> {
    let huffman = *block.first()? >= 0x80;
    let length = usize::try_from(integer(block, 7)?).ok()?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if huffman { unpacked(text) } else { Some(text.to_vec()) }
}

static SYMBOLS: LazyLock<HashMap<(u32, u8), usize>> =
    LazyLock::new(|| CODES.iter().enumerate().map(|(symbol, &code)| (code, symbol)).collect());

fn unpacked(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut code, mut bits) = (0_u32, 0);
    for byte in text {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            bits += 1;
            match SYMBOLS.get(&(code, bits)) {
                Some(&EOS) => return None,
                Some(&symbol) => {
                    out.push(symbol as u8);
                    (code, bits) = (0, 0);
                }
                None => {}
            }
        }
    }
    (bits < 8 && code == (1 << bits) - 1).then_some(out)
}
