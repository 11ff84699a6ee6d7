//! What a connection tells its user: the events of its streams and its own.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

use crate::Reason;

/// What came of what the peer sent.
pub enum Event {
    /// Server: a stream begins. The URI has scheme, authority and path; the authority alone for CONNECT, and neither scheme nor authority
    /// where there is no `:authority`. A `:protocol` (RFC 8441) is an extension, [`Protocol`].
    Request {
        /// The stream.
        stream: u32,
        /// Its head.
        head: http::Request<()>,
        /// Whether that is all of the request.
        end: bool,
    },
    /// Server: a stream begins, but its head is over the limits of [`Config`](super::Config). It can be answered like any other (431).
    TooLarge {
        /// The stream.
        stream: u32,
        /// What was read of its head until a limit was reached: with the method GET and the path `/` if not even those were.
        head: http::Request<()>,
        /// Whether that is all of the request.
        end: bool,
    },
    /// Client: the head of a response, or of an interim one (1xx, which never ends a stream).
    Response {
        /// The stream.
        stream: u32,
        /// The head.
        head: http::Response<()>,
        /// Whether that is all of the response.
        end: bool,
    },
    /// A part of a body. Its bytes are to be released when they are consumed, whatever became of their stream meanwhile.
    Data {
        /// The stream.
        stream: u32,
        /// The bytes: empty only with `end`.
        data: Bytes,
        /// Whether that is all of the message.
        end: bool,
    },
    /// Trailers, which end the message.
    Trailers {
        /// The stream.
        stream: u32,
        /// The fields.
        trailers: HeaderMap,
    },
    /// The stream is over: it is known no more.
    Reset {
        /// The stream.
        stream: u32,
        /// Why.
        reason: Reason,
        /// Whether the peer ended it; if not, it was reset for an error that the peer made.
        by_peer: bool,
    },
    /// A window has grown for which [`send_data`](super::Connection::send_data) has taken less than it was given.
    Window {
        /// The stream that may send more; all of them if none is named.
        stream: Option<u32>,
    },
    /// The peer's settings came. With the first the connection is established; each may allow more streams.
    Settings,
    /// The answer to a [`ping`](super::Connection::ping).
    Pong([u8; 8]),
    /// The peer takes no more streams (as a server), or is about to leave (as a client). A client was told before which of its streams the
    /// peer did not take: each had a `Reset` with REFUSED_STREAM.
    GoAway {
        /// The last stream of ours that the peer did something for.
        last: u32,
        /// Why.
        reason: Reason,
    },
    /// A hundred frames were taken since the input had no more, or since this: whoever else has something to do should do that first. The
    /// rest is in the input.
    Enough,
}

/// The `:protocol` of an extended CONNECT (RFC 8441 §4), as an extension of its request: a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub Bytes);

/// Why something cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The stream is over, or its message is: nothing can follow. Also a second head, or a body before one.
    #[error("the stream takes nothing more")]
    Gone,
    /// The peer has as many streams open as it takes: when one of them ends, or with new settings, there may be room.
    #[error("the peer takes no more streams at a time")]
    Full,
    /// The connection takes no more streams.
    #[error("the connection takes no more streams")]
    Closing,
}

/// No heads and no bodies: they may be secret.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Request { stream, head, end } => write!(f, "request on {stream}: {}, end {end}", head.method()),
            Event::TooLarge { stream, end, .. } => write!(f, "too large a request on {stream}, end {end}"),
            Event::Response { stream, head, end } => write!(f, "response on {stream}: {}, end {end}", head.status()),
            Event::Data { stream, data, end } => write!(f, "data on {stream}: {} bytes, end {end}", data.len()),
            Event::Trailers { stream, trailers } => write!(f, "trailers on {stream}: {}", trailers.len()),
            Event::Reset {
                stream,
                reason,
                by_peer,
            } => write!(f, "reset of {stream}: {reason}, by peer {by_peer}"),
            Event::Window { stream } => write!(f, "window of {stream:?}"),
            Event::Settings => f.write_str("settings"),
            Event::Enough => f.write_str("enough"),
            Event::Pong(payload) => write!(f, "pong {payload:?}"),
            Event::GoAway { last, reason } => write!(f, "go away after {last}: {reason}"),
        }
    }
}
