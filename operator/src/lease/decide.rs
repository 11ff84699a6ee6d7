//! Who may hold the lease: a pure decision over what was observed and when. No clock, no client.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// What stands in a lease, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Changes with every write.
    pub(super) version: String,
    /// Empty when released.
    pub(super) holder: String,
    pub(super) duration: Duration,
    pub(super) acquired: Option<Timestamp>,
    pub(super) transitions: i32,
}

impl Record {
    /// The longest duration that is believed: a foreign value must not keep everybody out for ever.
    const MAX_SECONDS: i32 = 300;

    pub(super) fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or(0).clamp(0, Self::MAX_SECONDS);
        Record {
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(seconds.unsigned_abs().into()),
            acquired: spec.acquire_time.map(|t| t.0),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }
}

/// A record, and since when it stands unchanged as far as we saw.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) record: Record,
    since: Instant,
}

impl Observation {
    /// The record seen `now`: it counts as unchanged since the last look when it is the same.
    pub(super) fn of(last: Option<Observation>, record: Record, now: Instant) -> Self {
        match last {
            Some(last) if last.record == record => last,
            _ => Observation { record, since: now },
        }
    }
}

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is none: make it.
    Create,
    /// Nobody holds it any more: take it.
    Take { transitions: i32 },
    /// It is ours: renew it.
    Renew {
        acquired: Option<Timestamp>,
        transitions: i32,
    },
    /// Another replica holds it.
    Wait,
}

/// Decides for the replica `me` at `now`.
pub(super) fn decide(me: &str, seen: Option<&Observation>, now: Instant) -> Decision {
    let Some(Observation { record, since }) = seen else {
        return Decision::Create;
    };
    if record.holder == me {
        let (acquired, transitions) = (record.acquired, record.transitions);
        return Decision::Renew { acquired, transitions };
    }
    if record.holder.is_empty() || now >= *since + record.duration {
        return Decision::Take {
            transitions: record.transitions.saturating_add(1),
        };
    }
    Decision::Wait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: &str) -> Record {
        Record {
            version: version.to_owned(),
            holder: holder.to_owned(),
            duration: Duration::from_secs(15),
            acquired: None,
            transitions: 3,
        }
    }

    #[test]
    fn a_missing_lease_is_made() {
        assert_eq!(decide("a", None, Instant::now()), Decision::Create);
    }

    #[test]
    fn another_holder_counts_until_its_record_stood_still_for_its_duration() {
        let start = Instant::now();
        let seen = Observation::of(None, record("b", "1"), start);
        assert_eq!(
            decide("a", Some(&seen), start + Duration::from_millis(14_999)),
            Decision::Wait
        );
        // Renewed at 14 s: the time starts anew, whatever the record's own times say.
        let seen = Observation::of(Some(seen), record("b", "2"), start + Duration::from_secs(14));
        assert_eq!(
            decide("a", Some(&seen), start + Duration::from_secs(28)),
            Decision::Wait
        );
        let seen = Observation::of(Some(seen), record("b", "2"), start + Duration::from_secs(20));
        assert_eq!(
            decide("a", Some(&seen), start + Duration::from_secs(29)),
            Decision::Take { transitions: 4 }
        );
    }

    #[test]
    fn a_released_lease_is_taken_at_once_and_an_own_one_renewed() {
        let now = Instant::now();
        let seen = Observation::of(None, record("", "1"), now);
        assert_eq!(decide("a", Some(&seen), now), Decision::Take { transitions: 4 });
        let seen = Observation::of(None, record("a", "1"), now);
        let renew = Decision::Renew {
            acquired: None,
            transitions: 3,
        };
        assert_eq!(decide("a", Some(&seen), now + Duration::from_secs(3600)), renew);
    }

    #[test]
    fn an_absurd_duration_is_bounded() {
        let mut lease = Lease::default();
        lease.spec.get_or_insert_default().lease_duration_seconds = Some(i32::MAX);
        assert_eq!(Record::of(&lease).duration, Duration::from_secs(300));
        lease.spec.get_or_insert_default().lease_duration_seconds = Some(-5);
        assert_eq!(Record::of(&lease).duration, Duration::ZERO);
    }
}
