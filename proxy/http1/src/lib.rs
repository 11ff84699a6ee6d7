//! HTTP/1.1 on the wire (RFC 9112, RFC 9110): bytes to heads and bodies, and back. Values to values: IO, clocks, time limits
//! and what is made of a message belong to the drivers of connections.
//!
//! What two parsers could understand differently is refused, never repaired: a message that passes here is the same message
//! for whoever reads what [`write_request`] and [`write_response`] make of it. The rules, one each, are in [`Malformed`].

mod body;
mod chunks;
mod fields;
mod framing;
mod head;
mod lines;
mod malformed;
mod start;
mod target;
mod token;
mod trailers;
mod write;

pub use body::{BodyReader, Piece};
pub use fields::{fresh, recycle};
pub use head::{HeadReader, RequestHead, ResponseHead};
pub use malformed::Malformed;
pub use write::{
    CHUNK_END, Reply, write_chunk, write_chunk_size, write_interim, write_last_chunk, write_line, write_request,
    write_response,
};

use http::Version;

/// Limits of a message's head and of the trailers of its body. What is over one is refused as soon as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a start line and its headers with all their line ends, or of a body's trailers.
    pub head: usize,
    /// Header lines of a head, or trailer lines of a body.
    pub headers: usize,
    /// Bytes of a request's target; 65534 at most, whatever is said here.
    pub target: usize,
}

/// How a body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After so many bytes. `Exact(0)` where there is no body.
    Exact(u64),
    /// With a chunk of no bytes and the trailers.
    Chunked,
    /// When the peer closes; of responses only.
    UntilClose,
}

impl Length {
    /// How a body of this length is sent to a client that speaks `version`: before 1.1 there are no chunks, and what would be
    /// chunked goes on until the connection is closed. [`write_response`] says the same in the head.
    #[must_use]
    pub fn to_client(self, version: Version) -> Self {
        match self {
            Self::Chunked if version < Version::HTTP_11 => Self::UntilClose,
            length => length,
        }
    }
}
