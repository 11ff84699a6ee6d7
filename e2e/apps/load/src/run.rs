//! A running load: its clients and what they have seen so far.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;

use crate::client::{self, Sent, Target, now_ms};
use crate::plan::{Cause, Failure, Load, Report};

/// The header in which the demo app tells which replica answers.
const INSTANCE: &str = "x-tenbin-instance";
/// How many failures a report holds.
const FAILURES: usize = 200;
/// How many answers a report lists in order.
const ORDER: usize = 2_000;

/// A load that was started.
pub(crate) struct Running {
    report: Mutex<Report>,
    last_ok_ms: AtomicU64,
    taken: AtomicU64,
    stop: AtomicBool,
}

impl Running {
    /// Starts the clients of `load`, one task each; they end by themselves or by [`Self::stop`].
    pub(crate) async fn start(load: Load) -> anyhow::Result<Arc<Self>> {
        ensure!(
            (1..=512).contains(&load.clients),
            "clients: {} is not accepted, expected 1 to 512",
            load.clients
        );
        let target = Target::resolve(&load.request.url).await?;
        let began_ms = now_ms();
        let running = Arc::new(Running {
            report: Mutex::new(Report {
                clients: load.clients,
                began_ms,
                ..Report::default()
            }),
            last_ok_ms: AtomicU64::new(began_ms),
            taken: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        for _ in 0..load.clients {
            let (running, load, target) = (running.clone(), load.clone(), target.clone());
            tokio::spawn(async move { running.client(&load, &target).await });
        }
        Ok(running)
    }

    /// No client sends another request; those under way end as they would have.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What was seen so far.
    pub(crate) fn report(&self) -> Report {
        let mut report = self.lock().clone();
        report.now_ms = now_ms();
        if report.clients > 0 {
            let gap = report.now_ms.saturating_sub(self.last_ok_ms.load(Ordering::Relaxed));
            report.longest_gap_ms = report.longest_gap_ms.max(gap);
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self, load: &Load, target: &Target) {
        let mut kept = None;
        while !self.stop.load(Ordering::Relaxed) && self.takes_one(load) {
            self.lock().open += 1;
            let sent = client::send(target, &load.request, &mut kept).await;
            if load.fresh_connections {
                kept = None;
            }
            self.record(sent);
            if load.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(load.pause_ms)).await;
            }
        }
        self.lock().clients -= 1;
    }

    fn takes_one(&self, load: &Load) -> bool {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        load.count.is_none_or(|count| taken < count)
    }

    fn record(&self, sent: Sent) {
        let Sent { answer, reused, opened } = sent;
        let mut report = self.lock();
        report.open -= 1;
        report.ended += 1;
        report.connections += u64::from(opened);
        let good = answer.error.is_none() && answer.status.is_some_and(|s| (200..300).contains(&s));
        if good {
            report.ok += 1;
            let before = self.last_ok_ms.swap(answer.ended_ms, Ordering::Relaxed);
            report.longest_gap_ms = report.longest_gap_ms.max(answer.ended_ms.saturating_sub(before));
            if let Some(name) = answer.headers.get(INSTANCE).cloned() {
                let instance = report.instances.entry(name.clone()).or_default();
                instance.ok += 1;
                instance.last_ms = answer.ended_ms;
                if instance.ok == 1 {
                    instance.first_ms = answer.ended_ms;
                }
                if report.order.len() < ORDER {
                    report.order.push(name);
                }
            }
            return;
        }
        report.failed += 1;
        report.last_failure_began_ms = report.last_failure_began_ms.max(answer.began_ms);
        if report.failures.len() < FAILURES {
            let (cause, reason) = answer
                .error
                .unwrap_or_else(|| (Cause::Status, answer.body.chars().take(200).collect()));
            report.failures.push(Failure {
                began_ms: answer.began_ms,
                ended_ms: answer.ended_ms,
                cause,
                status: answer.status,
                reason,
                reused,
            });
        }
    }
}
