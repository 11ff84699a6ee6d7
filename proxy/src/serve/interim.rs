//! Informational responses (1xx) of endpoints on their way to HTTP/1.1 clients. hyper's server cannot send any, so the socket writes them
//! itself, and only where it must be between two messages: HTTP has flushed all that it had, and has not begun the response.
//! They are passed to clients that say they are navigating (`Sec-Fetch-Mode: navigate`): these know what to do with them, and nobody
//! else's requests pay for the ear that is lent to the endpoint.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::task::AtomicWaker;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{Request, StatusCode, Version};

use super::io::IoCounts;

/// The most bytes of them that wait to be written; what comes beyond is dropped.
pub(super) const MAX_WAITING: usize = 16 * 1024;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Headers that make no sense in them, or would be wrong on another connection.
const DROPPED: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// What waits to be written to one client.
#[derive(Debug, Default)]
pub(super) struct Interim {
    /// Whether anything waits.
    waits: AtomicBool,
    /// Whether the client wants to hear of it, and the response has not begun.
    open: AtomicBool,
    /// Whether HTTP has begun to write since its last flush.
    writing: AtomicBool,
    text: Mutex<Vec<u8>>,
    /// Whoever can have it written.
    waker: AtomicWaker,
}

impl Interim {
    /// HTTP begins to write something.
    pub(super) fn writes(&self) {
        self.writing.store(true, Relaxed);
    }

    /// HTTP has written all that it had.
    pub(super) fn flushed(&self) {
        self.writing.store(false, Relaxed);
    }

    /// Whether something waits and may be written now.
    pub(super) fn is_due(&self) -> bool {
        self.waits.load(Relaxed) && !self.writing.load(Relaxed)
    }

    /// Writes all that waits.
    pub(super) fn poll_write(&self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
        let mut text = self.text();
        while !text.is_empty() {
            let n = std::task::ready!(write(&text))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let written = n.min(text.len());
            text.drain(..written);
        }
        self.waits.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }

    /// An endpoint said this before its response; the client is told, if it wants to hear it.
    pub(super) fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        if self.open.load(Relaxed) {
            self.push(status, headers);
        }
    }

    fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let head = head(status, headers);
        let mut text = self.text();
        if text.len() + head.len() <= MAX_WAITING {
            text.extend_from_slice(&head);
            self.waits.store(true, Relaxed);
            self.waker.wake();
        }
    }

    /// The client may send its body, if that can still be said.
    pub(super) fn say_continue(&self) {
        if !self.writing.load(Relaxed) {
            self.text().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.waits.store(true, Relaxed);
        }
    }

    /// The response begins: what could not be written before it never will be. What is half written is finished, since then HTTP is not
    /// writing.
    fn close(&self) {
        if self.writing.load(Relaxed) {
            self.text().clear();
            self.waits.store(false, Relaxed);
        }
    }

    fn text(&self) -> MutexGuard<'_, Vec<u8>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's ear for informational responses, open until its response begins.
struct Relay(Arc<IoCounts>);

/// Answers a request by `serve`, and passes on what its endpoint says before that, if the client wants to hear it.
pub(super) async fn relayed<B, F: Future>(
    counts: &Arc<IoCounts>,
    request: Request<B>,
    serve: impl FnOnce(Request<B>) -> F,
) -> F::Output {
    let relay = wants(&request).then(|| Relay::open(counts));
    let mut served = pin!(serve(request));
    let response = poll_fn(|cx| {
        if let Some(relay) = &relay {
            relay.0.interim.waker.register(cx.waker());
        }
        served.as_mut().poll(cx)
    })
    .await;
    drop(relay);
    response
}

fn wants<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request
            .headers()
            .get(SEC_FETCH_MODE)
            .is_some_and(|mode| mode == "navigate")
}

impl Relay {
    fn open(counts: &Arc<IoCounts>) -> Self {
        counts.interim.open.store(true, Relaxed);
        Relay(Arc::clone(counts))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.interim.open.store(false, Relaxed);
        self.0.interim.close();
    }
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers.iter().filter(|(name, _)| !DROPPED.contains(name)) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(interim: &Interim) {
        let mut headers = HeaderMap::new();
        headers.insert("link", "</a.css>".parse().unwrap());
        headers.insert("connection", "close".parse().unwrap());
        interim.push(StatusCode::EARLY_HINTS, &headers);
    }

    #[test]
    fn nothing_is_written_into_the_middle_of_a_message() {
        let interim = Interim::default();
        interim.writes();
        hint(&interim);
        assert!(!interim.is_due());
        interim.flushed();
        assert!(interim.is_due());
        let mut out = Vec::new();
        let mut slow = |text: &[u8]| {
            out.push(text[0]);
            Poll::Ready(Ok(1))
        };
        assert!(matches!(interim.poll_write(&mut slow), Poll::Ready(Ok(()))));
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(!interim.is_due());
    }

    #[test]
    fn what_came_too_late_is_dropped_and_what_is_half_written_is_not() {
        let interim = Interim::default();
        interim.writes();
        hint(&interim);
        interim.close();
        interim.flushed();
        assert!(!interim.is_due());

        hint(&interim);
        let mut first = true;
        let stuck = |_: &[u8]| {
            if std::mem::take(&mut first) {
                Poll::Ready(Ok(5))
            } else {
                Poll::Pending
            }
        };
        assert!(interim.poll_write(stuck).is_pending());
        interim.close();
        assert!(interim.is_due());
        assert!(interim.text().starts_with(b"1.1 103"));
    }

    #[test]
    fn a_flood_of_them_is_cut() {
        let interim = Interim::default();
        for _ in 0..10_000 {
            hint(&interim);
        }
        assert!(interim.text().len() <= MAX_WAITING);
    }
}
