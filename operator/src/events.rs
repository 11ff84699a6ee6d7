//! Kubernetes Events: what a user should know, once per change. Best effort and bounded: a full queue or a busy object drops
//! events, never anything else. What is worth an event is decided by whoever publishes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::metrics::{Metrics, ResultLabel};

/// Events waiting to be published.
const QUEUE: usize = 1024;
/// Events per object that may come at once.
const BURST: u32 = 20;
/// One more event per object after each such time.
const REFILL: Duration = Duration::from_secs(15);
/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// The longest that publishing one may take.
const PUBLISH: Duration = Duration::from_secs(10);
/// Reporter of our events.
const CONTROLLER: &str = "tenbin.dev/operator";

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    regarding: ObjectReference,
    kind: &'static str,
    reason: String,
    text: String,
}

impl Note {
    /// Something went as it should.
    pub fn normal(regarding: ObjectReference, reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(regarding, "Normal", reason.into(), text.into())
    }

    /// Something needs a look.
    pub fn warning(regarding: ObjectReference, reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(regarding, "Warning", reason.into(), text.into())
    }

    fn new(regarding: ObjectReference, kind: &'static str, reason: String, mut text: String) -> Self {
        if text.len() > MAX_NOTE {
            let cut = text.floor_char_boundary(MAX_NOTE - '…'.len_utf8());
            text.truncate(cut);
            text.push('…');
        }
        Note {
            regarding,
            kind,
            reason,
            text,
        }
    }

    fn to_event(&self, reporter: &str, now: Timestamp) -> Event {
        let name = self.regarding.name.as_deref().unwrap_or("tenbin");
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: self.regarding.namespace.clone(),
                ..Default::default()
            },
            action: Some("Reconcile".to_owned()),
            reason: Some(self.reason.clone()),
            note: Some(self.text.clone()),
            type_: Some(self.kind.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(self.regarding.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(reporter.to_owned()),
            ..Default::default()
        }
    }
}

/// Where events are handed in.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Note>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// The sending side, and what [`publish_all`] takes from.
    pub fn new(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Note>) {
        let (queue, notes) = mpsc::channel(QUEUE);
        (Events { queue, metrics }, notes)
    }

    /// Hands an event in; dropped when too many wait.
    pub fn publish(&self, note: Note) {
        if self.queue.try_send(note).is_err() {
            count(&self.metrics, "dropped");
        }
    }
}

fn count(metrics: &Metrics, result: &'static str) {
    metrics.events.get_or_create(&ResultLabel { result }).inc();
}

/// Publishes what is handed in, one after the other, until the senders are gone. `reporter` is this replica's name.
pub async fn publish_all(client: Client, reporter: String, mut notes: mpsc::Receiver<Note>, metrics: Arc<Metrics>) {
    let mut limit = Limit::default();
    let mut failing = false;
    while let Some(note) = notes.recv().await {
        let uid = note.regarding.uid.clone().unwrap_or_default();
        if !limit.allows(uid, Instant::now()) {
            count(&metrics, "dropped");
            debug!(reason = note.reason, "event dropped: too many for one object");
            continue;
        }
        let namespace = note.regarding.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        let event = note.to_event(&reporter, Timestamp::now());
        let reason = match timeout(PUBLISH, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => {
                failing = false;
                count(&metrics, "published");
                continue;
            }
            Ok(Err(error)) if is_going(&error) => {
                count(&metrics, "dropped");
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        count(&metrics, "failed");
        if !std::mem::replace(&mut failing, true) {
            warn!(reason, "events can't be published");
        }
    }
}

/// Nobody will read the events of a namespace that is being deleted.
fn is_going(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden() && status.message.contains("being terminated"))
}

/// A bucket of tokens per object.
#[derive(Default)]
struct Limit {
    used: HashMap<String, (u32, Instant)>,
}

impl Limit {
    fn allows(&mut self, uid: String, now: Instant) -> bool {
        if self.used.len() >= QUEUE {
            self.used.retain(|_, (used, since)| refilled(*used, *since, now) > 0);
        }
        let (used, since) = self.used.entry(uid).or_insert((0, now));
        let left = refilled(*used, *since, now);
        if left < *used {
            (*used, *since) = (left, now);
        }
        let allowed = *used < BURST;
        if allowed {
            *used += 1;
        }
        allowed
    }
}

/// How many of `used` tokens still count after the time from `since` to `now`.
fn refilled(used: u32, since: Instant, now: Instant) -> u32 {
    let back = now.saturating_duration_since(since).as_secs() / REFILL.as_secs();
    used.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_gets_a_burst_and_then_one_per_refill() {
        let mut limit = Limit::default();
        let start = Instant::now();
        let allowed =
            |limit: &mut Limit, uid: &str, now| (0..100).filter(|_| limit.allows(uid.to_owned(), now)).count();
        assert_eq!(allowed(&mut limit, "a", start), BURST as usize);
        assert_eq!(allowed(&mut limit, "b", start), BURST as usize);
        assert_eq!(allowed(&mut limit, "a", start + REFILL * 2), 2);
        assert_eq!(allowed(&mut limit, "a", start + REFILL * 1000), BURST as usize);
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        let note = Note::warning(ObjectReference::default(), "Rejected", "ä".repeat(1000));
        let event = note.to_event("me", Timestamp::now());
        let text = event.note.expect("note");
        assert!(text.len() <= MAX_NOTE && text.ends_with("ä…"), "{}", text.len());
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }
}
