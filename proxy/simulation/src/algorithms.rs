//! The algorithms that are compared, as a user names them.

use std::time::Duration;

use tenbin_balance::{Hash, Policy, Settings, Table};

/// An algorithm and how the proxy is told of it.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// Its name in a BalancedApp.
    pub name: &'static str,
    /// What the balancer is told.
    pub settings: Settings,
}

/// All of them, the default first. Hashing gets a random key with each request.
pub fn all() -> Vec<Algorithm> {
    let policy = |name, policy| Algorithm {
        name,
        settings: Settings {
            policy,
            ..Settings::default()
        },
    };
    let hash = |name, table, bound| Algorithm {
        name,
        settings: Settings {
            hash: Some(Hash { table, bound }),
            ..Settings::default()
        },
    };
    vec![
        policy("Adaptive", Policy::Adaptive),
        policy("LeastRequest", Policy::LeastRequest { choices: None }),
        policy(
            "PeakEwma",
            Policy::PeakEwma {
                decay: Duration::from_secs(10),
                choices: None,
            },
        ),
        policy("RoundRobin", Policy::RoundRobin),
        policy("Random", Policy::Random),
        hash("RingHash", Table::Ring, None),
        hash("RingHash, 125%", Table::Ring, Some(125)),
        hash("Maglev", Table::Maglev, None),
    ]
}
