//! The pod template: what the operator says, strategically merged over `spec.podTemplate`.

use std::collections::BTreeMap;

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use tenbin_crds::{BalancedApp, BalancedAppSpec};

use super::{APP_CONTAINER, FleetSettings, container, selector, sidecar};

/// The container that `kubectl logs` and `kubectl exec` take unless told otherwise.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The pods of an app; `given` has been judged.
pub(super) fn template(
    app: &BalancedApp,
    spec: &BalancedAppSpec,
    given: PodTemplateSpec,
    settings: &FleetSettings,
) -> PodTemplateSpec {
    let name = app.metadata.name.as_deref().unwrap_or_default();
    PodTemplateSpec {
        metadata: Some(metadata(name, given.metadata.unwrap_or_default())),
        spec: Some(pod(app, spec, given.spec.unwrap_or_default(), settings)),
    }
}

/// Of the template's metadata a pod gets labels and annotations. Ours are what selects the pods; the rest is a default.
fn metadata(name: &str, given: ObjectMeta) -> ObjectMeta {
    let mut labels = BTreeMap::from([("app.kubernetes.io/name".to_owned(), name.to_owned())]);
    labels.extend(given.labels.unwrap_or_default());
    labels.extend(selector(name));
    let mut annotations = BTreeMap::from([(DEFAULT_CONTAINER.to_owned(), APP_CONTAINER.to_owned())]);
    annotations.extend(given.annotations.unwrap_or_default());
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

fn pod(app: &BalancedApp, spec: &BalancedAppSpec, mut given: PodSpec, settings: &FleetSettings) -> PodSpec {
    let at = given.containers.iter().position(|c| c.name == APP_CONTAINER);
    let given_app = at.map(|at| given.containers.remove(at)).unwrap_or_default();
    given.containers.insert(0, container::app(app, spec, given_app));
    // First of all: up before anybody else needs the network, and the last to stop.
    let mut init = vec![sidecar::container(app, spec, settings)];
    init.append(given.init_containers.get_or_insert_default());
    given.init_containers = Some(init);
    let name = app.metadata.name.as_deref().unwrap_or_default();
    let ours = PodSpec {
        image_pull_secrets: (!spec.image_pull_secrets.is_empty()).then(|| spec.image_pull_secrets.clone()),
        service_account_name: spec.service_account_name.clone(),
        // Kubernetes' old second name of the field, which would contradict ours.
        service_account: spec
            .service_account_name
            .clone()
            .filter(|_| given.service_account.is_some()),
        termination_grace_period_seconds: Some(i64::from(spec.rollout.grace_seconds)),
        volumes: Some(sidecar::volumes(app)),
        // Defaults: the template's own stay.
        enable_service_links: given.enable_service_links.is_none().then_some(false),
        topology_spread_constraints: given.topology_spread_constraints.is_none().then(|| vec![spread(name)]),
        ..PodSpec::default()
    };
    given.merge_from(ours);
    given
}

/// Over nodes, as far as it goes. Not over zones: where nodes have no zone label, asking for both gives neither.
fn spread(name: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(name)),
            match_expressions: None,
        }),
        // Each rollout is spread by itself: pods that are about to go don't count.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    }
}
