//! Why a message is refused: a variant for each rule, and the status that a client is told. What came is never part of it, so
//! that no secret gets into a log.

use http::StatusCode;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// A line ends with LF alone (RFC 9112 §2.2 lets a recipient take it; two recipients that differ are a smuggled request).
    #[error("a line ends in LF alone: lines end in CR LF")]
    BareLf,
    /// A CR is not followed by LF (RFC 9112 §2.2).
    #[error("CR without LF: lines end in CR LF")]
    BareCr,
    /// More empty lines before a request line than are skipped.
    #[error("too many empty lines before the request line: at most 4 are skipped")]
    EmptyLines,
    /// The request line is not three words with one space between each (RFC 9112 §3).
    #[error("bad request line: method, target and version with one space between each are accepted")]
    RequestLine,
    /// The method is not a token (RFC 9110 §9.1).
    #[error("bad method: a token (letters, digits, !#$%&'*+-.^_`|~) is accepted")]
    Method,
    /// The method is longer than any that is in use.
    #[error("method too long: at most 32 bytes are accepted")]
    MethodTooLong,
    /// The target is none of the four forms, or not one of the method's (RFC 9112 §3.2), or has bytes that a URI cannot have.
    #[error(
        "bad request target: a path that begins with / and its query, an http(s) URI without user, `*` for OPTIONS, \
         host:port for CONNECT are accepted, without fragment"
    )]
    Target,
    /// The request line, or the target in it, is longer than the limit.
    #[error("request target too long")]
    TargetTooLong,
    /// The version is not written `HTTP/` DIGIT `.` DIGIT (RFC 9112 §2.3).
    #[error("bad version: HTTP/1.1 and HTTP/1.0 are accepted")]
    Version,
    /// A version of HTTP whose major number is not 1.
    #[error("unsupported version: HTTP/1.1 and HTTP/1.0 are accepted")]
    UnsupportedVersion,
    /// The status line is not a version, a space, a status and a reason (RFC 9112 §4).
    #[error("bad status line: version, status and reason with one space between each are accepted")]
    StatusLine,
    /// The status is not three digits from 100 on (RFC 9110 §15).
    #[error("bad status: three digits, 100 to 999, are accepted")]
    Status,
    /// The reason has control bytes in it (RFC 9112 §4).
    #[error("bad reason: visible characters, spaces and tabs are accepted")]
    Reason,
    /// The head is longer than the limit.
    #[error("head too long")]
    HeadTooLong,
    /// The head has more header lines than the limit.
    #[error("too many headers")]
    TooManyHeaders,
    /// A header line begins with a space or a tab: a folded line, or one before the first (RFC 9112 §2.2, §5.2).
    #[error("a header line begins with whitespace: each header is one line that begins with its name")]
    Folded,
    /// A header line without a colon (RFC 9112 §5).
    #[error("a header line without a colon: name, colon and value are accepted")]
    NoColon,
    /// A header without a name (RFC 9110 §5.1).
    #[error("a header without a name: name, colon and value are accepted")]
    EmptyName,
    /// Whitespace between a header's name and the colon (RFC 9112 §5.1).
    #[error("whitespace between a header's name and its colon: none is accepted")]
    SpaceBeforeColon,
    /// A header's name is not a token (RFC 9110 §5.1).
    #[error("bad header name: a token (letters, digits, !#$%&'*+-.^_`|~) is accepted")]
    Name,
    /// A header's value has control bytes in it (RFC 9110 §5.5).
    #[error("bad header value: visible characters, spaces, tabs and bytes from 128 on are accepted")]
    Value,
    /// `Content-Length` is not one number (RFC 9110 §8.6).
    #[error("bad Content-Length: one header with one decimal number of at most 64 bits is accepted")]
    ContentLength,
    /// `Transfer-Encoding` is not `chunked` alone (RFC 9112 §6.1).
    #[error("bad Transfer-Encoding: one header with `chunked` alone is accepted")]
    TransferEncoding,
    /// `Transfer-Encoding` has a coding that is not spoken here (RFC 9112 §6.1).
    #[error("unknown transfer coding: `chunked` alone is accepted")]
    UnknownCoding,
    /// `Transfer-Encoding` in a message of HTTP/1.0, which has none (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0: Content-Length is accepted")]
    EncodingInHttp10,
    /// `Transfer-Encoding` and `Content-Length` in one request (RFC 9112 §6.3, the third rule).
    #[error("both Transfer-Encoding and Content-Length: either is accepted")]
    LengthAndEncoding,
    /// A chunk's size is not 1 to 16 hexadecimal digits (RFC 9112 §7.1).
    #[error("bad chunk size: 1 to 16 hexadecimal digits are accepted")]
    ChunkSize,
    /// A chunk's extension has control bytes in it (RFC 9112 §7.1.1).
    #[error("bad chunk extension: visible characters, spaces and tabs are accepted")]
    ChunkExtension,
    /// A chunk's extension, or those of all chunks of a body, are too long (RFC 9112 §7.1.1).
    #[error("chunk extensions too long: at most 256 bytes for a chunk and 16384 for a body are accepted")]
    ExtensionsTooLong,
    /// There is no CR LF where a chunk's data ends (RFC 9112 §7.1).
    #[error("a chunk's data does not end in CR LF")]
    ChunkEnd,
    /// The trailers are longer than the limit of a head.
    #[error("trailers too long")]
    TrailersTooLong,
    /// The peer closed before the message was complete (RFC 9112 §8).
    #[error("the connection was closed within a message")]
    Truncated,
}

impl Malformed {
    /// What a client is told: 400, or 414, 431, 501 and 505 where RFC 9110 has a status of its own.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong | Self::TooManyHeaders | Self::TrailersTooLong => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::MethodTooLong | Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
