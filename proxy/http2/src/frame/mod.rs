//! Frames (RFC 9113 §4, §6): off the front of a buffer, and onto the end of one. What a frame means for streams is `connection`'s;
//! here only what is wrong with one by itself.

mod read;
mod settings;
mod write;

use std::fmt;

use bytes::Bytes;

use crate::{Error, Reason};

pub use read::read;
pub use settings::Settings;
pub use write::{
    put_data_head, put_go_away, put_head, put_headers, put_ping, put_reset, put_settings, put_settings_ack,
    put_window_update,
};

/// What a client's connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's head: length, kind, flags and stream (RFC 9113 §4.1).
pub const HEAD: usize = 9;

/// What kind a frame is of (RFC 9113 §6).
pub mod kind {
    /// DATA
    pub const DATA: u8 = 0;
    /// HEADERS
    pub const HEADERS: u8 = 1;
    /// PRIORITY
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM
    pub const RESET: u8 = 3;
    /// SETTINGS
    pub const SETTINGS: u8 = 4;
    /// PUSH_PROMISE
    pub const PUSH_PROMISE: u8 = 5;
    /// PING
    pub const PING: u8 = 6;
    /// GOAWAY
    pub const GO_AWAY: u8 = 7;
    /// WINDOW_UPDATE
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113 §6).
pub mod flag {
    /// END_STREAM of DATA and HEADERS.
    pub const END_STREAM: u8 = 0x1;
    /// ACK of SETTINGS and PING.
    pub const ACK: u8 = 0x1;
    /// END_HEADERS of HEADERS and CONTINUATION.
    pub const END_HEADERS: u8 = 0x4;
    /// PADDED of DATA and HEADERS.
    pub const PADDED: u8 = 0x8;
    /// PRIORITY of HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// One frame's payload, padding and priority fields taken off; lengths and stream ids that are wrong for the kind are errors
/// already.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// DATA
    Data {
        /// Its stream, never 0.
        stream: u32,
        /// What it carries; shares the bytes that it was read from.
        data: Bytes,
        /// Bytes that count for flow control: those of the data, of the padding and of its length.
        flow: u32,
        /// END_STREAM
        end: bool,
    },
    /// HEADERS
    Headers {
        /// Its stream, never 0.
        stream: u32,
        /// A header block, or its beginning.
        block: Bytes,
        /// END_STREAM
        end: bool,
        /// The block is whole.
        end_headers: bool,
        /// The stream that it depends on, if priority fields are there; on itself is an error of the stream (RFC 7540 §5.3.1).
        depends_on: Option<u32>,
    },
    /// CONTINUATION
    Continuation {
        /// Its stream, never 0.
        stream: u32,
        /// More of the header block.
        block: Bytes,
        /// The block is whole now.
        end_headers: bool,
    },
    /// PRIORITY
    Priority {
        /// Its stream, never 0.
        stream: u32,
        /// The stream that it depends on; on itself is an error of the stream (RFC 7540 §5.3.1).
        depends_on: u32,
    },
    /// RST_STREAM
    Reset {
        /// Its stream, never 0.
        stream: u32,
        /// Why.
        reason: Reason,
    },
    /// SETTINGS
    Settings {
        /// It acknowledges ours, and has no settings.
        ack: bool,
        /// The peer's.
        settings: Settings,
    },
    /// PUSH_PROMISE; its payload was not looked at.
    PushPromise {
        /// Its stream, perhaps 0.
        stream: u32,
    },
    /// PING
    Ping {
        /// It answers ours.
        ack: bool,
        /// What is to come back.
        payload: [u8; 8],
    },
    /// GOAWAY; its debug data was not looked at.
    GoAway {
        /// The last stream that the peer may have done something for.
        last: u32,
        /// Why.
        reason: Reason,
    },
    /// WINDOW_UPDATE
    WindowUpdate {
        /// Its stream; 0: the connection.
        stream: u32,
        /// Bytes that may be sent in addition; 0 is an error of the stream, or of the connection (RFC 9113 §6.9).
        increment: u32,
    },
    /// Of a kind that is not known here; to be ignored, but not inside a header block (RFC 9113 §5.5).
    Unknown {
        /// Its kind.
        kind: u8,
        /// Its stream, perhaps 0.
        stream: u32,
        /// Bytes of its payload.
        length: usize,
    },
}

/// No payloads: they may be secret.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data {
                stream,
                data,
                flow,
                end,
            } => {
                write!(f, "DATA of {stream}: {} bytes, flow {flow}, end {end}", data.len())
            }
            Self::Headers {
                stream,
                block,
                end,
                end_headers,
                depends_on,
            } => {
                write!(
                    f,
                    "HEADERS of {stream}: {} bytes, end {end}, whole {end_headers}, on {depends_on:?}",
                    block.len()
                )
            }
            Self::Continuation {
                stream,
                block,
                end_headers,
            } => {
                write!(
                    f,
                    "CONTINUATION of {stream}: {} bytes, whole {end_headers}",
                    block.len()
                )
            }
            Self::Priority { stream, depends_on } => write!(f, "PRIORITY of {stream}: on {depends_on}"),
            Self::Reset { stream, reason } => write!(f, "RST_STREAM of {stream}: {reason}"),
            Self::Settings { ack, settings } => write!(f, "SETTINGS: ack {ack}, {settings:?}"),
            Self::PushPromise { stream } => write!(f, "PUSH_PROMISE of {stream}"),
            Self::Ping { ack, .. } => write!(f, "PING: ack {ack}"),
            Self::GoAway { last, reason } => write!(f, "GOAWAY: last {last}, {reason}"),
            Self::WindowUpdate { stream, increment } => write!(f, "WINDOW_UPDATE of {stream}: {increment}"),
            Self::Unknown { kind, stream, length } => write!(f, "frame of kind {kind} of {stream}: {length} bytes"),
        }
    }
}

/// Something wrong with a frame: of the connection, or of its stream alone (RFC 9113 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The connection is over.
    #[error(transparent)]
    Connection(#[from] Error),
    /// The stream is to be reset; the frame is off the buffer, and what follows can be read.
    #[error("stream {stream}: {error}")]
    Stream {
        /// Which one, never 0.
        stream: u32,
        /// What is wrong; its reason is for RST_STREAM.
        error: Error,
    },
}
