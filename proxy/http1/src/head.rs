//! Heads off the front of a buffer: which lines belong to one, and what is made of them. Bodies are taken apart in `body`.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};

use crate::framing::Named;
use crate::lines::Lines;
use crate::start::{RequestLine, StatusLine};
use crate::{Length, Limits, Malformed, fields, framing, start, target, token};

/// RFC 9112 §2.2 asks to ignore at least one empty line before a request line: old clients end their bodies with one.
const EMPTY_LINES: u8 = 4;

/// A request without its body. Debug forms of heads tell nothing of what was sent: it may be secret.
pub struct RequestHead {
    /// Method, target, version (1.0 or 1.1) and headers as they came.
    pub request: Request<()>,
    /// How its body ends; `Exact(0)` where there is none.
    pub body: Length,
    /// Whether the client lets the connection go on after the response.
    pub keep_alive: bool,
}

/// A response without its body.
pub struct ResponseHead {
    /// Status, version (1.0 or 1.1) and headers as they came, but for a `Content-Length` beside chunks, which does not count.
    pub response: Response<()>,
    /// How its body ends; `Exact(0)` where there is none.
    pub body: Length,
    /// Whether the connection can be used again after the body. False for `UntilClose`, and where there is any doubt about where
    /// the response ends.
    pub keep_alive: bool,
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, keep_alive, .. } = self;
        f.debug_struct("RequestHead")
            .field("body", body)
            .field("keep_alive", keep_alive)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, keep_alive, .. } = self;
        f.debug_struct("ResponseHead")
            .field("body", body)
            .field("keep_alive", keep_alive)
            .finish_non_exhaustive()
    }
}

/// Where the search for a head's end stands: a head that comes byte by byte is not searched again from its beginning. After a
/// head was taken it is as new; after an error the connection has no further messages.
#[derive(Debug, Default)]
pub struct HeadReader {
    lines: Lines,
    /// The first line, once it was read while the rest was not there.
    request: Option<RequestLine>,
    status: Option<StatusLine>,
    /// Where the header lines begin.
    fields: usize,
    /// Header lines that were found.
    count: usize,
    /// Empty lines that were skipped.
    skipped: u8,
}

impl HeadReader {
    /// Takes a request's head off the front of `buf`, if all of it is there; `None`: more bytes are needed. At most 4 empty
    /// lines before it are skipped. Between two calls bytes may only be added at the end of `buf`.
    pub fn request(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<RequestHead>, Malformed> {
        let line = match self.request.take() {
            Some(line) => line,
            None => match self.request_line(buf, limits)? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        let Some((head, headers, named)) = self.rest(buf, limits)? else {
            self.request = Some(line);
            return Ok(None);
        };
        let body = framing::of_request(&headers, named, line.version)?;
        let keep_alive = named.keeps_alive(line.version);
        let mut request = Request::new(());
        *request.uri_mut() = target::read(&line.method, head.slice(line.target))?;
        *request.method_mut() = line.method;
        *request.version_mut() = line.version;
        *request.headers_mut() = headers;
        Ok(Some(RequestHead {
            request,
            body,
            keep_alive,
        }))
    }

    /// Takes a response's head off the front of `buf`, if all of it is there; `None`: more bytes are needed. `method`: of the
    /// request that it answers (HEAD has no body, 2xx to CONNECT neither; 1xx, 204 and 304 have none). Between two calls bytes
    /// may only be added at the end of `buf`.
    pub fn response(
        &mut self,
        buf: &mut BytesMut,
        limits: &Limits,
        method: &Method,
    ) -> Result<Option<ResponseHead>, Malformed> {
        let line = match self.status.take() {
            Some(line) => line,
            None => match self.status_line(buf, limits)? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        let Some((_, mut headers, named)) = self.rest(buf, limits)? else {
            self.status = Some(line);
            return Ok(None);
        };
        let (body, certain) = framing::of_response(&mut headers, named, line.version, line.status, method)?;
        let keep_alive = certain && named.keeps_alive(line.version);
        let mut response = Response::new(());
        *response.status_mut() = line.status;
        *response.version_mut() = line.version;
        *response.headers_mut() = headers;
        Ok(Some(ResponseHead {
            response,
            body,
            keep_alive,
        }))
    }

    /// Whether some bytes of a head are there, as of the last call; empty lines before it do not count.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.lines.has_begun()
    }

    fn request_line(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<RequestLine>, Malformed> {
        if !self.lines.has_begun() {
            self.skip_empty_lines(buf)?;
            // What does not begin like a method is told at once: it may never have an end of line.
            match buf.first() {
                None | Some(b'\r') => return Ok(None),
                Some(&first) if !token::is_token_byte(first) => return Err(Malformed::Method),
                Some(_) => {}
            }
        }
        let limit = start::line_limit(limits.target).min(limits.head);
        let Some(line) = self.lines.next(buf, limit, Malformed::TargetTooLong)? else {
            return Ok(None);
        };
        self.fields = self.lines.begin();
        start::request(buf.get(line).unwrap_or_default(), limits.target).map(Some)
    }

    fn status_line(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<StatusLine>, Malformed> {
        if buf.first().is_some_and(|&first| first != b'H') {
            return Err(Malformed::StatusLine);
        }
        let Some(line) = self.lines.next(buf, limits.head, Malformed::HeadTooLong)? else {
            return Ok(None);
        };
        self.fields = self.lines.begin();
        start::status(buf.get(line).unwrap_or_default()).map(Some)
    }

    /// Leaves nothing in `buf`, a CR, or the beginning of a head.
    fn skip_empty_lines(&mut self, buf: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            match buf.as_ref() {
                [b'\r', b'\n', ..] if self.skipped == EMPTY_LINES => return Err(Malformed::EmptyLines),
                [b'\r', b'\n', ..] => {
                    buf.advance(2);
                    self.skipped += 1;
                }
                [b'\r', _, ..] => return Err(Malformed::BareCr),
                [b'\n', ..] => return Err(Malformed::BareLf),
                _ => return Ok(()),
            }
        }
    }

    /// All bytes and the headers of the head whose first line was read, once its empty line is there.
    fn rest(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<(Bytes, HeaderMap, Named)>, Malformed> {
        while let Some(line) = self.lines.next(buf, limits.head, Malformed::HeadTooLong)? {
            if line.is_empty() {
                let done = std::mem::take(self);
                let head = buf.split_to(done.lines.begin()).freeze();
                let (headers, named) = fields::read(&head, done.fields, done.count)?;
                return Ok(Some((head, headers, named)));
            }
            if self.count == limits.headers {
                return Err(Malformed::TooManyHeaders);
            }
            self.count += 1;
        }
        Ok(None)
    }
}
