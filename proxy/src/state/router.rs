//! Which cluster answers which request: host, then path. Pure; built once for each route table.
//! What a cluster is and whether it exists must not come here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tenbin_model::{ResourceName, Route, RouteTable};

/// A route table in the form in which it is searched.
#[derive(Debug, Default)]
pub struct Router {
    /// Exact domains, in lower case, to a place in `hosts`.
    exact: HashMap<Box<str>, usize>,
    /// The host of all other domains.
    any: Option<usize>,
    hosts: Vec<Vec<Entry>>,
    targets: Vec<ResourceName>,
}

#[derive(Debug)]
struct Entry {
    prefix: Box<str>,
    found: Match,
}

/// The route of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The cluster: its place in [`Router::targets`].
    pub target: usize,
    /// What it says.
    pub route: Arc<Route>,
}

/// The routes of a host.
#[derive(Clone, Copy, Debug)]
pub struct Routes<'a>(&'a [Entry]);

impl<'a> Routes<'a> {
    /// The route of a request for `path` (as it is sent on, without its query).
    pub fn route(self, path: &str) -> Option<&'a Match> {
        // What is asked of the server as a whole goes where all goes that has no route of its own.
        let path = if path == "*" { "/" } else { path };
        let entry = self.0.iter().find(|entry| path.starts_with(&*entry.prefix))?;
        Some(&entry.found)
    }

    /// Whether all paths have the same, or none has any.
    pub fn are_one(self) -> bool {
        self.0.first().is_none_or(|first| &*first.prefix == "/")
    }
}

impl Router {
    /// The router of `table`.
    pub fn new(table: &RouteTable) -> Self {
        let mut router = Router::default();
        for (index, host) in table.hosts.iter().enumerate() {
            for domain in &host.domains {
                if domain == "*" {
                    router.any.get_or_insert(index);
                } else {
                    router.exact.entry(domain.as_str().into()).or_insert(index);
                }
            }
            let entries = host.routes.iter().map(|route| router.entry(route)).collect();
            router.hosts.push(entries);
        }
        router
    }

    /// The router that sends everything to `cluster`.
    pub fn all_to(cluster: ResourceName) -> Self {
        let mut router = Router::default();
        let entry = router.entry(&Route::new("/", cluster));
        router.hosts.push(vec![entry]);
        router.any = Some(0);
        router
    }

    fn entry(&mut self, route: &Route) -> Entry {
        let known = self.targets.iter().position(|name| *name == route.cluster);
        let target = known.unwrap_or_else(|| {
            self.targets.push(route.cluster.clone());
            self.targets.len() - 1
        });
        Entry {
            prefix: route.prefix.as_str().into(),
            found: Match {
                target,
                route: Arc::new(route.clone()),
            },
        }
    }

    /// The clusters that are named, each once.
    pub fn targets(&self) -> &[ResourceName] {
        &self.targets
    }

    /// The routes of `host` (as in the Host header: any case, with or without a port).
    pub fn at(&self, host: &str) -> Routes<'_> {
        let by_name = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(&*normal_host(host)).copied()
        };
        let host = by_name.or(self.any).and_then(|host| self.hosts.get(host));
        Routes(host.map_or(&[], Vec::as_slice))
    }
}

/// A host without its port and final dot, in lower case.
fn normal_host(host: &str) -> Cow<'_, str> {
    let end = match host.strip_prefix('[') {
        // An IPv6 address has colons of its own.
        Some(bracketed) => bracketed.find(']').map_or(host.len(), |at| at + 2),
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = &host[..end];
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenbin_model::VirtualHost;

    fn name(name: &str) -> ResourceName {
        ResourceName::parse("test", name).unwrap()
    }

    fn host(domains: &[&str], routes: &[(&str, &str)]) -> VirtualHost {
        VirtualHost {
            name: domains.join("+"),
            domains: domains.iter().map(|&d| d.to_owned()).collect(),
            routes: routes
                .iter()
                .map(|&(prefix, cluster)| Route::new(prefix, name(cluster)))
                .collect(),
        }
    }

    impl Router {
        fn route(&self, host: &str, path: &str) -> Option<Match> {
            self.at(host).route(path).cloned()
        }
    }

    fn table() -> Router {
        Router::new(&RouteTable {
            name: name("table"),
            hosts: vec![
                host(&["a.example", "[::1]"], &[("/api/", "api"), ("/", "web")]),
                host(&["*"], &[("/only", "other")]),
            ],
        })
    }

    #[track_caller]
    fn assert_route(at: &str, path: &str, expected: Option<&str>) {
        let router = table();
        let found = router.route(at, path).map(|m| router.targets()[m.target].as_str());
        assert_eq!(found, expected, "{at}{path}");
    }

    #[test]
    fn host_first_then_the_first_prefix() {
        assert_route("a.example", "/api/x", Some("api"));
        assert_route("a.example", "/api", Some("web"));
        assert_route("a.example", "/", Some("web"));
        assert_route("b.example", "/only/x", Some("other"));
        assert_route("b.example", "/", None);
        assert_route("", "/only", Some("other"));
    }

    #[test]
    fn hosts_in_every_spelling() {
        for host in [
            "A.Example",
            "a.example:8080",
            "a.example.",
            "a.example.:80",
            "[::1]",
            "[::1]:80",
        ] {
            assert_route(host, "/", Some("web"));
        }
        assert_route("[::1", "/", None);
    }

    #[test]
    fn the_path_is_taken_as_it_is() {
        assert_route("a.example", "//api/y", Some("web"));
        assert_route("a.example", "/API/y", Some("web"));
        assert_route("a.example", "*", Some("web"));
        assert_route("b.example", "*", None);
    }

    #[test]
    fn one_route_for_all() {
        let router = Router::all_to(name("app"));
        assert_eq!(router.route("any", "*").map(|m| m.target), Some(0));
        assert_eq!(router.targets(), [name("app")]);
    }
}
