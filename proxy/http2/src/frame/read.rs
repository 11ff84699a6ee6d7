//! Frames off the front of a buffer.

use bytes::{Buf, Bytes, BytesMut};

use super::{Frame, HEAD, Settings, Wrong, flag, kind};
use crate::{Error, Reason};

/// The bits of a stream's id, or of a window's increment: the first is reserved, and ignored (RFC 9113 §4.1, §6.9).
const ID: u32 = 0x7fff_ffff;

/// A frame's head.
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Takes the next whole frame off the front of `buf`; `None`: more bytes are needed.
///
/// # Errors
/// What RFC 9113 §4.2 and §6 say of frames by themselves. A frame longer than `max` (our SETTINGS_MAX_FRAME_SIZE) is
/// FRAME_SIZE_ERROR as soon as its head is there.
#[inline]
pub fn read(buf: &mut BytesMut, max: usize) -> Result<Option<Frame>, Wrong> {
    let Some(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]) = buf.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let head = Head {
        length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
        kind,
        flags,
        stream: u32::from_be_bytes([s0, s1, s2, s3]) & ID,
    };
    if head.length > max {
        return Err(size("a frame longer than SETTINGS_MAX_FRAME_SIZE"));
    }
    if buf.len() - HEAD < head.length {
        return Ok(None);
    }
    match kind {
        kind::DATA => data(&head, payload(buf, &head)).map(Some),
        kind::HEADERS => headers(&head, payload(buf, &head)).map(Some),
        kind::CONTINUATION => {
            on_stream(&head, "CONTINUATION on stream 0: a stream's is accepted")?;
            let end_headers = head.has(flag::END_HEADERS);
            Ok(Some(Frame::Continuation {
                stream: head.stream,
                block: payload(buf, &head),
                end_headers,
            }))
        }
        _ => {
            let frame = control(&head, buf.get(HEAD..HEAD + head.length).unwrap_or_default());
            buf.advance(HEAD + head.length);
            frame.map(Some)
        }
    }
}

/// Takes a frame off, of which head and payload are there.
fn payload(buf: &mut BytesMut, head: &Head) -> Bytes {
    let mut payload = buf.split_to(HEAD + head.length).freeze();
    payload.advance(HEAD);
    payload
}

fn data(head: &Head, mut data: Bytes) -> Result<Frame, Wrong> {
    on_stream(head, "DATA on stream 0: a stream's is accepted")?;
    unpad(head, &mut data)?;
    Ok(Frame::Data {
        stream: head.stream,
        data,
        flow: length(head),
        end: head.has(flag::END_STREAM),
    })
}

fn headers(head: &Head, mut block: Bytes) -> Result<Frame, Wrong> {
    on_stream(head, "HEADERS on stream 0: a stream's is accepted")?;
    unpad(head, &mut block)?;
    let depends_on = if head.has(flag::PRIORITY) {
        let Some(&[a, b, c, d, _weight]) = block.first_chunk() else {
            return Err(size(
                "HEADERS too short: 5 bytes of priority are accepted with the PRIORITY flag",
            ));
        };
        block.advance(5);
        Some(u32::from_be_bytes([a, b, c, d]) & ID)
    } else {
        None
    };
    Ok(Frame::Headers {
        stream: head.stream,
        block,
        end: head.has(flag::END_STREAM),
        end_headers: head.has(flag::END_HEADERS),
        depends_on,
    })
}

/// Takes padding off, and the byte that says how long it is (RFC 9113 §6.1, §6.2).
fn unpad(head: &Head, payload: &mut Bytes) -> Result<(), Wrong> {
    if !head.has(flag::PADDED) {
        return Ok(());
    }
    let Some((&padding, rest)) = payload.split_first() else {
        return Err(size("a padded frame without the length of its padding"));
    };
    let Some(left) = rest.len().checked_sub(usize::from(padding)) else {
        return Err(protocol("more padding than there are bytes in the frame"));
    };
    payload.advance(1);
    payload.truncate(left);
    Ok(())
}

/// Reads a frame that carries neither a body nor fields.
fn control(head: &Head, payload: &[u8]) -> Result<Frame, Wrong> {
    match head.kind {
        kind::PRIORITY => {
            on_stream(head, "PRIORITY on stream 0: a stream's is accepted")?;
            let &[a, b, c, d, _weight] = payload else {
                let what = "PRIORITY of a wrong length: 5 bytes are accepted";
                return Err(Wrong::Stream {
                    stream: head.stream,
                    error: Error::new(Reason::FRAME_SIZE_ERROR, what),
                });
            };
            Ok(Frame::Priority {
                stream: head.stream,
                depends_on: u32::from_be_bytes([a, b, c, d]) & ID,
            })
        }
        kind::RESET => {
            on_stream(head, "RST_STREAM on stream 0: a stream's is accepted")?;
            let &[a, b, c, d] = payload else {
                return Err(size("RST_STREAM of a wrong length: 4 bytes are accepted"));
            };
            Ok(Frame::Reset {
                stream: head.stream,
                reason: Reason(u32::from_be_bytes([a, b, c, d])),
            })
        }
        kind::SETTINGS => settings(head, payload),
        kind::PUSH_PROMISE => Ok(Frame::PushPromise { stream: head.stream }),
        kind::PING => {
            on_connection(head, "PING on a stream: stream 0 is accepted")?;
            let Ok(payload) = payload.try_into() else {
                return Err(size("PING of a wrong length: 8 bytes are accepted"));
            };
            Ok(Frame::Ping {
                ack: head.has(flag::ACK),
                payload,
            })
        }
        kind::GO_AWAY => {
            on_connection(head, "GOAWAY on a stream: stream 0 is accepted")?;
            let &[a, b, c, d, e, f, g, h, ..] = payload else {
                return Err(size("GOAWAY too short: 8 bytes and more are accepted"));
            };
            let (last, reason) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            Ok(Frame::GoAway {
                last: last & ID,
                reason: Reason(reason),
            })
        }
        kind::WINDOW_UPDATE => {
            let &[a, b, c, d] = payload else {
                return Err(size("WINDOW_UPDATE of a wrong length: 4 bytes are accepted"));
            };
            Ok(Frame::WindowUpdate {
                stream: head.stream,
                increment: u32::from_be_bytes([a, b, c, d]) & ID,
            })
        }
        kind => Ok(Frame::Unknown {
            kind,
            stream: head.stream,
            length: head.length,
        }),
    }
}

fn settings(head: &Head, payload: &[u8]) -> Result<Frame, Wrong> {
    on_connection(head, "SETTINGS on a stream: stream 0 is accepted")?;
    let ack = head.has(flag::ACK);
    let (entries, rest) = payload.as_chunks();
    if !rest.is_empty() || (ack && !entries.is_empty()) {
        return Err(size(
            "SETTINGS of a wrong length: 6 bytes for each, none with ACK, are accepted",
        ));
    }
    let mut settings = Settings::default();
    for &[i, d, a, b, c, e] in entries {
        settings.set(u16::from_be_bytes([i, d]), u32::from_be_bytes([a, b, c, e]))?;
    }
    Ok(Frame::Settings { ack, settings })
}

/// A frame's length, which is less than 2^24.
fn length(head: &Head) -> u32 {
    u32::try_from(head.length).unwrap_or(u32::MAX)
}

fn on_stream(head: &Head, what: &'static str) -> Result<(), Wrong> {
    if head.stream == 0 { Err(protocol(what)) } else { Ok(()) }
}

fn on_connection(head: &Head, what: &'static str) -> Result<(), Wrong> {
    if head.stream == 0 { Ok(()) } else { Err(protocol(what)) }
}

#[cold]
fn protocol(what: &'static str) -> Wrong {
    Wrong::Connection(Error::new(Reason::PROTOCOL_ERROR, what))
}

#[cold]
fn size(what: &'static str) -> Wrong {
    Wrong::Connection(Error::new(Reason::FRAME_SIZE_ERROR, what))
}
