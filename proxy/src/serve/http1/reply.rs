//! A response on its way to a client over HTTP/1: its head and what there is of its body in as few writes as can be, the rest as it comes
//! and as fast as the client takes it.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::DATE;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body;
use tenbin_balance::Time;
use tenbin_http1::{CHUNK_END, Length, Reply as Head};
use tokio::time::{Sleep, sleep_until};

use super::wire::Wire;
use crate::serve::body::ResponseBody;
use crate::serve::error::Failure;
use crate::serve::worker::WorkerContext;

/// Chunks of up to so many bytes are copied behind what waits already, larger ones are written from where they are.
const SMALL: usize = 8 * 1024;
/// No more is asked for while so much waits to be written.
const FULL: usize = 16 * 1024;
/// The end of a chunk and of a body without trailers.
const LAST: &[u8] = b"\r\n0\r\n\r\n";

/// Why a response did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut;

/// A response that is being written.
pub(super) struct Reply<'a> {
    wire: &'a Wire,
    worker: &'a Rc<WorkerContext>,
    body: ResponseBody,
    framing: Framing,
    /// A large chunk, and what goes after it.
    data: Bytes,
    after: &'static [u8],
    /// Whether nothing more comes of the body.
    over: bool,
    /// How long it may stand still before a client that takes nothing.
    idle: Duration,
    cut: bool,
    stuck: Option<Stuck>,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none, whatever comes.
    None,
    /// By its length, of which so much is left.
    Exact(u64),
    Chunked,
    /// By closing.
    Close,
}

/// Since when the client takes nothing.
struct Stuck {
    since: Time,
    timer: Pin<Box<Sleep>>,
}

/// What a response is an answer to.
pub(super) struct To {
    pub(super) method: Method,
    pub(super) version: Version,
}

impl<'a> Reply<'a> {
    /// Begins to answer. `close` if the connection ends with it; so it may for other reasons.
    pub(super) fn begin(
        wire: &'a Wire,
        worker: &'a Rc<WorkerContext>,
        response: Response<ResponseBody>,
        to: &To,
        close: &mut bool,
    ) -> Self {
        let (head, body) = response.into_parts();
        let framing = framing(head.status, &body, to);
        *close |= framing == Framing::Close;
        let date = (!head.headers.contains_key(DATE)).then(|| worker.dates.now());
        let reply = Head {
            version: to.version,
            close: *close && head.status != StatusCode::SWITCHING_PROTOCOLS,
            body: match framing {
                Framing::None => None,
                Framing::Exact(length) => Some(Length::Exact(length)),
                Framing::Chunked => Some(Length::Chunked),
                Framing::Close => Some(Length::UntilClose),
            },
        };
        wire.respond(|out| tenbin_http1::write_response(out, head.status, &head.headers, &reply, date.as_ref()));
        tenbin_http1::recycle(head.headers);
        Reply {
            wire,
            worker,
            idle: body.idle(),
            body,
            framing,
            data: Bytes::new(),
            after: b"",
            over: false,
            cut: false,
            stuck: None,
        }
    }

    /// Ready when all of it was written, or no more of it can be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        loop {
            self.fill(cx);
            if self.over && !self.cut {
                // Its endpoint is free for others while the last of it is written.
                self.body = ResponseBody::none();
            }
            if self.data.is_empty() && self.after.is_empty() && self.wire.waiting() == 0 {
                if !self.over {
                    return Poll::Pending;
                }
                let flushed = match self.wire.poll_flush(cx) {
                    Poll::Ready(flushed) => flushed,
                    Poll::Pending => return self.poll_stuck(cx),
                };
                return Poll::Ready(if self.cut || flushed.is_err() { Err(Cut) } else { Ok(()) });
            }
            match self.wire.poll_write(&self.data, self.after, cx) {
                Poll::Ready(Ok(n)) => self.wrote(n),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut)),
                Poll::Pending => {
                    // A client may send all of its request before it reads.
                    self.body.poll_request(cx);
                    return self.poll_stuck(cx);
                }
            }
        }
    }

    fn wrote(&mut self, n: usize) {
        self.stuck = None;
        let of_data = n.min(self.data.len());
        self.data.advance(of_data);
        if self.data.is_empty() {
            // What it was read into can be read into again.
            self.data = Bytes::new();
        }
        self.after = self.after.get(n - of_data..).unwrap_or_default();
    }

    /// Takes of the body what is there, as long as that is not too much.
    fn fill(&mut self, cx: &mut Context<'_>) {
        while !self.over && self.data.is_empty() && self.after.is_empty() && self.wire.waiting() < FULL {
            match pin!(&mut self.body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        return self.finish(trailers.as_ref());
                    }
                },
                Poll::Ready(Some(Err(_))) => (self.over, self.cut) = (true, true),
                Poll::Ready(None) => self.finish(None),
            }
        }
    }

    fn take(&mut self, mut data: Bytes) {
        if data.is_empty() {
            return;
        }
        match &mut self.framing {
            Framing::None => return,
            Framing::Close => {}
            Framing::Exact(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    (*left, self.over, self.cut) = (0, true, true);
                }
            },
            Framing::Chunked => {
                self.wire.write(|out| tenbin_http1::write_chunk_size(out, data.len()));
                self.after = CHUNK_END;
                if self.body.is_end_stream() {
                    (self.after, self.over) = (LAST, true);
                }
            }
        }
        if !self.over && self.body.is_end_stream() {
            self.finish(None);
        }
        if data.len() <= SMALL {
            let after = std::mem::take(&mut self.after);
            self.wire.write(|out| {
                out.extend_from_slice(&data);
                out.extend_from_slice(after);
            });
        } else {
            self.data = data;
        }
    }

    /// Nothing more comes of the body.
    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        self.over = true;
        match self.framing {
            Framing::None | Framing::Close => {}
            Framing::Exact(left) => self.cut |= left > 0,
            Framing::Chunked => self.wire.write(|out| tenbin_http1::write_last_chunk(out, trailers)),
        }
    }

    /// Ready when the client takes nothing for too long.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        let clock = self.worker.clock;
        let idle = self.idle;
        let stuck = self.stuck.get_or_insert_with(|| {
            let since = clock.now();
            let timer = Box::pin(sleep_until(clock.at(since.plus(idle))));
            Stuck { since, timer }
        });
        ready!(stuck.timer.as_mut().poll(cx));
        if clock.now().since(stuck.since) < idle {
            stuck.timer.as_mut().reset(clock.at(stuck.since.plus(idle)));
            return stuck.timer.as_mut().poll(cx).map(|()| Err(Cut));
        }
        self.body.fail(Failure::DownloadIdle);
        Poll::Ready(Err(Cut))
    }
}

fn framing(status: StatusCode, body: &ResponseBody, to: &To) -> Framing {
    let has_none = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || to.method == Method::HEAD;
    match body.size_hint().exact() {
        _ if has_none => Framing::None,
        Some(length) => Framing::Exact(length),
        None if to.version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::Close,
    }
}
