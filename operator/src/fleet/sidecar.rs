//! The proxy in the pod: its container and its volumes. The app's container never sees them.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, ExecAction,
    HTTPGetAction, Lifecycle, LifecycleHandler, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
    SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tenbin_crds::{BalancedApp, BalancedAppSpec};
use tenbin_model::SidecarPort;

use super::container::{field, value};
use super::{FleetSettings, PROXY_CONTAINER, Ports, config_map_name, speaks};

/// The proxy's program in its image.
const BINARY: &str = "/usr/local/bin/tenbin-proxy";
/// Key of the ConfigMap and name of the file that hold the CA bundle.
pub(super) const CA_KEY: &str = "ca.crt";
/// Audience of the token by which the proxy proves who it is.
const AUDIENCE: &str = "tenbin.dev/xds";
/// The token's life in seconds; the kubelet renews it at 80%.
const TOKEN_SECONDS: i64 = 3600;
const TOKEN_DIR: &str = "/var/run/tenbin/token";
const CA_DIR: &str = "/var/run/tenbin/ca";
const STATE_DIR: &str = "/var/run/tenbin/state";
/// The user of the proxy's image.
const USER: i64 = 65532;
/// The name of the proxy's port for /livez, /readyz and /metrics.
const ADMIN_PORT: &str = "tb-admin";
/// Seconds for the proxy to come up before it is restarted.
const STARTUP_SECONDS: i32 = 60;

/// The proxy's container: an init container that stays (a native sidecar), so that it is up before the app and goes after it.
pub(super) fn container(app: &BalancedApp, spec: &BalancedAppSpec, settings: &FleetSettings) -> Container {
    let ports = Ports::of(spec);
    let resources = spec.proxy.as_ref().and_then(|proxy| proxy.resources.clone());
    // Where the app speaks TLS the two may differ, and the app must not wait for what only makes its pod ready.
    let started = if speaks_tls(spec) { "/livez" } else { "/readyz" };
    Container {
        name: PROXY_CONTAINER.to_owned(),
        image: Some(settings.proxy_image.clone()),
        image_pull_policy: settings.proxy_image_pull_policy.clone(),
        command: Some(vec![BINARY.to_owned(), "sidecar".to_owned()]),
        restart_policy: Some("Always".to_owned()),
        env: Some(env(app, spec, &ports, settings)),
        ports: Some(container_ports(&ports)),
        resources: Some(resources.unwrap_or_else(|| settings.proxy_resources.clone()))
            .filter(|r| *r != ResourceRequirements::default()),
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(STARTUP_SECONDS),
            ..probe(started)
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            failure_threshold: Some(3),
            ..probe("/readyz")
        }),
        // Starts to drain while the app still runs; the proxy ends only after the app, by its signal.
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some([BINARY, "admin", "drain"].map(str::to_owned).to_vec()),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(vec![
            mount("tenbin-ca", CA_DIR, Some(true)),
            mount("tenbin-state", STATE_DIR, None),
            mount("tenbin-token", TOKEN_DIR, Some(true)),
        ]),
        security_context: Some(security_context()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn env(app: &BalancedApp, spec: &BalancedAppSpec, ports: &Ports, settings: &FleetSettings) -> Vec<EnvVar> {
    let listeners = spec.ports.iter().zip(&ports.app).map(|(port, plan)| {
        let listener = SidecarPort {
            name: plan.name.clone(),
            listen: plan.listen,
            app: plan.app,
            speaks: speaks(port),
        };
        listener.to_string()
    });
    // What is left of the grace time once the app has drained: two seconds of it are the kubelet's.
    let drain = (spec.rollout.grace_seconds - spec.rollout.drain_seconds - 2).max(1);
    let mut env = vec![
        field("TENBIN_NAMESPACE", "metadata.namespace"),
        value("TENBIN_APP", app.metadata.name.clone().unwrap_or_default()),
        field("TENBIN_POD_NAME", "metadata.name"),
        field("TENBIN_POD_UID", "metadata.uid"),
        value(SidecarPort::VARIABLE, listeners.collect::<Vec<_>>().join(",")),
        value("TENBIN_STATUS_PORT", ports.admin.to_string()),
        value("TENBIN_XDS_ADDRESS", &settings.xds_address),
        value("TENBIN_XDS_CA", format!("{CA_DIR}/{CA_KEY}")),
        value("TENBIN_XDS_TOKEN", format!("{TOKEN_DIR}/token")),
        value("TENBIN_STATE_DIR", STATE_DIR),
        value("TENBIN_DRAIN_SECONDS", drain.to_string()),
        value("TENBIN_LOG", &settings.proxy_log),
    ];
    // Nothing new for the pods of other apps: what differs replaces them.
    env.extend(speaks_tls(spec).then(|| value("TENBIN_TLS_DIR", CA_DIR)));
    env
}

/// Whether the app speaks TLS on any port.
fn speaks_tls(spec: &BalancedAppSpec) -> bool {
    spec.ports.iter().any(|port| speaks(port).is_tls())
}

fn container_ports(ports: &Ports) -> Vec<ContainerPort> {
    let port = |name: String, number: u16| ContainerPort {
        name: Some(name),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let app = ports.app.iter().map(|p| port(p.proxy_name(), p.listen));
    app.chain([port(ADMIN_PORT.to_owned(), ports.admin)]).collect()
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// Pod Security "restricted", whatever the pod's own context says.
fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    }
}

fn mount(name: &str, path: &str, read_only: Option<bool>) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    }
}

/// The proxy's volumes.
pub(super) fn volumes(app: &BalancedApp) -> Vec<Volume> {
    let ca = Volume {
        name: "tenbin-ca".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map_name(app.metadata.name.as_deref().unwrap_or_default()),
            // A pod starts without it, serves its own app, and gets it as soon as it is there.
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let state = Volume {
        name: "tenbin-state".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity("16Mi".to_owned())),
        }),
        ..Volume::default()
    };
    let token = Volume {
        name: "tenbin-token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some(AUDIENCE.to_owned()),
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "token".to_owned(),
                }),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    };
    vec![ca, state, token]
}
