//! Header blocks to events: put together of their frames, read, and judged by what their stream may have now.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::heads::{Fields, Limits};
use super::receive::{Absent, of_stream};
use super::streams::{Asked, Half, Stream};
use super::{Connection, Event, Leaving, MAX_FRAME, Role};
use crate::frame::Wrong;
use crate::{Error, Malformed, Reason};

/// Frames that a header block may have besides those that it needs.
const SPARE_FRAMES: usize = 5;

/// A header block whose end is to come.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    end: bool,
    depends_on: Option<u32>,
    bytes: BytesMut,
    /// CONTINUATIONs.
    frames: usize,
}

/// What a header block is for its stream.
#[derive(Clone, Copy)]
enum Purpose {
    Request,
    Response,
    Trailers,
    /// It comes too late.
    AfterEnd,
    /// It is of no interest, but for the compression's state.
    Nothing,
}

impl Connection {
    pub(super) fn headers(
        &mut self,
        stream: u32,
        block: &Bytes,
        end: bool,
        end_headers: bool,
        depends_on: Option<u32>,
    ) -> Result<Option<Event>, Wrong> {
        if end_headers {
            return self.block(stream, block, end, depends_on);
        }
        self.block = Some(Block {
            stream,
            end,
            depends_on,
            bytes: BytesMut::from(&block[..]),
            frames: 0,
        });
        Ok(None)
    }

    pub(super) fn continuation(&mut self, more: &Bytes, end_headers: bool) -> Result<Option<Event>, Wrong> {
        let most = 2 * self.config.header_list as usize;
        let Some(mut block) = self.block.take() else {
            return Ok(None);
        };
        block.frames += 1;
        if block.bytes.len() + more.len() > most || block.frames > most / MAX_FRAME + SPARE_FRAMES {
            let what = "a header block in too many frames, or much larger than SETTINGS_MAX_HEADER_LIST_SIZE";
            return Err(Error::new(Reason::ENHANCE_YOUR_CALM, what).into());
        }
        block.bytes.extend_from_slice(more);
        if end_headers {
            return self.block(block.stream, &block.bytes.freeze(), block.end, block.depends_on);
        }
        self.block = Some(block);
        Ok(None)
    }

    /// A whole header block.
    fn block(&mut self, id: u32, block: &Bytes, end: bool, depends_on: Option<u32>) -> Result<Option<Event>, Wrong> {
        let purpose = self.purpose(id)?;
        let limits = Limits {
            size: self.config.header_list as usize,
            headers: self.config.headers,
        };
        let is_wanted = !matches!(purpose, Purpose::AfterEnd | Purpose::Nothing);
        let mut fields = Fields::new((self.fresh)());
        self.decoder
            .decode(block, &mut |field, size| is_wanted && fields.add(field, size, limits))?;
        if depends_on == Some(id) && is_wanted {
            return Err(of_stream(id, Reason::PROTOCOL_ERROR, "a stream that depends on itself"));
        }
        match purpose {
            Purpose::Request => self.request_head(id, fields, end),
            Purpose::Response => self.response_head(id, fields, end),
            Purpose::Trailers => self.trailers(id, fields, end),
            Purpose::AfterEnd => {
                let what = "HEADERS after the end of the message";
                Err(of_stream(id, Reason::STREAM_CLOSED, what))
            }
            Purpose::Nothing => Ok(None),
        }
    }

    fn purpose(&mut self, id: u32) -> Result<Purpose, Error> {
        if let Some(stream) = self.streams.get_mut(id) {
            return Ok(match stream.receiving {
                Half::Head => Purpose::Response,
                Half::Body => Purpose::Trailers,
                Half::Done => Purpose::AfterEnd,
            });
        }
        let is_new = self.role == Role::Server && !id.is_multiple_of(2) && self.absent(id) == Absent::Idle;
        if is_new {
            self.last_peer = id;
            return Ok(Purpose::Request);
        }
        self.ignored(id)?;
        Ok(Purpose::Nothing)
    }

    fn request_head(&mut self, id: u32, fields: Fields, end: bool) -> Result<Option<Event>, Wrong> {
        if let Leaving::Told(_) = self.leaving {
            // It may have been sent before the peer knew: no error of it.
            self.put_reset(id, Reason::REFUSED_STREAM, false);
            self.answered(crate::frame::HEAD + 4)?;
            return Ok(None);
        }
        if self.streams.len() >= self.config.max_streams as usize {
            let what = "more streams than SETTINGS_MAX_CONCURRENT_STREAMS";
            return Err(of_stream(id, Reason::REFUSED_STREAM, what));
        }
        let is_too_large = fields.is_too_large();
        let length = fields.length();
        let head = if is_too_large {
            fields.partial()
        } else {
            let head = fields
                .request(self.config.connect_protocol)
                .map_err(|malformed| refused(id, malformed))?;
            if end && length.is_some_and(|length| length > 0) {
                return Err(refused(id, Malformed::BodyLength));
            }
            head
        };
        self.streams.insert(Stream {
            receiving: if end { Half::Done } else { Half::Body },
            sending: Half::Head,
            length: length.filter(|_| !is_too_large),
            ..self.fresh(id)
        });
        let stream = id;
        Ok(Some(match is_too_large {
            true => Event::TooLarge { stream, head, end },
            false => Event::Request { stream, head, end },
        }))
    }

    fn response_head(&mut self, id: u32, fields: Fields, end: bool) -> Result<Option<Event>, Wrong> {
        if fields.is_too_large() {
            return Err(too_large(id));
        }
        let length = fields.length();
        let head = fields.response().map_err(|malformed| refused(id, malformed))?;
        let status = head.status();
        let event = Event::Response { stream: id, head, end };
        if status.is_informational() {
            return match end {
                true => Err(refused(id, Malformed::InterimEnds)),
                false => Ok(Some(event)),
            };
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok(None);
        };
        stream.receiving = Half::Body;
        stream.length = match (stream.asked, status) {
            (Asked::Head, _) | (_, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Some(0),
            (Asked::Connect, _) if status.is_success() => None,
            _ => length,
        };
        if end {
            self.end(id)?;
        }
        Ok(Some(event))
    }

    fn trailers(&mut self, id: u32, fields: Fields, end: bool) -> Result<Option<Event>, Wrong> {
        if !end {
            return Err(refused(id, Malformed::TrailersNotLast));
        }
        if fields.is_too_large() {
            return Err(too_large(id));
        }
        let trailers = fields.trailers().map_err(|malformed| refused(id, malformed))?;
        self.end(id)?;
        Ok(Some(Event::Trailers { stream: id, trailers }))
    }

    /// The peer's message ends here.
    fn end(&mut self, id: u32) -> Result<(), Wrong> {
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok(());
        };
        if stream.length.is_some_and(|left| left > 0) {
            return Err(refused(id, Malformed::BodyLength));
        }
        stream.receiving = Half::Done;
        if stream.is_over() {
            self.streams.remove(id);
        }
        Ok(())
    }
}

/// A malformed message (RFC 9113 §8.1.1).
fn refused(stream: u32, _: Malformed) -> Wrong {
    of_stream(stream, Reason::PROTOCOL_ERROR, "a malformed message")
}

fn too_large(stream: u32) -> Wrong {
    let what = "more fields than SETTINGS_MAX_HEADER_LIST_SIZE, or than are taken";
    of_stream(stream, Reason::PROTOCOL_ERROR, what)
}
