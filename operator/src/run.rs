//! The loop: every event of the operator comes here, one after the other, and what follows from it goes out from here: tables →
//! compile → stream, and for the leader apply and status. It never waits for anybody. Also the start and the end of the process:
//! the only place that spawns.

mod start;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::compile::{Defaults, compile};
use crate::config::Config;
use crate::key::AppKey;
use crate::metrics::Metrics;
use crate::snapshot::AppSnapshot;
use crate::status::Outcome;
use crate::tables::Watched;
use crate::watch::Scope;
use crate::work::Queue;
use crate::world::Shared;
use crate::xds::store::Store;

pub use start::run;

/// Events waiting for the loop; who sends more waits.
const EVENTS: usize = 1024;
/// Events taken at once before what follows from them goes out.
const BATCH: usize = 512;
/// How often the loop shows that it lives, when nothing happens.
const TICK: Duration = Duration::from_secs(5);

/// Everything that can happen to the operator.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is nearly all there are")]
pub enum Event {
    /// A watch brought something; of which scope, and when it came.
    Watched(Scope, Watched, Instant),
    /// An app was carried out, as far as that went.
    Applied {
        /// Which.
        key: AppKey,
        /// How.
        outcome: Outcome,
    },
    /// This replica leads from now on, or does not any more.
    Leader(bool),
    /// The proxies of these apps came, went, or are differently far.
    Streams(BTreeSet<AppKey>),
    /// The stream's certificate is there or new; this is the bundle that proxies check it by.
    Certificates(String),
}

/// What follows from a batch of events.
#[derive(Debug, Default)]
struct Dirty {
    compile: BTreeSet<AppKey>,
    apply: BTreeSet<AppKey>,
    status: BTreeSet<AppKey>,
    /// When the oldest watch event of the batch came.
    since: Option<Instant>,
}

/// The loop's state.
struct Loop {
    config: Config,
    defaults: Defaults,
    world: Shared,
    store: Arc<Store>,
    apply: Arc<Queue>,
    status: Arc<Queue>,
    metrics: Arc<Metrics>,
    /// Told once everything is there to serve the stream from.
    ready: watch::Sender<bool>,
    seen: watch::Sender<Instant>,
    leader: bool,
    /// Whether every watch has listed once.
    complete: bool,
}

impl Loop {
    /// Runs until `stop`.
    async fn run(mut self, mut events: mpsc::Receiver<Event>, stop: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                taken = events.recv_many(&mut batch, BATCH) => if taken == 0 { return },
            }
            self.seen.send_replace(Instant::now());
            let mut dirty = Dirty::default();
            for event in batch.drain(..) {
                self.take(event, &mut dirty);
            }
            self.settle(dirty);
        }
    }

    /// Remembers what happened, and what has to follow.
    fn take(&mut self, event: Event, dirty: &mut Dirty) {
        match event {
            Event::Watched(scope, watched, at) => {
                let endpoints = matches!(
                    watched,
                    Watched::Pod(_) | Watched::Slice(_) | Watched::ReplicaSet(_) | Watched::Node(_) | Watched::Keys(_)
                );
                let apps = self.world.write().tables.apply(scope.as_deref(), watched);
                // No child can differ because of a pod, or of what says how it is balanced.
                if !endpoints {
                    dirty.apply.extend(apps.iter().cloned());
                }
                dirty.compile.extend(apps);
                dirty.since.get_or_insert(at);
            }
            Event::Applied { key, outcome } => {
                let mut world = self.world.write();
                let known = world.tables.app(&key).is_some();
                if let Some(state) = world.apps.get_mut(&key).filter(|_| known && self.leader) {
                    state.outcome = outcome;
                    dirty.status.insert(key);
                }
            }
            Event::Leader(leader) => {
                self.leader = leader;
                let mut world = self.world.write();
                for state in world.apps.values_mut() {
                    state.outcome = Outcome::default();
                }
                dirty.apply.extend(world.tables.apps());
            }
            Event::Streams(apps) => dirty.status.extend(apps),
            Event::Certificates(bundle) => {
                let settings = Arc::new(self.config.fleet_settings(bundle));
                let mut world = self.world.write();
                if world.settings.as_ref() != Some(&settings) {
                    world.settings = Some(settings);
                    dirty.apply.extend(world.tables.apps());
                }
            }
        }
    }

    /// Lets out what follows.
    fn settle(&mut self, mut dirty: Dirty) {
        if dirty.since.is_some() {
            self.world.changed();
        }
        if !self.complete {
            // What is missing might be just what an app consists of: nothing goes out half known.
            if !self.world.read().tables.complete() {
                return;
            }
            self.complete = true;
            dirty.compile = self.world.read().tables.apps().collect();
            dirty.apply.clone_from(&dirty.compile);
            info!(apps = dirty.compile.len(), "every watch has listed");
        }
        self.compile(&dirty.compile);
        if let Some(since) = dirty.since {
            self.metrics.watch_lag.observe(since.elapsed().as_secs_f64());
        }
        if !*self.ready.borrow() && self.world.read().settings.is_some() {
            self.ready.send_replace(true);
        }
        if self.leader {
            self.apply.extend(dirty.apply);
            dirty.status.extend(dirty.compile);
            self.status.extend(dirty.status);
        }
    }

    /// Compiles apps and hands the stream what changed.
    fn compile(&self, apps: &BTreeSet<AppKey>) {
        if apps.is_empty() {
            return;
        }
        let start = Instant::now();
        for key in apps {
            let world = self.world.read();
            if world.tables.app(key).is_none() {
                drop(world);
                self.world.write().apps.remove(key);
                self.store.publish(key.clone(), None);
                continue;
            }
            let compiled = compile(&world.tables, key, &self.defaults);
            let before = world.apps.get(key).map(|state| &state.compiled);
            let same = before == Some(&compiled);
            // Also of a spec that changes nothing for proxies it is told that they have it.
            let same_snapshot = before.is_some_and(|before| {
                before.generation == compiled.generation && before.resources == compiled.resources
            });
            drop(world);
            if !same_snapshot {
                debug!(app = %key, resources = compiled.resources.len(), "compiled anew");
                let snapshot = AppSnapshot::new(compiled.generation, compiled.resources.clone());
                self.store.publish(key.clone(), Some(Arc::new(snapshot)));
            }
            if !same {
                self.world.write().apps.entry(key.clone()).or_default().compiled = compiled;
            }
        }
        self.metrics.compile_seconds.observe(start.elapsed().as_secs_f64());
        let world = self.world.read();
        let problems: usize = world.apps.values().map(|state| state.compiled.problems.len()).sum();
        self.metrics
            .apps
            .set(i64::try_from(world.apps.len()).unwrap_or(i64::MAX));
        self.metrics.problems.set(i64::try_from(problems).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests;
