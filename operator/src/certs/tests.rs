use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::json;
use tokio::sync::watch;

use super::held::Data;
use super::issue::{CA_CERT, CA_KEY, TLS_CERT, TLS_KEY, issue};
use super::*;
use crate::events::Note;

const START: u64 = 2_000_000_000;
const DAY: u64 = 24 * 3600;

/// An API server that holds one Secret.
#[derive(Clone, Default)]
struct FakeApi {
    secret: Arc<Mutex<Option<Secret>>>,
}

impl FakeApi {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                if parts.uri.query().is_some_and(|query| query.contains("watch=true")) {
                    let nothing = futures::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
                    return Ok(Response::new(StreamBody::new(nothing).boxed_unsync()));
                }
                let (code, body) = match api.answer(&parts.method, &body) {
                    Ok(answer) => (StatusCode::OK, serde_json::to_vec(&answer)?),
                    Err((code, reason)) => {
                        let status = Status::failure("no", reason).with_code(code.as_u16());
                        (code, serde_json::to_vec(&status)?)
                    }
                };
                let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
                *response.status_mut() = code;
                Ok::<_, tower::BoxError>(response)
            }
        });
        Client::new(service, "ops")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> Result<serde_json::Value, (StatusCode, &'static str)> {
        let mut held = self.secret.lock().unwrap();
        let written: Option<Secret> = serde_json::from_slice(body).ok();
        let version = |secret: &Secret| secret.metadata.resource_version.clone();
        let next = match (method, held.as_ref(), written) {
            (&Method::GET, held, _) => {
                let items: Vec<&Secret> = held.into_iter().collect();
                let list = json!({ "kind": "SecretList", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items });
                return Ok(list);
            }
            (&Method::POST, None, Some(new)) => new,
            (&Method::POST, ..) => return Err((StatusCode::CONFLICT, "AlreadyExists")),
            (&Method::PUT, Some(old), Some(new)) if version(old) == version(&new) => new,
            (&Method::PUT, ..) => return Err((StatusCode::CONFLICT, "Conflict")),
            _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        };
        let count: u64 = held.as_ref().and_then(version).map_or(0, |v| v.parse().unwrap());
        Ok(serde_json::to_value(put(&mut held, next, count + 1)).unwrap())
    }

    /// As somebody with kubectl does it.
    fn edit(&self, change: impl FnOnce(&mut Secret)) -> Secret {
        let mut held = self.secret.lock().unwrap();
        let mut secret = held.clone().unwrap_or_default();
        change(&mut secret);
        let count: u64 = secret
            .metadata
            .resource_version
            .as_ref()
            .map_or(0, |v| v.parse().unwrap());
        put(&mut held, secret, count + 1)
    }

    fn data(&self) -> Data {
        self.secret
            .lock()
            .unwrap()
            .clone()
            .and_then(|s| s.data)
            .unwrap_or_default()
    }
}

fn put(held: &mut Option<Secret>, mut secret: Secret, version: u64) -> Secret {
    secret.metadata.resource_version = Some(version.to_string());
    held.insert(secret).clone()
}

struct Bench {
    api: FakeApi,
    keeper: Keeper,
    known: Known,
    leads: watch::Sender<Option<Instant>>,
    notes: mpsc::Receiver<Note>,
    bundles: mpsc::Receiver<Event>,
}

fn bench(api: &FakeApi) -> Bench {
    let (leads, leadership) = Leadership::new();
    let (events, bundles) = mpsc::channel(64);
    let metrics = Metrics::new(|_| {});
    let (notes, noted) = Events::new(metrics.clone());
    let keeper = Keeper {
        secrets: Api::namespaced(api.client(), "ops"),
        names: vec!["op.ops.svc".to_owned()],
        lives: lives(),
        leadership,
        serving: Arc::default(),
        events,
        notes,
        metrics,
        provider: Arc::new(rustls::crypto::ring::default_provider()),
    };
    Bench {
        api: api.clone(),
        keeper,
        known: Known::new(),
        leads,
        notes: noted,
        bundles,
    }
}

fn lives() -> Lives {
    Lives::new(730 * DAY, 90 * DAY, DAY).unwrap()
}

impl Bench {
    fn lead(&self) {
        self.leads
            .send_replace(Some(Instant::now() + Duration::from_secs(1_000_000)));
    }

    /// What is at the API server now comes by the watch, and is looked at.
    async fn watched(&mut self, now: u64) -> Instant {
        let there = self.api.secret.lock().unwrap().clone();
        self.known
            .saw(there.map_or(Seen::Missing, |secret| Seen::There(Box::new(secret))));
        self.keeper.look(&mut self.known, now).await
    }

    /// Looks again when it said so.
    async fn next(&mut self, at: Instant, now: u64) -> Instant {
        tokio::time::sleep_until(at).await;
        self.keeper.look(&mut self.known, now).await
    }

    fn noted(&mut self) -> String {
        let mut all = String::new();
        while let Ok(note) = self.notes.try_recv() {
            all.push_str(&format!("{note:?}\n"));
        }
        all
    }

    fn served(&self) -> Option<Arc<CertifiedKey>> {
        self.keeper.serving.key.read().unwrap().clone()
    }
}

fn made(now: u64) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), "tenbin".to_owned())].into()),
            ..Default::default()
        },
        data: Some(issue(&["op.ops.svc".to_owned()], &lives(), now).unwrap()),
        ..Default::default()
    }
}

fn garbage() -> ByteString {
    ByteString(b"garbage".to_vec())
}

#[tokio::test(start_paused = true)]
async fn the_leader_makes_what_is_missing_and_every_replica_serves_it() {
    let api = FakeApi::default();
    let (mut one, mut two) = (bench(&api), bench(&api));
    two.watched(START).await;
    assert!(api.data().is_empty(), "only the leader writes");
    one.lead();
    let at = one.watched(START).await;
    let data = api.data();
    assert_eq!(data.len(), 4);
    one.next(at, START).await;
    two.watched(START).await;
    for bench in [&mut one, &mut two] {
        assert!(bench.served().is_some());
        let Ok(Event::Certificates(bundle)) = bench.bundles.try_recv() else {
            panic!("the bundle is told");
        };
        assert_eq!(bundle.as_bytes(), data[CA_CERT].0);
    }
    assert!(one.noted().contains("CertificatesCreated"));
    let shown = one.keeper.metrics.to_text();
    let end = START + 90 * DAY;
    assert!(
        shown.contains(&format!(
            "tenbin_operator_certificate_expiry_timestamp_seconds{{certificate=\"serving\"}} {end}"
        )),
        "{shown}"
    );
    assert!(shown.contains("tenbin_operator_certificate_rotations_total{step=\"create\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_step_is_written_by_the_leader_over_what_it_looked_at_and_nothing_else() {
    let api = FakeApi::default();
    api.edit(|secret| *secret = made(START));
    let mut bench = bench(&api);
    let due = START + 60 * DAY;
    bench.watched(START).await;
    let before = api.data();
    // Somebody was faster, and this replica has not heard of it yet.
    api.edit(|secret| _ = secret.data.as_mut().unwrap().insert("other".to_owned(), garbage()));
    bench.lead();
    let at = bench.keeper.look(&mut bench.known, due).await;
    assert_eq!(api.data()[TLS_CERT], before[TLS_CERT], "a conflict");
    assert_eq!(bench.noted(), "", "no failure");
    bench.watched(due).await;
    assert_eq!(api.data()[TLS_CERT], before[TLS_CERT], "not at once again");
    let at = bench.next(at, due).await;
    let after = api.data();
    assert_ne!(after[TLS_CERT], before[TLS_CERT]);
    assert_eq!((&after[CA_CERT], &after[CA_KEY]), (&before[CA_CERT], &before[CA_KEY]));
    assert_eq!(after["other"], garbage(), "what others put there stays");
    let old = bench.served().unwrap();
    bench.next(at, due).await;
    assert_ne!(bench.served().unwrap().cert, old.cert, "swapped in");
    let noted = bench.noted();
    assert!(
        noted.contains("CertificateRenewed") && !noted.contains("PRIVATE"),
        "{noted}"
    );
    // Nothing more is due, and none but a leader would do it.
    bench.leads.send_replace(None);
    let version = api.edit(|_| ()).metadata.resource_version;
    bench.watched(due + 1000 * DAY).await;
    assert_eq!(
        api.secret.lock().unwrap().as_ref().unwrap().metadata.resource_version,
        version
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_brought_is_never_written_and_its_end_is_told() {
    let api = FakeApi::default();
    for labelled in [false, true] {
        let brought = api.edit(|secret| {
            let version = secret.metadata.resource_version.clone();
            *secret = made(START);
            secret.metadata.resource_version = version;
            secret.data.as_mut().unwrap().remove(CA_KEY);
            if !labelled {
                secret.metadata.labels = None;
            }
        });
        let mut bench = bench(&api);
        bench.lead();
        bench.watched(START).await;
        assert!(bench.served().is_some());
        assert_eq!(bench.noted(), "");
        let at = bench.watched(START + 80 * DAY).await;
        let noted = bench.noted();
        assert!(
            noted.contains("CertificateEndsSoon") && noted.contains("2033-08-"),
            "{noted}"
        );
        let at = bench.next(at, START + 80 * DAY).await;
        assert_eq!(bench.noted(), "", "once a day");
        // Ended, and damaged on top.
        bench.next(at, START + 100 * DAY).await;
        assert!(bench.noted().contains("BadCertificate"));
        assert!(bench.served().is_some(), "the last good one stays");
        let damaged = api.edit(|secret| _ = secret.data.as_mut().unwrap().insert(TLS_CERT.to_owned(), garbage()));
        let at = bench.watched(START + 100 * DAY).await;
        bench.next(at + PATIENCE, START + 100 * DAY).await;
        assert_eq!(*api.secret.lock().unwrap(), Some(damaged));
        assert_ne!(brought.data, Some(api.data()), "but by whoever brought it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_secret_is_put_back_after_a_while() {
    let api = FakeApi::default();
    api.edit(|secret| *secret = made(START));
    let good = api.data();
    let mut bench = bench(&api);
    bench.lead();
    bench.watched(START).await;
    let damages: [fn(&mut Data); 3] = [
        |data| _ = data.insert(TLS_KEY.to_owned(), garbage()),
        |data| _ = data.insert(CA_CERT.to_owned(), garbage()),
        Data::clear,
    ];
    for damage in damages {
        api.edit(|secret| damage(secret.data.as_mut().unwrap()));
        let at = bench.watched(START).await;
        assert_ne!(api.data(), good, "whoever edits it by hand has time");
        assert_eq!(at, Instant::now() + PATIENCE);
        assert!(bench.served().is_some());
        let at = bench.next(at, START).await;
        assert_eq!(api.data(), good);
        let noted = bench.noted();
        assert!(
            noted.contains("BadCertificate") && noted.contains("CertificatesRestored"),
            "{noted}"
        );
        bench.next(at, START).await;
        assert_eq!(bench.keeper.metrics.certificate_ok.get(), 1);
    }
    // One that carries no label of ours is the business of whoever made it.
    let theirs = api.edit(|secret| {
        secret.metadata.labels = None;
        secret.data.as_mut().unwrap().insert(TLS_KEY.to_owned(), garbage());
    });
    let at = bench.watched(START).await;
    bench.next(at, START).await;
    assert_eq!(*api.secret.lock().unwrap(), Some(theirs));
}

#[tokio::test(start_paused = true)]
async fn damage_that_nobody_saw_before_is_mended_by_what_is_left() {
    let api = FakeApi::default();
    let mend = async |damage: fn(&mut Data)| {
        let before = made(START);
        api.edit(|secret| {
            secret.metadata.labels = before.metadata.labels.clone();
            secret.data = before.data.clone();
            damage(secret.data.as_mut().unwrap());
        });
        let mut bench = bench(&api);
        bench.lead();
        let at = bench.watched(START).await;
        assert!(bench.served().is_none());
        let at = bench.next(at, START).await;
        bench.next(at, START).await;
        assert!(bench.served().is_some(), "{}", bench.noted());
        before.data.unwrap()[CA_CERT] == api.data()[CA_CERT]
    };
    assert!(mend(|data| _ = data.remove(TLS_CERT)).await, "proxies know the CA");
    assert!(!mend(|data| _ = data.insert(CA_CERT.to_owned(), garbage())).await);
}

#[tokio::test(start_paused = true)]
async fn what_ended_is_replaced_at_once() {
    let api = FakeApi::default();
    api.edit(|secret| *secret = made(START));
    let mut bench = bench(&api);
    bench.lead();
    let old = api.data();
    let now = START + 4000 * DAY;
    let at = bench.watched(now).await;
    assert_ne!(api.data()[CA_CERT], old[CA_CERT]);
    bench.next(at, now).await;
    assert!(bench.served().is_some());
    assert!(bench.noted().contains("CertificatesReissued"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_told_once_and_tried_again_ever_more_seldom() {
    let api = FakeApi::default();
    api.edit(|secret| *secret = made(START));
    let mut bench = bench(&api);
    // A name that no certificate can carry.
    bench.watched(START).await;
    bench.keeper.names = vec!["bäd".to_owned()];
    bench.lead();
    let due = START + 95 * DAY;
    let at = bench.watched(due).await;
    assert_eq!(at, Instant::now() + RETRY);
    assert_eq!(bench.noted().matches("RotationFailed").count(), 1);
    let at = bench.next(at, due).await;
    assert_eq!(at, Instant::now() + 2 * RETRY);
    assert!(!bench.noted().contains("RotationFailed"));
}

/// The whole loop, by the clock of the day.
#[tokio::test(start_paused = true)]
async fn the_loop_wakes_for_a_new_leader_and_for_what_is_due() {
    let api = FakeApi::default();
    let Bench {
        mut keeper,
        leads,
        bundles,
        ..
    } = bench(&api);
    let names = keeper.names.clone();
    keeper.lives = Lives::new(360, 60, 90).unwrap();
    // Due for a second already.
    let now = unix_now();
    let data = issue(&names, &keeper.lives, now - 41).unwrap();
    api.edit(|secret| {
        *secret = made(now);
        secret.data = Some(data.clone());
    });
    let lives = keeper.lives;
    let serving = keeper.serving.clone();
    let task = tokio::spawn(keeper.run());
    let until = async |what: &dyn Fn() -> bool| {
        while !what() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until(&|| serving.key.read().unwrap().is_some()).await;
    assert_eq!(api.data(), data, "it does not lead");
    leads.send_replace(Some(Instant::now() + Duration::from_secs(10_000_000)));
    until(&|| api.data() != data).await;
    // Due in a second, and no event comes.
    task.abort();
    drop(bundles);
    let Bench {
        mut keeper,
        leads,
        bundles: _bundles,
        ..
    } = bench(&api);
    keeper.lives = lives;
    let soon = issue(&names, &lives, unix_now() - 39).unwrap();
    api.edit(|secret| secret.data = Some(soon.clone()));
    leads.send_replace(Some(Instant::now() + Duration::from_secs(10_000_000)));
    let task = tokio::spawn(keeper.run());
    until(&|| api.data() != soon).await;
    assert_eq!(api.data()[CA_CERT], soon[CA_CERT], "renewed by the same CA");
    task.abort();
}
