//! Stage 3: tables to resources and problems, app by app. Total: any content gives an answer, and none takes a resource away but
//! the end of its object. Keeps nothing from call to call.

mod balancing;
mod endpoints;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tenbin_crds::{Algorithm, BalancedApp, BalancedAppSpec, EndpointCounts};
use tenbin_model::{
    Affinity, Balancing, Cluster, HashKey, Listener, Resource, ResourceName, Route, RouteTable, SessionCookie,
    SessionKeys, VirtualHost,
};

use crate::fleet::{self, Ports};
use crate::key::AppKey;
use crate::problem::Problem;
use crate::sessions;
use crate::tables::Tables;
use endpoints::Found;

/// What an app compiles to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// What its proxies are sent; nothing for an app that is gone.
    pub resources: Vec<Resource>,
    /// What is wrong, as far as the tables tell: with the current spec (fatal ones make the accepted spec stay), with
    /// revisions, with endpoints. Sorted, none twice.
    pub problems: Vec<Problem>,
    /// Pods among the endpoints.
    pub endpoints: EndpointCounts,
    /// The algorithm of the spec that is in use.
    pub algorithm: Algorithm,
    /// How long its session cookies are valid; none where it has none.
    pub session_life: Option<Duration>,
}

/// Compiles one app: from its accepted spec, or from the current one as long as none was accepted.
pub fn compile(tables: &Tables, key: &AppKey) -> Compiled {
    let Some(app) = tables.app(key) else {
        return Compiled::default();
    };
    let mut problems = fleet::check(&app.spec);
    let (accepted, unreadable) = fleet::accepted(tables, key);
    problems.extend(unreadable);
    let found = Found::new(tables, key, &mut problems);
    let current = || problems.iter().all(|p| !p.fatal).then(|| app.spec.clone());
    let mut compiled = match accepted.map(|a| a.spec).or_else(current) {
        Some(spec) => of_spec(tables, key, app, &spec, &found, &mut problems),
        None => Compiled::default(),
    };
    problems.sort();
    problems.dedup();
    compiled.problems = problems;
    compiled
}

/// Its ports, and the keys of its session cookies.
fn of_spec(
    tables: &Tables,
    key: &AppKey,
    app: &BalancedApp,
    spec: &BalancedAppSpec,
    found: &Found<'_>,
    problems: &mut Vec<Problem>,
) -> Compiled {
    let balancing = balancing::balancing(spec, &sessions::resource_name(key), problems);
    let mut compiled = ports(key, spec, &balancing, found, problems);
    compiled.algorithm = spec.algorithm.unwrap_or_default();
    if let Some(Affinity::Cookie(cookie)) = &balancing.affinity {
        compiled.session_life = Some(cookie.ttl.unwrap_or(SessionCookie::SESSION_LIFE));
        let keys = session_keys(tables, key, app, problems);
        compiled.resources.extend(keys.map(Resource::Keys));
    }
    compiled
}

/// The keys of an app, if there are any yet. Damaged ones are nobody's: proxies go on with those that they have.
fn session_keys(tables: &Tables, key: &AppKey, app: &BalancedApp, problems: &mut Vec<Problem>) -> Option<SessionKeys> {
    let row = tables.session_keys(app.metadata.uid.as_deref()?)?;
    match &row.held {
        Ok(held) => Some(sessions::resource(key, held)),
        Err(reason) => {
            let text = format!(
                "the Secret {} in the operator's namespace is damaged: {reason}. Proxies go on with the keys they have; delete it \
                 to have new ones made, which ends all sessions",
                row.name
            );
            problems.push(Problem::warning("spec.affinity.cookie", "BadSessionKeys", text));
            None
        }
    }
}

fn ports(
    key: &AppKey,
    spec: &BalancedAppSpec,
    balancing: &Balancing,
    found: &Found<'_>,
    problems: &mut Vec<Problem>,
) -> Compiled {
    let mut compiled = Compiled::default();
    let trusted_hops = balancing::trusted_hops(spec, problems);
    let mut pods = endpoints::Counted::default();
    for port in Ports::of(spec).app {
        let name = ResourceName::app_port(&key.namespace, &key.name, &port.name);
        let set = found.of_port(&name, &port.name, problems);
        pods.add(&set);
        compiled.resources.extend([
            Resource::Listener(Listener {
                trusted_hops: trusted_hops.clone(),
                ..Listener::new(
                    name.clone(),
                    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.listen)),
                    name.clone(),
                )
            }),
            Resource::Routes(routes(&name, balancing)),
            Resource::Cluster(Cluster {
                balancing: balancing.clone(),
                ..Cluster::new(name.clone())
            }),
            Resource::Endpoints(set),
        ]);
    }
    compiled.endpoints = pods.counts();
    compiled
}

/// Everything goes to the app.
fn routes(name: &ResourceName, balancing: &Balancing) -> RouteTable {
    RouteTable {
        name: name.clone(),
        hosts: vec![VirtualHost {
            name: "app".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                hash_on: hash_on(balancing),
                ..Route::new("/", name.clone())
            }],
        }],
    }
}

/// What an Envoy hashes; of an address all of it.
fn hash_on(balancing: &Balancing) -> Option<HashKey> {
    match balancing.affinity.as_ref()? {
        Affinity::Hash {
            key: HashKey::SourceIp { .. },
            ..
        } => Some(HashKey::SOURCE_IP),
        Affinity::Hash { key, .. } => Some(key.clone()),
        Affinity::Cookie(_) => None,
    }
}
