//! The part of a cluster in the file that says how it balances: named as in a BalancedApp, with times as text. What goes together is
//! judged here, since no API server did; what a value alone may be is in `bounds`.

use serde::Deserialize;
use tenbin_model::{
    Affinity, Balancing, FieldError, HashKey, HashTable, OnDead, OnDrain, Policy, ResourceName, SameSite,
    SessionCookie, SlowStart, bounds,
};

use super::duration;

/// The options of an algorithm.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ConfigItem {
    choice_count: Option<u64>,
    decay: Option<String>,
    balance_factor: Option<u64>,
    #[serde(rename = "sourceIP")]
    source_ip: Option<SourceIpItem>,
    slow_start: Option<SlowStartItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SlowStartItem {
    window: String,
    floor_percent: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SourceIpItem {
    ipv4_prefix_length: Option<u64>,
    ipv6_prefix_length: Option<u64>,
}

/// What binds requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct AffinityItem {
    #[serde(rename = "type")]
    kind: String,
    cookie: Option<CookieItem>,
    header: Option<NameItem>,
    query_param: Option<NameItem>,
    #[serde(rename = "sourceIP")]
    source_ip: Option<SourceIpItem>,
    on_drain: Option<String>,
    on_dead: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameItem {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CookieItem {
    issued_by: Option<String>,
    name: Option<String>,
    path: Option<String>,
    ttl: Option<String>,
    same_site: Option<String>,
    secure: Option<bool>,
    http_only: Option<bool>,
}

/// The algorithms there are.
const ALGORITHMS: &str = "Adaptive, RoundRobin, Random, LeastRequest, PeakEwma, RingHash, Maglev or SourceIpHash";

/// How a cluster balances; `keys` is the name of what would seal its session cookies.
pub(super) fn judge(
    algorithm: Option<&str>,
    config: &ConfigItem,
    affinity: Option<&AffinityItem>,
    keys: &ResourceName,
) -> Result<Balancing, FieldError> {
    let algorithm = algorithm.unwrap_or("Adaptive");
    let policy = policy(algorithm, config)?;
    let bound = affinity.map(|item| item.judge(keys).map_err(|e| e.within("affinity")));
    let bound = bound.transpose()?.flatten();
    let bound = match (algorithm, bound) {
        ("SourceIpHash", None) => {
            let key = source_ip("algorithmConfig.sourceIP", config.source_ip.as_ref())?;
            Some(Bound::Key(key))
        }
        ("SourceIpHash", Some(Bound::Key(key @ HashKey::SourceIp { .. }))) if config.source_ip.is_none() => {
            Some(Bound::Key(key))
        }
        ("SourceIpHash", Some(_)) => {
            let accepted = "no affinity or one of type SourceIP, and the prefix lengths in one place alone";
            return Err(FieldError::new("algorithm", algorithm, accepted));
        }
        (_, bound) => bound,
    };
    let hashes = matches!(bound, Some(Bound::Key(_)));
    if matches!(algorithm, "RingHash" | "Maglev") && !hashes {
        let accepted = "with it an affinity of type SourceIP, Header, QueryParam, Path or Cookie issued by App";
        return Err(FieldError::new("algorithm", algorithm, accepted));
    }
    unread(
        "balanceFactor",
        config.balance_factor.is_some() && !hashes,
        "what hashes",
    )?;
    let source_ip = config.source_ip.is_some() && algorithm != "SourceIpHash";
    unread("sourceIP", source_ip, "algorithm SourceIpHash")?;
    let affinity = bound.map(|bound| bound.affinity(algorithm, config)).transpose()?;
    Ok(Balancing {
        policy,
        affinity,
        slow_start: slow_start(algorithm, config)?,
        same_zone: false,
    })
}

/// An error where an option is given that nothing reads.
fn unread(field: &str, given: bool, readers: &str) -> Result<(), FieldError> {
    super::unread(&format!("algorithmConfig.{field}"), given, readers)
}

fn policy(algorithm: &str, config: &ConfigItem) -> Result<Policy, FieldError> {
    let path = "algorithmConfig.choiceCount";
    let choices = || config.choice_count.map(|n| bounds::choices(path, n)).transpose();
    let policy = match algorithm {
        "Adaptive" | "RingHash" | "Maglev" | "SourceIpHash" => Policy::Adaptive,
        "RoundRobin" => Policy::RoundRobin,
        "Random" => Policy::Random,
        "LeastRequest" => Policy::LeastRequest { choices: choices()? },
        "PeakEwma" => Policy::PeakEwma {
            decay: match config.decay.as_deref() {
                Some(text) => duration("algorithmConfig.decay", text, bounds::decay)?,
                None => Policy::DEFAULT_DECAY,
            },
            choices: choices()?,
        },
        other => return Err(FieldError::new("algorithm", other, ALGORITHMS)),
    };
    let reads_choices = matches!(policy, Policy::LeastRequest { .. } | Policy::PeakEwma { .. });
    let readers = "algorithm LeastRequest or PeakEwma";
    unread("choiceCount", config.choice_count.is_some() && !reads_choices, readers)?;
    let reads_decay = matches!(policy, Policy::PeakEwma { .. });
    unread("decay", config.decay.is_some() && !reads_decay, "algorithm PeakEwma")?;
    Ok(policy)
}

fn slow_start(algorithm: &str, config: &ConfigItem) -> Result<Option<SlowStart>, FieldError> {
    let Some(item) = &config.slow_start else {
        return Ok(None);
    };
    let hashes = matches!(algorithm, "RingHash" | "Maglev" | "SourceIpHash");
    unread("slowStart", hashes, "an algorithm that does not hash")?;
    let floor = item.floor_percent.unwrap_or(SlowStart::DEFAULT_FLOOR.into());
    Ok(Some(SlowStart {
        window: duration("algorithmConfig.slowStart.window", &item.window, bounds::window)?,
        floor: bounds::floor("algorithmConfig.slowStart.floorPercent", floor)?,
    }))
}

fn source_ip(path: &str, item: Option<&SourceIpItem>) -> Result<HashKey, FieldError> {
    let length = |field: &str, said: Option<u64>, most: u8| {
        bounds::prefix_length(&format!("{path}.{field}"), said.unwrap_or(most.into()), most)
    };
    Ok(HashKey::SourceIp {
        v4: length("ipv4PrefixLength", item.and_then(|i| i.ipv4_prefix_length), 32)?,
        v6: length("ipv6PrefixLength", item.and_then(|i| i.ipv6_prefix_length), 128)?,
    })
}

/// What a request is bound by.
enum Bound {
    Key(HashKey),
    Cookie(SessionCookie),
}

impl Bound {
    fn affinity(self, algorithm: &str, config: &ConfigItem) -> Result<Affinity, FieldError> {
        let path = "algorithmConfig.balanceFactor";
        Ok(match self {
            Bound::Cookie(cookie) => Affinity::Cookie(cookie),
            Bound::Key(key) => Affinity::Hash {
                key,
                table: match algorithm {
                    "Maglev" => HashTable::Maglev,
                    _ => HashTable::Ring,
                },
                bound: config.balance_factor.map(|n| bounds::load_bound(path, n)).transpose()?,
            },
        })
    }
}

impl AffinityItem {
    fn judge(&self, keys: &ResourceName) -> Result<Option<Bound>, FieldError> {
        let by_app = self.cookie.as_ref().and_then(|cookie| cookie.issued_by.as_deref());
        let by_app = match by_app {
            None | Some("Proxy") => false,
            Some("App") => true,
            Some(other) => return Err(FieldError::new("cookie.issuedBy", other, "Proxy or App")),
        };
        self.only_what_is_read(by_app)?;
        let name = |item: &Option<NameItem>| item.as_ref().map(|item| item.name.clone()).unwrap_or_default();
        let key = match self.kind.as_str() {
            "None" => return Ok(None),
            "Cookie" if !by_app => return Ok(Some(Bound::Cookie(self.session_cookie(keys)?))),
            "Cookie" => {
                let name = self.cookie.as_ref().and_then(|cookie| cookie.name.as_deref());
                HashKey::Cookie(bounds::cookie("cookie.name", name.unwrap_or_default())?)
            }
            "SourceIP" => source_ip("sourceIP", self.source_ip.as_ref())?,
            "Header" => HashKey::Header(bounds::header("header.name", &name(&self.header).to_ascii_lowercase())?),
            "QueryParam" => HashKey::QueryParam(bounds::query_param("queryParam.name", &name(&self.query_param))?),
            "Path" => HashKey::Path,
            other => {
                let accepted = "None, SourceIP, Cookie, Header, QueryParam or Path";
                return Err(FieldError::new("type", other, accepted));
            }
        };
        Ok(Some(Bound::Key(key)))
    }

    fn only_what_is_read(&self, by_app: bool) -> Result<(), FieldError> {
        let ours = self.kind == "Cookie" && !by_app;
        let cookie = self.cookie.as_ref().filter(|_| by_app);
        let attributes = cookie.is_some_and(|c| {
            c.path.is_some() || c.ttl.is_some() || c.same_site.is_some() || c.secure.is_some() || c.http_only.is_some()
        });
        let rules = [
            ("cookie", self.cookie.is_some() && self.kind != "Cookie", "type Cookie"),
            ("cookie", attributes, "a cookie issued by Proxy, but for its name"),
            ("header", self.header.is_some() && self.kind != "Header", "type Header"),
            (
                "queryParam",
                self.query_param.is_some() && self.kind != "QueryParam",
                "type QueryParam",
            ),
            (
                "sourceIP",
                self.source_ip.is_some() && self.kind != "SourceIP",
                "type SourceIP",
            ),
            ("onDrain", self.on_drain.is_some() && !ours, "a cookie issued by Proxy"),
            ("onDead", self.on_dead.is_some() && !ours, "a cookie issued by Proxy"),
        ];
        match rules.into_iter().find(|(_, wrong, _)| *wrong) {
            Some((field, _, readers)) => Err(FieldError::new(
                field,
                "(set)",
                format!("nothing here but for {readers}"),
            )),
            None => Ok(()),
        }
    }

    fn session_cookie(&self, keys: &ResourceName) -> Result<SessionCookie, FieldError> {
        let default = CookieItem::default();
        let item = self.cookie.as_ref().unwrap_or(&default);
        let ttl = |text: &String| duration("cookie.ttl", text, bounds::ttl);
        let name = item.name.as_deref().unwrap_or(SessionCookie::DEFAULT_NAME);
        Ok(SessionCookie {
            name: bounds::cookie("cookie.name", name)?,
            path: bounds::cookie_path("cookie.path", item.path.as_deref().unwrap_or("/"))?,
            ttl: item.ttl.as_ref().map(ttl).transpose()?,
            same_site: match item.same_site.as_deref() {
                None | Some("Lax") => SameSite::Lax,
                Some("Strict") => SameSite::Strict,
                Some("None") if item.secure == Some(true) => SameSite::None,
                Some(other) => {
                    let accepted = "Lax, Strict, or None with secure: true";
                    return Err(FieldError::new("cookie.sameSite", other, accepted));
                }
            },
            secure: item.secure.unwrap_or(false),
            http_only: item.http_only.unwrap_or(true),
            on_drain: match self.on_drain.as_deref() {
                None | Some("Keep") => OnDrain::Keep,
                Some("Move") => OnDrain::Move,
                Some(other) => return Err(FieldError::new("onDrain", other, "Keep or Move")),
            },
            on_dead: match self.on_dead.as_deref() {
                None | Some("Rebalance") => OnDead::Rebalance,
                Some("Fail") => OnDead::Fail,
                Some(other) => return Err(FieldError::new("onDead", other, "Rebalance or Fail")),
            },
            keys: keys.clone(),
        })
    }
}
