//! `spec.podTemplate`: read, and judged by what the operator can't let it say. What the API server refuses anyway is left to it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tenbin_crds::{APP_LABEL, BalancedAppSpec, GROUP};
use tenbin_model::FieldError;

use super::unknown::{culprit, unknown_fields};
use super::{APP_CONTAINER, PROXY_CONTAINER};
use crate::problem::Problem;

/// Where it stands.
const PATH: &str = "spec.podTemplate";
/// What names of ours begin with: volumes, containers.
const OURS: &str = "tenbin-";
/// What names of our variables begin with.
const OUR_ENV: &str = "TENBIN_";
/// What names of the proxy's ports begin with.
const OUR_PORTS: &str = "tb-";

/// A template, as far as it could be read, and what is wrong with it.
pub(super) struct Read {
    pub(super) template: PodTemplateSpec,
    pub(super) problems: Vec<Problem>,
}

/// Reads the spec's template.
pub(super) fn read(spec: &BalancedAppSpec) -> Read {
    let mut problems = Vec::new();
    let template = spec
        .pod_template
        .as_ref()
        .map(|given| parse(given, &mut problems))
        .unwrap_or_default();
    if let Some(metadata) = &template.metadata {
        check_metadata(metadata, &mut problems);
    }
    if let Some(pod) = &template.spec {
        check_pod(spec, pod, &mut problems);
    }
    Read { template, problems }
}

fn parse(given: &BTreeMap<String, Value>, problems: &mut Vec<Problem>) -> PodTemplateSpec {
    let given = Value::Object(given.clone().into_iter().collect());
    let template: PodTemplateSpec = match serde_json::from_value(given.clone()) {
        Ok(template) => template,
        Err(error) => {
            let (path, value) = culprit::<PodTemplateSpec>(PATH, &given).unwrap_or_else(|| (PATH.to_owned(), given));
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let error = FieldError::new(&path, value, format!("what a Pod has there ({error})"));
            problems.push(refused(path, "InvalidField", &error));
            return PodTemplateSpec::default();
        }
    };
    let understood = serde_json::to_value(&template).unwrap_or_default();
    let mut unknown = Vec::new();
    unknown_fields(PATH, &given, &understood, &mut unknown);
    for path in unknown {
        let message = "a Pod of Kubernetes 1.33 has no such field (case counts); take it out or correct its name";
        problems.push(Problem::fatal(path, "UnknownField", message));
    }
    template
}

fn refused(path: impl Into<String>, reason: &'static str, error: &FieldError) -> Problem {
    Problem::fatal(
        path,
        reason,
        format!("{:?} is not accepted, expected {}", error.value, error.accepted),
    )
}

fn reserved(path: String, value: &str, accepted: &str) -> Problem {
    let error = FieldError::new(&path, value, accepted);
    refused(path, "Reserved", &error)
}

/// Pods get labels and annotations, as those of a Deployment do.
fn check_metadata(metadata: &ObjectMeta, problems: &mut Vec<Problem>) {
    check_labels(metadata.labels.as_ref().unwrap_or(&BTreeMap::new()), problems);
    let other = ObjectMeta {
        labels: None,
        annotations: None,
        ..metadata.clone()
    };
    let other = serde_json::to_value(other).unwrap_or_default();
    for field in other.as_object().into_iter().flat_map(|fields| fields.keys()) {
        let message = "has no effect: of a template's metadata, pods get labels and annotations";
        problems.push(Problem::warning(
            format!("{PATH}.metadata.{field}"),
            "NoEffect",
            message,
        ));
    }
}

fn check_labels(labels: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (label, value) in labels {
        let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
        if prefix == GROUP || prefix.ends_with(&format!(".{GROUP}")) {
            let path = format!("{PATH}.metadata.labels[{label}]");
            let accepted = format!("no label of {GROUP}: {APP_LABEL} and the like are set by the operator");
            problems.push(reserved(path, value, &accepted));
        }
    }
}

fn check_pod(spec: &BalancedAppSpec, pod: &PodSpec, problems: &mut Vec<Problem>) {
    if pod.host_network == Some(true) {
        let accepted = "false: on the node's own network, the proxies of two replicas would be in each other's way";
        problems.push(reserved(format!("{PATH}.spec.hostNetwork"), "true", accepted));
    }
    for (i, volume) in pod.volumes.iter().flatten().enumerate() {
        if volume.name.starts_with(OURS) {
            let path = format!("{PATH}.spec.volumes[{i}].name");
            problems.push(reserved(
                path,
                &volume.name,
                "a name that does not begin with \"tenbin-\"",
            ));
        }
    }
    let grace = i64::from(spec.rollout.grace_seconds);
    if let Some(given) = pod.termination_grace_period_seconds
        && given != grace
    {
        let message = format!("{given} has no effect, spec.rollout.graceSeconds ({grace}) decides; set that one");
        problems.push(Problem::warning(
            format!("{PATH}.spec.terminationGracePeriodSeconds"),
            "NoEffect",
            message,
        ));
    }
    if let (Some(given), Some(ours)) = (&pod.service_account_name, &spec.service_account_name)
        && given != ours
    {
        let message = format!("{given:?} has no effect, spec.serviceAccountName ({ours:?}) decides");
        problems.push(Problem::warning(
            format!("{PATH}.spec.serviceAccountName"),
            "NoEffect",
            message,
        ));
    }
    let lists = [
        ("containers", Some(&pod.containers)),
        ("initContainers", pod.init_containers.as_ref()),
    ];
    for (list, containers) in lists {
        for (i, container) in containers.into_iter().flatten().enumerate() {
            check_container(spec, &format!("{PATH}.spec.{list}[{i}]"), list, container, problems);
        }
    }
    if pod.ephemeral_containers.as_ref().is_some_and(|c| !c.is_empty()) {
        let accepted = "nothing: a template can't have ephemeral containers";
        problems.push(reserved(format!("{PATH}.spec.ephemeralContainers"), "[…]", accepted));
    }
}

fn check_container(spec: &BalancedAppSpec, path: &str, list: &str, container: &Container, problems: &mut Vec<Problem>) {
    let name = container.name.as_str();
    if name.is_empty() {
        let accepted = "a name (\"app\" for the app's own container)";
        problems.push(refused(
            format!("{path}.name"),
            "InvalidField",
            &FieldError::new("", name, accepted),
        ));
    } else if name == PROXY_CONTAINER {
        problems.push(reserved(
            format!("{path}.name"),
            name,
            "another name: this one is the proxy's",
        ));
    } else if name == APP_CONTAINER && list != "containers" {
        problems.push(reserved(
            format!("{path}.name"),
            name,
            "another name: this one is the app's, in containers",
        ));
    }
    for (i, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if mount.name.starts_with(OURS) {
            let accepted = "a volume of the app's own: those beginning with \"tenbin-\" are the proxy's";
            problems.push(reserved(
                format!("{path}.volumeMounts[{i}].name"),
                &mount.name,
                accepted,
            ));
        }
    }
    let is_app = name == APP_CONTAINER && list == "containers";
    if is_app {
        check_app_container(spec, path, container, problems);
    }
    // An init container that ends before the app starts may use a port that the app uses later.
    let beside = list == "containers" || container.restart_policy.as_deref() == Some("Always");
    for (i, port) in container.ports.iter().flatten().enumerate() {
        let path = format!("{path}.ports[{i}]");
        let port_name = port.name.as_deref().unwrap_or_default();
        if port_name.starts_with(OUR_PORTS) {
            let accepted = "a name that does not begin with \"tb-\": these are the proxy's ports";
            problems.push(reserved(format!("{path}.name"), port_name, accepted));
        }
        let tcp = port.protocol.as_deref().unwrap_or("TCP") == "TCP";
        for ours in &spec.ports {
            let same_number = tcp && port.container_port == i32::from(ours.port);
            if same_number && beside && !is_app {
                let accepted = format!(
                    "another port: the app itself listens on it (spec.ports, {:?})",
                    ours.name
                );
                let error = FieldError::new("", port.container_port, accepted);
                problems.push(refused(format!("{path}.containerPort"), "PortConflict", &error));
            } else if is_app && port_name == ours.name && !same_number {
                let accepted = format!("the port of spec.ports of that name, which is {} (TCP)", ours.port);
                let error = FieldError::new("", port.container_port, accepted);
                problems.push(refused(format!("{path}.containerPort"), "PortConflict", &error));
            }
        }
    }
}

/// What has a field of its own in the spec must not quietly lose against it.
fn check_app_container(spec: &BalancedAppSpec, path: &str, container: &Container, problems: &mut Vec<Problem>) {
    if let Some(image) = &container.image
        && *image != spec.image
    {
        let message = format!("{image:?} has no effect, spec.image ({:?}) decides", spec.image);
        problems.push(Problem::warning(format!("{path}.image"), "NoEffect", message));
    }
    for (i, variable) in container.env.iter().flatten().enumerate() {
        if variable.name.starts_with(OUR_ENV) {
            let accepted = "a name that does not begin with \"TENBIN_\": these are set by the operator";
            problems.push(reserved(format!("{path}.env[{i}].name"), &variable.name, accepted));
        }
    }
}
