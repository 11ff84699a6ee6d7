//! What a client is told of its request before the response: that it may send its body (100), and what its endpoint says meanwhile
//! (103 and others). How it gets there is its driver's: HTTP/1 writes it before the response (`http1/wire`), HTTP/2 on the request's
//! stream (`http2/notices`).

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};

use super::expect::Said;
use super::http1::Wire;
use super::http2::Notices;

/// Tells the client of one request.
#[derive(Clone, Debug)]
pub(super) enum Informer {
    /// Over HTTP/1, where a connection has one request at a time.
    Http1(Rc<Wire>),
    /// On a stream of HTTP/2.
    Stream(Arc<Notices>),
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
    pub(super) fn hold(&self, said: &Arc<Said>) {
        let said = Some(Arc::clone(said));
        match self {
            Informer::Http1(wire) => wire.hold(said),
            Informer::Stream(notices) => *notices.held() = said,
        }
    }

    /// The body is held back no more; what holds it, if anything still does.
    pub(super) fn release(&self) -> Option<Arc<Said>> {
        match self {
            Informer::Http1(wire) => wire.release(),
            Informer::Stream(notices) => notices.held().take(),
        }
    }

    /// Has the endpoint of `request` heard on its way to the client, and by `said`, where the body waits for a word of it.
    pub(super) fn listen<B>(&self, request: &mut Request<B>, said: Option<Arc<Said>>) {
        let notices = match (self, &said) {
            (Informer::Http1(_), None) => return,
            (Informer::Http1(_), Some(_)) => None,
            (Informer::Stream(notices), _) => Some(Arc::clone(notices)),
        };
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                if let Some(said) = &said {
                    said.yes();
                }
            } else if let Some(notices) = &notices {
                notices.tell(response.status(), response.headers().clone());
            }
        });
    }
}
