//! What a client is told of its request before the response: that it may send its body (100), and what its endpoint says meanwhile
//! (103 and others). How it gets there is its driver's: HTTP/1 writes it before the response (`http1/wire`), HTTP/2 on the request's
//! stream (`http2/notices`).

use std::rc::Rc;

use http::header::{CONNECTION, HeaderName, TRAILER, UPGRADE};
use http::{HeaderMap, StatusCode};

use super::expect::Said;
use super::http1::Wire;
use super::http2::Notices;

/// Headers that make no sense in them, or would be wrong on another connection.
const DROPPED: [HeaderName; 4] = [CONNECTION, TRAILER, UPGRADE, HeaderName::from_static("keep-alive")];

/// Tells the client of one request.
#[derive(Clone, Debug)]
pub(super) enum Informer {
    /// Over HTTP/1, where a connection has one request at a time.
    Http1(Rc<Wire>),
    /// On a stream of HTTP/2.
    Stream(Rc<Notices>),
}

impl Informer {
    /// Tells the client that it may send its body.
    pub(super) fn say_continue(&self) {
        match self {
            Informer::Http1(wire) => wire.say_continue(),
            Informer::Stream(notices) => notices.tell(StatusCode::CONTINUE, HeaderMap::new()),
        }
    }

    /// The body is about to be read: its client is told so. HTTP/1 does it when it reads.
    pub(super) fn reads(&self) {
        match self {
            Informer::Http1(_) => {}
            Informer::Stream(_) => self.say_continue(),
        }
    }

    /// The body is held back until `said` says what is to become of it.
    pub(super) fn hold(&self, said: &Rc<Said>) {
        let said = Some(Rc::clone(said));
        match self {
            Informer::Http1(wire) => wire.hold(said),
            Informer::Stream(notices) => notices.hold(said),
        }
    }

    /// The body is held back no more; what holds it, if anything still does.
    pub(super) fn release(&self) -> Option<Rc<Said>> {
        match self {
            Informer::Http1(wire) => wire.release(),
            Informer::Stream(notices) => notices.release(),
        }
    }

    /// Tells the client what its endpoint says before the response.
    pub(super) fn tell(&self, status: StatusCode, mut headers: HeaderMap) {
        match self {
            Informer::Http1(wire) => {
                for name in DROPPED {
                    headers.remove(name);
                }
                wire.tell(status, &headers);
            }
            Informer::Stream(notices) => notices.tell(status, headers),
        }
    }
}
