//! [`Balancing`] on the wire: the whole of it as one JSON text in our metadata, and the nearest standard fields besides, so that an
//! Envoy on the same stream does something sensible. What the standard fields say in full needs no metadata. Since a map has one key,
//! what else of a cluster is ours alone, its limits, stands in the same text.
//!
//! The JSON is flat and read by name: a field not known is ignored, a value not known is refused by its path.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as XdsCluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::ConsistentHashingLbConfig;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt32Value;
use serde::{Deserialize, Serialize};

use super::affinity::Wire as WireAffinity;
use super::parts;
use super::resilience::LimitsWire;
use crate::{Affinity, Balancing, FieldError, HashTable, Limits, Policy, SlowStart, bounds};

/// The field of our metadata.
const FIELD: &str = "balancing";

#[derive(Deserialize, Serialize)]
struct Wire {
    algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    affinity: Option<WireAffinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<WireSlowStart>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    same_zone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsWire>,
}

#[derive(Deserialize, Serialize)]
struct WireSlowStart {
    window: String,
    floor: u64,
}

/// What an Envoy balances by.
pub(super) fn to_policy(balancing: &Balancing) -> LbPolicy {
    if let Some(Affinity::Hash { table, .. }) = &balancing.affinity {
        return match table {
            HashTable::Ring => LbPolicy::RingHash,
            HashTable::Maglev => LbPolicy::Maglev,
        };
    }
    match balancing.policy {
        Policy::RoundRobin => LbPolicy::RoundRobin,
        Policy::Random => LbPolicy::Random,
        Policy::Adaptive | Policy::LeastRequest { .. } | Policy::PeakEwma { .. } => LbPolicy::LeastRequest,
    }
}

/// The options of what an Envoy balances by; none where all have their defaults. Its ring and Maglev table are of its own size.
pub(super) fn to_config(balancing: &Balancing) -> Option<LbConfig> {
    let slow_start_config = balancing.slow_start.map(|slow| SlowStartConfig {
        slow_start_window: Some(parts::to_duration(slow.window)),
        min_weight_percent: Some(Percent {
            value: slow.floor.into(),
        }),
        ..SlowStartConfig::default()
    });
    let choices = match balancing.policy {
        Policy::LeastRequest { choices } | Policy::PeakEwma { choices, .. } => choices,
        Policy::Adaptive | Policy::RoundRobin | Policy::Random => None,
    };
    match to_policy(balancing) {
        LbPolicy::RoundRobin if slow_start_config.is_some() => {
            Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config }))
        }
        LbPolicy::LeastRequest if slow_start_config.is_some() || choices.is_some() => {
            Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                choice_count: choices.map(|value| UInt32Value { value }),
                slow_start_config,
                ..LeastRequestLbConfig::default()
            }))
        }
        _ => None,
    }
}

/// Bounded load as Envoy knows it.
pub(super) fn to_bound(balancing: &Balancing) -> Option<ConsistentHashingLbConfig> {
    match balancing.affinity {
        Some(Affinity::Hash { bound: Some(value), .. }) => Some(ConsistentHashingLbConfig {
            hash_balance_factor: Some(UInt32Value { value }),
            ..ConsistentHashingLbConfig::default()
        }),
        _ => None,
    }
}

/// Our metadata; none where the standard policy alone says the same.
pub(super) fn to_metadata(balancing: &Balancing, limits: &Limits) -> Option<Metadata> {
    let limits = LimitsWire::of(limits);
    if limits.is_none() && standard("", to_policy(balancing).into()).as_ref() == Ok(balancing) {
        return None;
    }
    let wire = Wire {
        limits,
        ..Wire::of(balancing)
    };
    parts::to_json(FIELD, &wire)
}

/// Reads how a cluster is balanced and limited.
///
/// # Errors
/// The first field that can't be accepted.
pub(super) fn from_xds(xds: &XdsCluster) -> Result<(Balancing, Limits), FieldError> {
    let (path, wire) = parts::from_json::<Option<Wire>>(xds.metadata.as_ref(), FIELD)?;
    match wire {
        Some(wire) => wire.judge().map_err(|error| error.within(&path)),
        None => Ok((standard("lb_policy", xds.lb_policy)?, Limits::default())),
    }
}

/// What a standard policy without more means.
fn standard(path: &str, value: i32) -> Result<Balancing, FieldError> {
    let policy = match LbPolicy::try_from(value) {
        Ok(LbPolicy::RoundRobin) => Policy::RoundRobin,
        Ok(LbPolicy::LeastRequest) => Policy::LeastRequest { choices: None },
        Ok(LbPolicy::Random) => Policy::Random,
        other => {
            let value = other.map_or(value.to_string(), |policy| policy.as_str_name().to_owned());
            let accepted = "ROUND_ROBIN, LEAST_REQUEST or RANDOM, or our own metadata";
            return Err(FieldError::new(path, value, accepted));
        }
    };
    Ok(Balancing {
        policy,
        ..Balancing::default()
    })
}

impl Wire {
    fn of(balancing: &Balancing) -> Self {
        let (algorithm, choices, decay) = match balancing.policy {
            Policy::Adaptive => ("adaptive", None, None),
            Policy::RoundRobin => ("round_robin", None, None),
            Policy::Random => ("random", None, None),
            Policy::LeastRequest { choices } => ("least_request", choices, None),
            Policy::PeakEwma { decay, choices } => ("peak_ewma", choices, Some(decay)),
        };
        Wire {
            algorithm: algorithm.to_owned(),
            choices: choices.map(u64::from),
            decay: decay.map(parts::to_text),
            affinity: balancing.affinity.as_ref().map(WireAffinity::of),
            slow_start: balancing.slow_start.map(|slow| WireSlowStart {
                window: parts::to_text(slow.window),
                floor: slow.floor.into(),
            }),
            same_zone: balancing.same_zone,
            limits: None,
        }
    }

    fn judge(self) -> Result<(Balancing, Limits), FieldError> {
        let affinity = self.affinity.as_ref().map(WireAffinity::judge).transpose();
        let limits = self.limits.as_ref().map(LimitsWire::judge).transpose();
        let limits = limits.map_err(|error| error.within("limits"))?.unwrap_or_default();
        let balancing = Balancing {
            policy: self.policy()?,
            affinity: affinity.map_err(|error| error.within("affinity"))?,
            slow_start: self.slow_start.map(|slow| slow.judge()).transpose()?,
            same_zone: self.same_zone,
        };
        Ok((balancing, limits))
    }

    fn policy(&self) -> Result<Policy, FieldError> {
        let choices = || self.choices.map(|n| bounds::choices("choices", n)).transpose();
        Ok(match self.algorithm.as_str() {
            "adaptive" => Policy::Adaptive,
            "round_robin" => Policy::RoundRobin,
            "random" => Policy::Random,
            "least_request" => Policy::LeastRequest { choices: choices()? },
            "peak_ewma" => Policy::PeakEwma {
                decay: match &self.decay {
                    Some(text) => bounds::decay("decay", parts::from_text("decay", text)?)?,
                    None => Policy::DEFAULT_DECAY,
                },
                choices: choices()?,
            },
            other => {
                let accepted = "adaptive, round_robin, random, least_request or peak_ewma";
                return Err(FieldError::new("algorithm", other, accepted));
            }
        })
    }
}

impl WireSlowStart {
    fn judge(&self) -> Result<SlowStart, FieldError> {
        let window = parts::from_text("slow_start.window", &self.window)?;
        Ok(SlowStart {
            window: bounds::window("slow_start.window", window)?,
            floor: bounds::floor("slow_start.floor", self.floor)?,
        })
    }
}
