//! Header compression (RFC 7541): header blocks to parsed fields, and fields to blocks. Which fields make a message, in which order, and
//! how many of them are too many, is `connection`'s.

mod decode;
mod encode;
mod field;
mod huffman;
mod known;
mod table;

use std::fmt;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::{Error, Malformed, Reason};

pub use decode::Decoder;
pub use encode::{put_authority, put_header, put_headers, put_method, put_path, put_protocol, put_scheme, put_status};

/// One field of a header block, parsed; those of the dynamic table are kept parsed, so that what comes again costs a clone (of
/// reference counts).
#[derive(Clone, PartialEq)]
pub enum Field {
    /// `:method`
    Method(Method),
    /// `:scheme`
    Scheme(Scheme),
    /// `:authority`: a host that is not empty, perhaps a port, no user.
    Authority(Authority),
    /// `:path`: begins with `/` and has no fragment, or is `*`.
    Path(PathAndQuery),
    /// `:protocol` (RFC 8441): a token.
    Protocol(Bytes),
    /// `:status`
    Status(StatusCode),
    /// A header or trailer. Its value is marked as sensitive if it came as never to be indexed (RFC 7541 §6.2.3).
    Header(HeaderName, HeaderValue),
    /// Cannot be used: its message is malformed (its stream ends), the connection's table goes on.
    Bad(Malformed),
}

/// Names only: values may be secret.
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(_) => f.write_str(":method"),
            Self::Scheme(_) => f.write_str(":scheme"),
            Self::Authority(_) => f.write_str(":authority"),
            Self::Path(_) => f.write_str(":path"),
            Self::Protocol(_) => f.write_str(":protocol"),
            Self::Status(_) => f.write_str(":status"),
            Self::Header(name, _) => f.write_str(name.as_str()),
            Self::Bad(malformed) => write!(f, "bad ({malformed})"),
        }
    }
}

/// A block that cannot be decoded (RFC 9113 §4.3).
#[cold]
fn compression(what: &'static str) -> Error {
    Error::new(Reason::COMPRESSION_ERROR, what)
}
