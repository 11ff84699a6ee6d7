//! The app's container: what the spec says over what `podTemplate` says of the container `app`.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tenbin_crds::{BalancedApp, BalancedAppSpec, HealthProbe};

use super::{APP_CONTAINER, speaks};

/// How much more patient the liveness probe is than readiness: a replica first gets no more requests, and is restarted only when that
/// did not help.
const LIVENESS_PATIENCE: i32 = 3;

/// The app's container; `given` is what `podTemplate` has of it.
pub(super) fn app(app: &BalancedApp, spec: &BalancedAppSpec, mut given: Container) -> Container {
    let env = env(app, spec, given.env.take().unwrap_or_default());
    let ports = ports(spec, given.ports.take().unwrap_or_default());
    // Later ones win among equal keys, so that the spec's come last.
    let mut env_from = given.env_from.take().unwrap_or_default();
    env_from.extend(spec.env_from.iter().cloned());
    let probes = spec
        .health_probe
        .as_ref()
        .map(|probe| probes(spec, probe))
        .unwrap_or_default();
    let ours = Container {
        name: APP_CONTAINER.to_owned(),
        image: Some(spec.image.clone()),
        command: some(spec.command.clone()),
        args: some(spec.args.clone()),
        env: some(env),
        env_from: some(env_from),
        ports: some(ports),
        resources: spec.resources.clone(),
        readiness_probe: probes.readiness.filter(|_| given.readiness_probe.is_none()),
        startup_probe: probes.startup.filter(|_| given.startup_probe.is_none()),
        liveness_probe: probes.liveness.filter(|_| given.liveness_probe.is_none()),
        lifecycle: pre_stop(spec).filter(|_| given.lifecycle.as_ref().is_none_or(|l| l.pre_stop.is_none())),
        ..Container::default()
    };
    given.merge_from(ours);
    given
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Ours first, so that the others can refer to them; then the template's, then the spec's, which can refer to both.
fn env(app: &BalancedApp, spec: &BalancedAppSpec, given: Vec<EnvVar>) -> Vec<EnvVar> {
    let mut env = vec![
        field("TENBIN_INSTANCE", "metadata.name"),
        value("TENBIN_APP", app.metadata.name.clone().unwrap_or_default()),
        field("TENBIN_NAMESPACE", "metadata.namespace"),
    ];
    env.extend(
        spec.ports
            .first()
            .map(|first| value("TENBIN_PORT", first.port.to_string())),
    );
    env.extend(spec.ports.iter().map(|port| {
        let name = port.name.to_ascii_uppercase().replace('-', "_");
        value(&format!("TENBIN_PORT_{name}"), port.port.to_string())
    }));
    let named = |variable: &EnvVar| spec.env.iter().any(|ours| ours.name == variable.name);
    env.extend(given.into_iter().filter(|variable| !named(variable)));
    env.extend(spec.env.iter().cloned());
    env
}

/// A variable with a value.
pub(super) fn value(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        value_from: None,
    }
}

/// A variable with a field of the pod.
pub(super) fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                // The server's default, written out: what it adds would look like drift.
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// The app's ports under the names of the spec: by them the operator finds where the app of any pod listens. Whatever else the template
/// says of such a port (a host port) stays; further ports follow.
fn ports(spec: &BalancedAppSpec, given: Vec<ContainerPort>) -> Vec<ContainerPort> {
    let same = |port: &ContainerPort, number: u16| {
        port.container_port == i32::from(number) && port.protocol.as_deref().unwrap_or("TCP") == "TCP"
    };
    let mut ports: Vec<ContainerPort> = Vec::new();
    for port in &spec.ports {
        let known = given.iter().find(|p| same(p, port.port)).cloned().unwrap_or_default();
        ports.push(ContainerPort {
            name: Some(port.name.clone()),
            container_port: i32::from(port.port),
            protocol: Some("TCP".to_owned()),
            ..known
        });
    }
    ports.extend(
        given
            .into_iter()
            .filter(|p| !spec.ports.iter().any(|port| same(p, port.port))),
    );
    ports
}

#[derive(Default)]
struct Probes {
    readiness: Option<Probe>,
    startup: Option<Probe>,
    liveness: Option<Probe>,
}

fn probes(spec: &BalancedAppSpec, health: &HealthProbe) -> Probes {
    let named = spec.ports.iter().find(|port| Some(&port.name) == health.port.as_ref());
    let Some(port) = named.or(spec.ports.first()) else {
        return Probes::default();
    };
    let by_name = || IntOrString::String(port.name.clone());
    let probe = Probe {
        http_get: health.http.as_ref().map(|http| HTTPGetAction {
            path: Some(http.path.clone()),
            port: by_name(),
            // The kubelet verifies no certificate.
            scheme: speaks(port).is_tls().then(|| "HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        tcp_socket: health.tcp.as_ref().map(|_| TCPSocketAction {
            port: by_name(),
            ..TCPSocketAction::default()
        }),
        grpc: health.grpc.as_ref().map(|grpc| GRPCAction {
            port: i32::from(port.port),
            service: grpc.service.clone(),
        }),
        timeout_seconds: Some(health.timeout_seconds),
        ..Probe::default()
    };
    // Asked as often as an answer may take: an app that starts fast is found fast, and the time it may take is kept either way.
    let every = health.timeout_seconds.max(1);
    Probes {
        readiness: Some(Probe {
            period_seconds: Some(health.interval_seconds),
            success_threshold: Some(health.success_threshold),
            failure_threshold: Some(health.failure_threshold),
            ..probe.clone()
        }),
        startup: Some(Probe {
            period_seconds: Some(every),
            success_threshold: Some(1),
            failure_threshold: Some(health.startup_seconds.max(1).saturating_add(every - 1) / every),
            ..probe.clone()
        }),
        liveness: health.liveness.then(|| Probe {
            period_seconds: Some(health.interval_seconds),
            success_threshold: Some(1),
            failure_threshold: Some(health.failure_threshold.saturating_mul(LIVENESS_PATIENCE)),
            ..probe
        }),
    }
}

/// The time in which everybody hears that the replica is to go, and it still takes requests.
fn pre_stop(spec: &BalancedAppSpec) -> Option<Lifecycle> {
    (spec.rollout.drain_seconds > 0).then(|| Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction {
                seconds: i64::from(spec.rollout.drain_seconds),
            }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    })
}
