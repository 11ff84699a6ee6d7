//! Settings (RFC 9113 §6.5): what a peer may say of itself, read and written. What follows from them is `connection`'s.

use bytes::{BufMut, BytesMut};

use crate::{Error, Reason};

/// Settings that are said; of one that is said twice the last counts, those that are not known here are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that the table may take, of the decoder of the one who says so.
    pub header_table_size: Option<u32>,
    /// Whether streams may be pushed.
    pub enable_push: Option<bool>,
    /// Streams that the other side may have open at a time.
    pub max_concurrent_streams: Option<u32>,
    /// The window of streams, in bytes, at most 2^31-1.
    pub initial_window_size: Option<u32>,
    /// Bytes of a frame's payload, 2^14 to 2^24-1.
    pub max_frame_size: Option<u32>,
    /// Bytes of a message's fields that are taken, as RFC 9113 §6.5.2 counts them.
    pub max_header_list_size: Option<u32>,
    /// Whether CONNECT with `:protocol` is taken (RFC 8441 §3).
    pub enable_connect_protocol: Option<bool>,
}

impl Settings {
    /// Takes what one entry says.
    pub(super) fn set(&mut self, id: u16, value: u32) -> Result<(), Error> {
        match id {
            1 => self.header_table_size = Some(value),
            2 => {
                let wrong = Error::new(Reason::PROTOCOL_ERROR, "bad SETTINGS_ENABLE_PUSH: 0 and 1 are accepted");
                self.enable_push = Some(flag(value).ok_or(wrong)?);
            }
            3 => self.max_concurrent_streams = Some(value),
            4 if value > i32::MAX as u32 => {
                let what = "bad SETTINGS_INITIAL_WINDOW_SIZE: at most 2^31-1 is accepted";
                return Err(Error::new(Reason::FLOW_CONTROL_ERROR, what));
            }
            4 => self.initial_window_size = Some(value),
            5 if !(1 << 14..1 << 24).contains(&value) => {
                let what = "bad SETTINGS_MAX_FRAME_SIZE: 16384 to 16777215 are accepted";
                return Err(Error::new(Reason::PROTOCOL_ERROR, what));
            }
            5 => self.max_frame_size = Some(value),
            6 => self.max_header_list_size = Some(value),
            8 => {
                let what = "bad SETTINGS_ENABLE_CONNECT_PROTOCOL: 0 and 1 are accepted";
                self.enable_connect_protocol = Some(flag(value).ok_or(Error::new(Reason::PROTOCOL_ERROR, what))?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what is said; `self.length()` bytes.
    pub(super) fn put(&self, out: &mut BytesMut) {
        for (id, value) in self.entries() {
            if let Some(value) = value {
                out.put_u16(id);
                out.put_u32(value);
            }
        }
    }

    /// Bytes of the payload that says it.
    pub(super) fn length(&self) -> usize {
        6 * self.entries().iter().filter(|(_, value)| value.is_some()).count()
    }

    fn entries(&self) -> [(u16, Option<u32>); 7] {
        [
            (1, self.header_table_size),
            (2, self.enable_push.map(u32::from)),
            (3, self.max_concurrent_streams),
            (4, self.initial_window_size),
            (5, self.max_frame_size),
            (6, self.max_header_list_size),
            (8, self.enable_connect_protocol.map(u32::from)),
        ]
    }
}

fn flag(value: u32) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
