//! One look at the Secret: judge it, take it into use, and as the leader write what is due. Every write replaces the version that was
//! looked at, so that two who write never mix; what is written was judged good before. Whether something is due is decided in
//! `rotate`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use rustls_pki_types::UnixTime;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::held::{Data, Held};
use super::issue::{self, CA_KEY, carry_out};
use super::judge::{Certificates, judge};
use super::rotate::{self, Decision, Facts, STORE, Step};
use super::tell::{Done, regarding, time};
use super::{Keeper, LOOK, PATIENCE, PAUSE, REMIND, RETRY, RETRY_MAX, SECRET};
use crate::events::Note;
use crate::metrics::CertificateLabel;
use crate::run::Event;

/// Says that a Secret was made by an operator.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "tenbin");

/// What the API server said last.
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// There is no Secret.
    Missing,
    /// This is the Secret.
    There(Box<Secret>),
}

/// What is known between two looks.
pub(super) struct Known {
    pub(super) seen: Seen,
    /// Not yet taken into use, or not yet refused.
    fresh: bool,
    /// The last content that was good, with its keys.
    good: Option<Data>,
    /// Since when the Secret is bad, and what was said of it.
    bad: Option<(Instant, String)>,
    /// No write before that.
    try_at: Instant,
    failures: u32,
    reminded: Option<Instant>,
}

impl Known {
    pub(super) fn new() -> Self {
        Known {
            seen: Seen::Nothing,
            fresh: false,
            good: None,
            bad: None,
            try_at: Instant::now(),
            failures: 0,
            reminded: None,
        }
    }

    pub(super) fn saw(&mut self, seen: Seen) {
        self.seen = seen;
        self.fresh = true;
    }
}

/// What the leader writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The first Secret.
    Create,
    /// A step of the rotation.
    Rotate(Step),
    /// What makes a damaged Secret good again.
    Repair,
}

enum Plan {
    Wait(Instant),
    Act(Action),
}

impl Keeper {
    /// Looks at what is known and does what is due at `now`, in seconds since 1970. Gives when to look again.
    pub(super) async fn look(&self, known: &mut Known, now: u64) -> Instant {
        let (secret, held) = match &known.seen {
            Seen::Nothing => return Instant::now() + LOOK,
            Seen::Missing => (None, Held::of(&Data::new())),
            Seen::There(secret) => {
                let secret = (**secret).clone();
                let held = Held::of(&data(&secret));
                (Some(secret), held)
            }
        };
        let plan = match &secret {
            None => Plan::Act(Action::Create),
            Some(secret) => {
                self.take(known, secret, &held.facts(), now).await;
                self.plan(known, secret, &held.facts(), now)
            }
        };
        match plan {
            Plan::Wait(at) => at,
            // Gaining it is a reason to look.
            Plan::Act(_) if !self.leadership.is_leader() => Instant::now() + LOOK,
            Plan::Act(_) if Instant::now() < known.try_at => known.try_at,
            Plan::Act(action) => {
                self.act(action, known, secret, &held, now).await;
                known.try_at
            }
        }
    }

    /// Judges the Secret and swaps it in, or says why not.
    async fn take(&self, known: &mut Known, secret: &Secret, facts: &Facts, now: u64) {
        let fresh = std::mem::take(&mut known.fresh);
        match self.judge(secret, now) {
            Ok(good) => {
                known.bad = None;
                self.metrics.certificate_ok.set(1);
                if !fresh {
                    return;
                }
                known.good = secret.data.clone();
                self.serving.swap(good.serving);
                self.show(facts);
                info!(secret = SECRET, "certificate of the stream loaded");
                // A closed loop is seen by the caller.
                let _ = self.events.send(Event::Certificates(good.ca_bundle)).await;
            }
            Err(reason) => {
                self.metrics.certificate_ok.set(0);
                let said = known.bad.as_ref().is_some_and(|(_, said)| *said == reason);
                let since = known.bad.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                known.bad = Some((since, reason.clone()));
                if fresh || !said {
                    warn!(
                        secret = SECRET,
                        reason, "certificate of the stream refused; the last good one stays"
                    );
                    self.notes
                        .publish(Note::warning(regarding(secret), "BadCertificate", reason));
                }
            }
        }
    }

    fn judge(&self, secret: &Secret, now: u64) -> Result<Certificates, String> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        judge(secret, &self.names, now, &self.provider)
    }

    /// Shows the ends of what is in use.
    fn show(&self, facts: &Facts) {
        let Some(serving) = facts.serving else { return };
        let set = |certificate, ends: u64| {
            let gauge = self
                .metrics
                .certificate_expiry
                .get_or_create(&CertificateLabel { certificate });
            gauge.set(i64::try_from(ends).unwrap_or(i64::MAX));
        };
        set("serving", serving.validity.ends);
        // By way of an intermediate the signer is not known: then whichever of the bundle ends last.
        let last = facts.cas.iter().map(|ca| ca.validity.ends).max();
        if let Some(ends) = serving.signer.map(|ca| ca.validity.ends).or(last) {
            set("ca", ends);
        }
    }

    /// What the Secret needs.
    fn plan(&self, known: &mut Known, secret: &Secret, facts: &Facts, now: u64) -> Plan {
        if !is_kept(secret) {
            return Plan::Wait(self.remind(known, secret, facts, now));
        }
        // What is merely too old is no damage and waits for nobody.
        if let Some((since, _)) = known.bad.as_ref().filter(|_| !facts.over(now)) {
            let patience = *since + PATIENCE;
            return match Instant::now() < patience {
                true => Plan::Wait(patience),
                false if is_labelled(secret) => Plan::Act(Action::Repair),
                false => Plan::Wait(Instant::now() + LOOK),
            };
        }
        match rotate::decide(facts, &self.lives, now) {
            Decision::Now(step) => Plan::Act(Action::Rotate(step)),
            Decision::At(at) => Plan::Wait(later(at, now)),
        }
    }

    /// Warns of the end of a certificate that somebody brought. Gives when to look again.
    fn remind(&self, known: &mut Known, secret: &Secret, facts: &Facts, now: u64) -> Instant {
        let Some(serving) = facts.serving else {
            return Instant::now() + LOOK;
        };
        if now < serving.warn_at() {
            return later(serving.warn_at(), now);
        }
        let told = known.reminded.is_some_and(|at| at.elapsed() < REMIND);
        if self.leadership.is_leader() && !told {
            known.reminded = Some(Instant::now());
            let ends = time(Some(serving.ends()));
            warn!(
                secret = SECRET,
                ends, "certificate of the stream ends soon; it was brought, not made here"
            );
            let text = format!(
                "tls.crt or its CA ends at {ends}. Without {CA_KEY} the operator renews nothing: put a new certificate here, or \
                 delete the Secret to have one made"
            );
            self.notes
                .publish(Note::warning(regarding(secret), "CertificateEndsSoon", text));
        }
        match now < serving.ends() {
            true => later(serving.ends(), now),
            false => Instant::now() + LOOK,
        }
    }

    /// Makes and stores what is due.
    async fn act(&self, action: Action, known: &mut Known, secret: Option<Secret>, held: &Held, now: u64) {
        let made = match (action, &secret) {
            (Action::Rotate(step), Some(secret)) => self.rotated(step, secret, held, now),
            (Action::Repair, Some(secret)) => self.repaired(known, secret, held, now),
            _ => issue::issue(&self.names, &self.lives, now).map(|data| (Done::Created, data)),
        };
        let stored = match made {
            Ok((done, data)) => self.store(secret.as_ref(), data).await.map(|stored| (done, stored)),
            Err(reason) => Err(Failure::Broken(reason)),
        };
        match stored {
            Ok((done, stored)) => {
                known.failures = 0;
                known.try_at = Instant::now() + PAUSE;
                self.tell(done, &stored);
                known.saw(Seen::There(Box::new(stored)));
            }
            // The watch brings what is there now.
            Err(Failure::Changed) => {
                debug!(secret = SECRET, "the Secret changed meanwhile");
                known.try_at = Instant::now() + RETRY;
            }
            Err(Failure::Broken(reason)) => {
                let pause = RETRY.saturating_mul(2u32.saturating_pow(known.failures)).min(RETRY_MAX);
                known.failures = known.failures.saturating_add(1);
                known.try_at = Instant::now() + pause;
                warn!(
                    secret = SECRET,
                    reason, "certificate of the stream not made or not stored; retrying"
                );
                if let Some(secret) = secret.filter(|_| known.failures == 1) {
                    self.notes
                        .publish(Note::warning(regarding(&secret), "RotationFailed", reason));
                }
            }
        }
    }

    fn rotated(&self, step: Step, secret: &Secret, held: &Held, now: u64) -> Result<(Done, Data), String> {
        let made = carry_out(step, held, &data(secret), &self.names, &self.lives, now)?;
        self.checked(&made, now)?;
        Ok((Done::Rotated(step), made))
    }

    /// The last good content, if this replica has it: proxies know its CA. Else by what is left, else all anew.
    fn repaired(&self, known: &Known, secret: &Secret, held: &Held, now: u64) -> Result<(Done, Data), String> {
        let ours = known.good.as_ref().filter(|good| good.contains_key(CA_KEY));
        if let Some(good) = ours.filter(|good| self.checked(good, now).is_ok()) {
            return Ok((Done::Restored, good.clone()));
        }
        let by_rest = self.rotated(rotate::mend(&held.facts(), now), secret, held, now);
        by_rest.or_else(|_| self.rotated(Step::Reissue, secret, held, now))
    }

    /// Whether content could be served.
    fn checked(&self, data: &Data, now: u64) -> Result<(), String> {
        let secret = Secret {
            data: Some(data.clone()),
            ..Default::default()
        };
        self.judge(&secret, now).map(|_| ())
    }

    /// Stores the content in the place of `secret`, if that is still the newest; in a new one where there is none.
    async fn store(&self, secret: Option<&Secret>, data: Data) -> Result<Secret, Failure> {
        let mut next = secret.cloned().unwrap_or_else(new_secret);
        next.data = Some(data);
        next.metadata.managed_fields = None;
        // Without a version a replacement would overwrite whatever is there.
        if secret.is_some() && next.metadata.resource_version.is_none() {
            return Err(Failure::Changed);
        }
        if !self.leadership.is_leader() {
            return Err(Failure::Changed);
        }
        let params = PostParams::default();
        let stored = timeout(STORE, async {
            match secret {
                Some(_) => self.secrets.replace(SECRET, &params, &next).await,
                None => self.secrets.create(&params, &next).await,
            }
        });
        match stored.await {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Err(Failure::Changed)
            }
            Ok(Err(error)) => Err(Failure::Broken(error.to_string())),
            Err(_) => Err(Failure::Broken("no answer in time".to_owned())),
        }
    }
}

/// Why something was not stored.
enum Failure {
    /// The Secret is not what was looked at any more, or this replica does not lead any more.
    Changed,
    /// Something that a person should know.
    Broken(String),
}

/// Whether the operator may change it: with the CA's key in it, or without anything in a Secret of its own.
fn is_kept(secret: &Secret) -> bool {
    let data = secret.data.as_ref().filter(|data| !data.is_empty());
    data.map_or_else(|| is_labelled(secret), |data| data.contains_key(CA_KEY))
}

fn is_labelled(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels
        .and_then(|l| l.get(MANAGED_BY.0))
        .is_some_and(|by| by == MANAGED_BY.1)
}

fn new_secret() -> Secret {
    let (key, value) = MANAGED_BY;
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some([(key.to_owned(), value.to_owned())].into()),
            ..Default::default()
        },
        type_: Some("Opaque".to_owned()),
        ..Default::default()
    }
}

fn data(secret: &Secret) -> Data {
    secret.data.clone().unwrap_or_default()
}

/// When `at` comes, but never at once and never later than the next look of any kind.
fn later(at: u64, now: u64) -> Instant {
    Instant::now() + Duration::from_secs(at.saturating_sub(now)).clamp(PAUSE, LOOK)
}
