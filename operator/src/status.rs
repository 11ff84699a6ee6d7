//! The status of an app: a value computed from values, whole every time. Writing it is IO and lives elsewhere.

mod conditions;
mod facts;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tenbin_crds::{APP_LABEL, BalancedAppStatus, ProxyCounts};

use crate::compile::Compiled;
use crate::key::AppKey;
use crate::problem::Problem;
use crate::tables::Tables;
use conditions::Verdict;
use facts::Facts;
pub(crate) use facts::{Rollout, rollout};

/// How far the proxies of an app are, all operator replicas together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// Proxies with a stream.
    pub connected: u32,
    /// Of these, how many have accepted everything newest.
    pub synced: u32,
    /// What proxies refused and why: a text per resource.
    pub rejected: Vec<String>,
}

/// How the last try to carry an app out ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The `metadata.generation` that was tried; 0 when none was yet. What was found about another generation than the
    /// current one counts no more.
    pub generation: i64,
    /// What went wrong: fatal where the API server refused the spec or a name is taken, not fatal where the same is tried
    /// again (API server away).
    pub problems: Vec<Problem>,
}

/// Everything a status follows from.
#[derive(Clone, Debug)]
pub struct StatusInput<'a> {
    /// What the API server said.
    pub tables: &'a Tables,
    /// Whose status.
    pub key: &'a AppKey,
    /// What the app compiled to, from the same tables.
    pub compiled: &'a Compiled,
    /// How the last apply ended.
    pub outcome: &'a Outcome,
    /// How far its proxies are.
    pub sync: &'a Sync,
    /// The status that stands now; conditions that stay keep their time.
    pub previous: Option<&'a BalancedAppStatus>,
    /// The time of conditions that change.
    pub now: Time,
}

/// The status of an app. The same input but for `now`, with its own result as `previous`, gives the same value: what
/// equals the previous need not be written. An app that is not in the tables has the default status.
pub fn status(input: &StatusInput<'_>) -> BalancedAppStatus {
    let Some(facts) = Facts::of(input) else {
        return BalancedAppStatus::default();
    };
    let conditions = conditions::all(&facts)
        .into_iter()
        .map(|(type_, v)| condition(input, &facts, type_, v))
        .collect();
    BalancedAppStatus {
        observed_generation: facts.generation,
        replicas: facts.replicas,
        ready_replicas: facts.ready,
        updated_replicas: facts.updated,
        available_replicas: facts.available,
        draining_replicas: facts.draining,
        ready: format!("{}/{}", facts.ready, facts.wanted),
        selector: format!("{APP_LABEL}={}", input.key.name),
        algorithm: input.compiled.algorithm.as_str().to_owned(),
        endpoints: input.compiled.endpoints.clone(),
        proxies: ProxyCounts {
            connected: facts::count(input.sync.connected),
            synced: facts::count(input.sync.synced),
            image: facts.proxy_image,
        },
        conditions,
    }
}

fn condition(input: &StatusInput<'_>, facts: &Facts<'_>, type_: &str, verdict: Verdict) -> Condition {
    let status = verdict.status.as_str();
    let before = input
        .previous
        .into_iter()
        .flat_map(|p| &p.conditions)
        .find(|c| c.type_ == type_);
    let since = before
        .filter(|c| c.status == status)
        .map(|c| c.last_transition_time.clone());
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message,
        observed_generation: Some(facts.generation),
        last_transition_time: since.unwrap_or_else(|| input.now.clone()),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;
    use tenbin_crds::BalancedApp;

    use super::*;
    use crate::tables::Watched;

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let key = AppKey::new("default", "hello");
        let mut tables = Tables::default();
        let app: BalancedApp = serde_json::from_value(json!({
            "apiVersion": "tenbin.dev/v1alpha1",
            "kind": "BalancedApp",
            "metadata": {"name": "hello", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {"image": "shop:1", "replicas": 0, "ports": [{"name": "http", "port": 80}]},
        }))
        .expect("valid");
        tables.apply(None, Watched::App(Event::Apply(app)));
        let at = |second: i8| Time(format!("2026-01-01T00:00:{second:02}Z").parse().expect("a time"));
        let compiled = crate::compile::compile(&tables, &key, &crate::compile::Defaults::default());
        let settled = Sync::default();
        let refused = Sync {
            rejected: vec!["no".to_owned()],
            ..Sync::default()
        };
        let now = |sync: &Sync, previous: Option<&BalancedAppStatus>, second: i8| {
            let (tables, key, compiled, outcome) = (&tables, &key, &compiled, &Outcome::default());
            status(&StatusInput {
                tables,
                key,
                compiled,
                outcome,
                sync,
                previous,
                now: at(second),
            })
        };
        let first = now(&settled, None, 1);
        assert_eq!(now(&settled, Some(&first), 2), first);
        let second = now(&refused, Some(&first), 3);
        let time = |status: &BalancedAppStatus, type_: &str| {
            let found = status.conditions.iter().find(|c| c.type_ == type_);
            found.map(|c| (c.status.clone(), c.last_transition_time.clone()))
        };
        assert_eq!(time(&second, "ConfigSynced"), Some(("False".to_owned(), at(3))));
        assert_eq!(time(&second, "Degraded"), Some(("True".to_owned(), at(3))));
        assert_eq!(time(&second, "Available"), time(&first, "Available"));
        assert_eq!(time(&first, "Available"), Some(("True".to_owned(), at(1))));
    }
}
