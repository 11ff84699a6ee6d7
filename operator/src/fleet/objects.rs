//! The objects around the pods: Deployment, Service, disruption budget, ConfigMap. Only fields that we mean are set: the rest is
//! whoever's likes to set it, and drift in it is none of ours.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use tenbin_crds::{APP_LABEL, AppProtocol, BalancedApp, BalancedAppSpec};

use super::{FleetSettings, Ports, config_map_name, selector, sidecar, tls};
use crate::key::AppKey;

/// Old ReplicaSets kept for `kubectl rollout undo`.
const HISTORY: i32 = 3;
/// Seconds that a rollout may stand still, on top of what a replica may take to start.
const PATIENCE: i32 = 300;
/// Seconds a replica may take to start where no probe says: what a Deployment allows by default, less our patience.
const START: i32 = 300;

fn name(app: &BalancedApp) -> &str {
    app.metadata.name.as_deref().unwrap_or_default()
}

/// Metadata of a child.
pub(super) fn metadata(app: &BalancedApp, child: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(child),
        namespace: app.metadata.namespace.clone(),
        labels: Some(BTreeMap::from([
            (APP_LABEL.to_owned(), name(app).to_owned()),
            ("app.kubernetes.io/name".to_owned(), name(app).to_owned()),
            ("app.kubernetes.io/managed-by".to_owned(), "tenbin".to_owned()),
        ])),
        owner_references: app.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn pods_of(app: &BalancedApp) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector(name(app))),
        match_expressions: None,
    }
}

pub(super) fn config_map(app: &BalancedApp, spec: &BalancedAppSpec, settings: &FleetSettings) -> ConfigMap {
    let mut data = tls::files(&AppKey::of(app), spec);
    data.insert(sidecar::CA_KEY.to_owned(), settings.ca_bundle.clone());
    ConfigMap {
        metadata: metadata(app, config_map_name(name(app))),
        data: Some(data),
        ..ConfigMap::default()
    }
}

pub(super) fn service(app: &BalancedApp, spec: &BalancedAppSpec) -> Service {
    let plans = Ports::of(spec).app;
    let ports = spec.ports.iter().zip(plans).map(|(port, plan)| ServicePort {
        name: Some(plan.name.clone()),
        port: i32::from(plan.service),
        // By name: pods of before and after a change listen on different numbers.
        target_port: Some(IntOrString::String(plan.proxy_name())),
        protocol: Some("TCP".to_owned()),
        app_protocol: spoken(port.app_protocol).map(str::to_owned),
        ..ServicePort::default()
    });
    Service {
        metadata: metadata(app, name(app).to_owned()),
        spec: Some(ServiceSpec {
            selector: Some(selector(name(app))),
            ports: Some(ports.collect()),
            // Proxies take the slices' word for who is ready.
            publish_not_ready_addresses: Some(false),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// What the proxy takes on a port, by Kubernetes' own names: cleartext, whatever the app itself speaks, since the proxy speaks TLS to the
/// app and not to clients. HTTP/2 for apps that need it, so that whoever goes by this sends what the app can have in full (trailers).
fn spoken(protocol: AppProtocol) -> Option<&'static str> {
    match protocol {
        AppProtocol::Http | AppProtocol::Https => Some("http"),
        AppProtocol::H2c | AppProtocol::H2 | AppProtocol::Grpc => Some("kubernetes.io/h2c"),
        AppProtocol::Tcp => None,
    }
}

/// One replica at a time, and none that is broken anyway: it never blocks the draining of a node.
pub(super) fn budget(app: &BalancedApp) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(app, name(app).to_owned()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(pods_of(app)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            min_available: None,
        }),
        status: None,
    }
}

pub(super) fn deployment(app: &BalancedApp, spec: &BalancedAppSpec, template: PodTemplateSpec) -> Deployment {
    let start = spec.health_probe.as_ref().map_or(START, |probe| probe.startup_seconds);
    Deployment {
        metadata: metadata(app, name(app).to_owned()),
        spec: Some(DeploymentSpec {
            replicas: Some(spec.replicas),
            selector: pods_of(app),
            template,
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(spec.rollout.max_surge.clone()),
                    max_unavailable: Some(spec.rollout.max_unavailable.clone()),
                }),
            }),
            revision_history_limit: Some(HISTORY),
            progress_deadline_seconds: Some(start.saturating_add(PATIENCE)),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
