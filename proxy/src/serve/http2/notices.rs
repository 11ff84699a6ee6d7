//! Informational responses on their way to the client of one stream, and what holds its body back until one is sent. Whoever learns of
//! them puts them here; the stream sends them, in order and before its response (RFC 9113 §8.1). What is worth telling is not decided here.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use http::{HeaderMap, Response, StatusCode};

use super::strip;
use crate::http2::Sender;
use crate::serve::expect::Said;

/// The most that a client is told of one request; more are dropped.
const MAX: u8 = 16;

/// What waits to be told to one client.
#[derive(Default)]
pub(in crate::serve) struct Notices {
    state: RefCell<State>,
    held: RefCell<Option<Rc<Said>>>,
    /// The stream.
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(StatusCode, HeaderMap)>,
    /// How many there were.
    told: u8,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notices")
    }
}

impl Notices {
    /// Has the client told. 101 is dropped: in HTTP/2 nothing is switched (RFC 9113 §8.6).
    pub(in crate::serve) fn tell(&self, status: StatusCode, mut headers: HeaderMap) {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        strip(&mut headers);
        let mut state = self.state.borrow_mut();
        if state.told < MAX {
            state.told += 1;
            state.waiting.push((status, headers));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// The body is held back until `said` says what is to become of it.
    pub(in crate::serve) fn hold(&self, said: Option<Rc<Said>>) {
        self.held.replace(said);
    }

    /// The body is held back no more; what holds it, if anything still does.
    pub(in crate::serve) fn release(&self) -> Option<Rc<Said>> {
        self.held.take()
    }

    /// Whoever waits with `waker` is woken when there is something to send.
    pub(super) fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state.borrow().waiting.is_empty()
    }

    /// Sends what waits, on a stream that is open and has no response yet.
    pub(super) fn send(&self, sender: &Sender) {
        if self.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.state.borrow_mut().waiting);
        for (status, headers) in waiting {
            let mut notice = Response::new(());
            *notice.status_mut() = status;
            *notice.headers_mut() = headers;
            // A stream that is over takes none.
            let _ = sender.respond(&notice, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_told_as_make_sense() {
        let notices = Notices::default();
        notices.tell(StatusCode::SWITCHING_PROTOCOLS, HeaderMap::new());
        notices.tell(StatusCode::OK, HeaderMap::new());
        assert!(notices.is_empty());
        let mut headers = HeaderMap::new();
        headers.insert("link", "</a.css>".parse().unwrap());
        headers.insert("connection", "close".parse().unwrap());
        for _ in 0..100 {
            notices.tell(StatusCode::EARLY_HINTS, headers.clone());
        }
        let state = notices.state.borrow();
        assert_eq!(state.waiting.len(), usize::from(MAX));
        let (status, headers) = &state.waiting[0];
        assert_eq!((*status, headers.len()), (StatusCode::EARLY_HINTS, 1));
    }
}
