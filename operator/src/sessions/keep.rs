//! The leader's work on Secrets of session keys: makes the first keys of an app, carries out the steps that are due, deletes what a
//! deleted app leaves. What to do follows from the tables each time; every write replaces the version that was looked at, so that two
//! who write never mix. When a step is due is decided in `rotate`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use rustls::crypto::CryptoProvider;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::rotate::{Decision, Step};
use super::{APP, APP_UID, ENTRY, Held, LABEL, Rotation, secret_name};
use crate::certs::unix_now;
use crate::events::{Events, Note};
use crate::key::AppKey;
use crate::lease::Leadership;
use crate::metrics::{Metrics, ResultLabel};
use crate::tables::KeysRow;
use crate::world::{Shared, World};

/// The least time from one look to the next: what the last one wrote should have come back by then.
const REST: Duration = Duration::from_secs(1);
/// The pause after a failed write; doubled with each further one, up to the longest.
const RETRY: Duration = Duration::from_secs(5);
/// The longest pause after a failed write.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest between two looks: clocks are set.
const LOOK: Duration = Duration::from_secs(3600);
/// The longest that one write may take.
const STORE: Duration = Duration::from_secs(10);
/// So often in a row a Secret of an app's name is there that the watch does not bring: then it is somebody else's.
const FOREIGN: u32 = 5;

/// What keeping session keys needs.
pub struct Keeper {
    /// Secrets of the operator's namespace.
    pub secrets: Api<Secret>,
    /// The namespaces whose apps are served; all if there is none.
    pub namespaces: Vec<String>,
    /// How long a key seals.
    pub rotation: Rotation,
    /// Who may write.
    pub leadership: Leadership,
    /// Apps and Secrets.
    pub world: Shared,
    /// Kubernetes Events.
    pub notes: Events,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
    /// Where randomness comes from.
    pub provider: Arc<CryptoProvider>,
}

/// A write that is due.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// The first keys of an app.
    Create { app: AppKey, uid: String },
    /// A step of the rotation.
    Rotate { app: AppKey, row: KeysRow, step: Step },
    /// The keys of an app that is gone.
    Delete { row: KeysRow },
}

/// How a write ended.
enum Done {
    Written,
    /// The Secret is not what was looked at any more: the watch brings what is there now.
    Changed,
    /// A Secret of that name is there.
    Exists,
    /// Something that a person should know.
    Failed(String),
}

impl Keeper {
    /// Works for as long as it is let: on the leader alone.
    pub async fn run(&self) {
        let mut version = self.world.version();
        let mut failures = 0;
        let mut exists: BTreeMap<String, u32> = BTreeMap::new();
        loop {
            let now = unix_now();
            let (actions, next) = plan(&self.world.read(), self.rotation, &self.namespaces, now);
            let well = self.carry_out(&actions, &mut exists, now).await;
            failures = if well { 0 } else { failures + 1 };
            if !well {
                sleep(RETRY.saturating_mul(2u32.saturating_pow(failures - 1)).min(RETRY_MAX)).await;
                continue;
            }
            sleep(REST).await;
            let wait = Duration::from_secs(next.saturating_sub(now)).min(LOOK);
            tokio::select! {
                Ok(()) = version.changed() => {}
                () = sleep_until(Instant::now() + wait) => {}
            }
        }
    }

    /// True where all went well.
    async fn carry_out(&self, actions: &[Action], exists: &mut BTreeMap<String, u32>, now: u64) -> bool {
        let mut well = true;
        let mut still = BTreeMap::new();
        for action in actions {
            if !self.leadership.is_leader() {
                return true;
            }
            let done = match timeout(STORE, self.write(action, now)).await {
                Ok(done) => done,
                Err(_) => Done::Failed("no answer in time".to_owned()),
            };
            match done {
                Done::Written => {
                    self.count("ok");
                    info!(app = action.whose(), step = action.name(), "session keys");
                }
                Done::Changed => {}
                Done::Exists => {
                    let times = exists.get(action.app()).map_or(1, |times| times + 1);
                    still.insert(action.app().to_owned(), times);
                    if times == FOREIGN {
                        self.tell_foreign(action);
                    }
                    // No hurry: nothing that is done here changes it.
                    well &= times < FOREIGN;
                }
                Done::Failed(reason) => {
                    self.count("error");
                    warn!(
                        app = action.whose(),
                        step = action.name(),
                        reason,
                        "session keys can't be written; retrying"
                    );
                    well = false;
                }
            }
        }
        *exists = still;
        well
    }

    async fn write(&self, action: &Action, now: u64) -> Done {
        let params = PostParams::default();
        let written = match action {
            Action::Create { app, uid } => match self.random() {
                Some(secret) => {
                    let new = new_secret(app, uid, &Held::first(secret, now));
                    self.secrets.create(&params, &new).await.map(|_| ())
                }
                None => return Done::Failed("no randomness".to_owned()),
            },
            Action::Rotate { app, row, step } => match (self.random(), &row.held) {
                (Some(secret), Ok(held)) => {
                    let mut next = new_secret(app, row.app_uid(), &held.after(*step, secret, now));
                    next.metadata.name = Some(row.name.to_string());
                    next.metadata.uid = Some(row.uid.to_string());
                    next.metadata.resource_version = Some(row.version.to_string());
                    self.secrets.replace(&row.name, &params, &next).await.map(|_| ())
                }
                _ => return Done::Failed("no randomness".to_owned()),
            },
            Action::Delete { row } => {
                let params = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: Some(row.uid.to_string()),
                        resource_version: Some(row.version.to_string()),
                    }),
                    ..DeleteParams::default()
                };
                self.secrets.delete(&row.name, &params).await.map(|_| ())
            }
        };
        match written {
            Ok(()) => Done::Written,
            Err(kube::Error::Api(status)) if status.is_already_exists() => Done::Exists,
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Done::Changed,
            Err(error) => Done::Failed(error.to_string()),
        }
    }

    fn random(&self) -> Option<[u8; 32]> {
        let mut secret = [0; 32];
        self.provider.secure_random.fill(&mut secret).ok()?;
        Some(secret)
    }

    fn count(&self, result: &'static str) {
        self.metrics
            .session_key_writes
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    /// Says that a Secret of the app's name is not ours. It is never touched.
    fn tell_foreign(&self, action: &Action) {
        let Action::Create { app, uid } = action else { return };
        let name = secret_name(uid);
        warn!(app = %app, secret = name, "a Secret of this name is not ours; the app has no session keys");
        let regarding = ObjectReference {
            api_version: Some("tenbin.dev/v1alpha1".to_owned()),
            kind: Some("BalancedApp".to_owned()),
            name: Some(app.name.clone()),
            namespace: Some(app.namespace.clone()),
            uid: Some(uid.clone()),
            ..Default::default()
        };
        let text = format!(
            "the Secret {name} in the operator's namespace lacks the label {LABEL} and is left alone, so that the session cookies of \
             this app have no keys: delete it, and keys are made"
        );
        self.notes.publish(Note::warning(regarding, "SessionKeysTaken", text));
    }
}

impl Action {
    /// Whose keys, for logs.
    fn whose(&self) -> String {
        match self {
            Action::Create { app, .. } | Action::Rotate { app, .. } => app.to_string(),
            Action::Delete { row } => row.app.to_string(),
        }
    }

    /// The UID of whose keys they are.
    fn app(&self) -> &str {
        match self {
            Action::Create { uid, .. } => uid,
            Action::Rotate { row, .. } | Action::Delete { row } => row.app_uid(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Action::Create { .. } => "create",
            Action::Rotate { step: Step::Add, .. } => "add",
            Action::Rotate {
                step: Step::Promote(_), ..
            } => "promote",
            Action::Rotate {
                step: Step::Drop(_), ..
            } => "drop",
            Action::Delete { .. } => "delete",
        }
    }
}

/// What is due at `now`, and when something will be next, in seconds since 1970. Nothing before every watch has listed: what is not
/// known yet is not gone.
fn plan(world: &World, rotation: Rotation, namespaces: &[String], now: u64) -> (Vec<Action>, u64) {
    let (mut actions, mut next) = (Vec::new(), u64::MAX);
    if !world.tables.complete() {
        return (actions, next);
    }
    let mut living = BTreeSet::new();
    for (app, state) in &world.apps {
        let Some(uid) = world.tables.app(app).and_then(|app| app.metadata.uid.as_deref()) else {
            continue;
        };
        living.insert(uid);
        let Some(life) = state.compiled.session_life else {
            continue;
        };
        match world.tables.session_keys(uid) {
            None => actions.push(Action::Create {
                app: app.clone(),
                uid: uid.to_owned(),
            }),
            Some(row) => {
                // A damaged one is told by compile and never written.
                let Ok(held) = &row.held else { continue };
                match rotation.decide(held, life, now) {
                    Decision::Now(step) => actions.push(Action::Rotate {
                        app: app.clone(),
                        row: row.clone(),
                        step,
                    }),
                    Decision::At(at) => next = next.min(at),
                }
            }
        }
    }
    // An app that came just now may have no state yet; one of another namespace is another operator's.
    let known = world.tables.apps();
    let uid_of = |app: &AppKey| world.tables.app(app)?.metadata.uid.as_deref();
    let known: Vec<AppKey> = known.collect();
    living.extend(known.iter().filter_map(uid_of));
    let watched = |row: &&KeysRow| {
        let namespace = row.app.split_once('/').map(|(namespace, _)| namespace);
        namespace.is_some_and(|namespace| namespaces.is_empty() || namespaces.iter().any(|n| n == namespace))
    };
    let left = world.tables.all_session_keys().filter(watched);
    let left = left.filter(|row| !living.contains(row.app_uid()));
    actions.extend(left.map(|row| Action::Delete { row: row.clone() }));
    (actions, next)
}

fn new_secret(app: &AppKey, uid: &str, held: &Held) -> Secret {
    let labels = [("app.kubernetes.io/managed-by", "tenbin"), (LABEL, "true")];
    let annotations = [(APP_UID, uid.to_owned()), (APP, app.to_string())];
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(uid)),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            ..Default::default()
        },
        data: Some([(ENTRY.to_owned(), ByteString(held.encode().into_bytes()))].into()),
        type_: Some("Opaque".to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
