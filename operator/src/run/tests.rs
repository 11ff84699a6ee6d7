use kube::runtime::watcher::Event as WatchEvent;
use serde_json::json;
use tenbin_crds::BalancedApp;

use super::*;
use crate::problem::Problem;
use crate::tables::Tables;

struct Bench {
    the_loop: Loop,
    ready: watch::Receiver<bool>,
}

fn bench() -> Bench {
    use clap::Parser;
    let config = Config::try_parse_from([
        "tenbin-operator",
        "--pod-name=a",
        "--pod-namespace=ops",
        "--proxy-image=proxy:1",
    ]);
    let (ready, is_ready) = watch::channel(false);
    let the_loop = Loop {
        config: config.unwrap(),
        defaults: Defaults::default(),
        world: Shared::new(Tables::new(&[])),
        store: Arc::default(),
        apply: Arc::default(),
        status: Arc::default(),
        metrics: Metrics::new(|_| {}),
        ready,
        seen: watch::channel(Instant::now()).0,
        leader: false,
        complete: false,
    };
    Bench {
        the_loop,
        ready: is_ready,
    }
}

impl Bench {
    fn on(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut dirty = Dirty::default();
        for event in events {
            self.the_loop.take(event, &mut dirty);
        }
        self.the_loop.settle(dirty);
    }

    /// Every watch but that of apps has listed nothing.
    fn list_children(&mut self) {
        macro_rules! empty {
            ($($kind:ident),*) => {
                [$(watched(Watched::$kind(WatchEvent::Init)), watched(Watched::$kind(WatchEvent::InitDone))),*]
            };
        }
        self.on(empty!(
            Deployment, Service, Budget, ConfigMap, Revision, ReplicaSet, Pod, Slice, Node, Keys
        ));
    }

    fn list_apps(&mut self, apps: impl IntoIterator<Item = BalancedApp>) {
        let apps = apps
            .into_iter()
            .map(|app| watched(Watched::App(WatchEvent::InitApply(app))));
        let all = [watched(Watched::App(WatchEvent::Init))].into_iter().chain(apps);
        self.on(all
            .chain([watched(Watched::App(WatchEvent::InitDone))])
            .collect::<Vec<_>>());
    }

    fn snapshot(&self) -> Option<Arc<AppSnapshot>> {
        self.the_loop.store.subscribe(&key()).borrow().clone()
    }

    /// What waits in the queues of apply and status.
    async fn waiting(&self) -> (Vec<String>, Vec<String>) {
        (drain(&self.the_loop.apply).await, drain(&self.the_loop.status).await)
    }
}

async fn drain(queue: &Queue) -> Vec<String> {
    let taken = std::cell::RefCell::new(Vec::new());
    let work = |key: AppKey| {
        taken.borrow_mut().push(key.to_string());
        async { crate::work::Next::Idle }
    };
    // Work that is due is started when the queue is first looked at.
    let run = queue.run(100, work);
    tokio::select! {
        biased;
        () = run => {}
        () = std::future::ready(()) => {}
    }
    taken.into_inner()
}

fn watched(watched: Watched) -> Event {
    Event::Watched(None, watched, Instant::now())
}

fn key() -> AppKey {
    AppKey::new("shop", "hello")
}

fn app() -> BalancedApp {
    let app = json!({
        "apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp",
        "metadata": { "name": "hello", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1" },
        "spec": { "image": "i", "ports": [{ "name": "http", "port": 8080 }] },
    });
    serde_json::from_value(app).unwrap()
}

#[tokio::test]
async fn nothing_goes_out_before_every_watch_has_listed() {
    let mut bench = bench();
    bench.on([Event::Leader(true), Event::Certificates("bundle".to_owned())]);
    bench.list_apps([app()]);
    assert!(bench.snapshot().is_none());
    assert_eq!(bench.waiting().await, (vec![], vec![]));
    assert!(!*bench.ready.borrow());
    bench.list_children();
    assert!(bench.snapshot().is_some());
    let hello = vec![key().to_string()];
    assert_eq!(bench.waiting().await, (hello.clone(), hello));
    assert!(*bench.ready.borrow());
}

#[tokio::test]
async fn the_stream_waits_for_the_certificate_and_a_follower_writes_nothing() {
    let mut bench = bench();
    bench.list_children();
    bench.list_apps([app()]);
    assert!(!*bench.ready.borrow(), "no certificate yet");
    bench.on([Event::Certificates("bundle".to_owned())]);
    assert!(*bench.ready.borrow());
    assert!(bench.snapshot().is_some(), "every replica serves");
    bench.on([Event::Streams(BTreeSet::from([key()]))]);
    assert_eq!(bench.waiting().await, (vec![], vec![]), "only the leader writes");
    bench.on([Event::Leader(true)]);
    assert_eq!(bench.waiting().await.0, [key().to_string()]);
}

#[tokio::test]
async fn an_event_that_changes_no_resource_publishes_nothing_anew() {
    let mut bench = bench();
    bench.list_children();
    bench.list_apps([app()]);
    let first = bench.snapshot().unwrap();
    let mut labelled = app();
    labelled.metadata.resource_version = Some("9".to_owned());
    labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    bench.on([watched(Watched::App(WatchEvent::Apply(labelled)))]);
    assert!(Arc::ptr_eq(&first, &bench.snapshot().unwrap()));
    bench.on([watched(Watched::App(WatchEvent::Delete(app())))]);
    assert!(bench.snapshot().is_none(), "an app that is gone is gone");
    assert!(bench.the_loop.world.read().apps.is_empty());
}

#[tokio::test]
async fn a_spec_that_changes_no_resource_is_published_for_proxies_to_be_told_synced_with() {
    let mut bench = bench();
    bench.list_children();
    bench.list_apps([app()]);
    let first = bench.snapshot().unwrap();
    let mut scaled = app();
    scaled.metadata.resource_version = Some("2".to_owned());
    scaled.metadata.generation = Some(2);
    scaled.spec.replicas = 5;
    bench.on([watched(Watched::App(WatchEvent::Apply(scaled)))]);
    let second = bench.snapshot().unwrap();
    assert_eq!((first.generation(), second.generation()), (1, 2));
}

#[tokio::test]
async fn an_outcome_counts_while_this_replica_leads() {
    let mut bench = bench();
    bench.list_children();
    bench.list_apps([app()]);
    let outcome = Outcome {
        generation: 1,
        problems: vec![Problem::fatal("spec", "Rejected", "no")],
    };
    let applied = || Event::Applied {
        key: key(),
        outcome: outcome.clone(),
    };
    let known = |bench: &Bench| bench.the_loop.world.read().apps[&key()].outcome.clone();
    bench.on([applied()]);
    assert_eq!(known(&bench), Outcome::default(), "too late: it does not lead any more");
    bench.on([Event::Leader(true), applied()]);
    assert_eq!(known(&bench), outcome);
    bench.on([Event::Leader(false)]);
    assert_eq!(
        known(&bench),
        Outcome::default(),
        "what the next leader finds is not known here"
    );
}

#[tokio::test]
async fn pods_concern_status_but_no_child() {
    let mut bench = bench();
    bench.list_children();
    bench.list_apps([app()]);
    bench.on([Event::Leader(true)]);
    bench.waiting().await;
    let owner = json!([{ "apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp", "name": "hello", "uid": "u", "controller": true }]);
    let deployment = json!({
        "metadata": { "name": "hello", "namespace": "shop", "uid": "d", "generation": 1, "resourceVersion": "1",
            "labels": { "tenbin.dev/app": "hello" }, "ownerReferences": owner },
        "spec": { "selector": {}, "template": {} },
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    bench.on([watched(Watched::Deployment(WatchEvent::Apply(deployment)))]);
    let hello = vec![key().to_string()];
    assert_eq!(bench.waiting().await, (hello.clone(), hello.clone()));
    let set = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "hello", "uid": "d", "controller": true });
    let set = json!({ "name": "hello-1", "namespace": "shop", "uid": "s", "resourceVersion": "1",
        "labels": { "tenbin.dev/app": "hello" }, "ownerReferences": [set] });
    let set = kube::api::PartialObjectMeta {
        metadata: serde_json::from_value(set).unwrap(),
        ..Default::default()
    };
    bench.on([watched(Watched::ReplicaSet(WatchEvent::Apply(set)))]);
    let pod = json!({
        "metadata": { "name": "hello-1-a", "namespace": "shop", "uid": "p", "resourceVersion": "1", "labels": { "tenbin.dev/app": "hello" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "hello-1", "uid": "s", "controller": true }] },
        "spec": { "containers": [] },
    });
    bench.waiting().await;
    bench.on([watched(Watched::Pod(WatchEvent::Apply(
        serde_json::from_value(pod).unwrap(),
    )))]);
    assert_eq!(bench.waiting().await, (vec![], hello));
}
