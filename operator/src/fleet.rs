//! The objects that a running app is made of, from its spec: values only, the same for the same input, since a pod template that
//! differs replaces every pod. Applying them is IO and lives elsewhere.

mod container;
mod objects;
mod pod;
mod ports;
mod revision;
mod sidecar;
mod template;
mod tls;
mod unknown;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceRequirements, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tenbin_crds::{APP_LABEL, BalancedApp, BalancedAppSpec};

use crate::problem::Problem;
use crate::tables::ChildKind;
pub use ports::{PortPlan, Ports};
pub use revision::{Accepted, Cause, accepted, is_upgrade, newest, pack, proxy_image, revision, spec_of, template_of};
pub use tls::{port_tls, speaks, upstream_tls};

/// The name of the app's container, in every pod of every app.
pub const APP_CONTAINER: &str = "app";
/// The name of the proxy's container.
pub const PROXY_CONTAINER: &str = "tenbin-proxy";
/// What the name of an app's ConfigMap has after the app's.
pub const CONFIG_MAP_SUFFIX: &str = "-tenbin";

/// What all apps have in common, from the operator's own configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    /// Image of the sidecar.
    pub proxy_image: String,
    /// Its pull policy; the cluster's default unless given.
    pub proxy_image_pull_policy: Option<String>,
    /// Its requests and limits where the app does not say.
    pub proxy_resources: ResourceRequirements,
    /// Where the stream is, `host:port`; the host is the name in its certificate.
    pub xds_address: String,
    /// PEM bundle by which sidecars check the stream's certificate.
    pub ca_bundle: String,
    /// Log filter of the sidecars.
    pub proxy_log: String,
}

/// An object that the app is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// The CA bundle of the stream, and of the app where it speaks TLS.
    ConfigMap(Box<ConfigMap>),
    /// What clients speak to.
    Service(Box<Service>),
    /// What keeps a node drain from taking all replicas at once.
    Budget(Box<PodDisruptionBudget>),
    /// The replicas.
    Deployment(Box<Deployment>),
}

impl Child {
    /// Its kind.
    pub fn kind(&self) -> ChildKind {
        match self {
            Child::ConfigMap(_) => ChildKind::ConfigMap,
            Child::Service(_) => ChildKind::Service,
            Child::Budget(_) => ChildKind::Budget,
            Child::Deployment(_) => ChildKind::Deployment,
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Child::ConfigMap(o) => &o.metadata,
            Child::Service(o) => &o.metadata,
            Child::Budget(o) => &o.metadata,
            Child::Deployment(o) => &o.metadata,
        }
    }

    /// Its metadata, for whoever sends it.
    pub fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Child::ConfigMap(o) => &mut o.metadata,
            Child::Service(o) => &mut o.metadata,
            Child::Budget(o) => &mut o.metadata,
            Child::Deployment(o) => &mut o.metadata,
        }
    }
}

/// The objects that `app` is made of when it runs `spec` (its current or its accepted one), in the order of applying: what pods
/// need comes before the pods.
///
/// # Errors
/// Why the spec can't be carried out: at least one problem, all of them fatal.
pub fn desired(
    app: &BalancedApp,
    spec: &BalancedAppSpec,
    settings: &FleetSettings,
) -> Result<Vec<Child>, Vec<Problem>> {
    let read = template::read(spec);
    let problems = read.problems.into_iter().chain(tls::check(spec));
    let fatal: Vec<Problem> = problems.filter(|p| p.fatal).collect();
    if !fatal.is_empty() {
        return Err(fatal);
    }
    let pods = pod::template(app, spec, read.template, settings);
    Ok(vec![
        trust(app, spec, settings),
        Child::Service(Box::new(objects::service(app, spec))),
        Child::Budget(Box::new(objects::budget(app))),
        Child::Deployment(Box::new(objects::deployment(app, spec, pods))),
    ])
}

/// What proxies check the certificates of the stream and, when they start, of the app by. Unlike the others it exists for any spec.
pub fn trust(app: &BalancedApp, spec: &BalancedAppSpec, settings: &FleetSettings) -> Child {
    Child::ConfigMap(Box::new(objects::config_map(app, spec, settings)))
}

/// What is wrong with a spec, fatal or not, whatever the app and the settings.
pub fn check(spec: &BalancedAppSpec) -> Vec<Problem> {
    let mut problems = template::read(spec).problems;
    problems.extend(tls::check(spec));
    problems
}

/// The name of an app's ConfigMap.
pub fn config_map_name(app: &str) -> String {
    format!("{app}{CONFIG_MAP_SUFFIX}")
}

/// What selects the pods of an app. It can never change: a Deployment's selector is for ever.
pub fn selector(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(APP_LABEL.to_owned(), app.to_owned())])
}

#[cfg(test)]
mod tests;
