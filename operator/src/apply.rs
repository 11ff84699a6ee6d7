//! Carries apps out, leader only: the current spec on trial (checks, dry run of all, apply of all, then the revision that makes it
//! the accepted one), else the accepted one kept up. One app serially, several at once. What the objects are is decided in
//! `fleet`; when an app is looked at, in `run`.

mod accept;
mod memory;
mod object;
mod turn;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Client, Resource, ResourceExt};
use serde_json::Value;
use tenbin_crds::{BalancedApp, BalancedAppSpec};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::config::ProxyUpgrade;
use crate::events::Events;
use crate::fleet::{self, Cause, FleetSettings};
use crate::key::AppKey;
use crate::lease::Leadership;
use crate::metrics::{KindLabel, Metrics, ResultLabel};
use crate::problem::Problem;
use crate::run::Event;
use crate::status::Outcome;
use crate::tables::ChildKind;
use crate::work::{Next, Queue};
use crate::world::{Shared, World};
use memory::{Memory, Need, hash};
use object::{Failure, Intent};
use turn::{Answer, Turn};

pub use object::FIELD_MANAGER;

/// Apps carried out at once.
pub const AT_ONCE: usize = 8;

/// Carries apps out.
pub struct Applier {
    client: Client,
    world: Shared,
    leadership: Leadership,
    events: mpsc::Sender<Event>,
    notes: Events,
    metrics: Arc<Metrics>,
    upgrade: ProxyUpgrade,
    queue: Arc<Queue>,
    /// Locked for a moment only; an app's own is taken out while it is worked on.
    memories: Mutex<HashMap<AppKey, Memory>>,
    /// Locked for a moment only.
    turn: Mutex<Turn>,
}

/// What is to be carried out, as of one moment.
struct View {
    key: AppKey,
    uid: String,
    app: Arc<BalancedApp>,
    settings: Arc<FleetSettings>,
    accepted: Option<BalancedAppSpec>,
    /// The pod template that the accepted spec is carried out with.
    template: Option<Value>,
    /// The number of the newest revision.
    number: i64,
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
        let revisions = world.tables.revisions(key);
        let newest = fleet::newest(&world.tables, key);
        Some(View {
            key: key.clone(),
            uid,
            settings: world.settings.clone()?,
            accepted: newest.and_then(|revision| fleet::spec_of(revision).ok()),
            template: newest.and_then(fleet::template_of),
            number: revisions.first().map_or(0, |revision| revision.revision),
            revisions: revisions.iter().map(|r| r.metadata.clone()).collect(),
            children: kinds.into_iter().filter_map(child).collect(),
            app,
        })
    }

    /// What we wrote down counts before the watch has brought it.
    fn catch_up(&mut self, memory: &mut Memory) {
        match &memory.pending {
            Some(pending) if pending.number > self.number => {
                self.accepted = Some(pending.spec.clone());
                self.template = Some(pending.template.clone());
                self.number = pending.number;
            }
            _ => memory.pending = None,
        }
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
    /// What was said about replacing the proxies, if that was asked.
    upgrade: Option<Answer>,
}

/// A child with what is to be done about it.
struct Planned<'a> {
    intent: &'a Intent,
    live: Option<ObjectMeta>,
    need: Need,
}

impl Applier {
    /// Writes by `client` what `world` asks for, while `leadership` lasts; tells outcomes to the loop by `events`. Apps are
    /// taken from `queue`; `upgrade` says when they get new proxies.
    #[expect(clippy::too_many_arguments, reason = "handles, each of another kind")]
    pub fn new(
        client: Client,
        world: Shared,
        leadership: Leadership,
        events: mpsc::Sender<Event>,
        notes: Events,
        metrics: Arc<Metrics>,
        queue: Arc<Queue>,
        upgrade: ProxyUpgrade,
    ) -> Self {
        Applier {
            client,
            world,
            leadership,
            events,
            notes,
            metrics,
            upgrade,
            queue,
            memories: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Forgets everything: what happens while another replica leads is not seen here.
    pub fn forget(&self) {
        self.memories().clear();
        *self.turn() = Turn::default();
        self.metrics.apps_outdated.set(0);
    }

    /// Carries one app out as far as it goes now.
    pub async fn work(&self, key: AppKey) -> Next {
        let view = View::of(&self.world.read(), &key);
        let memory = self.memories().remove(&key);
        let was_outdated = memory.as_ref().is_some_and(|m| m.outdated);
        let Some(mut view) = view else {
            self.count_outdated(was_outdated, false);
            let next = self.turn().leave(&key);
            self.queue.extend(next);
            return Next::Idle;
        };
        let mut memory = memory.filter(|m| m.uid == view.uid).unwrap_or_default();
        memory.uid.clone_from(&view.uid);
        if memory.going {
            self.memories().insert(key, memory);
            return Next::Idle;
        }
        view.catch_up(&mut memory);
        let done = self.carry_out(&view, &mut memory).await;
        self.count_outdated(was_outdated, memory.outdated);
        let next = self.next_to_upgrade(&view, &memory, done.as_ref());
        self.memories().insert(key.clone(), memory);
        self.queue.extend(next);
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

    fn memories(&self) -> MutexGuard<'_, HashMap<AppKey, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_outdated(&self, before: bool, now: bool) {
        self.metrics.apps_outdated.inc_by(i64::from(now) - i64::from(before));
    }

    /// Who is to be looked at next, after this app was and where that lets the turn go on.
    fn next_to_upgrade(&self, view: &View, memory: &Memory, done: Option<&Done>) -> Option<AppKey> {
        if view.app.spec.paused || memory.going {
            return self.turn().leave(&view.key);
        }
        let asked = done.and_then(|done| done.upgrade);
        let stays = matches!(asked, Some(Answer::Begin | Answer::Wait));
        if stays || !memory.caught_up(view.child(ChildKind::Deployment)) {
            return None;
        }
        let world = self.world.read();
        self.turn().pass(&world.tables, &view.key)
    }

    /// The trial of the current spec unless it is the accepted one, then the upkeep of the accepted one where that is another.
    /// None when this replica stopped leading, or the app's namespace goes.
    async fn carry_out(&self, view: &View, memory: &mut Memory) -> Option<Done> {
        let mut done = Done {
            problems: Vec::new(),
            next: Next::Idle,
            wrote: false,
            upgrade: None,
        };
        if let Some(accepted) = &view.accepted {
            self.keep_trust(view, accepted, memory, &mut done).await?;
        }
        if view.app.spec.paused {
            return Some(done);
        }
        let current = &view.app.spec;
        let is_accepted = view.accepted.as_ref() == Some(current);
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
        let mut wanted = Wanted::of(view, &view.app.spec)?;
        if let (Some(accepted), Some(template)) = (&view.accepted, &view.template) {
            // A change that does not touch the pods makes no new ones, whatever else has changed since these were made.
            let before = Wanted::of(view, accepted);
            if before.is_ok_and(|before| before.template() == wanted.template()) {
                wanted.set_template(template);
            }
        }
        let planned = self.plan(view, memory, &wanted.0).await?;
        self.dry_run(view, &planned).await?;
        for step in planned.iter().filter(|step| step.need != Need::Nothing) {
            done.wrote |= self.write(view, memory, step).await?;
        }
        self.accept(view, memory, wanted.template(), Cause::Spec).await
    }

    /// Asks the API server whether what is to be written would be taken.
    async fn dry_run(&self, view: &View, planned: &[Planned<'_>]) -> Result<(), Stop> {
        for Planned { intent, live, need } in planned {
            if *need != Need::Nothing {
                self.still_leading()?;
                intent.apply(&self.client, &view.key, live.as_ref(), true).await?;
            }
        }
        Ok(())
    }

    /// Keeps up what the app's proxies trust, also of an app that is paused or can't be carried out: without it they would lose
    /// the stream when the CA changes. None as in [`Self::carry_out`].
    async fn keep_trust(
        &self,
        view: &View,
        accepted: &BalancedAppSpec,
        memory: &mut Memory,
        done: &mut Done,
    ) -> Option<()> {
        let kept = async {
            let intents = [Intent::of(&fleet::trust(&view.app, accepted, &view.settings))?];
            for step in self.plan(view, memory, &intents).await? {
                if step.need == Need::Write {
                    done.wrote |= self.write(view, memory, &step).await?;
                }
            }
            Ok(())
        };
        match kept.await {
            Ok(()) => Some(()),
            Err(Stop::NotLeader) => None,
            Err(Stop::Going) => {
                memory.going = true;
                None
            }
            Err(Stop::Problems(problems)) => {
                done.fail(problems, crate::work::backoff(6));
                Some(())
            }
        }
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
        let mut wanted = Wanted::of(view, spec)?;
        let upgrade = self.to_upgrade(view, memory, spec, &wanted);
        done.upgrade = upgrade;
        if upgrade != Some(Answer::Begin)
            && let Some(template) = &view.template
        {
            wanted.set_template(template);
        }
        let planned = self.plan(view, memory, &wanted.0).await?;
        if upgrade == Some(Answer::Begin) {
            self.dry_run(view, &planned).await?;
            // Written down first: whoever leads next goes on with it.
            self.accept(view, memory, wanted.template(), Cause::Upgrade).await?;
        }
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

    /// Whether the pods are to be replaced for no other reason than that they would be others if they were made today. None
    /// where they would not, or nobody wants that.
    fn to_upgrade(&self, view: &View, memory: &mut Memory, spec: &BalancedAppSpec, wanted: &Wanted) -> Option<Answer> {
        let today = wanted.template();
        memory.outdated = view.template.as_ref().is_some_and(|template| template != today);
        let asked = memory.outdated && self.upgrade == ProxyUpgrade::Staggered && *spec == view.app.spec;
        let world = self.world.read();
        asked.then(|| self.turn().take(&world.tables, &view.key))
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

    fn still_leading(&self) -> Result<(), Stop> {
        if self.leadership.is_leader() {
            Ok(())
        } else {
            Err(Stop::NotLeader)
        }
    }
}

/// What is wanted of an app: its children, a Deployment among them.
struct Wanted(Vec<Intent>);

impl Wanted {
    /// What is wanted for a spec, made today.
    fn of(view: &View, spec: &BalancedAppSpec) -> Result<Self, Stop> {
        let children = fleet::desired(&view.app, spec, &view.settings).map_err(Stop::Problems)?;
        Ok(Wanted(children.iter().map(Intent::of).collect::<Result<_, Failure>>()?))
    }

    /// The pod template.
    fn template(&self) -> &Value {
        let deployment = self.0.iter().find(|intent| intent.kind == ChildKind::Deployment);
        deployment.map_or(&Value::Null, Intent::template)
    }

    /// Takes another pod template.
    fn set_template(&mut self, template: &Value) {
        for intent in self.0.iter_mut().filter(|intent| intent.kind == ChildKind::Deployment) {
            intent.set_template(template.clone());
        }
    }
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
