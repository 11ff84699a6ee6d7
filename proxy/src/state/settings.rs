//! What a model says of balancing, as the balancer takes it: the one place where the two meet. Conversions only.

use std::sync::Arc;

use tenbin_balance::{Hash, Member, Policy, Role, Settings, SlowStart, Table};
use tenbin_model::{Affinity, Balancing, EndpointState, HashTable};

use super::Endpoint;

/// How the balancer picks; `own_zone` is where this proxy is, where that is known.
pub(super) fn to_settings(balancing: &Balancing, own_zone: Option<&str>) -> Settings {
    Settings {
        policy: to_policy(balancing.policy),
        hash: balancing.affinity.as_ref().and_then(to_hash),
        slow_start: balancing.slow_start.map(|start| SlowStart {
            window: start.window,
            floor: start.floor,
        }),
        zone: own_zone
            .filter(|zone| balancing.same_zone && !zone.is_empty())
            .map(Arc::from),
    }
}

fn to_policy(policy: tenbin_model::Policy) -> Policy {
    match policy {
        tenbin_model::Policy::Adaptive => Policy::Adaptive,
        tenbin_model::Policy::RoundRobin => Policy::RoundRobin,
        tenbin_model::Policy::Random => Policy::Random,
        tenbin_model::Policy::LeastRequest { choices } => Policy::LeastRequest { choices },
        tenbin_model::Policy::PeakEwma { decay, choices } => Policy::PeakEwma { decay, choices },
    }
}

fn to_hash(affinity: &Affinity) -> Option<Hash> {
    match affinity {
        Affinity::Hash { table, bound, .. } => Some(Hash {
            table: match table {
                HashTable::Ring => Table::Ring,
                HashTable::Maglev => Table::Maglev,
            },
            bound: *bound,
        }),
        Affinity::Cookie(_) => None,
    }
}

/// An endpoint as a member of the set that is picked from.
pub(super) fn to_member((wanted, endpoint): (&tenbin_model::Endpoint, &Arc<Endpoint>)) -> Member {
    Member {
        id: endpoint.id.as_str().into(),
        role: match wanted.state {
            EndpointState::Ready => Role::Ready,
            EndpointState::Draining => Role::Draining,
        },
        weight: wanted.weight,
        zone: wanted.zone.as_str().into(),
        load: Arc::clone(&endpoint.stats.load),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenbin_model::HashKey;

    #[test]
    fn everything_that_is_said_is_passed_on() {
        let decay = Duration::from_secs(3);
        let balancing = Balancing {
            policy: tenbin_model::Policy::PeakEwma {
                decay,
                choices: Some(3),
            },
            affinity: Some(Affinity::Hash {
                key: HashKey::Path,
                table: HashTable::Maglev,
                bound: Some(150),
            }),
            slow_start: Some(tenbin_model::SlowStart {
                window: Duration::from_secs(9),
                floor: 20,
            }),
            same_zone: true,
        };
        let expected = Settings {
            policy: Policy::PeakEwma {
                decay,
                choices: Some(3),
            },
            hash: Some(Hash {
                table: Table::Maglev,
                bound: Some(150),
            }),
            slow_start: Some(SlowStart {
                window: Duration::from_secs(9),
                floor: 20,
            }),
            zone: Some("z1".into()),
        };
        assert_eq!(to_settings(&balancing, Some("z1")), expected);
        assert_eq!(to_settings(&Balancing::default(), None), Settings::default());
    }

    #[test]
    fn no_zone_comes_first_where_none_is_known_or_wanted() {
        let zone = |same_zone, own| {
            let balancing = Balancing {
                same_zone,
                ..Balancing::default()
            };
            to_settings(&balancing, own).zone
        };
        assert_eq!(zone(true, Some("z1")).as_deref(), Some("z1"));
        assert_eq!(zone(false, Some("z1")), None);
        assert_eq!(zone(true, Some("")), None);
        assert_eq!(zone(true, None), None);
    }
}
