//! `BalancedApp.spec`: the types users fill in, with defaults, bounds and rules. The doc comments here are what
//! `kubectl explain` shows. What a field does is decided in the operator, never here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, LocalObjectReference, ResourceRequirements};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    Affinity, Algorithm, AlgorithmConfig, AppPort, BalancedAppStatus, HealthProbe, ProxySpec, Resilience, Rollout,
    TrafficDistribution, embedded, rules,
};

/// What to run, how many of it, and how requests are balanced over the replicas.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tenbin.dev",
    version = "v1alpha1",
    kind = "BalancedApp",
    namespaced,
    status = "BalancedAppStatus",
    derive = "PartialEq",
    doc = "An application that runs as several replicas, with the requests to it balanced over them.",
    shortname = "bapp",
    category = "all",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Replicas that are ready, of those wanted"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Replicas wanted"
    ),
    printcolumn(
        name = "Algorithm",
        type_ = "string",
        json_path = ".status.algorithm",
        description = "How a replica is picked for a request"
    ),
    printcolumn(
        name = "Synced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"ConfigSynced\")].status",
        description = "Whether all proxies of the app have the newest configuration"
    ),
    printcolumn(
        name = "Proxy",
        type_ = "string",
        json_path = ".status.proxies.image",
        description = "Image of the proxy in pods made from now on",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    )
    .message(::kube::core::Message::Expression(
        "'metadata.name (%s) must be 1 to 50 characters of a-z, 0-9 and -, begin with a letter and not end with -: \
         the Service and the other objects of the app are named after it'.format([self.metadata.name])".to_owned()
    ))
)]
#[x_kube(
    validation = rules::hashing_needs_a_key(),
    validation = rules::source_ip_hash_is_its_own_affinity(),
    validation = rules::choice_count_is_read(),
    validation = rules::decay_is_read(),
    validation = rules::balance_factor_is_read(),
    validation = rules::source_ip_is_read(),
    validation = rules::slow_start_is_read(),
    validation = rules::connections_have_no_requests(),
    validation = Rule::new(
        "!has(self.healthProbe) || !has(self.healthProbe.port) || self.ports.exists(p, p.name == self.healthProbe.port)"
    )
    .field_path(".healthProbe.port")
    .message(Message::Expression(
        "'healthProbe.port (%s) must be the name of one of spec.ports, which are %s; without it, the first port is probed'.format([self.healthProbe.port, self.ports.map(p, p.name)])".to_owned()
    ))
)]
#[serde(rename_all = "camelCase")]
pub struct BalancedAppSpec {
    /// How many replicas to run: 0 to 5000, 1 by default. `kubectl scale` and a HorizontalPodAutoscaler write it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 5000))]
    pub replicas: i32,

    /// The app's container image, as in a Pod, for example `registry.example/shop:1.4`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = (r"self.matches(r'^\S+$')", "image must be the name of a container image, not empty and without spaces, for example registry.example/shop:1.4"))]
    pub image: String,

    /// The program to start, one word per item; not run in a shell. The image's entrypoint unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Vec<String>,

    /// Arguments of the program, one per item. The image's own unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 8192)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub args: Vec<String>,

    /// Environment of the app's container, as in a Pod. Every replica also finds, set by the operator and usable here
    /// as `$(NAME)`: TENBIN_INSTANCE (the name of its pod; replicas have no ordinals), TENBIN_APP, TENBIN_NAMESPACE,
    /// TENBIN_PORT (the first port) and `TENBIN_PORT_<NAME>` for each port. Names beginning with `TENBIN_` are reserved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::env")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub env: Vec<EnvVar>,

    /// ConfigMaps and Secrets whose every key becomes a variable of the app's container, as in a Pod. `env` wins over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::env_from")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub env_from: Vec<EnvFromSource>,

    /// CPU and memory of the app's container (`requests`, `limits`), as in a Pod. The proxy has its own: `proxy.resources`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Secrets of this namespace with the credentials to pull the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::pull_secrets")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// The ServiceAccount the pods run as; the namespace's `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,

    /// For everything that has no field of its own: a PodTemplateSpec (`metadata`, `spec`), merged by Kubernetes'
    /// strategic merge with what the operator generates, which wins where both say something. The app's container is
    /// named `app`. A field that a pod does not have is reported in the conditions, and the app keeps running as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::pod_template")]
    pub pod_template: Option<BTreeMap<String, serde_json::Value>>,

    /// Where the app listens: 1 to 8 ports, each reached through the Service that has the app's name.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".to_owned()]),
        validation = Rule::new("self.all(p, self.exists_one(q, q.port == p.port))")
            .message(Message::Expression("'each port must have a different port number, but they are %s'.format([self.map(p, p.port)])".to_owned())),
        validation = Rule::new("self.all(p, self.exists_one(q, (has(q.servicePort) ? q.servicePort : q.port) == (has(p.servicePort) ? p.servicePort : p.port)))")
            .message(Message::Expression("'each port must have a different servicePort (which is port unless given), but they are %s'.format([self.map(p, has(p.servicePort) ? p.servicePort : p.port)])".to_owned()))
    )]
    pub ports: Vec<AppPort>,

    /// How a replica is picked for a request. `Adaptive` (the default; not written here, so that it can become better): the one that is
    /// likely to answer first, by requests in flight, their age, latency and failures. `RoundRobin`: each in turn. `Random`. `LeastRequest`: the one
    /// with the fewest requests in flight. `PeakEwma`: the one with the least latency times requests in flight. All of these go by
    /// weights (annotation or node label `tenbin.dev/weight`). `RingHash` and `Maglev`: by the key that `affinity` names.
    /// `SourceIpHash`: by the client's address. A change of it replaces no pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::choice::<Algorithm>")]
    pub algorithm: Option<Algorithm>,

    /// Options of the algorithm. One that the algorithm does not read is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm_config: Option<AlgorithmConfig>,

    /// What binds requests to a replica; nothing unless given. A change of it replaces no pods. A connection to a port of `tcp` is bound
    /// by `SourceIP` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Which replicas come first. `PreferSameZone`: those in the zone of the proxy that picks, and others for what is beyond their
    /// capacity. All alike unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::choice::<TrafficDistribution>")]
    pub traffic_distribution: Option<TrafficDistribution>,

    /// How long things may take, what is sent again, how much is let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resilience: Option<Resilience>,

    /// Ranges of addresses (CIDR) of proxies in front of the app whose `X-Forwarded-For` is believed, as an ingress controller's: at
    /// most 64. A client at any other address is the client, whatever its headers say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Atomic, validation = rules::hops_are_ranges())]
    pub trusted_hops: Vec<String>,

    /// How to find out whether a replica can serve. Without it, a replica counts as ready once its container runs.
    /// A probe that `podTemplate` gives the container `app` takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_probe: Option<HealthProbe>,

    /// How replicas are replaced and stopped.
    #[serde(default)]
    pub rollout: Rollout,

    /// The proxy that runs beside each replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,

    /// While true, the operator writes nothing for this app but the CA bundle of its proxies: changes wait, drift stays.
    /// Requests are balanced as before, over replicas as they come and go. False by default.
    #[serde(default)]
    pub paused: bool,
}

fn one() -> i32 {
    1
}
