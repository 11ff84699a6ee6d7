//! The stream's CA and serving certificate, kept in one Secret of the operator's namespace: made by the leader where missing,
//! watched by every replica, swapped into the running TLS resolver. A bad Secret is reported; the last good one stays.

mod issue;
mod judge;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event as WatchEvent, watcher};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::events::{Events, Note};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::run::Event;

/// Name of the Secret.
pub const SECRET: &str = "tenbin-xds-tls";

/// How often the leader tries again to make a missing Secret, and the longest that one try may take.
const RETRY: Duration = Duration::from_secs(5);

/// The serving certificate of now. Connections begun with an older one go on.
#[derive(Default)]
pub struct Serving {
    key: RwLock<Option<Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Serving")
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What keeping the certificates needs.
pub struct Keeper {
    /// Secrets of the operator's namespace.
    pub secrets: Api<Secret>,
    /// The DNS names that the serving certificate must hold for.
    pub names: Vec<String>,
    /// Who may make the Secret.
    pub leadership: Leadership,
    /// Where the serving certificate goes.
    pub serving: Arc<Serving>,
    /// Where a new CA bundle is told.
    pub events: mpsc::Sender<Event>,
    /// Kubernetes Events.
    pub notes: Events,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
    /// What checks keys and signatures.
    pub provider: Arc<CryptoProvider>,
}

impl Keeper {
    /// Keeps the certificates until the loop is gone.
    pub async fn run(mut self) {
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={SECRET}"))
            .timeout(crate::watch::TIMEOUT_SECONDS);
        let mut secrets = watcher(self.secrets.clone(), config).default_backoff().boxed();
        let mut state = crate::watch::Health::new("Secret", self.metrics.clone());
        let mut listed = false;
        let mut missing = false;
        let mut leadership = self.leadership.clone();
        let mut try_at = Instant::now();
        loop {
            let turn = async {
                leadership.gained().await;
                tokio::time::sleep_until(try_at).await;
            };
            let event = tokio::select! {
                event = secrets.next() => event,
                () = turn, if missing => {
                    self.create().await;
                    // What was made comes back by the watch; a failure is tried again.
                    try_at = Instant::now() + RETRY;
                    continue;
                }
            };
            match event {
                None => return,
                Some(Err(error)) => state.failed(&error),
                Some(Ok(event)) => {
                    state.worked(matches!(event, WatchEvent::InitDone));
                    match event {
                        WatchEvent::Init => listed = false,
                        WatchEvent::InitApply(secret) => {
                            (listed, missing) = (true, false);
                            self.take(&secret).await;
                        }
                        WatchEvent::Apply(secret) => {
                            missing = false;
                            self.take(&secret).await;
                        }
                        WatchEvent::InitDone => missing = !listed,
                        WatchEvent::Delete(_) => missing = true,
                    }
                }
            }
            if self.events.is_closed() {
                return;
            }
        }
    }

    /// Judges the Secret and swaps it in, or says why not.
    async fn take(&mut self, secret: &Secret) {
        match judge::judge(secret, &self.names, UnixTime::now(), &self.provider) {
            Ok(good) => {
                self.metrics.certificate_ok.set(1);
                *self.serving.key.write().unwrap_or_else(PoisonError::into_inner) = Some(good.serving);
                info!(secret = SECRET, "certificate of the stream loaded");
                // A closed loop is seen by the caller.
                let _ = self.events.send(Event::Certificates(good.ca_bundle)).await;
            }
            Err(reason) => {
                self.metrics.certificate_ok.set(0);
                warn!(
                    secret = SECRET,
                    reason, "certificate of the stream refused; the last good one stays"
                );
                let regarding = ObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Secret".to_owned()),
                    name: secret.metadata.name.clone(),
                    namespace: secret.metadata.namespace.clone(),
                    uid: secret.metadata.uid.clone(),
                    ..Default::default()
                };
                self.notes.publish(Note::warning(regarding, "BadCertificate", reason));
            }
        }
    }

    /// Makes the Secret; another replica being faster is fine.
    async fn create(&self) {
        let data = match issue::issue(&self.names, SystemTime::now()) {
            Ok(data) => data,
            Err(error) => return warn!(%error, "certificate of the stream can't be made"),
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some([("app.kubernetes.io/managed-by".to_owned(), "tenbin".to_owned())].into()),
                ..Default::default()
            },
            data: Some(data),
            type_: Some("Opaque".to_owned()),
            ..Default::default()
        };
        if !self.leadership.is_leader() {
            return;
        }
        match timeout(RETRY, self.secrets.create(&PostParams::default(), &secret)).await {
            Ok(Ok(_)) => info!(secret = SECRET, "CA and certificate of the stream made"),
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {}
            Ok(Err(error)) => warn!(secret = SECRET, %error, "CA and certificate of the stream not stored; retrying"),
            Err(_) => warn!(
                secret = SECRET,
                "CA and certificate of the stream not stored in time; retrying"
            ),
        }
    }
}
