//! Where requests are served: futures as large as all that a request may need, which a worker keeps for the next ones. A connection between
//! two requests has none. What serving a request means must not come here.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use tenbin_http1::RequestHead;

use super::wire::Wire;
use super::{End, serve};
use crate::serve::connection::Connection;

/// The most desks that a worker keeps.
const MOST: usize = 64;

/// The desks of a worker that are free.
#[derive(Debug, Default)]
pub(in crate::serve) struct Desks(RefCell<Vec<Desk>>);

/// Serves one request after the other. Dropped in the midst of one, it takes it along.
pub(super) struct Desk {
    mail: Rc<Mail>,
    clerk: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// What comes to a desk, and goes.
#[derive(Default)]
struct Mail {
    request: Cell<Option<Job>>,
    /// How its connection ends, if it does.
    end: Cell<Option<Option<End>>>,
}

struct Job {
    connection: Rc<Connection>,
    wire: Rc<Wire>,
    head: RequestHead,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl Desks {
    /// A free one.
    pub(super) fn take(&self) -> Desk {
        self.0.borrow_mut().pop().unwrap_or_else(Desk::new)
    }

    /// Lets go of half of them: of what nobody needs any more, little is left soon.
    pub(in crate::serve) fn sweep(&self) {
        let mut free = self.0.borrow_mut();
        let half = free.len() / 2;
        free.truncate(half);
        free.shrink_to(MOST / 4);
    }

    fn put(&self, desk: Desk) {
        let mut free = self.0.borrow_mut();
        if free.len() < MOST {
            free.push(desk);
        }
    }
}

impl Desk {
    fn new() -> Self {
        let mail = Rc::<Mail>::default();
        let clerk = Box::pin(work(Rc::clone(&mail)));
        Desk { mail, clerk }
    }

    /// Serves one request; how the connection ends, if it does.
    pub(super) fn serve(
        mut self,
        connection: &Rc<Connection>,
        wire: &Rc<Wire>,
        head: RequestHead,
    ) -> impl Future<Output = Option<End>> {
        // At once, so that what is awaited is not as large as a head.
        self.mail.request.set(Some(Job {
            connection: Rc::clone(connection),
            wire: Rc::clone(wire),
            head,
        }));
        async move {
            let end = poll_fn(|cx| {
                let Poll::Pending = self.clerk.as_mut().poll(cx);
                self.mail.end.take().map_or(Poll::Pending, Poll::Ready)
            })
            .await;
            connection.worker.desks.put(self);
            end
        }
    }
}

async fn work(mail: Rc<Mail>) -> Infallible {
    // What responses are written to on their way out.
    let mut out = BytesMut::new();
    loop {
        let job = poll_fn(|_| mail.request.take().map_or(Poll::Pending, Poll::Ready)).await;
        job.wire.swap_out(&mut out);
        let end = serve(&job.connection, &job.wire, job.head).await;
        job.wire.swap_out(&mut out);
        mail.end.set(Some(end));
    }
}
