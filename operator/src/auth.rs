//! Who is on a stream: a bearer token, reviewed by the API server for our audience, bound to a pod, resolved to its app by owner.
//! Nothing else that a client says counts. Fails closed. The token never leaves this file: not into logs, errors or Debug.

mod review;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Client;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::key::AppKey;
use crate::metrics::{Metrics, ReasonLabel};
use crate::world::Shared;
pub use review::{Caller, Refusal};

/// Audience of the tokens by which sidecars prove who they are.
pub const STREAM_AUDIENCE: &str = "tenbin.dev/xds";
/// Audience of the tokens by which operator replicas know each other.
pub const PEER_AUDIENCE: &str = "tenbin.dev/peers";

/// How long a good review is believed without asking again.
const CACHE_FOR: Duration = Duration::from_secs(60);
/// The most reviews remembered; one more makes the oldest go.
const CACHE_MAX: usize = 10_000;
/// Reviews under way at once; more wait for their turn.
const REVIEWS_AT_ONCE: usize = 32;
/// The longest that a review may take, waiting for its turn included.
const REVIEW_TIME: Duration = Duration::from_secs(10);
/// How long the API server may take to say that it is there.
const ALIVE: Duration = Duration::from_secs(5);
/// How long a pod may be unknown: its token can be faster than our watch.
const UNSEEN_POD: Duration = Duration::from_secs(5);
/// Callers waiting for such a pod at once; one more is told to come back, so that they take no other caller's turn.
const WAITING_AT_ONCE: usize = 32;
/// The longest token looked at, in bytes; ServiceAccount tokens have about 1 KiB.
const MAX_TOKEN: usize = 16 * 1024;

/// SHA-256 of audience and token.
type TokenHash = [u8; 32];

/// Checks tokens against the API server and the watched objects.
pub struct Authenticator {
    client: Client,
    world: Shared,
    metrics: Arc<Metrics>,
    reviews: Semaphore,
    waiting: Semaphore,
    cache: Mutex<HashMap<TokenHash, (Instant, Caller)>>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// Checks by `client`'s API server and `world`'s tables.
    pub fn new(client: Client, world: Shared, metrics: Arc<Metrics>) -> Self {
        Authenticator {
            client,
            world,
            metrics,
            reviews: Semaphore::new(REVIEWS_AT_ONCE),
            waiting: Semaphore::new(WAITING_AT_ONCE),
            cache: Mutex::default(),
        }
    }

    /// The app whose pod holds this token. Waits up to 5 s for a pod that is not known yet.
    ///
    /// # Errors
    /// Why not; counted.
    pub async fn authenticate(&self, token: Option<&str>) -> Result<AppKey, Refusal> {
        let app = async {
            let caller = self.caller(token, STREAM_AUDIENCE).await?;
            self.app_of(&caller).await
        };
        app.await.inspect_err(|refusal| self.count(*refusal))
    }

    /// Whether this token is another operator replica's: its user is `user_name`, its audience that of replicas.
    ///
    /// # Errors
    /// Why not; counted.
    pub async fn authenticate_peer(&self, token: Option<&str>, user_name: &str) -> Result<(), Refusal> {
        let caller = self.caller(token, PEER_AUDIENCE).await;
        let result = caller.and_then(|caller| match caller.user_name == user_name {
            true => Ok(()),
            false => Err(Refusal::NotAPeer),
        });
        result.inspect_err(|refusal| self.count(*refusal))
    }

    /// Whether the API server answers, so that tokens can be reviewed.
    pub async fn is_able(&self) -> bool {
        matches!(timeout(ALIVE, self.client.apiserver_version()).await, Ok(Ok(_)))
    }

    fn count(&self, refusal: Refusal) {
        let reason = refusal.reason();
        self.metrics.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    async fn app_of(&self, caller: &Caller) -> Result<AppKey, Refusal> {
        let pod = caller.pod.as_ref().ok_or(Refusal::NotAPod)?;
        let app = || self.world.read().tables.app_of_pod(&pod.namespace, &pod.name, &pod.uid);
        if let Some(app) = app() {
            return Ok(app);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Refusal::Unavailable)?;
        let deadline = Instant::now() + UNSEEN_POD;
        let mut version = self.world.version();
        loop {
            version.borrow_and_update();
            if let Some(app) = app() {
                return Ok(app);
            }
            match timeout_at(deadline, version.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Refusal::Unavailable),
                Err(_) => return Err(Refusal::NoApp),
            }
        }
    }

    async fn caller(&self, token: Option<&str>, audience: &str) -> Result<Caller, Refusal> {
        let token = token.filter(|t| !t.is_empty()).ok_or(Refusal::NoToken)?;
        if token.len() > MAX_TOKEN {
            return Err(Refusal::BadToken);
        }
        let hash: TokenHash = Sha256::new_with_prefix(audience)
            .chain_update([0])
            .chain_update(token)
            .finalize()
            .into();
        if let Some(caller) = self.remembered(&hash) {
            return Ok(caller);
        }
        let caller = timeout(REVIEW_TIME, self.review(token, audience))
            .await
            .map_err(|_| Refusal::Unavailable)??;
        self.remember(hash, caller.clone());
        Ok(caller)
    }

    /// Asks the API server. By hand, since the client would log a response that it can't parse, and the response holds the token.
    async fn review(&self, token: &str, audience: &str) -> Result<Caller, Refusal> {
        let _turn = self.reviews.acquire().await.map_err(|_| Refusal::Unavailable)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![audience.to_owned()]),
            },
            ..Default::default()
        };
        let body = serde_json::to_vec(&review).map_err(|_| Refusal::BadToken)?;
        let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|_| Refusal::BadToken)?;
        self.metrics.token_reviews.inc();
        let answer = self
            .client
            .request_text(request)
            .await
            .map_err(|_| Refusal::Unavailable)?;
        let review: TokenReview = serde_json::from_str(&answer).map_err(|_| Refusal::Unavailable)?;
        review::judge(review.status.unwrap_or_default(), audience)
    }

    fn remembered(&self, hash: &TokenHash) -> Option<Caller> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, caller) = cache.get(hash)?;
        (Instant::now() < *until).then(|| caller.clone())
    }

    fn remember(&self, hash: TokenHash, caller: Caller) {
        let now = Instant::now();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, (until, _)| now < *until);
        }
        if cache.len() >= CACHE_MAX {
            let oldest = cache.iter().min_by_key(|(_, (until, _))| *until).map(|(hash, _)| *hash);
            oldest.and_then(|hash| cache.remove(&hash));
        }
        cache.insert(hash, (now + CACHE_FOR, caller));
    }
}

#[cfg(test)]
mod tests;
