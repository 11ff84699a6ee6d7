//! From what a spec says of balancing to what proxies do: algorithm, affinity, zones, trusted hops. What goes together was judged by
//! the API server; what is out of bounds nevertheless (an accepted spec of another version) is left out and told.

use std::time::Duration;

use ipnet::IpNet;
use tenbin_crds::{
    Affinity as Said, AffinityType, Algorithm, AlgorithmConfig, BalancedAppSpec, Cookie, IssuedBy,
    OnDead as SaidOnDead, OnDrain as SaidOnDrain, SameSite as SaidSameSite, SourceIp, TrafficDistribution,
};
use tenbin_model::{
    Affinity, Balancing, FieldError, HashKey, HashTable, OnDead, OnDrain, Policy, ResourceName, SameSite,
    SessionCookie, SlowStart, bounds,
};

use super::judged::Judged;
use crate::problem::Problem;

/// How requests of an app are balanced; its session cookies are sealed by `keys`.
pub(super) fn balancing(spec: &BalancedAppSpec, keys: &ResourceName, problems: &mut Vec<Problem>) -> Balancing {
    let config = spec.algorithm_config.clone().unwrap_or_default();
    Balancing {
        policy: kept(policy(spec, &config), problems).unwrap_or_default(),
        affinity: kept(affinity(spec, &config, keys), problems).flatten(),
        slow_start: kept(slow_start(&config), problems).flatten(),
        same_zone: spec.traffic_distribution == Some(TrafficDistribution::PreferSameZone),
    }
}

/// Whose `X-Forwarded-For` is believed; nobody's, where one of the ranges is none.
pub(super) fn trusted_hops(spec: &BalancedAppSpec, problems: &mut Vec<Problem>) -> Vec<IpNet> {
    kept(bounds::trusted_hops("spec.trustedHops", &spec.trusted_hops), problems).unwrap_or_default()
}

fn kept<T>(judged: Result<T, FieldError>, problems: &mut Vec<Problem>) -> Option<T> {
    let reason = "BadBalancing";
    Judged { reason, problems }.kept(judged)
}

/// For requests that nothing binds. Where the algorithm is to hash, these are those without a key.
fn policy(spec: &BalancedAppSpec, config: &AlgorithmConfig) -> Result<Policy, FieldError> {
    let path = "spec.algorithmConfig.choiceCount";
    let choices = || config.choice_count.map(|n| bounds::choices(path, n.into())).transpose();
    Ok(match spec.algorithm.unwrap_or_default() {
        Algorithm::RoundRobin => Policy::RoundRobin,
        Algorithm::Random => Policy::Random,
        Algorithm::LeastRequest => Policy::LeastRequest { choices: choices()? },
        Algorithm::PeakEwma => Policy::PeakEwma {
            decay: match config.decay_seconds {
                Some(seconds) => seconds_of("spec.algorithmConfig.decaySeconds", seconds, bounds::decay)?,
                None => Policy::DEFAULT_DECAY,
            },
            choices: choices()?,
        },
        Algorithm::Adaptive | Algorithm::RingHash | Algorithm::Maglev | Algorithm::SourceIpHash => Policy::Adaptive,
    })
}

fn slow_start(config: &AlgorithmConfig) -> Result<Option<SlowStart>, FieldError> {
    let Some(said) = &config.slow_start else {
        return Ok(None);
    };
    let path = "spec.algorithmConfig.slowStart";
    let floor = said.floor_percent.unwrap_or(SlowStart::DEFAULT_FLOOR);
    Ok(Some(SlowStart {
        window: seconds_of(&format!("{path}.windowSeconds"), said.window_seconds, bounds::window)?,
        floor: bounds::floor(&format!("{path}.floorPercent"), floor.into())?,
    }))
}

fn seconds_of(
    path: &str,
    seconds: u32,
    judge: fn(&str, Duration) -> Result<Duration, FieldError>,
) -> Result<Duration, FieldError> {
    judge(path, Duration::from_secs(seconds.into()))
}

fn affinity(
    spec: &BalancedAppSpec,
    config: &AlgorithmConfig,
    keys: &ResourceName,
) -> Result<Option<Affinity>, FieldError> {
    let said = spec.affinity.clone().unwrap_or_default();
    let cookie = said.cookie.clone().unwrap_or_default();
    if said.kind == AffinityType::Cookie && cookie.issued_by == IssuedBy::Proxy {
        return session_cookie(&said, &cookie, keys).map(|cookie| Some(Affinity::Cookie(cookie)));
    }
    let algorithm = spec.algorithm.unwrap_or_default();
    let Some(key) = hash_key(&said, &cookie, algorithm, config)? else {
        return Ok(None);
    };
    let bound = config.balance_factor.map(u64::from);
    Ok(Some(Affinity::Hash {
        key,
        table: match algorithm {
            Algorithm::Maglev => HashTable::Maglev,
            _ => HashTable::Ring,
        },
        bound: bound
            .map(|n| bounds::load_bound("spec.algorithmConfig.balanceFactor", n))
            .transpose()?,
    }))
}

fn hash_key(
    said: &Said,
    cookie: &Cookie,
    algorithm: Algorithm,
    config: &AlgorithmConfig,
) -> Result<Option<HashKey>, FieldError> {
    Ok(Some(match said.kind {
        AffinityType::SourceIP => source_ip("spec.affinity.sourceIP", said.source_ip.as_ref())?,
        AffinityType::Header => {
            let name = said.header.clone().unwrap_or_default().name.to_ascii_lowercase();
            HashKey::Header(bounds::header("spec.affinity.header.name", &name)?)
        }
        AffinityType::QueryParam => {
            let name = said.query_param.clone().unwrap_or_default().name;
            HashKey::QueryParam(bounds::query_param("spec.affinity.queryParam.name", &name)?)
        }
        AffinityType::Path => HashKey::Path,
        AffinityType::Cookie => {
            let name = cookie.name.as_deref().unwrap_or_default();
            HashKey::Cookie(bounds::cookie("spec.affinity.cookie.name", name)?)
        }
        AffinityType::None if algorithm == Algorithm::SourceIpHash => {
            source_ip("spec.algorithmConfig.sourceIP", config.source_ip.as_ref())?
        }
        AffinityType::None => return Ok(None),
    }))
}

fn source_ip(path: &str, said: Option<&SourceIp>) -> Result<HashKey, FieldError> {
    let said = said.cloned().unwrap_or_default();
    let length = |field: &str, said: Option<u8>, most: u8| {
        bounds::prefix_length(&format!("{path}.{field}"), said.unwrap_or(most).into(), most)
    };
    Ok(HashKey::SourceIp {
        v4: length("ipv4PrefixLength", said.ipv4_prefix_length, 32)?,
        v6: length("ipv6PrefixLength", said.ipv6_prefix_length, 128)?,
    })
}

fn session_cookie(said: &Said, cookie: &Cookie, keys: &ResourceName) -> Result<SessionCookie, FieldError> {
    let path = "spec.affinity.cookie";
    let ttl = |seconds| seconds_of(&format!("{path}.ttlSeconds"), seconds, bounds::ttl);
    let name = cookie.name.as_deref().unwrap_or(SessionCookie::DEFAULT_NAME);
    Ok(SessionCookie {
        name: bounds::cookie(&format!("{path}.name"), name)?,
        path: bounds::cookie_path(&format!("{path}.path"), cookie.path.as_deref().unwrap_or("/"))?,
        ttl: cookie.ttl_seconds.map(ttl).transpose()?,
        same_site: match cookie.same_site {
            Some(SaidSameSite::Lax) | None => SameSite::Lax,
            Some(SaidSameSite::Strict) => SameSite::Strict,
            Some(SaidSameSite::None) => SameSite::None,
        },
        secure: cookie.secure.unwrap_or(false),
        http_only: cookie.http_only.unwrap_or(true),
        on_drain: match said.on_drain {
            Some(SaidOnDrain::Keep) | None => OnDrain::Keep,
            Some(SaidOnDrain::Move) => OnDrain::Move,
        },
        on_dead: match said.on_dead {
            Some(SaidOnDead::Rebalance) | None => OnDead::Rebalance,
            Some(SaidOnDead::Fail) => OnDead::Fail,
        },
        keys: keys.clone(),
    })
}
