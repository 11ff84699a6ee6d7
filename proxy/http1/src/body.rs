//! Bodies out of a buffer, piece by piece as they come, without a copy. What comes after a body is left in the buffer.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use crate::chunks::Chunks;
use crate::trailers::Trailers;
use crate::{Length, Limits, Malformed};

/// Takes a body apart. It never keeps bytes of its own. Its debug form, as a [`Piece`]'s, tells nothing of what was sent.
pub struct BodyReader {
    state: State,
    limits: Limits,
}

enum State {
    Exact {
        left: u64,
    },
    UntilClose,
    Chunks(Chunks),
    Trailers(Trailers),
    /// They were parsed and are still to be handed out.
    Trailed(HeaderMap),
    End,
    Failed(Malformed),
}

/// What comes next of a body.
#[derive(PartialEq)]
pub enum Piece {
    /// Some of its data, never empty: a slice of the buffer.
    Data(Bytes),
    /// The trailers of a chunked body, where it has any that may be there; what may not (fields of framing, routing,
    /// authentication, ...) is left out. After them comes `End`.
    Trailers(HeaderMap),
    /// All of it was taken.
    End,
    /// More bytes are needed.
    More,
}

impl BodyReader {
    /// A reader of the body after a head. `limits`: of its trailers.
    #[must_use]
    pub fn new(length: Length, limits: &Limits) -> Self {
        let state = match length {
            Length::Exact(0) => State::End,
            Length::Exact(left) => State::Exact { left },
            Length::UntilClose => State::UntilClose,
            Length::Chunked => State::Chunks(Chunks::new()),
        };
        Self { state, limits: *limits }
    }

    /// Takes the next piece off the front of `buf`. A chunk's data that is there only in part is given at once. After an error
    /// there is nothing but that error.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Piece, Malformed> {
        self.frame(buf);
        match &mut self.state {
            State::End => Ok(Piece::End),
            State::Failed(malformed) => Err(*malformed),
            State::Trailers(_) => Ok(Piece::More),
            State::Trailed(trailers) => {
                let trailers = std::mem::take(trailers);
                self.state = State::End;
                Ok(Piece::Trailers(trailers))
            }
            _ if buf.is_empty() => Ok(Piece::More),
            State::UntilClose => Ok(Piece::Data(buf.split().freeze())),
            State::Exact { left } => {
                let (data, length) = take(buf, *left);
                *left -= length;
                if *left == 0 {
                    self.state = State::End;
                }
                Ok(Piece::Data(data))
            }
            State::Chunks(chunks) => {
                let Some(left) = chunks.data() else {
                    return Ok(Piece::More);
                };
                let (data, length) = take(buf, left);
                chunks.taken(length);
                // What ends the body may be here already.
                self.frame(buf);
                Ok(Piece::Data(data))
            }
        }
    }

    /// Whether all of it was taken. It is known with the last piece: of a chunked body too, if its end was in the buffer by then.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Bytes of data still to come, where known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Exact { left } => Some(left),
            State::End | State::Trailed(_) => Some(0),
            _ => None,
        }
    }

    /// The peer closed, and what is in the buffer was taken: the end of a body `UntilClose`, nothing new for one that is at its
    /// end, else [`Malformed::Truncated`].
    pub fn closed(&mut self) -> Result<(), Malformed> {
        match &self.state {
            State::UntilClose => self.state = State::End,
            State::End | State::Trailed(_) => {}
            State::Failed(malformed) => return Err(*malformed),
            _ => {
                self.state = State::Failed(Malformed::Truncated);
                return Err(Malformed::Truncated);
            }
        }
        Ok(())
    }

    /// Reads what frames a chunked body, up to the next data or its end.
    fn frame(&mut self, buf: &mut BytesMut) {
        if let Err(malformed) = self.try_frame(buf) {
            self.state = State::Failed(malformed);
        }
    }

    fn try_frame(&mut self, buf: &mut BytesMut) -> Result<(), Malformed> {
        if let State::Chunks(chunks) = &mut self.state {
            let read = chunks.read(buf)?;
            buf.advance(read);
            if chunks.is_last() {
                self.state = State::Trailers(Trailers::default());
            }
        }
        if let State::Trailers(trailers) = &mut self.state
            && let Some(trailers) = trailers.read(buf, &self.limits)?
        {
            self.state = if trailers.is_empty() {
                State::End
            } else {
                State::Trailed(trailers)
            };
        }
        Ok(())
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, end) = (self.left(), self.is_end());
        f.debug_struct("BodyReader")
            .field("left", &left)
            .field("end", &end)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(data) => write!(f, "Data({} bytes)", data.len()),
            Self::Trailers(trailers) => write!(f, "Trailers({})", trailers.len()),
            Self::End => f.write_str("End"),
            Self::More => f.write_str("More"),
        }
    }
}

/// As much as is there of `left` bytes, and how much that is.
fn take(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    (buf.split_to(length).freeze(), length as u64)
}
