//! Writes status, leader only: what `status::status` computes, when it differs from what stands, at most once per app and second.
//! What changed for a user is also told as an event. What the status is, is decided in `status`.

mod notes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use tenbin_crds::{BalancedApp, BalancedAppStatus};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::events::{Events, Note};
use crate::key::AppKey;
use crate::lease::Leadership;
use crate::metrics::{Metrics, ResultLabel};
use crate::peers::Syncs;
use crate::status::{StatusInput, status};
use crate::work::{Next, backoff};
use crate::world::Shared;

/// Field manager of the status.
pub const FIELD_MANAGER: &str = "tenbin-status";
/// Statuses written at once.
pub const AT_ONCE: usize = 8;
/// The least time between two writes of one app's status.
const PACE: Duration = Duration::from_secs(1);
/// How long a change settles before it is looked at: an update that all proxies accept within it shows in no status.
const SETTLE: Duration = Duration::from_millis(200);
/// The longest that one write may take.
const WRITE: Duration = Duration::from_secs(15);

/// Writes statuses.
pub struct StatusWriter {
    client: Client,
    world: Shared,
    syncs: Syncs,
    leadership: Leadership,
    notes: Events,
    metrics: Arc<Metrics>,
    /// Locked for a moment only, as the next.
    last: Mutex<HashMap<AppKey, Last>>,
    /// Since when a change of an app settles.
    settling: Mutex<HashMap<AppKey, Instant>>,
}

/// The last write of one app's status.
struct Last {
    uid: String,
    at: Instant,
    /// What was written and the version it got; none after a failure.
    written: Option<(u64, BalancedAppStatus)>,
    failures: u32,
}

/// A status that has to be written.
struct Change {
    uid: String,
    regarding: ObjectReference,
    previous: Option<BalancedAppStatus>,
    status: BalancedAppStatus,
}

impl StatusWriter {
    /// Writes by `client` what follows from `world` and `syncs`, while `leadership` lasts.
    pub fn new(
        client: Client,
        world: Shared,
        syncs: Syncs,
        leadership: Leadership,
        notes: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        StatusWriter {
            client,
            world,
            syncs,
            leadership,
            notes,
            metrics,
            last: Mutex::default(),
            settling: Mutex::default(),
        }
    }

    /// Forgets what was written: meanwhile another replica writes.
    pub fn forget(&self) {
        self.last().clear();
    }

    /// Brings one app's status up to date.
    pub async fn work(&self, key: AppKey) -> Next {
        if let Some(left) = self.wait(&key) {
            return Next::After(left);
        }
        let Some(change) = self.change(&key) else {
            return Next::Idle;
        };
        if !self.leadership.is_leader() {
            return Next::Idle;
        }
        let api: Api<BalancedApp> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = serde_json::json!({
            "apiVersion": BalancedApp::api_version(&()),
            "kind": BalancedApp::kind(&()),
            // Another app of that name is another app.
            "metadata": { "name": key.name, "uid": change.uid },
            "status": change.status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = timeout(WRITE, api.patch_status(&key.name, &params, &Patch::Apply(patch))).await;
        let reason = match written {
            Ok(Ok(app)) => {
                self.wrote(key, change, &app);
                return Next::Idle;
            }
            // Gone, or another one: its own events come.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => return Next::Idle,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer from the API server in time".to_owned(),
        };
        self.failed(key, change.uid, &reason)
    }

    /// The time until the app may be looked at, if not now.
    fn wait(&self, key: &AppKey) -> Option<Duration> {
        let left = |since: Duration, least: Duration| least.checked_sub(since).filter(|left| !left.is_zero());
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let since = settling.entry(key.clone()).or_insert_with(Instant::now).elapsed();
        let settles = left(since, SETTLE);
        let paces = self.last().get(key).and_then(|last| left(last.at.elapsed(), PACE));
        let wait = settles.max(paces);
        if wait.is_none() {
            settling.remove(key);
        }
        wait
    }

    fn wrote(&self, key: AppKey, change: Change, app: &BalancedApp) {
        self.count("written");
        for note in notes::notes(change.previous.as_ref(), &change.status) {
            let publish = if note.warning { Note::warning } else { Note::normal };
            self.notes
                .publish(publish(change.regarding.clone(), note.reason, note.text));
        }
        let last = Last {
            uid: change.uid,
            at: Instant::now(),
            written: version(app).map(|version| (version, change.status)),
            failures: 0,
        };
        self.last().insert(key, last);
    }

    fn failed(&self, key: AppKey, uid: String, reason: &str) -> Next {
        self.count("failed");
        let mut all = self.last();
        let failures = all.get(&key).map_or(0, |last| last.failures).saturating_add(1);
        if failures == 1 {
            warn!(app = %key, reason, "status not written; retrying");
        }
        let last = Last {
            uid,
            at: Instant::now(),
            written: None,
            failures,
        };
        all.insert(key, last);
        Next::After(backoff(failures))
    }

    /// What has to be written; none for an app that is gone or going, not carried out yet, or settled.
    fn change(&self, key: &AppKey) -> Option<Change> {
        let world = self.world.read();
        let Some(app) = world
            .tables
            .app(key)
            .filter(|app| app.meta().deletion_timestamp.is_none())
        else {
            self.last().remove(key);
            return None;
        };
        let state = world.apps.get(key)?;
        if state.outcome.generation == 0 {
            // This replica does not know yet how the app fares: the status of its predecessor stays.
            return None;
        }
        let uid = app.uid()?;
        let last = self.last();
        // Until the watch has brought our own last write, that is what stands.
        let ahead = last
            .get(key)
            .filter(|last| last.uid == uid)
            .and_then(|last| last.written.as_ref());
        let ahead = ahead.filter(|(written, _)| version(app).is_some_and(|live| live < *written));
        let previous = ahead.map(|(_, status)| status).or(app.status.as_ref());
        let sync = self.syncs.of(key, state.compiled.generation);
        let status = status(&StatusInput {
            tables: &world.tables,
            key,
            compiled: &state.compiled,
            outcome: &state.outcome,
            sync: &sync,
            previous,
            now: Time(Timestamp::now()),
        });
        (previous != Some(&status)).then(|| Change {
            uid,
            regarding: app.object_ref(&()),
            previous: previous.cloned(),
            status,
        })
    }

    fn count(&self, result: &'static str) {
        self.metrics.status_writes.get_or_create(&ResultLabel { result }).inc();
    }

    fn last(&self) -> MutexGuard<'_, HashMap<AppKey, Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource version as the increasing number that it is.
fn version(app: &BalancedApp) -> Option<u64> {
    app.resource_version()?.parse().ok()
}

#[cfg(test)]
mod tests;
