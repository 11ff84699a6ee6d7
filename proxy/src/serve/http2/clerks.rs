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
pub(in crate::serve) struct Clerks(RefCell<Vec<Inbox<Job>>>);

/// Where a clerk that waits gets its next stream from. Dropped, it is let go.
struct Inbox<T>(Rc<Mail<T>>);

/// What comes to a clerk.
struct Mail<T> {
    job: Cell<Option<T>>,
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
    fn wait(&self, mail: &Rc<Mail<Job>>) -> bool {
        let mut waiting = self.0.borrow_mut();
        let is_wanted = waiting.len() < MOST;
        if is_wanted {
            waiting.push(mail.inbox());
        }
        is_wanted
    }
}

impl<T> Mail<T> {
    fn new() -> Rc<Self> {
        Rc::new(Mail {
            job: Cell::new(None),
            over: Cell::new(true),
            clerk: Cell::new(None),
        })
    }

    /// Where the next is put that comes.
    fn inbox(self: &Rc<Self>) -> Inbox<T> {
        self.over.set(false);
        Inbox(Rc::clone(self))
    }

    /// The next that comes; `None` if nothing will.
    async fn next(&self) -> Option<T> {
        poll_fn(|cx| match self.job.take() {
            Some(job) => Poll::Ready(Some(job)),
            None if self.over.get() => Poll::Ready(None),
            None => {
                self.clerk.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

impl<T> Inbox<T> {
    fn give(self, job: T) {
        self.0.job.set(Some(job));
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.0.over.set(true);
        if let Some(clerk) = self.0.clerk.take() {
            clerk.wake();
        }
    }
}

/// Serves one stream after the other.
async fn work(worker: Rc<WorkerContext>, first: Job) {
    let mail = Mail::new();
    let mut job = first;
    loop {
        stream::serve(job).await;
        if !worker.clerks.wait(&mail) {
            return;
        }
        match mail.next().await {
            Some(next) => job = next,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_clerk_gets_what_comes_until_it_is_let_go() {
        let mail = Mail::new();
        let next = || timeout(Duration::from_secs(10), mail.next());
        assert_eq!(next().await, Ok(None), "nobody knows of it");
        mail.inbox().give(1);
        assert_eq!(next().await, Ok(Some(1)), "it came before");
        for job in [Some(2), None, Some(3)] {
            let inbox = mail.inbox();
            let (got, ()) = tokio::join!(next(), async {
                if let Some(job) = job {
                    inbox.give(job);
                }
            });
            assert_eq!(got, Ok(job), "it waited");
        }
    }
}
