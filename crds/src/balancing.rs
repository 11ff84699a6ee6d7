//! `BalancedApp.spec.algorithm` and `spec.algorithmConfig`: how a replica is picked for a request that nothing binds.
//! What goes together is in `rules`; what a field does is decided in the operator and the proxy, never here.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a replica is picked for a request.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// The replica that is likely to answer first: by requests in flight, their age, latency and failures.
    #[default]
    Adaptive,
    /// Each replica in turn, by its weight.
    RoundRobin,
    /// Any replica, by its weight.
    Random,
    /// The replica with the fewest requests in flight for its weight.
    LeastRequest,
    /// The replica with the least latency times requests in flight.
    PeakEwma,
    /// By the key of `affinity`, on a ring of hashes.
    RingHash,
    /// By the key of `affinity`, from a Maglev table.
    Maglev,
    /// By the client's address, on a ring of hashes.
    SourceIpHash,
}

impl Algorithm {
    /// Its name, as in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Adaptive => "Adaptive",
            Algorithm::RoundRobin => "RoundRobin",
            Algorithm::Random => "Random",
            Algorithm::LeastRequest => "LeastRequest",
            Algorithm::PeakEwma => "PeakEwma",
            Algorithm::RingHash => "RingHash",
            Algorithm::Maglev => "Maglev",
            Algorithm::SourceIpHash => "SourceIpHash",
        }
    }
}

/// Options of the algorithm. One that the algorithm does not read is refused.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlgorithmConfig {
    /// How many replicas, chosen at random, are compared for a request: 2 to 100. All where there are few, else 2, unless given.
    /// For `LeastRequest` and `PeakEwma`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 100), extend("format" = "int32"))]
    pub choice_count: Option<u32>,

    /// Seconds over which a peak of latency is forgotten: 1 to 600; 10 unless given. For `PeakEwma`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600), extend("format" = "int32"))]
    pub decay_seconds: Option<u32>,

    /// The most requests in flight that a replica may have, in percent of its fair share of all, before its keys go to the next:
    /// 101 to 10000. No bound unless given: it moves sessions. For what hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 101, max = 10000), extend("format" = "int32"))]
    pub balance_factor: Option<u32>,

    /// How much of the client's address counts. For `SourceIpHash`.
    #[serde(default, rename = "sourceIP", skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<SourceIp>,

    /// How a replica that became ready is eased in. For all but `RingHash`, `Maglev` and `SourceIpHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
}

/// How much of a client's address counts, so that clients of one network can go to one replica.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceIp {
    /// Leading bits of an IPv4 address: 1 to 32; all 32 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32), extend("format" = "int32"))]
    pub ipv4_prefix_length: Option<u8>,

    /// Leading bits of an IPv6 address: 1 to 128; all 128 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128), extend("format" = "int32"))]
    pub ipv6_prefix_length: Option<u8>,
}

/// How the share of a replica grows after it became ready.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// Seconds until it has its whole share: 1 to 3600.
    #[schemars(range(min = 1, max = 3600), extend("format" = "int32"))]
    pub window_seconds: u32,

    /// Percent of its share that it begins with: 1 to 100; 10 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("format" = "int32"))]
    pub floor_percent: Option<u8>,
}

/// Which replicas come first.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficDistribution {
    /// Those in the zone of the proxy that picks; others get what is beyond the capacity of these.
    PreferSameZone,
}
