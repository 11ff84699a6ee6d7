//! What the conditions are judged by: counted and compared once, here. No words for people.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tenbin_crds::{BalancedApp, BalancedAppSpec};

use super::{StatusInput, Sync};
use crate::fleet::{self, Accepted};
use crate::problem::Problem;

/// The facts of one app.
pub(super) struct Facts<'a> {
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) paused: bool,
    /// Whether the spec that is carried out is the current one.
    pub(super) current: bool,
    /// The generation that is carried out instead, where one is.
    pub(super) accepted: Option<i64>,
    /// Replicas of the current spec.
    pub(super) wanted: i32,
    /// Replicas of the spec that is carried out.
    pub(super) running: i32,
    /// How many of these must be ready for the app to count as available.
    pub(super) needed: i32,
    pub(super) replicas: i32,
    pub(super) ready: i32,
    pub(super) updated: i32,
    pub(super) available: i32,
    pub(super) draining: i32,
    pub(super) rollout: Rollout,
    /// What the Deployment says about pods that can't even be created.
    pub(super) replica_failure: Option<String>,
    /// Why pods can't run, with how many of them, in order.
    pub(super) troubles: Vec<(&'a str, usize)>,
    /// Fatal ones first.
    pub(super) problems: Vec<&'a Problem>,
    pub(super) sync: &'a Sync,
    pub(super) proxy_image: String,
}

/// How far the Deployment is with what it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollout {
    /// There is no Deployment of ours.
    Missing,
    /// It has not been looked at by Kubernetes yet, or replicas are being replaced, started or stopped.
    UnderWay,
    /// It came no further for longer than allowed.
    Stuck,
    /// All replicas are the newest and none is left of before. They were available once, which those that fail now are not.
    Done,
}

impl<'a> Facts<'a> {
    /// The facts; `None` for an app that is gone.
    pub(super) fn of(input: &StatusInput<'a>) -> Option<Self> {
        let app = input.tables.app(input.key)?;
        let (accepted, _) = fleet::accepted(input.tables, input.key);
        let running = accepted.as_ref().map_or(&app.spec, |accepted| &accepted.spec);
        let generation = app.metadata.generation.unwrap_or_default();
        let deployment = input.tables.deployment(input.key);
        let status = deployment.and_then(|d| d.status.clone()).unwrap_or_default();
        let pods = input.tables.pods(input.key);
        let active = || pods.iter().map(|(_, pod)| *pod).filter(|pod| pod.is_active());
        let mut troubles: Vec<&str> = active()
            .filter(|pod| !pod.ready)
            .filter_map(|p| p.trouble.as_deref())
            .collect();
        troubles.sort_unstable();
        Some(Facts {
            generation,
            deleting: app.metadata.deletion_timestamp.is_some(),
            paused: app.spec.paused,
            current: accepted.as_ref().is_some_and(|accepted| is_current(app, accepted)),
            accepted: accepted.as_ref().map(|accepted| accepted.generation),
            wanted: app.spec.replicas,
            running: running.replicas,
            needed: needed(running),
            replicas: count(active().count()),
            ready: count(active().filter(|pod| pod.ready).count()),
            updated: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            draining: count(pods.iter().filter(|(_, pod)| pod.deleting && !pod.finished).count()),
            rollout: rollout(deployment, running.replicas),
            replica_failure: message_of(&status, "ReplicaFailure", "True"),
            troubles: counted(&troubles),
            problems: problems(input, generation),
            sync: input.sync,
            proxy_image: fleet::newest(input.tables, input.key)
                .and_then(fleet::template_of)
                .and_then(|template| Some(fleet::proxy_image(&template)?.to_owned()))
                .unwrap_or_default(),
        })
    }

    /// The first problem that keeps the current spec from being carried out.
    pub(super) fn fatal(&self) -> Option<&'a Problem> {
        self.problems.first().copied().filter(|problem| problem.fatal)
    }
}

/// A count as the API has it.
pub(super) fn count(n: impl TryInto<i32>) -> i32 {
    n.try_into().unwrap_or(i32::MAX)
}

/// Whether the accepted spec is the current one. `paused` is not carried out, it keeps from carrying out.
fn is_current(app: &Arc<BalancedApp>, accepted: &Accepted) -> bool {
    let unpaused = |spec: &BalancedAppSpec| BalancedAppSpec {
        paused: false,
        ..spec.clone()
    };
    app.metadata.generation == Some(accepted.generation) || unpaused(&app.spec) == unpaused(&accepted.spec)
}

/// As Kubernetes counts: a percentage of missing replicas is rounded down; and where none at all may move, one may be missing.
fn needed(spec: &BalancedAppSpec) -> i32 {
    let part = |value: &IntOrString, round_up: bool| match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(percent) => {
            let percent: i32 = percent.trim_end_matches('%').parse().unwrap_or_default();
            let product = i64::from(spec.replicas) * i64::from(percent);
            count(if round_up { (product + 99) / 100 } else { product / 100 })
        }
    };
    let missing = part(&spec.rollout.max_unavailable, false);
    let surge = part(&spec.rollout.max_surge, true);
    let missing = if missing == 0 && surge == 0 { 1 } else { missing };
    spec.replicas.saturating_sub(missing).max(0)
}

/// How far a Deployment of `replicas` is.
pub(crate) fn rollout(deployment: Option<&Deployment>, replicas: i32) -> Rollout {
    let Some(deployment) = deployment else {
        return Rollout::Missing;
    };
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let seen = status.observed_generation >= deployment.metadata.generation;
    if !seen || wanted != Some(replicas) {
        return Rollout::UnderWay;
    }
    let all = |n: Option<i32>| n.unwrap_or_default() == replicas;
    let progressing = status.conditions.iter().flatten().find(|c| c.type_ == "Progressing");
    let reason = progressing.and_then(|c| c.reason.as_deref());
    let was_available = all(status.available_replicas) || reason == Some("NewReplicaSetAvailable");
    if all(status.updated_replicas) && all(status.replicas) && was_available {
        Rollout::Done
    } else if reason == Some("ProgressDeadlineExceeded") {
        Rollout::Stuck
    } else {
        Rollout::UnderWay
    }
}

fn message_of(status: &DeploymentStatus, type_: &str, value: &str) -> Option<String> {
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == type_ && c.status == value)?;
    Some(condition.message.clone().unwrap_or_default())
}

/// Equal neighbours as one, with their number.
fn counted<'a>(sorted: &[&'a str]) -> Vec<(&'a str, usize)> {
    sorted
        .chunk_by(|a, b| a == b)
        .filter_map(|same| Some((*same.first()?, same.len())))
        .collect()
}

fn problems<'a>(input: &StatusInput<'a>, generation: i64) -> Vec<&'a Problem> {
    let tried = input
        .outcome
        .problems
        .iter()
        .filter(|_| input.outcome.generation == generation);
    let mut problems: Vec<&Problem> = input.compiled.problems.iter().chain(tried).collect();
    problems.sort_by(|a, b| b.fatal.cmp(&a.fatal).then_with(|| a.cmp(b)));
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_many_must_be_ready_as_kubernetes_would_keep() {
        let needed = |replicas: i32, surge: &serde_json::Value, unavailable: &serde_json::Value| {
            let spec = json!({"image": "i", "ports": [], "replicas": replicas,
                "rollout": {"maxSurge": surge, "maxUnavailable": unavailable, "drainSeconds": 1, "graceSeconds": 9}});
            needed(&serde_json::from_value(spec).expect("valid"))
        };
        assert_eq!(needed(4, &json!("25%"), &json!(0)), 4);
        assert_eq!(needed(4, &json!(0), &json!("30%")), 3);
        assert_eq!(needed(4, &json!(0), &json!(9)), 0);
        // A percentage that comes to nothing, and no surge either: one may be missing, or nothing would ever move.
        assert_eq!(needed(2, &json!(0), &json!("10%")), 1);
        assert_eq!(needed(2, &json!("1%"), &json!("10%")), 2);
        assert_eq!(needed(0, &json!(1), &json!(1)), 0);
    }

    #[test]
    fn equal_troubles_are_counted() {
        assert_eq!(counted(&["a", "a", "b"]), [("a", 2), ("b", 1)]);
        assert_eq!(counted(&[]), []);
    }
}
