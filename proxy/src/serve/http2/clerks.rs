//! Who serves streams: tasks as large as all that a stream may need, which a worker keeps for the next ones, since to make one costs about
//! as much as what it does for a small request. What serving a stream means must not come here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::stream::{self, Job};
use crate::serve::worker::WorkerContext;

/// The most clerks that wait for streams on a worker.
const MOST: usize = 128;

/// The clerks of a worker that wait.
#[derive(Default)]
pub(in crate::serve) struct Clerks(RefCell<Vec<Inbox>>);

/// Where a clerk that waits gets its next stream from. Dropped, it is let go.
struct Inbox(Rc<Mail>);

#[derive(Default)]
struct Mail {
    job: Cell<Option<Job>>,
    /// Whether nothing more comes.
    over: Cell<bool>,
    clerk: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Clerks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clerks")
    }
}

impl Clerks {
    /// Has a stream served, by a task of its own.
    #[expect(clippy::disallowed_methods, reason = "each stream is a task")]
    pub(super) fn serve(worker: &Rc<WorkerContext>, job: Job) {
        let waiting = worker.clerks.0.borrow_mut().pop();
        match waiting {
            Some(inbox) => inbox.give(job),
            None => drop(tokio::task::spawn_local(Box::pin(work(Rc::clone(worker), job)))),
        }
    }

    /// Lets half of them go: of what nobody needs any more, little is left soon.
    pub(in crate::serve) fn sweep(&self) {
        let mut waiting = self.0.borrow_mut();
        let half = waiting.len() / 2;
        waiting.truncate(half);
        waiting.shrink_to(MOST / 4);
    }

    /// Has a clerk that is done with a stream get another one by `mail`; false if enough others wait.
    fn wait(&self, mail: &Rc<Mail>) -> bool {
        let mut waiting = self.0.borrow_mut();
        let is_wanted = waiting.len() < MOST;
        if is_wanted {
            waiting.push(Inbox(Rc::clone(mail)));
        }
        is_wanted
    }
}

impl Inbox {
    fn give(self, job: Job) {
        self.0.job.set(Some(job));
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.over.set(true);
        if let Some(clerk) = self.0.clerk.take() {
            clerk.wake();
        }
    }
}

/// Serves one stream after the other.
async fn work(worker: Rc<WorkerContext>, first: Job) {
    let mail = Rc::<Mail>::default();
    let mut job = first;
    loop {
        stream::serve(job).await;
        mail.over.set(false);
        if !worker.clerks.wait(&mail) {
            return;
        }
        let next = poll_fn(|cx| match mail.job.take() {
            Some(job) => Poll::Ready(Some(job)),
            None if mail.over.get() => Poll::Ready(None),
            None => {
                mail.clerk.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        match next.await {
            Some(next) => job = next,
            None => return,
        }
    }
}
