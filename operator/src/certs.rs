//! The stream's CAs and serving certificate, kept in one Secret of the operator's namespace: made and rotated by the leader, watched
//! by every replica, swapped into the running TLS resolver. A bad Secret is reported; the last good one stays. When a step is due
//! is decided in `rotate`, what can be served in `judge`.

mod held;
mod issue;
mod judge;
mod keep;
mod rotate;
mod tell;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event as WatchEvent, watcher};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::events::Events;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::run::Event;
use keep::{Known, Seen};

pub use rotate::Lives;

/// Name of the Secret.
pub const SECRET: &str = "tenbin-xds-tls";

/// The pause after a failed write; doubled with each further one, up to the longest.
const RETRY: Duration = Duration::from_secs(5);
/// The longest pause after a failed write.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Between two steps that follow each other.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest between two looks: clocks are set, and certificates end.
const LOOK: Duration = Duration::from_secs(3600);
/// How long a damaged Secret may stay damaged: who edits it by hand needs some steps.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the end of a certificate that somebody brought is told.
const REMIND: Duration = Duration::from_secs(24 * 3600);

/// The serving certificate of now. Connections begun with an older one go on.
#[derive(Default)]
pub struct Serving {
    key: RwLock<Option<Arc<CertifiedKey>>>,
}

impl Serving {
    fn swap(&self, key: Arc<CertifiedKey>) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }
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
    /// How long what is made lives.
    pub lives: Lives,
    /// Who may write the Secret.
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
    pub async fn run(self) {
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={SECRET}"))
            .timeout(crate::watch::TIMEOUT_SECONDS);
        let mut secrets = watcher(self.secrets.clone(), config).default_backoff().boxed();
        let mut health = crate::watch::Health::new("Secret", self.metrics.clone());
        let (mut gained, mut lost) = (self.leadership.clone(), self.leadership.clone());
        let mut known = Known::new();
        let (mut listed, mut leads) = (false, false);
        let mut look_at = Instant::now() + LOOK;
        loop {
            tokio::select! {
                event = secrets.next() => match event {
                    None => return,
                    Some(Err(error)) => {
                        health.failed(&error);
                        continue;
                    }
                    Some(Ok(event)) => {
                        health.worked(matches!(event, WatchEvent::InitDone));
                        match event {
                            WatchEvent::Init => listed = false,
                            WatchEvent::InitApply(secret) => {
                                listed = true;
                                known.saw(Seen::There(Box::new(secret)));
                            }
                            WatchEvent::Apply(secret) => known.saw(Seen::There(Box::new(secret))),
                            WatchEvent::InitDone if listed => {}
                            WatchEvent::InitDone | WatchEvent::Delete(_) => known.saw(Seen::Missing),
                        }
                    }
                },
                () = gained.gained(), if !leads => leads = true,
                () = lost.lost(), if leads => {
                    leads = false;
                    continue;
                }
                () = sleep_until(look_at) => {}
                () = self.events.closed() => return,
            }
            look_at = self.look(&mut known, unix_now()).await;
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is as good as none: certificates then are not valid yet, and the judgement says so.
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
