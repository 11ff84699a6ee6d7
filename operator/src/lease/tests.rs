use std::sync::Mutex;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;

use super::*;

#[tokio::test(start_paused = true)]
async fn leadership_ends_by_itself_when_not_renewed() {
    let (sender, mut leadership) = Leadership::new();
    assert!(!leadership.is_leader());
    leadership.lost().await;
    sender.send_replace(Some(Instant::now() + RENEW_DEADLINE));
    leadership.gained().await;
    assert!(leadership.is_leader());
    leadership.lost().await;
    assert!(!leadership.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_prolongs_leadership() {
    let (sender, mut leadership) = Leadership::new();
    let start = Instant::now();
    sender.send_replace(Some(start + Duration::from_secs(10)));
    let mut waiter = leadership.clone();
    let lost = tokio::spawn(async move {
        waiter.lost().await;
        Instant::now()
    });
    tokio::time::advance(Duration::from_secs(6)).await;
    sender.send_replace(Some(start + Duration::from_secs(16)));
    leadership.gained().await;
    assert_eq!(lost.await.expect("no panic"), start + Duration::from_secs(16));
}

/// An API server that holds one lease, and can be away.
#[derive(Clone, Default)]
struct FakeApi {
    lease: Arc<Mutex<Option<Lease>>>,
    away: Arc<std::sync::atomic::AtomicBool>,
}

impl FakeApi {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                if api.away.load(std::sync::atomic::Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let (code, body) = match api.answer(&parts.method, &body) {
                    Ok(lease) => (StatusCode::OK, serde_json::to_vec(&lease)?),
                    Err((code, reason)) => {
                        let status = Status::failure("no", reason).with_code(code.as_u16());
                        (code, serde_json::to_vec(&status)?)
                    }
                };
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = code;
                Ok::<_, tower::BoxError>(response)
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> Result<Lease, (StatusCode, &'static str)> {
        let mut held = self.lease.lock().unwrap();
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let written: Option<Lease> = serde_json::from_slice(body).ok();
        let next = match (method, held.as_ref(), written) {
            (&Method::GET, Some(lease), _) => return Ok(lease.clone()),
            (&Method::GET, None, _) => return Err((StatusCode::NOT_FOUND, "NotFound")),
            (&Method::POST, None, Some(new)) => new,
            (&Method::POST, ..) => return Err((StatusCode::CONFLICT, "AlreadyExists")),
            (&Method::PATCH, Some(lease), Some(new)) if version(&new) == version(lease) => new,
            (&Method::PATCH, ..) => return Err((StatusCode::CONFLICT, "Conflict")),
            _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        };
        let count: u64 = held.as_ref().and_then(version).map_or(0, |v| v.parse().unwrap());
        let mut next = next;
        next.metadata.resource_version = Some((count + 1).to_string());
        *held = Some(next.clone());
        Ok(next)
    }

    fn holder(&self) -> Option<String> {
        self.lease.lock().unwrap().clone()?.spec?.holder_identity
    }
}

struct Replica {
    leadership: Leadership,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn replica(name: &str, api: &FakeApi) -> Replica {
    let (leads, leadership) = Leadership::new();
    let stop = CancellationToken::new();
    let elector = Elector {
        leases: Api::namespaced(api.client(), "tenbin-system"),
        name: "tenbin-operator".to_owned(),
        me: name.to_owned(),
        leads,
        metrics: Metrics::new(|_| {}),
    };
    Replica {
        leadership,
        task: tokio::spawn(elector.run(stop.clone())),
        stop,
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_a_clean_stop_hands_over_at_once() {
    let api = FakeApi::default();
    let mut one = replica("one", &api);
    one.leadership.gained().await;
    let mut two = replica("two", &api);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(one.leadership.is_leader() && !two.leadership.is_leader());
    let stopped = Instant::now();
    one.stop.cancel();
    one.task.await.unwrap();
    assert_eq!(api.holder().as_deref(), Some(""), "released");
    two.leadership.gained().await;
    assert!(stopped.elapsed() <= RETRY, "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_died_is_replaced_after_the_leases_time_and_never_two_lead() {
    let api = FakeApi::default();
    let mut one = replica("one", &api);
    one.leadership.gained().await;
    let mut two = replica("two", &api);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let died = Instant::now();
    one.task.abort();
    two.leadership.gained().await;
    assert!(!one.leadership.is_leader(), "it had stopped writing before");
    let took = died.elapsed();
    assert!(took >= RENEW_DEADLINE && took <= LEASE_DURATION + 2 * RETRY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_the_leader_stops_writing_and_comes_back() {
    let api = FakeApi::default();
    let mut one = replica("one", &api);
    one.leadership.gained().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let since = Instant::now();
    api.away.store(true, std::sync::atomic::Ordering::SeqCst);
    one.leadership.lost().await;
    assert!(since.elapsed() <= RENEW_DEADLINE, "{:?}", since.elapsed());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!one.task.is_finished(), "the process lives on");
    api.away.store(false, std::sync::atomic::Ordering::SeqCst);
    one.leadership.gained().await;
    assert_eq!(api.holder().as_deref(), Some("one"));
}
