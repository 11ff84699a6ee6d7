//! Carries apps out, leader only: the current spec on trial (checks, dry run of all, apply of all, then the revision that makes it
//! the accepted one), else the accepted one kept up. One app serially, several at once. What the objects are is decided in
//! `fleet`; when an app is looked at, in `run`.

mod memory;
mod object;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use tenbin_crds::{BalancedApp, BalancedAppSpec};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::events::{Events, Note};
use crate::fleet::{self, FleetSettings};
use crate::key::AppKey;
use crate::lease::Leadership;
use crate::metrics::{KindLabel, Metrics, ResultLabel};
use crate::owners;
use crate::problem::Problem;
use crate::run::Event;
use crate::status::Outcome;
use crate::tables::ChildKind;
use crate::work::Next;
use crate::world::{Shared, World};
use memory::{Memory, Need, hash};
use object::{Failure, Intent, request};

pub use object::FIELD_MANAGER;

/// Apps carried out at once.
pub const AT_ONCE: usize = 8;
/// Accepted specs kept, the newest included: one to look back at.
const REVISIONS_KEPT: usize = 2;

/// Carries apps out.
pub struct Applier {
    client: Client,
    world: Shared,
    leadership: Leadership,
    events: mpsc::Sender<Event>,
    notes: Events,
    metrics: Arc<Metrics>,
    /// Locked for a moment only; an app's own is taken out while it is worked on.
    memories: Mutex<HashMap<AppKey, Memory>>,
}

/// What is to be carried out, as of one moment.
struct View {
    key: AppKey,
    uid: String,
    app: Arc<BalancedApp>,
    settings: Arc<FleetSettings>,
    accepted: Option<BalancedAppSpec>,
    /// Newest first.
    revisions: Vec<ObjectMeta>,
    children: Vec<(ChildKind, ObjectMeta)>,
}

impl View {
    /// None for an app that is gone or going, or where the stream's certificate is still missing.
    fn of(world: &World, key: &AppKey) -> Option<Self> {
        let app = world.tables.app(key)?.clone();
        let uid = app.uid().filter(|_| app.meta().deletion_timestamp.is_none())?;
        let kinds = [
            ChildKind::ConfigMap,
            ChildKind::Service,
            ChildKind::Budget,
            ChildKind::Deployment,
        ];
        let child = |kind| world.tables.child(key, kind).map(|meta| (kind, meta.clone()));
        Some(View {
            key: key.clone(),
            uid,
            settings: world.settings.clone()?,
            accepted: fleet::accepted(&world.tables, key).0.map(|accepted| accepted.spec),
            revisions: world.tables.revisions(key).iter().map(|r| r.metadata.clone()).collect(),
            children: kinds.into_iter().filter_map(child).collect(),
            app,
        })
    }

    fn child(&self, kind: ChildKind) -> Option<&ObjectMeta> {
        self.children.iter().find(|(k, _)| *k == kind).map(|(_, meta)| meta)
    }

    fn generation(&self) -> i64 {
        self.app.meta().generation.unwrap_or(0)
    }
}

/// How a run ended.
struct Done {
    problems: Vec<Problem>,
    next: Next,
    wrote: bool,
}

/// A child with what is to be done about it.
struct Planned<'a> {
    intent: &'a Intent,
    live: Option<ObjectMeta>,
    need: Need,
}

impl Applier {
    /// Writes by `client` what `world` asks for, while `leadership` lasts; tells outcomes to the loop by `events`.
    pub fn new(
        client: Client,
        world: Shared,
        leadership: Leadership,
        events: mpsc::Sender<Event>,
        notes: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Applier {
            client,
            world,
            leadership,
            events,
            notes,
            metrics,
            memories: Mutex::default(),
        }
    }

    /// Forgets everything: what happens while another replica leads is not seen here.
    pub fn forget(&self) {
        self.memories().clear();
    }

    /// Carries one app out as far as it goes now.
    pub async fn work(&self, key: AppKey) -> Next {
        let view = View::of(&self.world.read(), &key);
        let Some(view) = view else {
            self.memories().remove(&key);
            return Next::Idle;
        };
        let memory = self.memories().remove(&key);
        let mut memory = memory.filter(|m| m.uid == view.uid).unwrap_or_default();
        memory.uid.clone_from(&view.uid);
        if memory.going {
            self.memories().insert(key, memory);
            return Next::Idle;
        }
        let done = self.carry_out(&view, &mut memory).await;
        self.memories().insert(key.clone(), memory);
        let Some(done) = done else {
            return Next::Idle;
        };
        let result = match (&*done.problems, done.wrote) {
            ([], true) => "written",
            ([], false) => "unchanged",
            (problems, _) if problems.iter().any(|p| p.fatal) => "refused",
            _ => "failed",
        };
        self.metrics.applies.get_or_create(&ResultLabel { result }).inc();
        let outcome = Outcome {
            generation: view.generation(),
            problems: done.problems,
        };
        // A closed loop means that the process ends.
        let _ = self.events.send(Event::Applied { key, outcome }).await;
        done.next
    }

    fn memories(&self) -> std::sync::MutexGuard<'_, HashMap<AppKey, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trial of the current spec unless it is the accepted one, then the upkeep of the accepted one where that is another.
    /// None when this replica stopped leading, or the app's namespace goes.
    async fn carry_out(&self, view: &View, memory: &mut Memory) -> Option<Done> {
        let mut done = Done {
            problems: Vec::new(),
            next: Next::Idle,
            wrote: false,
        };
        if view.app.spec.paused {
            return Some(done);
        }
        let current = &view.app.spec;
        let is_accepted =
            view.accepted.as_ref() == Some(current) || memory.has_accepted(view.generation(), Instant::now());
        if !is_accepted {
            let input = hash((view.generation(), format!("{:?}", view.settings)));
            let standing = memory.trial.standing(input, Instant::now());
            if let Some((problems, left)) = standing {
                done.fail(problems.to_vec(), left);
            } else {
                let problems = match self.trial(view, memory, &mut done).await {
                    Ok(()) => {
                        memory.trial.succeeded();
                        return Some(done);
                    }
                    Err(Stop::NotLeader) => return None,
                    Err(Stop::Going) => {
                        memory.going = true;
                        return None;
                    }
                    Err(Stop::Problems(problems)) => problems,
                };
                let left = memory.trial.failed(input, problems.clone(), Instant::now());
                done.fail(problems, left);
            }
        }
        let kept = if is_accepted {
            Some(current)
        } else {
            view.accepted.as_ref()
        };
        if let Some(spec) = kept {
            self.upkeep(view, memory, spec, &mut done).await?;
        }
        Some(done)
    }

    /// Tries the current spec: all or nothing, as far as a dry run can tell.
    async fn trial(&self, view: &View, memory: &mut Memory, done: &mut Done) -> Result<(), Stop> {
        let intents = intents(view, &view.app.spec)?;
        let planned = self.plan(view, memory, &intents).await?;
        for Planned { intent, live, need } in &planned {
            if *need != Need::Nothing {
                self.still_leading()?;
                intent.apply(&self.client, &view.key, live.as_ref(), true).await?;
            }
        }
        for step in planned.iter().filter(|step| step.need != Need::Nothing) {
            done.wrote |= self.write(view, memory, step).await?;
        }
        self.accept(view).await?;
        memory.accepted(view.generation(), Instant::now());
        Ok(())
    }

    /// Writes what is missing or differs of the accepted spec. None as in [`Self::carry_out`].
    async fn upkeep(&self, view: &View, memory: &mut Memory, spec: &BalancedAppSpec, done: &mut Done) -> Option<()> {
        let input = hash((format!("{spec:?}"), format!("{:?}", view.settings)));
        let now = Instant::now();
        if let Some((problems, left)) = memory.upkeep.standing(input, now) {
            done.fail(problems.to_vec(), left);
            return Some(());
        }
        match self.keep_up(view, memory, spec, done).await {
            Ok(()) => memory.upkeep.succeeded(),
            Err(Stop::NotLeader) => return None,
            Err(Stop::Going) => {
                memory.going = true;
                return None;
            }
            Err(Stop::Problems(problems)) => {
                let left = memory.upkeep.failed(input, problems.clone(), Instant::now());
                done.fail(problems, left);
            }
        }
        Some(())
    }

    async fn keep_up(
        &self,
        view: &View,
        memory: &mut Memory,
        spec: &BalancedAppSpec,
        done: &mut Done,
    ) -> Result<(), Stop> {
        let intents = intents(view, spec)?;
        let planned = self.plan(view, memory, &intents).await?;
        let drifted = planned.iter().any(|step| step.need == Need::Repair);
        let now = Instant::now();
        if let Some(at) = memory.repair_at().filter(|at| drifted && now < *at) {
            done.again(at - now);
            return Ok(());
        }
        for step in planned.iter().filter(|step| step.need != Need::Nothing) {
            let wrote = self.write(view, memory, step).await?;
            if wrote && step.need == Need::Repair {
                info!(app = %view.key, object = step.intent.title(), "changed or deleted by somebody else; put right");
                memory.repaired(Instant::now());
            }
            done.wrote |= wrote;
        }
        Ok(())
    }

    /// Finds the live children and what is to be done about each.
    async fn plan<'a>(&self, view: &View, memory: &Memory, intents: &'a [Intent]) -> Result<Vec<Planned<'a>>, Stop> {
        let mut planned = Vec::with_capacity(intents.len());
        for intent in intents {
            let watched = view.child(intent.kind);
            let live = intent.find(&self.client, &view.key, &view.uid, watched).await?;
            let need = memory.need(intent.kind, intent.hash, &intent.keys, live.as_ref());
            planned.push(Planned { intent, live, need });
        }
        Ok(planned)
    }

    /// Applies a child. False when it stood as wanted already, whatever else was changed of it.
    async fn write(&self, view: &View, memory: &mut Memory, step: &Planned<'_>) -> Result<bool, Stop> {
        self.still_leading()?;
        let Planned { intent, live, .. } = step;
        let written = intent.apply(&self.client, &view.key, live.as_ref(), false).await?;
        memory.wrote(intent.kind, intent.hash, &intent.keys, &written);
        let before = live.as_ref().and_then(|live| live.resource_version.as_ref());
        if before.is_some() && before == written.resource_version.as_ref() {
            return Ok(false);
        }
        debug!(app = %view.key, object = intent.title(), "applied");
        let kind = match intent.kind {
            ChildKind::ConfigMap => "ConfigMap",
            ChildKind::Service => "Service",
            ChildKind::Budget => "PodDisruptionBudget",
            ChildKind::Deployment => "Deployment",
        };
        self.metrics.child_writes.get_or_create(&KindLabel { kind }).inc();
        Ok(true)
    }

    /// Writes the current spec down as the accepted one, and removes the oldest of those before.
    async fn accept(&self, view: &View) -> Result<(), Stop> {
        let revision = fleet::revision(&view.app);
        let name = revision.name_any();
        let title = format!("ControllerRevision {name}");
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &view.key.namespace);
        self.still_leading()?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let created = tokio::time::timeout(Duration::from_secs(30), api.create(&params, &revision)).await;
        match created {
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {
                // Ours, when the watch has not brought it yet, or an earlier run got no further.
                let live = request(&title, api.get_metadata(&name)).await?;
                if !owners::controls(&view.uid, &live.metadata) {
                    let message = format!("{title} exists already and is not this BalancedApp's; it is left alone");
                    return Err(Failure::Refused(Problem::fatal("metadata.name", "NameTaken", message)).into());
                }
            }
            Ok(result) => {
                request(&title, async { result }).await?;
                info!(app = %view.key, revision = name, generation = view.generation(), "spec accepted");
                let text = format!(
                    "generation {} is carried out (ControllerRevision {name})",
                    view.generation()
                );
                self.notes
                    .publish(Note::normal(view.app.object_ref(&()), "Accepted", text));
            }
            Err(_) => return Err(Failure::Transient(format!("{title}: no answer from the API server in time")).into()),
        }
        self.remove_old(view, &api, &name).await;
        Ok(())
    }

    /// Removes revisions but the newest; what can't be removed now goes with the next one.
    async fn remove_old(&self, view: &View, api: &Api<ControllerRevision>, newest: &str) {
        let others = view.revisions.iter().filter(|r| r.name.as_deref() != Some(newest));
        for old in others.skip(REVISIONS_KEPT - 1) {
            let (Some(name), true) = (&old.name, self.leadership.is_leader()) else {
                return;
            };
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: old.uid.clone(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            let title = format!("ControllerRevision {name}");
            if let Err(failure) = request(&title, api.delete(name, &params)).await {
                warn!(app = %view.key, ?failure, "an old revision stays for now");
            }
        }
    }

    fn still_leading(&self) -> Result<(), Stop> {
        if self.leadership.is_leader() {
            Ok(())
        } else {
            Err(Stop::NotLeader)
        }
    }
}

/// What is wanted for a spec.
fn intents(view: &View, spec: &BalancedAppSpec) -> Result<Vec<Intent>, Stop> {
    let children = fleet::desired(&view.app, spec, &view.settings).map_err(Stop::Problems)?;
    Ok(children.iter().map(Intent::of).collect::<Result<_, Failure>>()?)
}

/// Why a run went no further.
enum Stop {
    Problems(Vec<Problem>),
    NotLeader,
    /// The app's namespace is being deleted.
    Going,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(problem) => Stop::Problems(vec![problem]),
            Failure::Transient(message) => Stop::Problems(vec![Problem::warning("", "ApplyFailed", message)]),
            Failure::Going => Stop::Going,
        }
    }
}

impl Done {
    fn again(&mut self, after: Duration) {
        self.next = match self.next {
            Next::After(sooner) if sooner < after => self.next,
            _ => Next::After(after),
        };
    }

    fn fail(&mut self, problems: Vec<Problem>, retry_after: Duration) {
        for problem in problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self.again(retry_after);
    }
}
