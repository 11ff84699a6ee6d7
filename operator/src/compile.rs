//! Stage 3: tables to resources and problems, app by app. Total: any content gives an answer, and none takes a resource away but
//! the end of its object. Keeps nothing from call to call.

mod balancing;
mod endpoints;
mod judged;
mod port;
mod resilience;

use std::time::Duration;

use tenbin_crds::{Algorithm, AppProtocol, BalancedApp, BalancedAppSpec, EndpointCounts};
use tenbin_model::{AccessLog, Affinity, Balancing, Resource, ResourceName, SessionCookie, SessionKeys, Tracing};

use crate::fleet::{self, Accepted, Ports};
use crate::key::AppKey;
use crate::problem::Problem;
use crate::sessions;
use crate::tables::Tables;
use endpoints::Found;

/// What the operator says for all apps, from its own configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// The access log of apps that say nothing of it.
    pub access_log: AccessLog,
    /// Where spans go; each app has its own name there.
    pub tracing: Option<Tracing>,
}

/// What an app compiles to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// The `metadata.generation` of the spec that is in use; 0 where there is none.
    pub generation: i64,
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
pub fn compile(tables: &Tables, key: &AppKey, defaults: &Defaults) -> Compiled {
    let Some(app) = tables.app(key) else {
        return Compiled::default();
    };
    let mut problems = fleet::check(&app.spec);
    let (accepted, unreadable) = fleet::accepted(tables, key);
    problems.extend(unreadable);
    let found = Found::new(tables, key, &mut problems);
    let current = || {
        let generation = app.metadata.generation.unwrap_or_default();
        let spec = app.spec.clone();
        problems
            .iter()
            .all(|p| !p.fatal)
            .then_some(Accepted { generation, spec })
    };
    let mut compiled = match accepted.or_else(current) {
        Some(Accepted { generation, spec }) => Compiled {
            generation,
            ..of_spec((tables, key, app), &spec, defaults, &found, &mut problems)
        },
        None => Compiled::default(),
    };
    problems.sort();
    problems.dedup();
    compiled.problems = problems;
    compiled
}

/// Its ports, and the keys of its session cookies.
fn of_spec(
    (tables, key, app): (&Tables, &AppKey, &BalancedApp),
    spec: &BalancedAppSpec,
    defaults: &Defaults,
    found: &Found<'_>,
    problems: &mut Vec<Problem>,
) -> Compiled {
    let common = port::Common {
        balancing: balancing::balancing(spec, &sessions::resource_name(key), problems),
        resilience: resilience::resilience(spec, problems),
        trusted_hops: balancing::trusted_hops(spec, problems),
        told: port::told(key, spec, defaults, problems),
    };
    let mut compiled = ports(key, spec, &common, found, problems);
    compiled.algorithm = spec.algorithm.unwrap_or_default();
    if let Some(Affinity::Cookie(cookie)) = session_affinity(spec, &common.balancing) {
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

/// The affinity of requests, if there are any: connections have no cookies.
fn session_affinity<'a>(spec: &BalancedAppSpec, balancing: &'a Balancing) -> Option<&'a Affinity> {
    let requests = spec.ports.iter().any(|port| port.app_protocol != AppProtocol::Tcp);
    balancing.affinity.as_ref().filter(|_| requests)
}

fn ports(
    key: &AppKey,
    spec: &BalancedAppSpec,
    common: &port::Common,
    found: &Found<'_>,
    problems: &mut Vec<Problem>,
) -> Compiled {
    let mut compiled = Compiled::default();
    let mut pods = endpoints::Counted::default();
    for (port, plan) in spec.ports.iter().zip(Ports::of(spec).app) {
        let name = ResourceName::app_port(&key.namespace, &key.name, &port.name);
        let set = found.of_port(&name, &port.name, problems);
        pods.add(&set);
        let resources = port::resources(key, &name, (port, &plan), common, problems);
        compiled.resources.extend(resources);
        compiled.resources.push(Resource::Endpoints(set));
    }
    compiled.endpoints = pods.counts();
    compiled
}
