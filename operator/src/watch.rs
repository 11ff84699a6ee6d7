//! Watches: one table of kinds, one task per kind and namespace, each with its own backoff, so that a watch that fails starves no
//! other. What comes is pruned and handed to the loop; nothing is kept or decided here.

use std::borrow::Cow;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tenbin_crds::{APP_LABEL, BalancedApp};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::metrics::{KindLabel, Metrics};
use crate::run::Event;
use crate::sessions;
use crate::tables::{Prune, WEIGHT, Watched};

/// How long the API server keeps a watch open: less than the idle time after which load balancers drop a connection silently.
pub const TIMEOUT_SECONDS: u32 = 170;
/// After so long without another error a watch counts as working again: longer than its longest backoff.
const QUIET: Duration = Duration::from_secs(75);

/// What a watch covers: one namespace, or all.
pub type Scope = Option<Arc<str>>;

/// A watch that runs until the loop is gone.
pub type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all watches share.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The loop.
    pub events: mpsc::Sender<Event>,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
}

/// The watches of all kinds, in each of `namespaces` or cluster-wide when there is none; of nodes that give a weight; and of session
/// keys in the operator's own namespace, `home`.
pub fn watches(context: &Context, namespaces: &[String], home: &str) -> Vec<Watch> {
    let scopes: Vec<Scope> = match namespaces {
        [] => vec![None],
        some => some.iter().map(|name| Some(name.as_str().into())).collect(),
    };
    let ours = Some(APP_LABEL);
    let one = |scope: Scope| -> [Watch; 9] {
        let scope = &scope;
        [
            watch::<BalancedApp>(context, scope, None, Watched::App),
            watch::<Deployment>(context, scope, ours, Watched::Deployment),
            watch::<Service>(context, scope, ours, Watched::Service),
            watch::<PodDisruptionBudget>(context, scope, ours, Watched::Budget),
            watch::<ConfigMap>(context, scope, ours, Watched::ConfigMap),
            watch::<ControllerRevision>(context, scope, ours, Watched::Revision),
            watch::<PartialObjectMeta<ReplicaSet>>(context, scope, ours, Watched::ReplicaSet),
            watch::<Pod>(context, scope, ours, Watched::Pod),
            watch::<EndpointSlice>(context, scope, ours, Watched::Slice),
        ]
    };
    let mut watches: Vec<Watch> = scopes.into_iter().flat_map(one).collect();
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(context.client.clone());
    watches.push(watch_all(context, nodes, &None, Some(WEIGHT), Watched::Node));
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), home);
    watches.push(watch_all(context, secrets, &None, Some(sessions::LABEL), Watched::Keys));
    watches
}

/// Objects listed at once: little of each is kept, so that a page is most of what a list takes in memory.
const PAGE: u32 = 100;

/// One watch. `wrap` says which kind it is.
fn watch<K>(context: &Context, scope: &Scope, labels: Option<&str>, wrap: fn(watcher::Event<K>) -> Watched) -> Watch
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Prune
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = match scope {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    watch_all(context, api, scope, labels, wrap)
}

/// One watch of all that `api` leads to, told as being of `scope`.
fn watch_all<K>(
    context: &Context,
    api: Api<K>,
    scope: &Scope,
    labels: Option<&str>,
    wrap: fn(watcher::Event<K>) -> Watched,
) -> Watch
where
    K: Resource<DynamicType = ()> + Prune + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut config = watcher::Config::default().timeout(TIMEOUT_SECONDS).page_size(PAGE);
    if let Some(labels) = labels {
        config = config.labels(labels);
    }
    let (events, metrics, scope) = (context.events.clone(), context.metrics.clone(), scope.clone());
    let kind = kind_name::<K>();
    Box::pin(async move {
        let mut health = Health::new(kind, metrics);
        let mut objects = watcher(api, config).default_backoff().boxed();
        loop {
            let event = tokio::select! {
                event = objects.next() => event,
                () = sleep_until(health.quiet_at()), if health.failing() => {
                    health.quiet();
                    continue;
                }
                () = events.closed() => return,
            };
            match event {
                None => return,
                Some(Err(error)) => health.failed(&error),
                Some(Ok(event)) => {
                    health.worked(matches!(event, watcher::Event::InitDone));
                    let watched = wrap(event.modify(Prune::prune));
                    let event = Event::Watched(scope.clone(), watched, Instant::now());
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
}

/// The kind's name, as a constant: kube hands it out as a `Cow`, which is borrowed for every type known at compile time.
fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "unknown",
    }
}

/// Whether a watch works: counted, and logged once per change.
#[derive(Debug)]
pub struct Health {
    kind: &'static str,
    metrics: Arc<Metrics>,
    last_error: Option<Instant>,
}

impl Health {
    /// The health of a watch of `kind` that has not failed yet.
    pub fn new(kind: &'static str, metrics: Arc<Metrics>) -> Self {
        Health {
            kind,
            metrics,
            last_error: None,
        }
    }

    /// Whether it fails now.
    pub fn failing(&self) -> bool {
        self.last_error.is_some()
    }

    /// When it counts as working again, without another error till then.
    pub fn quiet_at(&self) -> Instant {
        self.last_error.map_or_else(Instant::now, |at| at + QUIET)
    }

    /// It failed, and will be tried again.
    pub fn failed(&mut self, error: &watcher::Error) {
        let label = KindLabel { kind: self.kind };
        self.metrics.watch_errors.get_or_create(&label).inc();
        if self.last_error.replace(Instant::now()).is_none() {
            self.metrics.watch_failing.get_or_create(&label).inc();
            warn!(kind = self.kind, reason = reason(error), "watch fails; retrying");
        }
    }

    /// An event came; `listed` when it ends a list.
    pub fn worked(&mut self, listed: bool) {
        let label = KindLabel { kind: self.kind };
        self.metrics.watch_events.get_or_create(&label).inc();
        if listed {
            self.metrics.watch_lists.get_or_create(&label).inc();
        }
        self.quiet();
    }

    /// No error came for a while.
    pub fn quiet(&mut self) {
        if self.last_error.take().is_some() {
            self.metrics
                .watch_failing
                .get_or_create(&KindLabel { kind: self.kind })
                .dec();
            info!(kind = self.kind, "watch works again");
        }
    }
}

/// The reason in words, without the debug text that kube adds.
fn reason(error: &watcher::Error) -> String {
    let api = |error: &kube::Error| match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    };
    match error {
        watcher::Error::InitialListFailed(e) => format!("list: {}", api(e)),
        watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => format!("watch: {}", api(e)),
        watcher::Error::WatchError(status) => format!("watch: {} ({})", status.message, status.code),
        watcher::Error::NoResourceVersion => "no resourceVersion in the answer".to_owned(),
    }
}
