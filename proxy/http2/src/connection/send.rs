//! What is said to the peer: heads, bodies, trailers, and what its frames are not asked for.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::streams::{Asked, Half, Stream};
use super::{Connection, Leaving, MAX_FRAME, MAX_STREAM, Phase, Protocol, Refused, Role, SHUT_DOWN};
use crate::{Reason, frame, hpack};

impl Connection {
    /// Client: begins a stream, and returns its number. The head's URI gives scheme (http where there is none), authority and path, an
    /// extension [`Protocol`] the `:protocol`. Host and what belongs to a connection of HTTP/1.1 must not be among its headers. `ready`: further
    /// headers, as [`put_header`](hpack::put_header) writes them.
    ///
    /// # Errors
    ///
    /// [`Refused::Full`] at the peer's limit; [`Refused::Closing`] after a GOAWAY, when the numbers are spent, and of servers.
    pub fn request(&mut self, head: &http::Request<()>, ready: &[u8], end: bool) -> Result<u32, Refused> {
        let is_closing = self.phase == Phase::Over || self.leaving != Leaving::No || self.peer_left.is_some();
        let id = self.next_stream;
        if is_closing || self.role == Role::Server || id > MAX_STREAM {
            return Err(Refused::Closing);
        }
        if self.streams.len() >= self.peer.max_streams as usize {
            return Err(Refused::Full);
        }
        self.next_stream += 2;
        self.streams.insert(Stream {
            receiving: Half::Head,
            sending: if end { Half::Done } else { Half::Body },
            asked: match *head.method() {
                Method::HEAD => Asked::Head,
                Method::CONNECT => Asked::Connect,
                _ => Asked::Other,
            },
            ..self.fresh(id)
        });
        let protocol = head.extensions().get::<Protocol>();
        let is_tunnel = *head.method() == Method::CONNECT && protocol.is_none();
        frame::put_headers(&mut self.output.joined, id, end, MAX_FRAME, |out| {
            hpack::put_method(out, head.method());
            if !is_tunnel {
                hpack::put_scheme(out, head.uri().scheme().unwrap_or(&http::uri::Scheme::HTTP));
            }
            if let Some(authority) = head.uri().authority() {
                hpack::put_authority(out, authority);
            }
            match head.uri().path_and_query() {
                _ if is_tunnel => {}
                Some(path) => hpack::put_path(out, path),
                None => hpack::put_path(out, &http::uri::PathAndQuery::from_static("/")),
            }
            if let Some(protocol) = protocol {
                hpack::put_protocol(out, &protocol.0);
            }
            hpack::put_headers(out, head.headers());
            out.extend_from_slice(ready);
        });
        Ok(id)
    }

    /// Server: the head of the response, or of an interim one (1xx) before it, which ends nothing.
    ///
    /// # Errors
    ///
    /// [`Refused::Gone`] where the stream is over or has its response.
    pub fn respond(&mut self, stream: u32, head: &http::Response<()>, end: bool) -> Result<(), Refused> {
        let is_final = !head.status().is_informational();
        let end = end && is_final;
        if is_final {
            self.goes_on(stream, Half::Head, end)?;
        } else if !self
            .streams
            .get_mut(stream)
            .is_some_and(|stream| stream.sending == Half::Head)
        {
            return Err(Refused::Gone);
        }
        frame::put_headers(&mut self.output.joined, stream, end, MAX_FRAME, |out| {
            hpack::put_status(out, head.status());
            hpack::put_headers(out, head.headers());
        });
        Ok(())
    }

    /// Takes as much off the front of `data` as windows and output allow, and returns how much. With `end` the last of it ends the message;
    /// nothing with `end` ends it alone. If less was taken than there was: while [`is_full`](Connection::is_full), wait for output to be
    /// written, else for [`Event::Window`](super::Event::Window).
    ///
    /// # Errors
    ///
    /// [`Refused::Gone`] where the stream is over, the message is, or has no head yet.
    pub fn send_data(&mut self, id: u32, data: &mut Bytes, end: bool) -> Result<usize, Refused> {
        let room = match self.is_full() {
            true => 0,
            // A little more than that rather than a little frame.
            false => (self.config.output - self.output.len()).max(MAX_FRAME),
        };
        let stream = self.streams.get_mut(id).filter(|stream| stream.sending == Half::Body);
        let stream = stream.ok_or(Refused::Gone)?;
        let wanted = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let window = stream.send_window.min(self.send_window).max(0);
        if window < wanted {
            stream.is_blocked |= stream.send_window < wanted;
            self.is_blocked |= self.send_window < wanted;
        }
        let taken = wanted.min(window).min(i64::try_from(room).unwrap_or(i64::MAX));
        stream.send_window -= taken;
        self.send_window -= taken;
        let taken = usize::try_from(taken).unwrap_or(0);
        let is_end = end && taken == data.len();
        if taken == 0 && !is_end {
            return Ok(0);
        }
        let mut left = taken;
        loop {
            let piece = data.split_to(left.min(MAX_FRAME));
            left -= piece.len();
            frame::put_data_head(&mut self.output.joined, id, piece.len(), is_end && left == 0);
            self.output.put(piece);
            if left == 0 {
                break;
            }
        }
        if is_end {
            self.goes_on(id, Half::Body, true)?;
        }
        Ok(taken)
    }

    /// Trailers, which end the message.
    ///
    /// # Errors
    ///
    /// [`Refused::Gone`] where the stream is over, the message is, or has no head yet.
    pub fn send_trailers(&mut self, stream: u32, trailers: &HeaderMap) -> Result<(), Refused> {
        self.goes_on(stream, Half::Body, true)?;
        frame::put_headers(&mut self.output.joined, stream, true, MAX_FRAME, |out| {
            hpack::put_headers(out, trailers);
        });
        Ok(())
    }

    /// A message goes on from here, or ends.
    fn goes_on(&mut self, id: u32, from: Half, end: bool) -> Result<(), Refused> {
        let stream = self.streams.get_mut(id).filter(|stream| stream.sending == from);
        let stream = stream.ok_or(Refused::Gone)?;
        stream.sending = if end { Half::Done } else { Half::Body };
        if stream.is_over() {
            self.streams.remove(id);
            self.resets = self.resets.saturating_sub(1);
        }
        Ok(())
    }

    /// Gives a stream up, if it is not over. No event follows; what still comes for it is ignored.
    pub fn reset(&mut self, stream: u32, reason: Reason) {
        if let Some(known) = self.streams.remove(stream) {
            self.put_reset(stream, reason, known.receiving != Half::Done);
        }
    }

    /// Tells the peer that a stream is over; `may_come`: it may have sent more by now.
    pub(super) fn put_reset(&mut self, stream: u32, reason: Reason, may_come: bool) {
        frame::put_reset(&mut self.output.joined, stream, reason);
        if may_come {
            self.closed.add(stream);
        }
    }

    /// Asks for an [`Event::Pong`](super::Event::Pong).
    pub fn ping(&mut self, payload: [u8; 8]) {
        if self.phase != Phase::Over {
            frame::put_ping(&mut self.output.joined, false, payload);
        }
    }

    /// Ends the connection at once: GOAWAY, and all streams are over. Nothing but what the output holds is to be done then.
    pub fn go_away(&mut self, reason: Reason) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.streams.clear();
        self.events.clear();
        self.block = None;
        // What was said of it before must not be taken back: streams above were refused (RFC 9113 §6.8).
        let last = self.leaving.last().unwrap_or(self.last_peer);
        frame::put_go_away(&mut self.output.joined, last, reason);
    }

    /// Ends the connection when its streams have ended. A client begins no more. A server still takes what the client may have sent before
    /// it could know, until that answers a PING (RFC 9113 §6.8); what it begins then is refused.
    pub fn shut_down(&mut self) {
        if self.phase == Phase::Over || self.leaving != Leaving::No {
            return;
        }
        let out = &mut self.output.joined;
        if self.role == Role::Client {
            self.leaving = Leaving::Told(0);
            return frame::put_go_away(out, 0, Reason::NO_ERROR);
        }
        self.leaving = Leaving::Announced;
        frame::put_go_away(out, MAX_STREAM, Reason::NO_ERROR);
        frame::put_ping(out, false, SHUT_DOWN);
    }
}
