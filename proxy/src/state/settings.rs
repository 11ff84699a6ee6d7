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
