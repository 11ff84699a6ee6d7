//! The Huffman code of strings (RFC 7541 §5.2, Appendix B): decoding only, nothing is written in it.
//!
//! The code is canonical: among codes of one length symbols rise, and longer codes follow shorter ones. So all of it follows from
//! the lengths. Codes of up to 8 bits (what most text is made of) are looked up by the next byte of bits, a table that stays in the
//! cache; the others are found by their length.

use crate::Error;

use super::compression;

/// Bits of each symbol's code; the last is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// The longest code.
const LONGEST: u32 = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Group {
    bits: u32,
    /// The first code, and what follows the last one, both moved to the left of [`LONGEST`] bits.
    from: u32,
    until: u32,
    /// Where their symbols begin in [`SYMBOLS`].
    at: u16,
}

/// Groups of codes with more than 8 bits.
const LONG: usize = 17;

struct Tables {
    /// By the next 8 bits: a symbol, and its code's length above it; 0 where the code is longer.
    short: [u16; 256],
    long: [Group; LONG],
    /// By rising code.
    symbols: [u8; 256],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        short: [0; 256],
        long: [Group {
            bits: 0,
            from: 0,
            until: 0,
            at: 0,
        }; LONG],
        symbols: [0; 256],
    };
    let (mut code, mut at, mut group, mut bits) = (0_u32, 0_u16, 0, 5);
    while bits <= LONGEST {
        let (first, first_at) = (code, at);
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as u32 == bits {
                if bits <= 8 {
                    let spare = 8 - bits;
                    let mut low = 0;
                    while low < 1 << spare {
                        tables.short[((code << spare) | low) as usize] = (bits as u16) << 8 | symbol as u16;
                        low += 1;
                    }
                }
                if symbol < 256 {
                    tables.symbols[at as usize] = symbol as u8;
                }
                at += 1;
                code += 1;
            }
            symbol += 1;
        }
        if bits > 8 && code > first {
            let spare = LONGEST - bits;
            tables.long[group] = Group {
                bits,
                from: first << spare,
                until: code << spare,
                at: first_at,
            };
            group += 1;
        }
        code <<= 1;
        bits += 1;
    }
    assert!(
        group == LONG && at == 257 && code == 1 << (LONGEST + 1),
        "the code is not complete"
    );
    tables
}

/// The most bytes that come of `length` bytes: no code is shorter than 5 bits.
fn most(length: usize) -> usize {
    length.saturating_mul(8) / 5
}

/// Bits that were read, those that come next on the left; what follows the first `count` of them is either 0, or what comes next.
struct Bits<'a> {
    input: &'a [u8],
    ahead: u64,
    count: u32,
}

impl Bits<'_> {
    /// Reads until there are 56 bits, or nothing is left to read.
    #[inline]
    fn fill(&mut self) {
        if let Some(next) = self.input.first_chunk::<8>() {
            self.ahead |= u64::from_be_bytes(*next) >> self.count;
            let bytes = (63 - self.count) >> 3;
            self.input = self.input.get(bytes as usize..).unwrap_or_default();
            self.count += bytes << 3;
        } else {
            while self.count < 56
                && let Some((&byte, rest)) = self.input.split_first()
            {
                self.ahead |= u64::from(byte) << (56 - self.count);
                self.count += 8;
                self.input = rest;
            }
        }
    }

    #[inline]
    fn take(&mut self, bits: u32) {
        self.ahead <<= bits;
        self.count -= bits;
    }
}

/// Writes what `input` says to `out`, whose former contents go.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.clear();
    out.reserve(most(input.len()));
    let mut bits = Bits {
        input,
        ahead: 0,
        count: 0,
    };
    loop {
        bits.fill();
        if bits.count < LONGEST {
            return last(bits, out);
        }
        while bits.count >= LONGEST {
            let entry = TABLES.short[(bits.ahead >> 56) as usize];
            if entry != 0 {
                out.push(entry as u8);
                bits.take(u32::from(entry >> 8));
            } else {
                let (symbol, length) = long(bits.ahead)?;
                out.push(symbol);
                bits.take(length);
            }
        }
    }
}

/// Decodes the end: less than [`LONGEST`] bits, and padding (up to 7 bits of EOS, which are ones).
fn last(mut bits: Bits<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    // With ones all the way padding looks like EOS, and a code that is cut off like none that fits.
    bits.ahead |= u64::MAX >> bits.count;
    loop {
        if bits.count < 8 && bits.ahead == u64::MAX {
            return Ok(());
        }
        let entry = TABLES.short[(bits.ahead >> 56) as usize];
        let (symbol, length) = if entry != 0 {
            (entry as u8, u32::from(entry >> 8))
        } else {
            long(bits.ahead)?
        };
        if length > bits.count {
            return Err(compression(
                "bad padding of a Huffman-coded string: at most 7 ones are accepted",
            ));
        }
        out.push(symbol);
        bits.take(length);
        bits.ahead |= u64::MAX >> bits.count;
    }
}

/// The symbol of a code with more than 8 bits, and its length.
fn long(ahead: u64) -> Result<(u8, u32), Error> {
    let code = (ahead >> (64 - LONGEST)) as u32;
    for group in &TABLES.long {
        if code < group.until {
            let at = usize::from(group.at) + ((code - group.from) >> (LONGEST - group.bits)) as usize;
            if let Some(&symbol) = TABLES.symbols.get(at) {
                return Ok((symbol, group.bits));
            }
        }
    }
    Err(compression(
        "EOS, or more than 7 bits of padding, in a Huffman-coded string",
    ))
}
