//! Bodies that come, and windows in both directions (RFC 9113 §5.2): what the peer may send, and what we may.

use bytes::Bytes;

use super::receive::{Absent, of_stream};
use super::streams::Half;
use super::{Connection, Event, MAX_WINDOW, Phase};
use crate::frame::{self, Wrong};
use crate::{Error, Reason};

impl Connection {
    pub(super) fn data(&mut self, id: u32, data: Bytes, flow: u32, end: bool) -> Result<Option<Event>, Wrong> {
        if i64::from(flow) > self.receive_window {
            let what = "more DATA than the connection's window";
            return Err(Error::new(Reason::FLOW_CONTROL_ERROR, what).into());
        }
        self.receive_window -= i64::from(flow);
        let length = data.len() as u64;
        let Some(stream) = self.streams.get_mut(id) else {
            self.costs(1);
            self.release_connection(flow);
            self.ignored(id)?;
            return Ok(None);
        };
        let left = stream.length.map(|left| left.checked_sub(length));
        let wrong = match stream.receiving {
            Half::Done => Some((Reason::STREAM_CLOSED, "DATA after the end of the message")),
            Half::Head => Some((Reason::PROTOCOL_ERROR, "DATA before the head of the message")),
            Half::Body if i64::from(flow) > stream.receive_window => {
                Some((Reason::FLOW_CONTROL_ERROR, "more DATA than the stream's window"))
            }
            Half::Body if left == Some(None) || end && left.is_some_and(|left| left != Some(0)) => {
                Some((Reason::PROTOCOL_ERROR, "another length of the body than Content-Length"))
            }
            Half::Body => None,
        };
        if let Some((reason, what)) = wrong {
            self.release_connection(flow);
            return Err(of_stream(id, reason, what));
        }
        stream.length = left.flatten();
        stream.receive_window -= i64::from(flow);
        if end {
            stream.receiving = Half::Done;
            if stream.is_over() {
                self.streams.remove(id);
            }
        }
        let padding = u64::from(flow).saturating_sub(length);
        if padding > 0 {
            self.release(id, u32::try_from(padding).unwrap_or(flow));
        }
        let is_something = end || !data.is_empty();
        Ok(is_something.then_some(Event::Data { stream: id, data, end }))
    }

    pub(super) fn window(&mut self, increment: u32) -> Result<Option<Event>, Error> {
        if increment == 0 {
            return Err(Error::new(Reason::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing"));
        }
        self.send_window += i64::from(increment);
        if self.send_window > MAX_WINDOW {
            let what = "a window of more than 2^31 - 1 bytes";
            return Err(Error::new(Reason::FLOW_CONTROL_ERROR, what));
        }
        let is_news = std::mem::take(&mut self.is_blocked);
        Ok(is_news.then_some(Event::Window { stream: None }))
    }

    pub(super) fn stream_window(&mut self, id: u32, increment: u32) -> Result<Option<Event>, Wrong> {
        let Some(stream) = self.streams.get_mut(id) else {
            if self.absent(id) == Absent::Idle {
                self.ignored(id)?;
            }
            return Ok(None);
        };
        if increment == 0 {
            return Err(of_stream(id, Reason::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing"));
        }
        stream.send_window += i64::from(increment);
        if stream.send_window > MAX_WINDOW {
            let what = "a window of more than 2^31 - 1 bytes";
            return Err(of_stream(id, Reason::FLOW_CONTROL_ERROR, what));
        }
        let is_news = stream.is_blocked && stream.send_window > 0;
        stream.is_blocked &= !is_news;
        Ok(is_news.then_some(Event::Window { stream: Some(id) }))
    }

    /// So many bytes of [`Event::Data`] are consumed. To be called once for each byte, also when its stream is over. The
    /// peer is told when it is half of a window.
    pub fn release(&mut self, id: u32, bytes: u32) {
        self.release_connection(bytes);
        let window = self.own_window;
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.receiving != Half::Done) else {
            return;
        };
        let increment = released(&mut stream.released, bytes, &mut stream.receive_window, window);
        if increment > 0 {
            frame::put_window_update(&mut self.output.joined, id, increment);
        }
    }

    /// The same for the connection alone.
    pub(super) fn release_connection(&mut self, bytes: u32) {
        let window = self.config.connection_window;
        let increment = released(&mut self.released, bytes, &mut self.receive_window, window);
        if increment > 0 && self.phase != Phase::Over {
            frame::put_window_update(&mut self.output.joined, 0, increment);
        }
    }
}

/// Counts bytes that were released, never more than are out; by how much the window is to grow now.
pub(super) fn released(count: &mut u32, bytes: u32, receive_window: &mut i64, window: u32) -> u32 {
    let out = i64::from(window) - *receive_window - i64::from(*count);
    let bytes = u32::try_from(out.clamp(0, i64::from(bytes))).unwrap_or(0);
    *count += bytes;
    if *count == 0 || *count < window / 2 {
        return 0;
    }
    *receive_window += i64::from(*count);
    std::mem::take(count)
}
