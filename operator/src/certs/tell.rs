//! What operators tell of a step: Event, metric and log line, in words. Never a key. Decides nothing.

use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::jiff::Timestamp;
use tracing::info;

use super::held::Held;
use super::rotate::{Role, Step};
use super::{Keeper, SECRET};
use crate::events::Note;
use crate::metrics::StepLabel;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Created,
    Rotated(Step),
    Restored,
}

impl Keeper {
    /// Tells what was done.
    pub(super) fn tell(&self, done: Done, stored: &Secret) {
        let step = done.name();
        self.metrics
            .certificate_rotations
            .get_or_create(&StepLabel { step })
            .inc();
        let facts = stored
            .data
            .as_ref()
            .map(|data| Held::of(data).facts())
            .unwrap_or_default();
        let ends = |role| {
            let ca = facts.cas.iter().find(|ca| ca.role == role);
            time(ca.map(|ca| ca.validity.ends))
        };
        let serving = time(facts.serving.map(|serving| serving.validity.ends));
        let (current, next) = (ends(Role::Current), ends(Role::Next));
        let (reason, text) = done.text(&current, &next, &serving);
        info!(
            secret = SECRET,
            step,
            serving_ends = serving,
            ca_ends = current,
            "certificates of the stream: {text}"
        );
        let note = match done {
            Done::Restored | Done::Rotated(Step::Reissue) => Note::warning,
            _ => Note::normal,
        };
        self.notes.publish(note(regarding(stored), reason, text));
    }
}

impl Done {
    /// For metrics and logs.
    fn name(self) -> &'static str {
        match self {
            Done::Created => "create",
            Done::Rotated(Step::Renew) => "renew_serving",
            Done::Rotated(Step::AddCa) => "add_ca",
            Done::Rotated(Step::Promote) => "promote_ca",
            Done::Rotated(Step::DropCas) => "drop_ca",
            Done::Rotated(Step::Reissue) => "reissue",
            Done::Restored => "restore",
        }
    }

    /// For people: the reason of an Event, and its text, with the ends of the CA that signs, of the next one and of the serving
    /// certificate.
    fn text(self, current: &str, next: &str, serving: &str) -> (&'static str, String) {
        match self {
            Done::Created => (
                "CertificatesCreated",
                format!("CA until {current} and serving certificate until {serving} made"),
            ),
            Done::Rotated(Step::Renew) => (
                "CertificateRenewed",
                format!("serving certificate renewed until {serving}"),
            ),
            Done::Rotated(Step::AddCa) => (
                "CaAdded",
                format!("new CA until {next} added to the bundle; it signs once every proxy has it"),
            ),
            Done::Rotated(Step::Promote) => (
                "CaPromoted",
                format!("the new CA, until {current}, signs; serving certificate until {serving}"),
            ),
            Done::Rotated(Step::DropCas) => ("CaDropped", "what nothing hangs on any more left the bundle".to_owned()),
            Done::Rotated(Step::Reissue) => (
                "CertificatesReissued",
                format!(
                    "new CA until {current} signs at once, since there was no other that could; proxies that connect anew \
                     wait until it has reached their pods"
                ),
            ),
            Done::Restored => (
                "CertificatesRestored",
                "the damaged Secret was put back to its last good content".to_owned(),
            ),
        }
    }
}

/// The Secret, as Events name it.
pub(super) fn regarding(secret: &Secret) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        name: secret.metadata.name.clone(),
        namespace: secret.metadata.namespace.clone(),
        uid: secret.metadata.uid.clone(),
        ..Default::default()
    }
}

/// As people write it, in UTC.
pub(super) fn time(seconds: Option<u64>) -> String {
    let time = seconds.and_then(|s| Timestamp::from_second(i64::try_from(s).ok()?).ok());
    time.map_or_else(|| "unknown".to_owned(), |time| time.to_string())
}
