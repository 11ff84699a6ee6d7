use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::runtime::watcher::Event as WatchEvent;
use serde_json::{Value, json};

use super::*;
use crate::status::Outcome;
use crate::tables::{Tables, Watched};
use crate::world::AppState;
use crate::xds::session::StreamSync;
use crate::xds::streams::Streams;

/// The statuses that the fake API server was sent.
type Sent = Arc<Mutex<Vec<Value>>>;

/// Takes every status; each write makes a new version.
fn api(sent: &Sent) -> Client {
    let sent = sent.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let sent = sent.clone();
        async move {
            assert_eq!(
                request.uri().path(),
                "/apis/tenbin.dev/v1alpha1/namespaces/shop/balancedapps/hello/status"
            );
            let body = request.into_body().collect().await?.to_bytes();
            let patch: Value = serde_json::from_slice(&body)?;
            let mut app = serde_json::to_value(app())?;
            app["status"] = patch["status"].clone();
            let mut sent = sent.lock().unwrap();
            sent.push(patch);
            app["metadata"]["resourceVersion"] = (100 + sent.len()).to_string().into();
            Ok::<_, tower::BoxError>(Response::new(Body::from(serde_json::to_vec(&app)?)))
        }
    });
    Client::new(service, "default")
}

fn app() -> BalancedApp {
    let app = json!({
        "apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp",
        "metadata": { "name": "hello", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "100" },
        "spec": { "image": "i", "ports": [{ "name": "http", "port": 8080 }] },
    });
    serde_json::from_value(app).unwrap()
}

fn key() -> AppKey {
    AppKey::new("shop", "hello")
}

struct Bench {
    writer: StatusWriter,
    streams: Arc<Streams>,
    sent: Sent,
    leads: tokio::sync::watch::Sender<Option<Instant>>,
}

fn bench() -> Bench {
    let (sent, streams) = (Sent::default(), Arc::new(Streams::default()));
    let mut tables = Tables::new(&[]);
    tables.apply(None, Watched::App(WatchEvent::Apply(app())));
    let world = Shared::new(tables);
    let outcome = Outcome {
        generation: 1,
        problems: Vec::new(),
    };
    let state = AppState {
        outcome,
        ..AppState::default()
    };
    world.write().apps.insert(key(), state);
    let (leads, leadership) = Leadership::new();
    leads.send_replace(Some(Instant::now() + Duration::from_secs(3600)));
    let metrics = Metrics::new(|_| {});
    let (notes, _) = Events::new(metrics.clone());
    let syncs = Syncs::new(streams.clone());
    Bench {
        writer: StatusWriter::new(api(&sent), world, syncs, leadership, notes, metrics),
        streams,
        sent,
        leads,
    }
}

impl Bench {
    /// Works as the queue does, until nothing is left to do.
    async fn work(&self) {
        while let Next::After(delay) = self.writer.work(key()).await {
            tokio::time::sleep(delay).await;
        }
    }

    fn sent(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_once_and_none_when_settled() {
    let bench = bench();
    bench.work().await;
    assert_eq!(bench.sent(), 1);
    let patch = bench.sent.lock().unwrap()[0].clone();
    assert_eq!(
        (&patch["metadata"]["uid"], &patch["kind"]),
        (&json!("u"), &json!("BalancedApp"))
    );
    assert_eq!(patch["status"]["observedGeneration"], 1);
    // The watch has not brought it back yet: nothing is written again for that.
    bench.work().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.work().await;
    assert_eq!(bench.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_proxies_accept_at_once_shows_only_as_settled_and_writes_keep_their_pace() {
    let bench = bench();
    let open = bench.streams.open(key());
    let synced = |synced| StreamSync {
        generation: 1,
        synced,
        rejected: Vec::new(),
    };
    open.set(synced(true));
    bench.work().await;
    assert_eq!(bench.sent(), 1);
    // An update that the proxy accepts while it settles.
    tokio::time::sleep(PACE).await;
    open.set(synced(false));
    assert!(matches!(bench.writer.work(key()).await, Next::After(_)));
    open.set(synced(true));
    bench.work().await;
    assert_eq!(bench.sent(), 1);
    // Changes that last: no two writes within the pace.
    let start = Instant::now();
    for _ in 0..3 {
        open.set(synced(false));
        bench.work().await;
        open.set(synced(true));
        bench.work().await;
    }
    assert_eq!(bench.sent(), 7);
    assert!(start.elapsed() >= PACE * 5, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_follower_and_one_that_does_not_know_the_outcome_write_nothing() {
    let bench = bench();
    bench.leads.send_replace(None);
    bench.work().await;
    assert_eq!(bench.sent(), 0);
    bench.leads.send_replace(Some(Instant::now() + Duration::from_secs(60)));
    bench.writer.world.write().apps.insert(key(), AppState::default());
    bench.work().await;
    assert_eq!(bench.sent(), 0, "the status of the leader before stays");
}
