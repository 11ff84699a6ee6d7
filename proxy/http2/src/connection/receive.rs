//! Frames to events: what the peer's frames do to the connection and its streams. Header blocks are read in `blocks`, settings in
//! `settings`, bodies and windows in `windows`.

use bytes::{Buf, BytesMut};

use super::streams::Half;
use super::{Connection, Event, Leaving, MAX_FRAME, Phase, Role, SHUT_DOWN};
use crate::frame::{self, Frame, Wrong};
use crate::{Error, Reason};

/// Bytes of answers (acknowledgements, resets) that may wait for a peer that does not read them.
const MAX_ANSWERS: usize = 64 << 10;

/// So many frames are taken at a time.
const ENOUGH: u32 = 100;

/// What a stream is that is not among the open ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Nobody began it.
    Idle,
    /// We reset it, or told the peer that we do not take it: what comes for it is nothing to us.
    Ignored,
    /// It ended.
    Closed,
}

impl Connection {
    /// Takes whole frames off the front of `input` until one makes an event, or there were [`Event::Enough`]; none: more bytes are needed. What
    /// has to be answered is put to the output. When the connection is over, `input` is emptied.
    ///
    /// # Errors
    ///
    /// The connection is over, and the output ends with a GOAWAY that says why.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        if self.phase == Phase::Preface {
            match preface(input) {
                Ok(true) => self.phase = Phase::Settings,
                Ok(false) => return Ok(None),
                Err(error) => return Err(self.fail(error)),
            }
        }
        while self.phase != Phase::Over {
            if self.taken >= ENOUGH && !input.is_empty() {
                self.taken = 0;
                return Ok(Some(Event::Enough));
            }
            self.taken += 1;
            let taken = match frame::read(input, MAX_FRAME) {
                Ok(None) => {
                    self.taken = 0;
                    if self.streams.len() == 0 {
                        self.output.rest();
                    }
                    return Ok(None);
                }
                Ok(Some(frame)) => self.take(frame),
                Err(wrong) => self.take_wrong(wrong),
            };
            let failed = match taken {
                Ok(None) => continue,
                Ok(event) => return Ok(event),
                Err(Wrong::Stream { stream, error }) => self.fail_stream(stream, error),
                Err(Wrong::Connection(error)) => Err(error),
            };
            match failed {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => return Err(self.fail(error)),
            }
        }
        input.clear();
        Ok(None)
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Event>, Wrong> {
        self.in_order(&frame)?;
        match frame {
            Frame::Data {
                stream,
                data,
                flow,
                end,
            } => {
                self.costs(u32::from(data.is_empty() && !end));
                return self.data(stream, data, flow, end);
            }
            Frame::Headers {
                stream,
                block,
                end,
                end_headers,
                depends_on,
            } => {
                self.costs(16);
                return self.headers(stream, &block, end, end_headers, depends_on);
            }
            Frame::Continuation { block, end_headers, .. } => {
                self.costs(4);
                return self.continuation(&block, end_headers);
            }
            Frame::Settings { ack, settings } => {
                self.costs(8);
                return Ok(self.settings(ack, settings)?);
            }
            _ => self.costs(1),
        }
        match frame {
            Frame::WindowUpdate { stream: 0, increment } => Ok(self.window(increment)?),
            Frame::WindowUpdate { stream, increment } => self.stream_window(stream, increment),
            Frame::Reset { stream, reason } => Ok(self.peer_reset(stream, reason)?),
            Frame::Priority { stream, depends_on } if stream == depends_on => Err(of_stream(
                stream,
                Reason::PROTOCOL_ERROR,
                "a stream that depends on itself",
            )),
            Frame::Ping { ack, payload } => Ok(self.pong(ack, payload)?),
            Frame::GoAway { last, reason } => Ok(Some(self.peer_leaves(last, reason))),
            Frame::PushPromise { .. } => {
                let what = "PUSH_PROMISE: nothing may be pushed";
                Err(Error::new(Reason::PROTOCOL_ERROR, what).into())
            }
            _ => Ok(None),
        }
    }

    /// A frame that is wrong by itself.
    fn take_wrong(&mut self, wrong: Wrong) -> Result<Option<Event>, Wrong> {
        self.costs(1);
        // Whatever it is, it is none of those that may stand here.
        if matches!(wrong, Wrong::Stream { .. }) && (self.phase == Phase::Settings || self.block.is_some()) {
            let what = "a frame out of place: SETTINGS come first, and nothing within a header block";
            return Err(Error::new(Reason::PROTOCOL_ERROR, what).into());
        }
        Err(wrong)
    }

    pub(super) fn costs(&mut self, cost: u32) {
        self.cost = self.cost.saturating_add(cost);
    }

    /// Whether a frame of this kind may come now.
    fn in_order(&self, frame: &Frame) -> Result<(), Error> {
        let expected = self.block.as_ref().map(|block| block.stream);
        let is_good = match frame {
            Frame::Continuation { stream, .. } => expected == Some(*stream),
            Frame::Settings { ack, .. } => expected.is_none() && (self.phase == Phase::Open || !ack),
            _ => expected.is_none() && self.phase == Phase::Open,
        };
        if is_good {
            return Ok(());
        }
        let what = match (self.phase, expected) {
            (Phase::Settings, _) => "another frame than SETTINGS first",
            (_, Some(_)) => "another frame within a header block than its CONTINUATION",
            (_, None) => "CONTINUATION without a header block",
        };
        Err(Error::new(Reason::PROTOCOL_ERROR, what))
    }

    /// The peer may send nothing to a stream that is over, but for what it sent before it could know.
    pub(super) fn ignored(&self, id: u32) -> Result<(), Error> {
        match self.absent(id) {
            Absent::Ignored => Ok(()),
            Absent::Idle => Err(Error::new(
                Reason::PROTOCOL_ERROR,
                "a frame of a stream that was not begun",
            )),
            Absent::Closed => Err(Error::new(Reason::STREAM_CLOSED, "a frame of a stream that ended")),
        }
    }

    /// What a stream is that is not open.
    pub(super) fn absent(&self, id: u32) -> Absent {
        let (is_begun, refused_above) = match self.role {
            Role::Server => (id <= self.last_peer, self.leaving.last()),
            Role::Client => (id < self.next_stream, self.peer_left),
        };
        if id.is_multiple_of(2) || !is_begun {
            Absent::Idle
        } else if refused_above.is_some_and(|last| id > last) || self.closed.may_have(id) {
            Absent::Ignored
        } else {
            Absent::Closed
        }
    }

    fn peer_reset(&mut self, stream: u32, reason: Reason) -> Result<Option<Event>, Error> {
        if self.streams.remove(stream).is_some() {
            return Ok(Some(Event::Reset {
                stream,
                reason,
                by_peer: true,
            }));
        }
        if self.absent(stream) == Absent::Idle {
            self.ignored(stream)?;
        }
        Ok(None)
    }

    fn pong(&mut self, ack: bool, payload: [u8; 8]) -> Result<Option<Event>, Error> {
        if !ack {
            frame::put_ping(&mut self.output.joined, true, payload);
            self.answered(frame::HEAD + 8)?;
            return Ok(None);
        }
        if payload == SHUT_DOWN && self.leaving == Leaving::Announced {
            self.leaving = Leaving::Told(self.last_peer);
            frame::put_go_away(&mut self.output.joined, self.last_peer, Reason::NO_ERROR);
            return Ok(None);
        }
        Ok(Some(Event::Pong(payload)))
    }

    fn peer_leaves(&mut self, last: u32, reason: Reason) -> Event {
        let event = Event::GoAway { last, reason };
        let last = self.peer_left.map_or(last, |before| before.min(last));
        self.peer_left = Some(last);
        if self.role == Role::Server {
            return event;
        }
        for refused in self.streams.remove_above(last) {
            self.events.push_back(Event::Reset {
                stream: refused.id,
                reason: Reason::REFUSED_STREAM,
                by_peer: true,
            });
        }
        self.events.push_back(event);
        // There is at least the one.
        self.events.pop_front().unwrap_or(Event::GoAway { last, reason })
    }

    /// So many bytes of answers were put to the output.
    pub(super) fn answered(&mut self, bytes: usize) -> Result<(), Error> {
        self.answers += bytes;
        if self.answers > MAX_ANSWERS {
            let what = "too many answers that are not read";
            return Err(Error::new(Reason::ENHANCE_YOUR_CALM, what));
        }
        Ok(())
    }

    /// Resets a stream for an error of the peer.
    fn fail_stream(&mut self, id: u32, error: Error) -> Result<Option<Event>, Error> {
        let known = self.streams.remove(id);
        if known.is_none() && self.absent(id) == Absent::Idle {
            return Err(error);
        }
        self.resets += 1;
        if self.resets > self.config.max_resets {
            return Err(Error::new(
                Reason::ENHANCE_YOUR_CALM,
                "too many streams that had to be reset",
            ));
        }
        self.put_reset(
            id,
            error.reason,
            known.is_none_or(|stream| stream.receiving != Half::Done),
        );
        self.answered(frame::HEAD + 4)?;
        Ok(known.map(|_| Event::Reset {
            stream: id,
            reason: error.reason,
            by_peer: false,
        }))
    }

    /// The connection is over.
    fn fail(&mut self, error: Error) -> Error {
        self.go_away(error.reason);
        error
    }
}

/// An error of a stream.
pub(super) fn of_stream(stream: u32, reason: Reason, what: &'static str) -> Wrong {
    Wrong::Stream {
        stream,
        error: Error::new(reason, what),
    }
}

/// Takes the preface off, as soon as it is whole; whether it was.
fn preface(input: &mut BytesMut) -> Result<bool, Error> {
    let length = input.len().min(frame::PREFACE.len());
    if input.get(..length) != frame::PREFACE.get(..length) {
        return Err(Error::new(
            Reason::PROTOCOL_ERROR,
            "another preface than that of HTTP/2",
        ));
    }
    let is_whole = length == frame::PREFACE.len();
    if is_whole {
        input.advance(length);
    }
    Ok(is_whole)
}
