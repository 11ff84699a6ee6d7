//! Configuration from a YAML file made for people, for a proxy without a control plane: `examples/standalone.yaml`. It becomes
//! the same [`Update`] that a stream would give, under the same bounds. Read once at start.

mod balancing;
mod keys;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tenbin_model::{
    Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, FieldError, Listener, Resource, ResourceName, Route,
    RouteTable, SessionKeys, Timeouts, Update, VirtualHost, bounds,
};

use balancing::{AffinityItem, ConfigItem};

/// The largest file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Standalone {
    /// All listeners, routes, clusters and endpoints.
    pub update: Update,
    /// Where `/readyz` and `/metrics` are answered; nowhere if none.
    pub status: Option<SocketAddr>,
    /// The admin socket; none if none.
    pub admin: Option<PathBuf>,
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It can't be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not YAML of the right shape; the text shows the place.
    #[error("{path}: {error}")]
    Yaml {
        /// The file.
        path: String,
        /// Where and why.
        error: Box<serde_saphyr::Error>,
    },
    /// A value in it is not accepted.
    #[error("{path}: {error}")]
    Field {
        /// The file.
        path: String,
        /// Which field, which value, what would be accepted.
        error: FieldError,
    },
}

/// Reads and judges a file.
///
/// # Errors
/// The file, and in it the first field that can't be accepted.
pub fn load(path: &Path) -> Result<Standalone, LoadError> {
    let name = path.display().to_string();
    let mut text = String::new();
    let file = std::fs::File::open(path);
    match file.and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)) {
        Ok(_) => parse(&name, &text),
        Err(error) => Err(LoadError::Read { path: name, error }),
    }
}

fn parse(path: &str, text: &str) -> Result<Standalone, LoadError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| LoadError::Yaml {
        path: path.to_owned(),
        error: Box::new(error),
    })?;
    file.judge().map_err(|error| LoadError::Field {
        path: path.to_owned(),
        error,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    status: Option<String>,
    admin: Option<PathBuf>,
    listeners: Vec<ListenerItem>,
    clusters: Vec<ClusterItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListenerItem {
    name: String,
    address: String,
    header_timeout: Option<String>,
    idle_timeout: Option<String>,
    #[serde(default)]
    trusted_hops: Vec<String>,
    routes: Vec<RouteItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RouteItem {
    host: Option<String>,
    prefix: Option<String>,
    cluster: String,
    request_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClusterItem {
    name: String,
    algorithm: Option<String>,
    #[serde(default)]
    algorithm_config: ConfigItem,
    affinity: Option<AffinityItem>,
    session_keys: Option<PathBuf>,
    connect_timeout: Option<String>,
    endpoints: Vec<EndpointItem>,
}

/// An address alone, or with more about it.
#[derive(Deserialize)]
#[serde(untagged)]
enum EndpointItem {
    Address(String),
    Full(FullEndpoint),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullEndpoint {
    address: String,
    weight: Option<u64>,
}

impl File {
    fn judge(self) -> Result<Standalone, FieldError> {
        if self.listeners.is_empty() {
            return Err(FieldError::new("listeners", "[]", "at least one listener"));
        }
        let mut set = Vec::new();
        let mut clusters = BTreeSet::new();
        for (i, item) in self.clusters.iter().enumerate() {
            let path = format!("clusters[{i}]");
            let (cluster, endpoints) = item.judge().map_err(|e| e.within(&path))?;
            unique(&mut clusters, &path, &cluster.name)?;
            let keys = item.keys(&cluster).map_err(|e| e.within(&path))?;
            set.extend(keys.map(Resource::Keys));
            set.extend([Resource::Cluster(cluster), Resource::Endpoints(endpoints)]);
        }
        let mut names = BTreeSet::new();
        for (i, item) in self.listeners.iter().enumerate() {
            let path = format!("listeners[{i}]");
            let (listener, routes) = item.judge(&clusters).map_err(|e| e.within(&path))?;
            unique(&mut names, &path, &listener.name)?;
            set.extend([Resource::Listener(listener), Resource::Routes(routes)]);
        }
        let status = self.status.map(|text| socket("status", &text)).transpose()?;
        Ok(Standalone {
            update: Update {
                set,
                removed: Vec::new(),
            },
            status,
            admin: self.admin,
        })
    }
}

impl ListenerItem {
    /// The listener and its route table, which has the same name. Routes of one host stay in their order.
    fn judge(&self, clusters: &BTreeSet<ResourceName>) -> Result<(Listener, RouteTable), FieldError> {
        let name = ResourceName::parse("name", &self.name)?;
        let mut hosts: Vec<VirtualHost> = Vec::new();
        if self.routes.is_empty() || self.routes.len() > bounds::MAX_ROUTES {
            let accepted = format!("1 to {} routes", bounds::MAX_ROUTES);
            return Err(FieldError::new("routes", self.routes.len(), accepted));
        }
        for (i, item) in self.routes.iter().enumerate() {
            let path = format!("routes[{i}]");
            let (domain, route) = item.judge(clusters).map_err(|e| e.within(&path))?;
            match hosts.iter_mut().find(|host| host.name == domain) {
                Some(host) => host.routes.push(route),
                None => hosts.push(VirtualHost {
                    name: domain.clone(),
                    domains: vec![domain],
                    routes: vec![route],
                }),
            }
        }
        let listener = Listener {
            header_timeout: time(
                "headerTimeout",
                self.header_timeout.as_deref(),
                Listener::DEFAULT_HEADER_TIMEOUT,
            )?,
            idle_timeout: time(
                "idleTimeout",
                self.idle_timeout.as_deref(),
                Listener::DEFAULT_IDLE_TIMEOUT,
            )?,
            trusted_hops: bounds::trusted_hops("trustedHops", &self.trusted_hops)?,
            ..Listener::new(name.clone(), socket("address", &self.address)?, name.clone())
        };
        Ok((listener, RouteTable { name, hosts }))
    }
}

impl RouteItem {
    /// The domain and its route.
    fn judge(&self, clusters: &BTreeSet<ResourceName>) -> Result<(String, Route), FieldError> {
        let cluster = ResourceName::parse("cluster", &self.cluster)?;
        if !clusters.contains(&cluster) {
            let known: Vec<&str> = clusters.iter().take(8).map(ResourceName::as_str).collect();
            let accepted = format!("the name of a cluster of this file, as {}", known.join(", "));
            return Err(FieldError::new("cluster", &self.cluster, accepted));
        }
        let host = bounds::domain("host", self.host.as_deref().unwrap_or("*"))?;
        let prefix = bounds::prefix("prefix", self.prefix.as_deref().unwrap_or("/"))?;
        let defaults = Timeouts::default();
        let route = Route {
            timeouts: Timeouts {
                request: time("requestTimeout", self.request_timeout.as_deref(), defaults.request)?,
                ..defaults
            },
            ..Route::new(prefix, cluster)
        };
        Ok((host, route))
    }
}

impl ClusterItem {
    fn judge(&self) -> Result<(Cluster, EndpointSet), FieldError> {
        let name = ResourceName::parse("name", &self.name)?;
        let algorithm = self.algorithm.as_deref();
        let balancing = balancing::judge(algorithm, &self.algorithm_config, self.affinity.as_ref(), &name)?;
        let cluster = Cluster {
            name: name.clone(),
            balancing,
            connect_timeout: time(
                "connectTimeout",
                self.connect_timeout.as_deref(),
                Cluster::DEFAULT_CONNECT_TIMEOUT,
            )?,
            ..Cluster::new(name.clone())
        };
        if self.endpoints.len() > EndpointSet::MAX {
            let accepted = format!("at most {} endpoints", EndpointSet::MAX);
            return Err(FieldError::new("endpoints", self.endpoints.len(), accepted));
        }
        let mut seen = BTreeSet::new();
        let mut endpoints = Vec::with_capacity(self.endpoints.len());
        for (i, item) in self.endpoints.iter().enumerate() {
            let path = format!("endpoints[{i}]");
            let (text, weight) = match item {
                EndpointItem::Address(text) => (text, 1),
                EndpointItem::Full(full) => (&full.address, full.weight.unwrap_or(1)),
            };
            let address = socket(&path, text)?;
            if address.port() == 0 || !seen.insert(address) {
                return Err(FieldError::new(
                    path,
                    text,
                    "an address that no other endpoint has, its port not 0",
                ));
            }
            endpoints.push(Endpoint {
                // Without pods an endpoint is who it is by its address.
                id: EndpointId::parse(&path, &address.to_string())?,
                address,
                state: EndpointState::Ready,
                instance: address.to_string(),
                weight: bounds::weight(&format!("{path}.weight"), weight)?,
                zone: String::new(),
            });
        }
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        let endpoints = EndpointSet {
            cluster: name,
            endpoints,
        };
        Ok((cluster, endpoints))
    }

    /// What seals its session cookies, which has its name.
    fn keys(&self, cluster: &Cluster) -> Result<Option<SessionKeys>, FieldError> {
        let file = self.session_keys.as_deref();
        match cluster.keys() {
            Some(name) => keys::read("sessionKeys", name.clone(), file).map(Some),
            None if file.is_some() => {
                let accepted = "nothing here but for an affinity of type Cookie issued by Proxy";
                Err(FieldError::new("sessionKeys", "(set)", accepted))
            }
            None => Ok(None),
        }
    }
}

fn unique(names: &mut BTreeSet<ResourceName>, path: &str, name: &ResourceName) -> Result<(), FieldError> {
    if names.insert(name.clone()) {
        Ok(())
    } else {
        let path = format!("{path}.name");
        Err(FieldError::new(path, name, "a name that no other of its kind has"))
    }
}

fn socket(path: &str, text: &str) -> Result<SocketAddr, FieldError> {
    text.parse()
        .map_err(|_| FieldError::new(path, text, "an IP address and a port, as 127.0.0.1:8080 or [::1]:8080"))
}

/// A time within the usual bounds, or the default.
fn time(path: &str, text: Option<&str>, default: Duration) -> Result<Duration, FieldError> {
    text.map_or(Ok(default), |text| duration(path, text, bounds::timeout))
}

/// A time as `500ms`, `30s`, `10m`, `1h` or `1d`, within the bounds of `judge`.
fn duration(
    path: &str,
    text: &str,
    judge: fn(&str, Duration) -> Result<Duration, FieldError>,
) -> Result<Duration, FieldError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(24 * 3_600_000),
        _ => None,
    };
    let time = millis.zip(number.parse::<u64>().ok());
    match time.and_then(|(unit, number)| number.checked_mul(unit)) {
        Some(millis) => judge(path, Duration::from_millis(millis)),
        None => Err(FieldError::new(path, text, "a time as 500ms, 30s, 10m, 1h or 1d")),
    }
}

#[cfg(test)]
mod tests {
    use tenbin_model::{Affinity, Balancing, HashKey, HashTable, Policy, SlowStart};

    use super::*;

    const SMALL: &str = "
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - cluster: hello
clusters:
  - name: hello
    endpoints: ['127.0.0.1:9002', '127.0.0.1:9001']
";

    fn error(from: &str, to: &str) -> String {
        assert!(SMALL.contains(from), "{from}");
        parse("t.yaml", &SMALL.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn the_example_is_read_whole() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/standalone.yaml");
        let standalone = load(Path::new(path)).unwrap();
        assert!(standalone.status.is_some());
        assert!(standalone.admin.is_some());
        let kinds: Vec<_> = standalone.update.set.iter().map(Resource::kind).collect();
        use tenbin_model::Kind::{Cluster, Endpoints, Listener, Routes, Secret};
        assert_eq!(
            kinds,
            [
                Secret, Cluster, Endpoints, Cluster, Endpoints, Cluster, Endpoints, Listener, Routes
            ]
        );
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let standalone = parse("t.yaml", SMALL).unwrap();
        let name = ResourceName::parse("name", "hello").unwrap();
        let web = ResourceName::parse("name", "web").unwrap();
        let endpoint = |address: &str| Endpoint {
            id: EndpointId::parse("id", address).unwrap(),
            address: address.parse().unwrap(),
            state: EndpointState::Ready,
            instance: address.to_owned(),
            weight: 1,
            zone: String::new(),
        };
        let expected = vec![
            Resource::Cluster(Cluster {
                balancing: Balancing {
                    policy: Policy::Adaptive,
                    ..Balancing::default()
                },
                ..Cluster::new(name.clone())
            }),
            Resource::Endpoints(EndpointSet {
                cluster: name.clone(),
                endpoints: vec![endpoint("127.0.0.1:9001"), endpoint("127.0.0.1:9002")],
            }),
            Resource::Listener(Listener::new(web.clone(), ([127, 0, 0, 1], 8080).into(), web.clone())),
            Resource::Routes(RouteTable {
                name: web,
                hosts: vec![VirtualHost {
                    name: "*".to_owned(),
                    domains: vec!["*".to_owned()],
                    routes: vec![Route::new("/", name)],
                }],
            }),
        ];
        assert_eq!(standalone.update.set, expected);
        assert_eq!((standalone.status, standalone.admin), (None, None));
    }

    #[test]
    fn routes_of_one_host_come_together_in_their_order() {
        let text = SMALL.replace(
            "      - cluster: hello\n",
            "      - {host: a.example, prefix: /x, cluster: hello, requestTimeout: 500ms}
      - {cluster: hello}
      - {host: a.example, cluster: hello, requestTimeout: 2m}\n",
        );
        let standalone = parse("t.yaml", &text).unwrap();
        let Some(Resource::Routes(table)) = standalone.update.set.last() else {
            panic!("no routes")
        };
        let hosts: Vec<_> = table.hosts.iter().map(|h| (h.name.as_str(), h.routes.len())).collect();
        assert_eq!(hosts, [("a.example", 2), ("*", 1)]);
        assert_eq!(table.hosts[0].routes[0].prefix, "/x");
        assert_eq!(table.hosts[0].routes[0].timeouts.request, Duration::from_millis(500));
        assert_eq!(table.hosts[0].routes[1].timeouts.request, Duration::from_secs(120));
    }

    #[test]
    fn mistakes_are_told_by_field_and_value() {
        for (from, to, told) in [
            (
                "127.0.0.1:8080",
                "localhost:8080",
                "t.yaml: listeners[0].address: \"localhost:8080\" is not accepted",
            ),
            (
                "cluster: hello",
                "cluster: helo",
                "listeners[0].routes[0].cluster: \"helo\" is not accepted",
            ),
            (
                "cluster: hello",
                "{cluster: hello, host: '*.a'}",
                "listeners[0].routes[0].host: \"*.a\"",
            ),
            (
                "cluster: hello",
                "{cluster: hello, prefix: x}",
                "listeners[0].routes[0].prefix: \"x\"",
            ),
            (
                "cluster: hello",
                "{cluster: hello, requestTimeout: 5}",
                "listeners[0].routes[0].requestTimeout: \"5\"",
            ),
            (
                "cluster: hello",
                "{cluster: hello, requestTimeout: 0s}",
                "requestTimeout: \"0ns\"",
            ),
            (
                "'127.0.0.1:9002'",
                "'127.0.0.1:9001'",
                "clusters[0].endpoints[1]: \"127.0.0.1:9001\"",
            ),
            (
                "'127.0.0.1:9002'",
                "'127.0.0.1:0'",
                "clusters[0].endpoints[0]: \"127.0.0.1:0\"",
            ),
            (
                "endpoints:",
                "algorithm: Best\n    endpoints:",
                "clusters[0].algorithm: \"Best\"",
            ),
            ("listeners:", "status: here\nlisteners:", "status: \"here\""),
            ("endpoints:", "endpoint:", "endpoint"),
            ("    routes:", "    timeout: 3s\n    routes:", "timeout"),
        ] {
            let error = error(from, to);
            assert!(error.contains(told), "{to}: {error}");
        }
        let twice = SMALL.replace("clusters:", "clusters:\n  - {name: hello, endpoints: []}");
        let error = parse("t.yaml", &twice).unwrap_err().to_string();
        assert!(error.contains("clusters[1].name: \"hello\""), "{error}");
    }

    /// The first cluster of the small file with these lines in it.
    fn cluster(lines: &str) -> Result<(Balancing, Vec<u32>), String> {
        let text = SMALL.replace("    endpoints:", &format!("{lines}\n    endpoints:"));
        let standalone = parse("t.yaml", &text).map_err(|error| error.to_string())?;
        let mut found = (Balancing::default(), Vec::new());
        for resource in standalone.update.set {
            match resource {
                Resource::Cluster(cluster) => found.0 = cluster.balancing,
                Resource::Keys(keys) => found.1 = keys.keys.iter().map(|key| key.id).collect(),
                _ => {}
            }
        }
        Ok(found)
    }

    #[test]
    fn balancing_is_said_as_in_a_balanced_app() {
        let (balancing, keys) = cluster(
            "    algorithm: PeakEwma
    algorithmConfig: {choiceCount: 3, decay: 5s, slowStart: {window: 30s}}",
        )
        .unwrap();
        let decay = Duration::from_secs(5);
        let expected = Balancing {
            policy: Policy::PeakEwma {
                decay,
                choices: Some(3),
            },
            slow_start: Some(SlowStart {
                window: Duration::from_secs(30),
                floor: SlowStart::DEFAULT_FLOOR,
            }),
            ..Balancing::default()
        };
        assert_eq!((balancing, keys), (expected, vec![]));
        for (lines, key, table) in [
            (
                "    algorithm: Maglev\n    affinity: {type: Header, header: {name: X-User}}",
                HashKey::Header("x-user".to_owned()),
                HashTable::Maglev,
            ),
            ("    algorithm: SourceIpHash", HashKey::SOURCE_IP, HashTable::Ring),
            (
                "    algorithm: SourceIpHash\n    affinity: {type: SourceIP, sourceIP: {ipv4PrefixLength: 24}}",
                HashKey::SourceIp { v4: 24, v6: 128 },
                HashTable::Ring,
            ),
            (
                "    affinity: {type: Cookie, cookie: {issuedBy: App, name: sid}}",
                HashKey::Cookie("sid".to_owned()),
                HashTable::Ring,
            ),
        ] {
            let expected = Some(Affinity::Hash {
                key,
                table,
                bound: None,
            });
            assert_eq!(cluster(lines).unwrap().0.affinity, expected, "{lines}");
        }
        let (balancing, keys) = cluster("    affinity: {type: Cookie, cookie: {ttl: 30d}, onDrain: Move}").unwrap();
        let Some(Affinity::Cookie(cookie)) = balancing.affinity else {
            panic!("{balancing:?}")
        };
        assert_eq!(cookie.ttl, Some(Duration::from_secs(30 * 24 * 3600)));
        assert_eq!(keys.len(), 1, "made at start");
    }

    #[test]
    fn balancing_that_makes_no_sense_together_is_refused() {
        for (lines, told) in [
            ("    algorithm: RingHash", "clusters[0].algorithm: \"RingHash\""),
            (
                "    algorithm: Maglev\n    affinity: {type: Cookie}",
                "clusters[0].algorithm",
            ),
            (
                "    algorithm: SourceIpHash\n    affinity: {type: Path}",
                "clusters[0].algorithm",
            ),
            (
                "    algorithmConfig: {choiceCount: 3}",
                "clusters[0].algorithmConfig.choiceCount",
            ),
            ("    algorithmConfig: {decay: 3s}", "clusters[0].algorithmConfig.decay"),
            (
                "    algorithmConfig: {balanceFactor: 150}",
                "clusters[0].algorithmConfig.balanceFactor",
            ),
            (
                "    algorithmConfig: {sourceIP: {}}",
                "clusters[0].algorithmConfig.sourceIP",
            ),
            (
                "    algorithm: SourceIpHash\n    algorithmConfig: {slowStart: {window: 3s}}",
                "clusters[0].algorithmConfig.slowStart",
            ),
            (
                "    algorithm: LeastRequest\n    algorithmConfig: {choiceCount: 1}",
                "choiceCount: \"1\" is not accepted, expected 2 to 100",
            ),
            ("    affinity: {type: Best}", "clusters[0].affinity.type: \"Best\""),
            ("    affinity: {type: Header}", "clusters[0].affinity.header.name: \"\""),
            (
                "    affinity: {type: Path, onDrain: Keep}",
                "clusters[0].affinity.onDrain",
            ),
            (
                "    affinity: {type: Cookie, cookie: {issuedBy: App, name: a, secure: true}}",
                "clusters[0].affinity.cookie",
            ),
            (
                "    affinity: {type: Cookie, cookie: {sameSite: None}}",
                "cookie.sameSite: \"None\"",
            ),
            ("    affinity: {type: Cookie, cookie: {ttl: 500d}}", "cookie.ttl"),
            ("    sessionKeys: /no/file", "clusters[0].sessionKeys"),
        ] {
            let error = cluster(lines).unwrap_err();
            assert!(error.contains(told), "{lines}: {error}");
        }
        let error = error("'127.0.0.1:9002'", "{address: '127.0.0.1:9002', weight: 1001}");
        assert!(error.contains("clusters[0].endpoints[0].weight: \"1001\""), "{error}");
        let error = self::error("    routes:", "    trustedHops: [10.0.0.0/33]\n    routes:");
        assert!(
            error.contains("listeners[0].trustedHops[0]: \"10.0.0.0/33\""),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("no-such-file.yaml")).unwrap_err().to_string();
        assert!(error.starts_with("no-such-file.yaml: "), "{error}");
    }
}
