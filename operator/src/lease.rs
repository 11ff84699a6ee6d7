//! Leader election on a Lease, as client-go does it: optimistic concurrency at the API server, and a holder counts as gone when its
//! record has not changed for its lease's duration *by our own clock*, so that clocks need not agree. Losing the lease stops
//! writing, never the process. No decision about what a leader does.

mod decide;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use decide::{Decision, Observation, Record};

/// How long a lease lasts that is not renewed.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader writes on without having renewed: less than the lease lasts, so that two never write at once.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often a replica looks at the lease.
const RETRY: Duration = Duration::from_secs(2);
/// The longest that one look at the lease may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Whether this replica leads, to be asked before every write.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
}

impl Leadership {
    /// Leadership that is set from outside: `None` for a follower, else until when it leads.
    pub fn new() -> (watch::Sender<Option<Instant>>, Leadership) {
        let (sender, until) = watch::channel(None);
        (sender, Leadership { until })
    }

    /// Whether this replica leads now. Turns false by itself when renewing fails for too long.
    pub fn is_leader(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this replica leads. Waits for ever when nothing elects any more.
    pub async fn gained(&mut self) {
        let leads = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        if self.until.wait_for(leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this replica does not lead.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.until.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = self.until.changed() => if changed.is_err() { tokio::time::sleep_until(until).await },
            }
        }
    }
}

/// What the election needs to know.
pub struct Elector {
    /// Leases of the operator's namespace.
    pub leases: Api<Lease>,
    /// The lease's name.
    pub name: String,
    /// This replica's name: its pod's.
    pub me: String,
    /// Where to tell whether this replica leads, and until when.
    pub leads: watch::Sender<Option<Instant>>,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
}

impl Elector {
    /// Elects until `stop`, then gives the lease up if held.
    pub async fn run(self, stop: CancellationToken) {
        let mut seen: Option<Observation> = None;
        let mut renewed: Option<Instant> = None;
        let mut failing = false;
        loop {
            let started = Instant::now();
            let left = renewed.map_or(ATTEMPT, |at| {
                (at + RENEW_DEADLINE).saturating_duration_since(started).min(ATTEMPT)
            });
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                outcome = tokio::time::timeout(left, self.attempt(&mut seen)) => outcome,
            };
            let held = match outcome {
                Ok(Ok(held)) => {
                    failing = false;
                    Some(held)
                }
                Ok(Err(error)) => {
                    self.complain(&mut failing, &error.to_string());
                    None
                }
                Err(_) => {
                    self.complain(&mut failing, "no answer in time");
                    None
                }
            };
            renewed = match held {
                Some(true) => Some(started),
                Some(false) => None,
                None => renewed.filter(|at| started < *at + RENEW_DEADLINE),
            };
            self.tell(renewed.map(|at| at + RENEW_DEADLINE));
            let wake = renewed.map_or(started + RETRY, |at| (started + RETRY).min(at + RENEW_DEADLINE));
            tokio::select! {
                () = stop.cancelled() => break,
                // Never a tight loop, also when the deadline is due.
                () = tokio::time::sleep_until(wake.max(Instant::now() + RETRY / 10)) => {}
            }
        }
        self.tell(None);
        if let (Some(_), Some(seen)) = (renewed, &seen) {
            self.release(seen).await;
        }
    }

    /// One look at the lease. True when this replica holds it now.
    async fn attempt(&self, seen: &mut Option<Observation>) -> kube::Result<bool> {
        let live = self.leases.get_opt(&self.name).await?;
        *seen = live
            .as_ref()
            .map(|lease| Observation::of(seen.take(), Record::of(lease), Instant::now()));
        let now = Timestamp::now();
        let written = match decide::decide(&self.me, seen.as_ref(), Instant::now()) {
            Decision::Wait => return Ok(false),
            Decision::Create => {
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    ..Default::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(self.spec(now, now, 0)),
                };
                self.leases.create(&PostParams::default(), &lease).await
            }
            Decision::Take { transitions } => self.write(seen.as_ref(), self.spec(now, now, transitions)).await,
            Decision::Renew { acquired, transitions } => {
                let acquired = acquired.unwrap_or(now);
                self.write(seen.as_ref(), self.spec(acquired, now, transitions)).await
            }
        };
        match written {
            Ok(lease) => {
                *seen = Some(Observation::of(seen.take(), Record::of(&lease), Instant::now()));
                Ok(true)
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                debug!(lease = %self.name, "the lease changed meanwhile");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn spec(&self, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(renewed)),
            lease_transitions: Some(transitions),
            ..Default::default()
        }
    }

    /// Writes the spec if the lease is still as seen: its resourceVersion is the precondition.
    async fn write(&self, seen: Option<&Observation>, spec: LeaseSpec) -> kube::Result<Lease> {
        let version = seen.map(|s| s.record.version.clone());
        let patch = serde_json::json!({ "metadata": { "resourceVersion": version }, "spec": spec });
        self.leases
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// Gives the lease up, so that another replica need not wait for its end.
    async fn release(&self, seen: &Observation) {
        let now = Timestamp::now();
        let mut spec = self.spec(now, now, seen.record.transitions);
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        match tokio::time::timeout(ATTEMPT, self.write(Some(seen), spec)).await {
            Ok(Ok(_)) => info!(lease = %self.name, "lease released"),
            Ok(Err(error)) => warn!(lease = %self.name, %error, "lease not released; it runs out by itself"),
            Err(_) => warn!(lease = %self.name, "lease not released in time; it runs out by itself"),
        }
    }

    fn tell(&self, until: Option<Instant>) {
        let before = self.leads.send_replace(until);
        match (before.is_some(), until.is_some()) {
            (false, true) => info!(lease = %self.name, replica = %self.me, "this replica leads"),
            (true, false) => info!(lease = %self.name, replica = %self.me, "this replica does not lead any more"),
            _ => {}
        }
        self.metrics.leader.set(i64::from(until.is_some()));
    }

    /// Says once per outage what is wrong.
    fn complain(&self, failing: &mut bool, reason: &str) {
        self.metrics.lease_errors.inc();
        if !std::mem::replace(failing, true) {
            warn!(lease = %self.name, reason, "the lease can't be read or renewed; retrying");
        }
    }
}

#[cfg(test)]
mod tests;
