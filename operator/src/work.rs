//! A queue of apps to work on: each app serially, several apps at once, again after a while when the work says so. It knows
//! nothing of what the work is. Bounded by the number of apps, since an app waits in it at most once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::AppKey;

/// Apps that wait for work. Pushing never blocks.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<BTreeSet<AppKey>>,
    pushed: Notify,
}

/// What follows a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until the app is pushed again.
    Idle,
    /// Work again after this time, or earlier when the app is pushed.
    After(Duration),
}

impl Queue {
    /// Adds an app; no effect when it waits already.
    pub fn push(&self, app: AppKey) {
        self.extend([app]);
    }

    /// Adds apps.
    pub fn extend(&self, apps: impl IntoIterator<Item = AppKey>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(apps);
        self.pushed.notify_one();
    }

    fn take(&self) -> BTreeSet<AppKey> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Works on what is pushed, for ever: never on one app twice at once, on at most `at_once` apps. Dropping it drops the work.
    pub async fn run<F>(&self, at_once: usize, mut work: impl FnMut(AppKey) -> F)
    where
        F: Future<Output = Next>,
    {
        let mut due: BTreeSet<AppKey> = BTreeSet::new();
        let mut later: BTreeMap<AppKey, Instant> = BTreeMap::new();
        let mut running = FuturesUnordered::new();
        let mut busy: BTreeSet<AppKey> = BTreeSet::new();
        loop {
            due.extend(self.take());
            let now = Instant::now();
            due.extend(later.extract_if(.., |_, at| *at <= now).map(|(app, _)| app));
            let free = at_once.saturating_sub(running.len());
            let start: Vec<AppKey> = due
                .iter()
                .filter(|app| !busy.contains(*app))
                .take(free)
                .cloned()
                .collect();
            for app in start {
                due.remove(&app);
                later.remove(&app);
                busy.insert(app.clone());
                let future = work(app.clone());
                running.push(async move { (app, future.await) });
            }
            let wake = later.values().min().copied();
            tokio::select! {
                Some((app, next)) = running.next() => {
                    busy.remove(&app);
                    if let Next::After(delay) = next {
                        later.insert(app, Instant::now() + delay);
                    }
                }
                () = self.pushed.notified() => {}
                () = tokio::time::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }
}

/// The time before try number `failures` + 1: doubling from 1 s to 60 s, with up to a quarter of jitter on top.
pub fn backoff(failures: u32) -> Duration {
    let base = step(failures);
    base + base.mul_f64(fastrand::f64() / 4.0)
}

/// The same without jitter.
pub fn step(failures: u32) -> Duration {
    let seconds = 1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(60).min(60);
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn key(name: &str) -> AppKey {
        AppKey {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_app_is_worked_on_serially_and_others_beside_it() {
        let queue = Queue::default();
        let open: Rc<RefCell<Vec<AppKey>>> = Rc::default();
        let most = Rc::new(RefCell::new(0));
        let runs = Rc::new(RefCell::new(0));
        queue.extend(["a", "b", "c", "d"].map(key));
        let work = |app: AppKey| {
            let (open, most, runs) = (open.clone(), most.clone(), runs.clone());
            let queue = &queue;
            async move {
                assert!(!open.borrow().contains(&app), "{app} twice at once");
                open.borrow_mut().push(app.clone());
                let now = open.borrow().len();
                let before = *most.borrow();
                *most.borrow_mut() = before.max(now);
                *runs.borrow_mut() += 1;
                // Pushed while it is worked on: worked on once more, afterwards.
                if *runs.borrow() <= 4 {
                    queue.push(app.clone());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                open.borrow_mut().retain(|other| *other != app);
                Next::Idle
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(60), queue.run(3, work)).await;
        assert!(end.is_err(), "runs for ever");
        assert_eq!((*most.borrow(), *runs.borrow()), (3, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn work_comes_back_after_its_time_and_a_push_is_earlier() {
        let queue = Queue::default();
        let times = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        queue.push(key("a"));
        let work = |_| {
            let times = times.clone();
            async move {
                times.borrow_mut().push(start.elapsed().as_secs());
                match times.borrow().len() {
                    1 | 2 => Next::After(Duration::from_secs(30)),
                    _ => Next::Idle,
                }
            }
        };
        let push = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            queue.push(key("a"));
            tokio::time::sleep(Duration::from_secs(100)).await;
        };
        tokio::select! {
            () = queue.run(1, work) => {}
            () = push => {}
        }
        assert_eq!(*times.borrow(), [0, 30, 40]);
    }

    #[test]
    fn backoff_grows_and_is_bounded() {
        for (failures, least) in [(0, 1), (1, 1), (2, 2), (3, 4), (7, 60), (1000, 60)] {
            let delay = backoff(failures).as_secs_f64();
            let least = f64::from(least);
            assert!((least..=least * 1.25).contains(&delay), "{failures}: {delay}");
        }
    }
}
