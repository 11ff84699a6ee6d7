//! Golden pairs: objects in, model, problems, children and status out. Each folder beside this file is a case: `in.yaml` says what
//! the API server has, `out.yaml` what follows. `UPDATE=1 cargo test -p tenbin-operator --test compile` rewrites the latter.
//!
//! For every case it also holds that the answer depends neither on the order in which kinds come, nor on whether objects are listed
//! or told one by one, nor on what pruning takes away; and that a status that stands is not written again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::watcher::Event;
use serde::Deserialize;
use serde_json::{Value, json};
use tenbin_model::{
    AccessLog, AccessLogFormat, Balancing, Cluster, EndpointState, Listener, Resource, Target, Tracing,
};
use tenbin_operator::compile::{Compiled, Defaults, compile};
use tenbin_operator::fleet::{self, Child, FleetSettings};
use tenbin_operator::key::AppKey;
use tenbin_operator::problem::Problem;
use tenbin_operator::status::{Outcome, StatusInput, Sync, status};
use tenbin_operator::tables::{Prune, Tables, Watched};

const KINDS: [&str; 11] = [
    "BalancedApp",
    "ControllerRevision",
    "Deployment",
    "ReplicaSet",
    "Pod",
    "EndpointSlice",
    "Service",
    "PodDisruptionBudget",
    "ConfigMap",
    "Node",
    "Secret",
];

/// What a case says. Objects are as in Kubernetes; `owner: ReplicaSet/a` stands for a controller reference, an absent namespace for
/// `default`, an absent uid for `<kind>-<name>`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it is about.
    about: String,
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default)]
    then: Vec<Step>,
    #[serde(default)]
    sync: SyncIn,
    #[serde(default)]
    outcome: OutcomeIn,
    /// Whether the operator logs and traces requests of apps that say nothing of it.
    #[serde(default)]
    seen: bool,
    /// Whether the objects to apply are shown.
    #[serde(default)]
    children: bool,
}

/// What happens after the first list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Step {
    #[serde(rename = "apply")]
    Apply(Value),
    #[serde(rename = "delete")]
    Delete(Value),
    #[serde(rename = "relist")]
    Relist { kind: String, objects: Vec<Value> },
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SyncIn {
    connected: u32,
    synced: u32,
    rejected: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OutcomeIn {
    generation: i64,
    problems: Vec<ProblemIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemIn {
    path: String,
    reason: String,
    message: String,
    fatal: bool,
}

#[test]
fn every_case_gives_what_is_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile");
    let update = std::env::var_os("UPDATE").is_some();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("cases")
        .map(|e| e.expect("entry").path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 15, "cases are missing: {cases:?}");
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(case.join("in.yaml")).expect("in.yaml");
        let given: Case = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}/in.yaml: {e}"));
        assert!(!given.about.is_empty(), "{name}: says nothing about itself");
        let got = serde_saphyr::to_string(&run(&name, &given)).expect("YAML");
        let path = case.join("out.yaml");
        if update {
            std::fs::write(&path, got).expect("out.yaml written");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != got {
            wrong.push(format!("--- {name}: got\n{got}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE=1 rewrites out.yaml)", wrong.join("\n"));
}

fn run(name: &str, case: &Case) -> Value {
    let key = AppKey::new("default", "hello");
    let mut tables = Tables::default();
    assert!(!tables.complete());
    for kind in KINDS {
        list(&mut tables, kind, &case.objects, true);
    }
    assert!(tables.complete(), "{name}");
    let dirty: Vec<Value> = case
        .then
        .iter()
        .map(|step| json!(keys(&take(&mut tables, step))))
        .collect();

    let out = outcome(case);
    let first = follows(&tables, &key, case, &out);
    let (compiled, state) = (&first.0, &first.1);
    for (how, other) in [
        ("in another order", another_order(case)),
        ("one by one", one_by_one(case)),
    ] {
        assert_eq!(follows(&other, &key, case, &out), first, "{name}: {how}");
    }
    let again = status_of(&tables, &key, case, compiled, &out, Some(state), "2026-02-02T00:00:00Z");
    assert_eq!(&again, state, "{name}: a status that stands would be written again");

    let mut result = json!({
        "model": model(&compiled.resources),
        "problems": compiled.problems.iter().map(problem).collect::<Vec<_>>(),
        "status": state,
    });
    if !case.then.is_empty() {
        result["dirty"] = Value::Array(dirty);
    }
    if case.children {
        let app = tables.app(&key).expect("the app");
        result["children"] = match fleet::desired(app, &app.spec, &settings()) {
            Ok(children) => children.iter().map(child).collect(),
            Err(problems) => json!({ "refused": problems.iter().map(problem).collect::<Vec<_>>() }),
        };
    }
    result
}

type Follows = (Compiled, tenbin_crds::BalancedAppStatus);

fn follows(tables: &Tables, key: &AppKey, case: &Case, outcome: &Outcome) -> Follows {
    let compiled = compile(tables, key, &defaults(case));
    let status = status_of(tables, key, case, &compiled, outcome, None, "2026-01-01T00:00:00Z");
    (compiled, status)
}

fn status_of(
    tables: &Tables,
    key: &AppKey,
    case: &Case,
    compiled: &Compiled,
    outcome: &Outcome,
    previous: Option<&tenbin_crds::BalancedAppStatus>,
    now: &str,
) -> tenbin_crds::BalancedAppStatus {
    let SyncIn {
        connected,
        synced,
        rejected,
    } = &case.sync;
    let sync = Sync {
        connected: *connected,
        synced: *synced,
        rejected: rejected.clone(),
    };
    let now = Time(now.parse().expect("a time"));
    status(&StatusInput {
        tables,
        key,
        compiled,
        outcome,
        sync: &sync,
        previous,
        now,
    })
}

fn outcome(case: &Case) -> Outcome {
    let problem = |p: &ProblemIn| Problem {
        path: p.path.clone(),
        reason: p.reason.clone().leak(),
        message: p.message.clone(),
        fatal: p.fatal,
    };
    Outcome {
        generation: case.outcome.generation,
        problems: case.outcome.problems.iter().map(problem).collect(),
    }
}

/// Unpruned, the last kind first, each list told twice.
fn another_order(case: &Case) -> Tables {
    let mut tables = Tables::default();
    let turned: Vec<Value> = case.objects.iter().rev().cloned().collect();
    for kind in KINDS.iter().rev().chain(&KINDS) {
        list(&mut tables, kind, &turned, false);
    }
    for step in &case.then {
        take(&mut tables, step);
    }
    tables
}

/// Every list empty, then one object after the other; pods first and apps last.
fn one_by_one(case: &Case) -> Tables {
    let mut tables = Tables::default();
    for kind in KINDS {
        list(&mut tables, kind, &[], true);
    }
    let mut objects = case.objects.clone();
    objects.sort_by_key(|object| std::cmp::Reverse(KINDS.iter().position(|kind| object["kind"] == *kind)));
    for object in objects {
        take(&mut tables, &Step::Apply(object));
    }
    for step in &case.then {
        take(&mut tables, step);
    }
    tables
}

fn list(tables: &mut Tables, kind: &str, objects: &[Value], prune: bool) {
    let listed = objects.iter().filter(|object| object["kind"] == kind);
    let mut events = vec![Event::Init];
    events.extend(listed.map(|object| Event::InitApply(full(object))));
    for event in events {
        assert!(
            tables.apply(None, watched(kind, event, prune)).is_empty(),
            "a list changes nothing before its end"
        );
    }
    tables.apply(None, watched(kind, Event::InitDone, prune));
}

fn take(tables: &mut Tables, step: &Step) -> BTreeSet<AppKey> {
    match step {
        Step::Apply(object) => tables.apply(None, watched(kind_of(object), Event::Apply(full(object)), true)),
        Step::Delete(object) => tables.apply(None, watched(kind_of(object), Event::Delete(full(object)), true)),
        Step::Relist { kind, objects } => {
            tables.apply(None, watched(kind, Event::Init, true));
            for object in objects {
                tables.apply(None, watched(kind, Event::InitApply(full(object)), true));
            }
            tables.apply(None, watched(kind, Event::InitDone, true))
        }
    }
}

fn keys(dirty: &BTreeSet<AppKey>) -> Vec<String> {
    dirty.iter().map(ToString::to_string).collect()
}

fn kind_of(object: &Value) -> &str {
    object["kind"].as_str().expect("kind")
}

/// The object with what cases leave out.
fn full(object: &Value) -> Value {
    let mut object = object.clone();
    let uid = |kind: &str, name: &str| format!("{}-{name}", kind.to_lowercase());
    let kind = kind_of(&object).to_owned();
    let owner = object.as_object_mut().expect("an object").remove("owner");
    let meta = object["metadata"].as_object_mut().expect("metadata");
    let name = meta["name"].as_str().expect("a name").to_owned();
    if kind != "Node" {
        meta.entry("namespace").or_insert_with(|| json!("default"));
    }
    meta.entry("uid").or_insert_with(|| json!(uid(&kind, &name)));
    meta.insert("managedFields".to_owned(), json!([{"manager": "somebody"}]));
    if let Some((kind, name)) = owner.as_ref().and_then(|o| o.as_str()?.split_once('/')) {
        let version = if kind == "BalancedApp" {
            "tenbin.dev/v1alpha1"
        } else {
            "apps/v1"
        };
        let owner =
            json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid(kind, name), "controller": true});
        meta.insert("ownerReferences".to_owned(), json!([owner]));
    }
    object
}

fn watched(kind: &str, event: Event<Value>, prune: bool) -> Watched {
    match kind {
        "BalancedApp" => Watched::App(typed(event, prune)),
        "ControllerRevision" => Watched::Revision(typed(event, prune)),
        "Deployment" => Watched::Deployment(typed(event, prune)),
        "ReplicaSet" => Watched::ReplicaSet(typed(event, prune)),
        "Pod" => Watched::Pod(typed(event, prune)),
        "EndpointSlice" => Watched::Slice(typed(event, prune)),
        "Service" => Watched::Service(typed(event, prune)),
        "PodDisruptionBudget" => Watched::Budget(typed(event, prune)),
        "ConfigMap" => Watched::ConfigMap(typed(event, prune)),
        "Node" => Watched::Node(typed(event, prune)),
        "Secret" => Watched::Keys(typed(event, prune)),
        other => panic!("{other} is not watched"),
    }
}

fn typed<K: Prune + for<'de> Deserialize<'de>>(event: Event<Value>, prune: bool) -> Event<K> {
    let read = |value: Value| {
        let mut object: K = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"));
        if prune {
            object.prune();
        }
        object
    };
    match event {
        Event::Apply(o) => Event::Apply(read(o)),
        Event::Delete(o) => Event::Delete(read(o)),
        Event::Init => Event::Init,
        Event::InitApply(o) => Event::InitApply(read(o)),
        Event::InitDone => Event::InitDone,
    }
}

fn defaults(case: &Case) -> Defaults {
    let seen = || Defaults {
        access_log: AccessLog {
            format: AccessLogFormat::Text,
            one_in: 10,
        },
        tracing: Some(Tracing {
            collector: "http://otel:4317".to_owned(),
            sampled: 10_000,
            service: String::new(),
        }),
    };
    if case.seen { seen() } else { Defaults::default() }
}

fn settings() -> FleetSettings {
    FleetSettings {
        proxy_image: "proxy:1".to_owned(),
        proxy_image_pull_policy: Some("IfNotPresent".to_owned()),
        proxy_resources: serde_json::from_value(json!({"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}))
            .expect("valid"),
        xds_address: "tenbin-operator.tenbin-system.svc:15010".to_owned(),
        ca_bundle: "PEM".to_owned(),
        proxy_log: "info".to_owned(),
    }
}

fn problem(problem: &Problem) -> Value {
    let weight = if problem.fatal { "fatal" } else { "warning" };
    json!(format!("{weight} {}: {problem}", problem.reason))
}

fn child(child: &Child) -> Value {
    let object = match child {
        Child::ConfigMap(o) => serde_json::to_value(o),
        Child::Service(o) => serde_json::to_value(o),
        Child::Budget(o) => serde_json::to_value(o),
        Child::Deployment(o) => serde_json::to_value(o),
    };
    object.expect("writable")
}

/// Every resource in one line, endpoints in one each.
fn model(resources: &[Resource]) -> Value {
    let mut lines: BTreeMap<String, Value> = BTreeMap::new();
    for resource in resources {
        let name = format!("{:?} {}", resource.kind(), resource.name());
        let line = match resource {
            Resource::Listener(l) => json!(listener(l)),
            Resource::Routes(r) => {
                let hosts = r.hosts.iter().flat_map(|h| h.routes.iter().map(move |r| (h, r)));
                json!(
                    hosts
                        .map(|(h, r)| {
                            let hash = r
                                .hash_on
                                .as_ref()
                                .map(|key| format!(" hashed by {key:?}"))
                                .unwrap_or_default();
                            let more = [
                                unlike("timeouts", &r.timeouts),
                                unlike("retry", &r.retry),
                                unlike("bodies", &r.bodies),
                            ];
                            let more = more.concat();
                            format!("{} {} to {}{hash}{more}", h.domains.join(" "), r.prefix, r.cluster)
                        })
                        .collect::<Vec<_>>()
                )
            }
            Resource::Cluster(c) => json!(cluster(c)),
            Resource::Certificate(c) => json!(format!("{c:?}")),
            Resource::Keys(k) => json!(format!("{:?}", k.keys)),
            Resource::Endpoints(e) => json!(
                e.endpoints
                    .iter()
                    .map(|e| {
                        let state = match e.state {
                            EndpointState::Ready => "ready",
                            EndpointState::Draining => "draining",
                        };
                        let weight = if e.weight == 1 {
                            String::new()
                        } else {
                            format!(" weight {}", e.weight)
                        };
                        let zone = if e.zone.is_empty() {
                            String::new()
                        } else {
                            format!(" in {}", e.zone)
                        };
                        format!("{} {} {state}{weight}{zone} ({})", e.id, e.address, e.instance)
                    })
                    .collect::<Vec<_>>()
            ),
        };
        assert!(lines.insert(name.clone(), line).is_none(), "{name} twice");
    }
    json!(lines)
}

/// ` what value`, unless it is the default.
fn unlike<T: Default + PartialEq + std::fmt::Debug>(what: &str, value: &T) -> String {
    if *value == T::default() {
        String::new()
    } else {
        format!(" {what} {value:?}")
    }
}

fn listener(listener: &Listener) -> String {
    let default = Listener::new(listener.name.clone(), listener.address, listener.name.clone());
    let time = |what: &str, time: Duration, default: Duration| {
        if time == default {
            String::new()
        } else {
            format!(" {what} {time:?}")
        }
    };
    let target = match &listener.target {
        Target::Http(name) => format!("routes by {name}"),
        Target::Tcp(name) => format!("connections to {name}"),
    };
    [
        format!("{} {target}", listener.address),
        unlike("trusts", &listener.trusted_hops),
        time("headers", listener.header_timeout, default.header_timeout),
        time("idle", listener.idle_timeout, default.idle_timeout),
        unlike("forwarded", &listener.forwarded),
        unlike("served by", &listener.served_by),
        unlike("logs", &listener.access_log),
        unlike("traces", &listener.tracing),
    ]
    .concat()
}

fn cluster(cluster: &Cluster) -> String {
    let balancing = match cluster.balancing == Balancing::default() {
        true => "adaptive".to_owned(),
        false => format!("{:?}", cluster.balancing),
    };
    let connect = match cluster.connect_timeout == Cluster::DEFAULT_CONNECT_TIMEOUT {
        true => String::new(),
        false => format!(" connect {:?}", cluster.connect_timeout),
    };
    let tls = cluster
        .tls
        .as_ref()
        .map(|tls| format!(" tls with {:?}, ca of {} bytes", tls.server_name, tls.ca.len()));
    let protocol = unlike("speaks", &cluster.protocol);
    let limits = unlike("limits", &cluster.limits);
    format!("{balancing}{connect}{protocol}{}{limits}", tls.unwrap_or_default())
}
