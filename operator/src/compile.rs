//! Stage 3: tables to resources and problems, app by app. Total: any content gives an answer, and none takes a resource away but
//! the end of its object. Keeps nothing from call to call.

mod endpoints;

use std::net::{Ipv4Addr, SocketAddr};

use tenbin_crds::{Algorithm, BalancedAppSpec, EndpointCounts};
use tenbin_model::{Balancing, Cluster, Listener, Policy, Resource, ResourceName, Route, RouteTable, VirtualHost};

use crate::fleet::{self, Ports};
use crate::key::AppKey;
use crate::problem::Problem;
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
        Some(spec) => ports(key, &spec, &found, &mut problems),
        None => Compiled::default(),
    };
    problems.sort();
    problems.dedup();
    compiled.problems = problems;
    compiled
}

fn ports(key: &AppKey, spec: &BalancedAppSpec, found: &Found<'_>, problems: &mut Vec<Problem>) -> Compiled {
    let mut compiled = Compiled::default();
    let mut pods = endpoints::Counted::default();
    for port in Ports::of(spec).app {
        let name = ResourceName::app_port(&key.namespace, &key.name, &port.name);
        let set = found.of_port(&name, &port.name, problems);
        pods.add(&set);
        compiled.resources.extend([
            Resource::Listener(Listener {
                name: name.clone(),
                address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.listen)),
                routes: name.clone(),
                header_timeout: Listener::DEFAULT_HEADER_TIMEOUT,
                idle_timeout: Listener::DEFAULT_IDLE_TIMEOUT,
                trusted_hops: Vec::new(),
            }),
            Resource::Routes(routes(&name)),
            Resource::Cluster(Cluster {
                name: name.clone(),
                balancing: Balancing {
                    policy: policy(spec.algorithm),
                    ..Balancing::default()
                },
                connect_timeout: Cluster::DEFAULT_CONNECT_TIMEOUT,
            }),
            Resource::Endpoints(set),
        ]);
    }
    compiled.endpoints = pods.counts();
    compiled
}

/// Everything goes to the app.
fn routes(name: &ResourceName) -> RouteTable {
    RouteTable {
        name: name.clone(),
        hosts: vec![VirtualHost {
            name: "app".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                prefix: "/".to_owned(),
                cluster: name.clone(),
                response_timeout: Route::DEFAULT_RESPONSE_TIMEOUT,
                hash_on: None,
            }],
        }],
    }
}

fn policy(algorithm: Algorithm) -> Policy {
    match algorithm {
        Algorithm::RoundRobin => Policy::RoundRobin,
        Algorithm::LeastRequest => Policy::LeastRequest { choices: None },
    }
}
