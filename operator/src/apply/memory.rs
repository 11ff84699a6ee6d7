//! What the applier remembers of an app, so that nothing is written twice and nothing is retried hot. Pure: `now` is passed in.
//! Losing it costs a few needless requests, never correctness.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tenbin_crds::BalancedAppSpec;
use tokio::time::Instant;

use crate::problem::Problem;
use crate::tables::ChildKind;

/// Repairs further apart than this do not count as a fight with somebody else.
const PEACE: Duration = Duration::from_secs(120);

/// What is remembered of one app.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The app's UID: another one is another app.
    pub(super) uid: String,
    /// Its namespace is being deleted: nothing is written any more.
    pub(super) going: bool,
    /// The children as they stood after our last write.
    written: BTreeMap<ChildKind, Written>,
    /// Tries of the current spec.
    pub(super) trial: Attempts,
    /// Tries of keeping the accepted spec up.
    pub(super) upkeep: Attempts,
    /// Repairs of drift.
    drift: Drift,
    /// What we wrote down as accepted, until the watch has brought it: what it brought before is older.
    pub(super) pending: Option<Pending>,
    /// Whether the pods would be others if they were made today.
    pub(super) outdated: bool,
}

/// An accepted spec as it was written down.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Number of its revision.
    pub(super) number: i64,
    pub(super) spec: BalancedAppSpec,
    pub(super) template: Value,
}

/// A child as it stood after our last write.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    desired: u64,
    live: u64,
    version: Option<u64>,
}

/// The labels and annotations that we set on a child; others on it are none of our business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnKeys {
    pub(super) labels: Vec<String>,
    pub(super) annotations: Vec<String>,
}

/// What is to be done about a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It stands as we wrote it.
    Nothing,
    /// It is new, gone, or wanted different.
    Write,
    /// Somebody changed what we wrote.
    Repair,
}

impl Memory {
    /// Whether the child has to be written, given the hash of what is desired and the live object.
    pub(super) fn need(&self, kind: ChildKind, desired: u64, keys: &OwnKeys, live: Option<&ObjectMeta>) -> Need {
        let Some(written) = self.written.get(&kind).filter(|w| w.desired == desired) else {
            return Need::Write;
        };
        match live {
            // It was there, and somebody deleted it.
            None => Need::Repair,
            Some(live) if fingerprint(kind, keys, live) == written.live => Need::Nothing,
            // The watch has not yet brought what we wrote.
            Some(live) if version(live).is_some() && version(live) <= written.version => Need::Nothing,
            Some(_) => Need::Repair,
        }
    }

    /// The child was written and stands like this now.
    pub(super) fn wrote(&mut self, kind: ChildKind, desired: u64, keys: &OwnKeys, live: &ObjectMeta) {
        let written = Written {
            desired,
            live: fingerprint(kind, keys, live),
            version: version(live),
        };
        self.written.insert(kind, written);
    }

    /// Whether the watch has brought everything that we wrote of the app's spec and its Deployment.
    pub(super) fn caught_up(&self, deployment: Option<&ObjectMeta>) -> bool {
        let written = self.written.get(&ChildKind::Deployment).and_then(|w| w.version);
        self.pending.is_none() && deployment.and_then(version) >= written
    }

    /// When drift may be repaired: at once, but ever later while somebody keeps undoing it.
    pub(super) fn repair_at(&self) -> Option<Instant> {
        self.drift.last.map(|last| last + crate::work::step(self.drift.count))
    }

    /// Drift was repaired.
    pub(super) fn repaired(&mut self, now: Instant) {
        let fight = self.drift.last.is_some_and(|last| now < last + PEACE);
        self.drift = Drift {
            count: if fight { self.drift.count.saturating_add(1) } else { 0 },
            last: Some(now),
        };
    }
}

#[derive(Debug, Default)]
struct Drift {
    count: u32,
    last: Option<Instant>,
}

/// Failed tries of one input. Another input is tried at once; the same one only after its time.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    input: u64,
    failures: u32,
    retry_at: Option<Instant>,
    problems: Vec<Problem>,
}

impl Attempts {
    /// The problems of the last try and the time till the next one, when it is not due yet.
    pub(super) fn standing(&self, input: u64, now: Instant) -> Option<(&[Problem], Duration)> {
        let at = self.retry_at.filter(|at| self.input == input && now < *at)?;
        Some((&self.problems, at - now))
    }

    /// It failed. Returns the time till the next try.
    pub(super) fn failed(&mut self, input: u64, problems: Vec<Problem>, now: Instant) -> Duration {
        self.failures = if self.input == input {
            self.failures.saturating_add(1)
        } else {
            1
        };
        let delay = crate::work::backoff(self.failures);
        (self.input, self.retry_at, self.problems) = (input, Some(now + delay), problems);
        delay
    }

    /// It went well.
    pub(super) fn succeeded(&mut self) {
        *self = Attempts::default();
    }
}

/// A hash for comparison within this process.
pub(super) fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What of a live object tells that a field of ours may have changed.
fn fingerprint(kind: ChildKind, keys: &OwnKeys, live: &ObjectMeta) -> u64 {
    let (labels, annotations) = (live.labels.as_ref(), live.annotations.as_ref());
    let labels: Vec<_> = keys.labels.iter().map(|key| labels.and_then(|l| l.get(key))).collect();
    let annotations: Vec<_> = keys
        .annotations
        .iter()
        .map(|key| annotations.and_then(|a| a.get(key)))
        .collect();
    let owners = live.owner_references.as_deref().unwrap_or_default();
    let owners: Vec<_> = owners.iter().map(|o| (&o.uid, o.controller)).collect();
    let content = match kind {
        // Their generation follows their spec, and their status changes often.
        ChildKind::Deployment | ChildKind::Budget => live.generation.map(|g| g.to_string()),
        // They have no generation, and hardly change otherwise.
        ChildKind::ConfigMap | ChildKind::Service => live.resource_version.clone(),
    };
    hash((&live.uid, content, labels, annotations, owners))
}

/// The resource version as the increasing number that it is.
fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: ChildKind = ChildKind::Deployment;

    fn live(version: u64, generation: i64) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_string()),
            generation: Some(generation),
            annotations: Some([("deployment.kubernetes.io/revision".to_owned(), version.to_string())].into()),
            ..Default::default()
        }
    }

    fn need(memory: &Memory, desired: u64, live: Option<&ObjectMeta>) -> Need {
        memory.need(KIND, desired, &OwnKeys::default(), live)
    }

    #[test]
    fn what_stands_as_written_is_left_alone() {
        let mut memory = Memory::default();
        assert_eq!(need(&memory, 1, Some(&live(5, 1))), Need::Write);
        memory.wrote(KIND, 1, &OwnKeys::default(), &live(7, 2));
        // The watch lags, then brings our write, then changes of status and of annotations that are not ours.
        for (version, generation) in [(5, 1), (7, 2), (9, 2)] {
            let live = live(version, generation);
            assert_eq!(need(&memory, 1, Some(&live)), Need::Nothing, "{version}");
        }
        assert_eq!(need(&memory, 2, Some(&live(9, 2))), Need::Write);
    }

    #[test]
    fn drift_is_seen() {
        let mut memory = Memory::default();
        memory.wrote(KIND, 1, &OwnKeys::default(), &live(7, 2));
        assert_eq!(need(&memory, 1, Some(&live(8, 3))), Need::Repair, "spec edited");
        assert_eq!(need(&memory, 1, None), Need::Repair, "deleted");
        let mut relabelled = live(8, 2);
        relabelled.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(
            need(&memory, 1, Some(&relabelled)),
            Need::Nothing,
            "a label that is not ours"
        );
        let mut other = live(8, 2);
        other.uid = Some("v".to_owned());
        assert_eq!(need(&memory, 1, Some(&other)), Need::Repair, "recreated");
        memory.wrote(ChildKind::Service, 1, &OwnKeys::default(), &live(7, 2));
        let service = memory.need(ChildKind::Service, 1, &OwnKeys::default(), Some(&live(8, 2)));
        assert_eq!(service, Need::Repair, "no generation to go by");
    }

    #[test]
    fn a_label_and_an_annotation_of_ours_count() {
        let mine = || vec!["mine".to_owned()];
        let set = |map: &mut Option<BTreeMap<String, String>>| {
            map.get_or_insert_default().insert("mine".to_owned(), "1".to_owned());
        };
        let both = OwnKeys {
            labels: mine(),
            annotations: mine(),
        };
        let mut whole = live(7, 2);
        set(&mut whole.labels);
        set(&mut whole.annotations);
        let mut memory = Memory::default();
        memory.wrote(KIND, 1, &both, &whole);
        assert_eq!(memory.need(KIND, 1, &both, Some(&whole)), Need::Nothing);
        let (mut no_label, mut no_annotation) = (live(8, 2), live(8, 2));
        set(&mut no_label.annotations);
        set(&mut no_annotation.labels);
        for lacking in [no_label, no_annotation] {
            assert_eq!(memory.need(KIND, 1, &both, Some(&lacking)), Need::Repair);
        }
    }

    #[test]
    fn a_failure_stands_until_its_time_or_another_input() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        assert!(attempts.standing(1, now).is_none());
        let problem = Problem::fatal("", "Rejected", "no");
        let delay = attempts.failed(1, vec![problem.clone()], now);
        assert_eq!(
            attempts.standing(1, now).expect("stands").0,
            std::slice::from_ref(&problem)
        );
        assert!(attempts.standing(2, now).is_none(), "another input is tried at once");
        assert!(attempts.standing(1, now + delay).is_none(), "its time has come");
        let longer = attempts.failed(1, vec![problem.clone()], now);
        assert!(longer > delay.mul_f64(1.5), "{longer:?} after {delay:?}");
        let fresh = attempts.failed(2, vec![problem], now);
        assert!(fresh < longer);
    }

    #[test]
    fn a_fight_is_slowed_down_and_forgotten() {
        let mut memory = Memory::default();
        let now = Instant::now();
        assert_eq!(memory.repair_at(), None);
        for _ in 0..10 {
            memory.repaired(now);
        }
        assert!(memory.repair_at() > Some(now + Duration::from_secs(30)));
        let later = now + PEACE;
        memory.repaired(later);
        assert_eq!(memory.repair_at(), Some(later + crate::work::step(0)));
    }
}
