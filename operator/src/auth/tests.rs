use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use kube::client::Body;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event as WatchEvent;
use serde_json::json;

use super::*;
use crate::tables::{Tables, Watched};

/// Reviews asked of the fake API server.
static REVIEWS: AtomicUsize = AtomicUsize::new(0);

fn status_of(token: &str) -> Option<TokenReviewStatus> {
    let (what, pod) = token.split_once(':')?;
    let extra = |key: &str, value: String| (format!("authentication.kubernetes.io/{key}"), vec![value]);
    let audience = if what == "peer" { PEER_AUDIENCE } else { STREAM_AUDIENCE };
    let bound = [
        extra("pod-name", pod.to_owned()),
        extra("pod-uid", format!("uid-{pod}")),
    ];
    Some(TokenReviewStatus {
        authenticated: Some(what != "bad"),
        audiences: Some(vec![audience.to_owned()]),
        user: Some(UserInfo {
            username: Some("system:serviceaccount:shop:default".to_owned()),
            extra: (what != "unbound").then(|| bound.into()),
            ..Default::default()
        }),
        error: None,
    })
}

/// An API server that reviews tokens as `good:pod`, and is away for those that have no colon.
fn api() -> Client {
    let service = tower::service_fn(|request: Request<Body>| async move {
        assert_eq!(request.uri().path(), "/apis/authentication.k8s.io/v1/tokenreviews");
        REVIEWS.fetch_add(1, Ordering::SeqCst);
        let body = request.into_body().collect().await?.to_bytes();
        let mut review: TokenReview = serde_json::from_slice(&body)?;
        review.status = status_of(review.spec.token.as_deref().unwrap_or_default());
        let code = if review.status.is_some() {
            StatusCode::CREATED
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&review)?));
        *response.status_mut() = code;
        Ok::<_, tower::BoxError>(response)
    });
    Client::new(service, "default")
}

fn owner(kind: &str, api_version: &str, name: &str) -> serde_json::Value {
    json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true }])
}

fn meta(name: &str, owners: &serde_json::Value) -> ObjectMeta {
    let meta = json!({
        "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
        "labels": { "tenbin.dev/app": "hello" }, "ownerReferences": owners,
    });
    serde_json::from_value(meta).unwrap()
}

fn object<K: serde::de::DeserializeOwned>(name: &str, owners: &serde_json::Value, spec: &serde_json::Value) -> K {
    serde_json::from_value(json!({ "metadata": meta(name, owners), "spec": spec })).unwrap()
}

/// An app `hello` with its Deployment and ReplicaSet, and no pod yet.
fn world() -> Shared {
    let mut tables = Tables::new(&[]);
    let spec = json!({ "image": "i", "ports": [{ "name": "http", "port": 80 }] });
    let app = json!({ "apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp", "metadata": meta("hello", &json!([])), "spec": spec });
    tables.apply(
        None,
        Watched::App(WatchEvent::Apply(serde_json::from_value(app).unwrap())),
    );
    let by_app = owner("BalancedApp", "tenbin.dev/v1alpha1", "hello");
    let template = json!({ "selector": {}, "template": {} });
    let deployment = object("hello-deployment", &by_app, &template);
    tables.apply(None, Watched::Deployment(WatchEvent::Apply(deployment)));
    let by_deployment = owner("Deployment", "apps/v1", "hello-deployment");
    let set = kube::api::PartialObjectMeta {
        metadata: meta("hello-set", &by_deployment),
        ..Default::default()
    };
    tables.apply(None, Watched::ReplicaSet(WatchEvent::Apply(set)));
    Shared::new(tables)
}

fn add_pod(world: &Shared, name: &str) {
    let pod = object(
        name,
        &owner("ReplicaSet", "apps/v1", "hello-set"),
        &json!({ "containers": [] }),
    );
    world.write().tables.apply(None, Watched::Pod(WatchEvent::Apply(pod)));
    world.changed();
}

fn authenticator(world: &Shared) -> Authenticator {
    Authenticator::new(api(), world.clone(), Metrics::new(|_| {}))
}

fn refused(auth: &Authenticator, reason: &'static str) -> u64 {
    auth.metrics.refusals.get_or_create(&ReasonLabel { reason }).get()
}

// One test, since it counts the reviews of the whole process.
#[tokio::test(start_paused = true)]
async fn callers_are_resolved_to_their_app_or_refused_and_counted() {
    let world = world();
    add_pod(&world, "pod-1");
    let auth = authenticator(&world);
    let hello = AppKey::new("shop", "hello");

    assert_eq!(auth.authenticate(Some("good:pod-1")).await, Ok(hello.clone()));
    let reviews = REVIEWS.load(Ordering::SeqCst);
    assert_eq!(auth.authenticate(Some("good:pod-1")).await, Ok(hello.clone()));
    assert_eq!(REVIEWS.load(Ordering::SeqCst), reviews, "remembered");
    tokio::time::advance(CACHE_FOR).await;
    assert_eq!(auth.authenticate(Some("good:pod-1")).await, Ok(hello.clone()));
    assert_eq!(REVIEWS.load(Ordering::SeqCst), reviews + 1, "not for ever");

    let long = "x".repeat(MAX_TOKEN + 1);
    let cases = [
        (None, Refusal::NoToken),
        (Some(""), Refusal::NoToken),
        (Some("bad:pod-1"), Refusal::BadToken),
        (Some(long.as_str()), Refusal::BadToken),
        (Some("peer:pod-1"), Refusal::WrongAudience),
        (Some("unbound:pod-1"), Refusal::NotAPod),
        (Some("good:stranger"), Refusal::NoApp),
        (Some("away"), Refusal::Unavailable),
    ];
    for (token, refusal) in cases {
        let before = refused(&auth, refusal.reason());
        assert_eq!(auth.authenticate(token).await, Err(refusal));
        assert_eq!(refused(&auth, refusal.reason()), before + 1, "{refusal}");
    }
    let reviews = REVIEWS.load(Ordering::SeqCst);
    assert_eq!(auth.authenticate(Some("bad:pod-1")).await, Err(Refusal::BadToken));
    assert_eq!(
        REVIEWS.load(Ordering::SeqCst),
        reviews + 1,
        "a refusal is not remembered"
    );

    // A pod that the watch brings while its proxy already knocks.
    let knocks = auth.authenticate(Some("good:pod-2"));
    let comes = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        add_pod(&world, "pod-2");
    };
    assert_eq!(tokio::join!(knocks, comes).0, Ok(hello));

    // Replicas: by user name, with a token of their own audience.
    let name = "system:serviceaccount:shop:default";
    assert_eq!(auth.authenticate_peer(Some("peer:pod-1"), name).await, Ok(()));
    assert_eq!(
        auth.authenticate_peer(Some("good:pod-1"), name).await,
        Err(Refusal::WrongAudience)
    );
    let other = auth
        .authenticate_peer(Some("peer:pod-1"), "system:serviceaccount:tenbin:operator")
        .await;
    assert_eq!(other, Err(Refusal::NotAPeer));
    assert_eq!(format!("{auth:?}"), "Authenticator");
}

#[test]
fn what_is_remembered_is_bounded() {
    let auth = authenticator_without_api();
    let caller = Caller {
        user_name: "u".to_owned(),
        pod: None,
    };
    for i in 0..CACHE_MAX + 10 {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&i.to_le_bytes());
        auth.remember(hash, caller.clone());
    }
    let cache = auth.cache.lock().unwrap();
    assert_eq!(cache.len(), CACHE_MAX);
}

fn authenticator_without_api() -> Authenticator {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The client starts a task for its queue.
    let _inside = runtime.enter();
    authenticator(&Shared::new(Tables::new(&[])))
}
