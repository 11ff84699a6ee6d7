//! Chunks of a chunked body (RFC 9112 §7.1), but for their data: size lines, extensions (read and dropped) and line ends. Byte by
//! byte, so that what is wrong is known when it comes. Trailers are read in `trailers`.

use crate::Malformed;

/// Bytes of one chunk's extensions that are accepted, and of those of all chunks of a body: no use of them is known, reading
/// them without end is a way to keep a server busy.
const EXTENSION_MAX: usize = 256;
const EXTENSIONS_MAX: usize = 16 * 1024;

/// 64 bits.
const SIZE_DIGITS: u8 = 16;

/// Where in a chunked body the next byte is.
#[derive(Debug)]
pub(crate) struct Chunks {
    at: At,
    /// Bytes of extensions of all chunks so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Size { size: u64, digits: u8 },
    Extension { size: u64, length: usize },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Size { size: 0, digits: 0 },
            extensions: 0,
        }
    }

    /// Reads `bytes` up to the next data or the trailers: how many of them were read.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        for (read, &byte) in bytes.iter().enumerate() {
            if matches!(self.at, At::Data { .. } | At::Trailers) {
                return Ok(read);
            }
            self.at = self.after(byte)?;
        }
        Ok(bytes.len())
    }

    /// Whether the last chunk was read, so that the trailers come next.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self.at, At::Trailers)
    }

    /// Bytes of data that come next, at least one; `None` where something else does.
    pub(crate) fn data(&self) -> Option<u64> {
        match self.at {
            At::Data { left } => Some(left),
            _ => None,
        }
    }

    /// Of the data that comes next `length` bytes were taken.
    pub(crate) fn taken(&mut self, length: u64) {
        if let At::Data { left } = self.at {
            let left = left.saturating_sub(length);
            self.at = if left == 0 { At::DataCr } else { At::Data { left } };
        }
    }

    fn after(&mut self, byte: u8) -> Result<At, Malformed> {
        match (self.at, byte) {
            (At::Size { size, digits }, _) => Self::after_size(size, digits, byte),
            (At::Extension { length: 0, .. }, b'\r') => Err(Malformed::ChunkExtension),
            (At::Extension { size, .. }, b'\r') => Ok(At::SizeLf { size }),
            (At::Extension { size, length }, b'\t' | b' '..=b'~') => {
                self.extensions += 1;
                if length == EXTENSION_MAX || self.extensions > EXTENSIONS_MAX {
                    return Err(Malformed::ExtensionsTooLong);
                }
                Ok(At::Extension {
                    size,
                    length: length + 1,
                })
            }
            (At::Extension { .. }, b'\n') => Err(Malformed::BareLf),
            (At::Extension { .. }, _) => Err(Malformed::ChunkExtension),
            (At::SizeLf { size: 0 }, b'\n') => Ok(At::Trailers),
            (At::SizeLf { size }, b'\n') => Ok(At::Data { left: size }),
            (At::SizeLf { .. } | At::DataLf, b) if b != b'\n' => Err(Malformed::BareCr),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataCr, b'\n') => Err(Malformed::BareLf),
            (At::DataCr, _) => Err(Malformed::ChunkEnd),
            (At::DataLf, _) => Ok(At::Size { size: 0, digits: 0 }),
            (at, _) => Ok(at),
        }
    }

    fn after_size(size: u64, digits: u8, byte: u8) -> Result<At, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(At::SizeLf { size }),
            b';' if digits > 0 => return Ok(At::Extension { size, length: 0 }),
            b'\n' => return Err(Malformed::BareLf),
            _ => return Err(Malformed::ChunkSize),
        };
        if digits == SIZE_DIGITS {
            return Err(Malformed::ChunkSize);
        }
        Ok(At::Size {
            size: size << 4 | u64::from(digit),
            digits: digits + 1,
        })
    }
}
