//! What goes wrong: with a connection, which ends it, and with one message, which ends its stream alone. What came is never part of
//! it, so that no secret gets into a log.

use std::fmt;

/// An error code (RFC 9113 §7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing is wrong.
    pub const NO_ERROR: Reason = Reason(0);
    /// Something is wrong that no other code names.
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    /// Our fault.
    pub const INTERNAL_ERROR: Reason = Reason(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    /// Settings were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Reason = Reason(4);
    /// A frame for a stream that is half closed.
    pub const STREAM_CLOSED: Reason = Reason(5);
    /// A frame of the wrong size.
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    /// Nothing was done for the stream.
    pub const REFUSED_STREAM: Reason = Reason(7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Reason = Reason(8);
    /// The compression state of headers is lost.
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    /// The connection of a CONNECT broke.
    pub const CONNECT_ERROR: Reason = Reason(10);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
    /// The transport is not secure enough.
    pub const INADEQUATE_SECURITY: Reason = Reason(12);
    /// HTTP/1.1 is to be used instead.
    pub const HTTP_1_1_REQUIRED: Reason = Reason(13);

    /// The name that RFC 9113 §7 has for it, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a connection is over (RFC 9113 §5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({reason})")]
pub struct Error {
    /// What the peer is told in GOAWAY.
    pub reason: Reason,
    /// What is wrong, and what would be accepted.
    pub what: &'static str,
}

impl Error {
    /// `what` went wrong; the peer is told `reason`.
    #[must_use]
    pub const fn new(reason: Reason, what: &'static str) -> Self {
        Self { reason, what }
    }
}

/// Why a message is refused, and its stream reset (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// A field without a name (RFC 9110 §5.1).
    #[error("a header without a name")]
    EmptyName,
    /// A field's name has upper case letters (RFC 9113 §8.2.1).
    #[error("upper case in a header name: lower case is accepted")]
    UpperCase,
    /// A field's name is not a token (RFC 9110 §5.1), or has more than 65535 bytes.
    #[error("bad header name: a token (lower case letters, digits, !#$%&'*+-.^_`|~) is accepted")]
    Name,
    /// A field's value has control bytes in it (RFC 9110 §5.5).
    #[error("bad header value: visible characters, spaces, tabs and bytes from 128 on are accepted")]
    Value,
    /// A field's value begins or ends with a space or a tab (RFC 9113 §8.2.1).
    #[error("a header value with spaces around it: none are accepted")]
    SpaceAround,
    /// A name that begins with a colon, and is none of the pseudo-headers (RFC 9113 §8.3).
    #[error("unknown pseudo-header: :method, :scheme, :authority, :path, :protocol and :status are accepted")]
    UnknownPseudo,
    /// `:method` is not a token (RFC 9110 §9.1).
    #[error("bad :method: a token (letters, digits, !#$%&'*+-.^_`|~) is accepted")]
    Method,
    /// `:method` is longer than any that is in use.
    #[error(":method too long: at most 32 bytes are accepted")]
    MethodTooLong,
    /// `:scheme` is not one (RFC 3986 §3.1).
    #[error("bad :scheme: a letter, then letters, digits, + - and . are accepted")]
    Scheme,
    /// `:authority` is not a host with or without a port (RFC 9113 §8.3.1).
    #[error("bad :authority: host or host:port, without user, is accepted")]
    Authority,
    /// `:path` is neither a path nor `*` (RFC 9113 §8.3.1), or has bytes that a URI cannot have.
    #[error("bad :path: a path that begins with / and its query, or *, without fragment, are accepted")]
    Path,
    /// `:protocol` is not a token (RFC 8441 §4).
    #[error("bad :protocol: a token is accepted")]
    Protocol,
    /// `:status` is not three digits from 100 on (RFC 9110 §15).
    #[error("bad :status: three digits, 100 to 999, are accepted")]
    Status,
    /// A pseudo-header twice (RFC 9113 §8.3).
    #[error("a pseudo-header twice: one of each is accepted")]
    PseudoTwice,
    /// A pseudo-header after a header (RFC 9113 §8.3).
    #[error("a pseudo-header after a header: they come first")]
    PseudoLate,
    /// A pseudo-header that is not one of this kind of message, or of this method (RFC 9113 §8.3, §8.5).
    #[error("a pseudo-header that does not belong here")]
    PseudoMisplaced,
    /// A pseudo-header that the message must have is not there (RFC 9113 §8.3.1, §8.3.2).
    #[error("a pseudo-header is missing: :method, :scheme and :path of requests, :status of responses")]
    PseudoMissing,
    /// A header that is of the connection (RFC 9113 §8.2.2).
    #[error("a connection-specific header: none is accepted")]
    ConnectionSpecific,
    /// `TE` says more than `trailers` (RFC 9113 §8.2.2).
    #[error("bad TE: trailers is accepted")]
    Te,
    /// `Host` is not `:authority` (RFC 9113 §8.3.1).
    #[error("Host and :authority differ: either, or both alike, are accepted")]
    Host,
    /// `Content-Length` is not one number (RFC 9110 §8.6).
    #[error("bad Content-Length: one decimal number of at most 64 bits is accepted")]
    ContentLength,
    /// The body is longer or shorter than `Content-Length` says (RFC 9113 §8.1.1).
    #[error("the body is not as long as Content-Length says")]
    BodyLength,
    /// A second block of fields that does not end the stream (RFC 9113 §8.1).
    #[error("trailers that do not end the stream")]
    TrailersNotLast,
    /// An interim response that ends the stream (RFC 9113 §8.1).
    #[error("an interim response ends the stream: a final one is to follow")]
    InterimEnds,
}
