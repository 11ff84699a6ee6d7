//! Whatever the watches bring, in whatever order, with whatever missed and listed again: the tables end as if all had been listed
//! once, and every app whose answer changed was told.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenbin_crds::BalancedAppStatus;
use tenbin_operator::compile::{Compiled, Defaults, compile};
use tenbin_operator::key::AppKey;
use tenbin_operator::status::{Outcome, StatusInput, Sync, status};
use tenbin_operator::tables::{Tables, Watched};

const NAMESPACES: [&str; 2] = ["n1", "n2"];
const APPS: [&str; 2] = ["a", "b"];
const KINDS: [&str; 6] = [
    "BalancedApp",
    "ControllerRevision",
    "Deployment",
    "ReplicaSet",
    "Pod",
    "EndpointSlice",
];
/// Kinds that are listed as empty and stay so.
const EMPTY: [&str; 3] = ["Service", "PodDisruptionBudget", "ConfigMap"];

/// What the API server has, by kind, namespace and name.
type Cluster = BTreeMap<(usize, usize, usize), Value>;

#[derive(Clone, Debug)]
enum Step {
    /// The object comes or changes (by the seed), or goes without one; the watch tells, or misses it.
    Change {
        kind: usize,
        namespace: usize,
        name: usize,
        seed: Option<u16>,
        told: bool,
    },
    Relist {
        kind: usize,
        namespace: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let change = (
        0..KINDS.len(),
        0..NAMESPACES.len(),
        0..3usize,
        prop::option::weighted(0.8, any::<u16>()),
        prop::bool::weighted(0.9),
    )
        .prop_map(|(kind, namespace, name, seed, told)| Step::Change {
            kind,
            namespace,
            name,
            seed,
            told,
        });
    let relist = (0..KINDS.len(), 0..NAMESPACES.len()).prop_map(|(kind, namespace)| Step::Relist { kind, namespace });
    prop_oneof![6 => change, 1 => relist]
}

/// An object out of a small world, in which seeds often meet.
fn object(kind: usize, namespace: usize, name: usize, seed: u16) -> Value {
    let bits = |shift: u16, n: u16| (seed >> shift) % n;
    let app = APPS[name % 2];
    let uid = |kind: &str, name: &str| format!("{kind}-{namespace}-{name}");
    let owner = |kind: &str, name: &str| {
        let version = if kind == "BalancedApp" {
            "tenbin.dev/v1alpha1"
        } else {
            "apps/v1"
        };
        json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid(kind, name), "controller": true}])
    };
    let meta = |name: &str, owners: Value| {
        let kind = KINDS[kind];
        json!({"name": name, "namespace": NAMESPACES[namespace], "uid": uid(kind, name), "ownerReferences": owners,
               "generation": 1 + bits(0, 2), "labels": {"tenbin.dev/app": app, "kubernetes.io/service-name": app}})
    };
    let spec = |good: bool| {
        let template = if good {
            json!({})
        } else {
            json!({"spec": {"hostNetwork": true}})
        };
        json!({"image": "i", "replicas": bits(4, 3), "ports": [{"name": "http", "port": 80 + bits(6, 2)}], "podTemplate": template})
    };
    let other = |n: u16| ["0", "1", "2"][usize::from(n % 3)];
    let me = other(u16::try_from(name).expect("small"));
    match KINDS[kind] {
        "BalancedApp" => json!({"metadata": meta(app, json!([])), "spec": spec(bits(1, 4) > 0)}),
        "ControllerRevision" => {
            let data = if bits(1, 4) > 0 {
                json!({"spec": spec(true)})
            } else {
                json!({})
            };
            json!({"metadata": meta(me, owner("BalancedApp", APPS[usize::from(bits(2, 2))])), "revision": bits(0, 2) + 1, "data": data})
        }
        "Deployment" => json!({
            "metadata": meta(app, owner("BalancedApp", APPS[usize::from(bits(2, 2))])),
            "spec": {"replicas": bits(3, 3), "selector": {}, "template": {}},
            "status": {"replicas": bits(5, 3), "updatedReplicas": bits(7, 3), "availableReplicas": bits(9, 3), "observedGeneration": 2},
        }),
        "ReplicaSet" => json!({"metadata": meta(me, owner("Deployment", APPS[usize::from(bits(2, 2))]))}),
        "Pod" => {
            let owners = if bits(1, 5) > 0 {
                owner("ReplicaSet", other(bits(3, 3)))
            } else {
                json!([])
            };
            let mut meta = meta(me, owners);
            if bits(5, 4) == 0 {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            json!({"metadata": meta,
                "spec": {"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 80 + bits(7, 2)}]}]},
                "status": {"podIP": format!("10.0.0.{}", bits(8, 2)), "conditions": [{"type": "Ready", "status": if bits(9, 2) == 0 { "True" } else { "False" }}]}})
        }
        _ => {
            let endpoints: Vec<Value> = (0..bits(2, 3)).map(|i| {
                let pod = other(i + bits(4, 3));
                json!({"addresses": [format!("10.0.0.{}", bits(6 + i, 2))], "conditions": {"ready": bits(8 + i, 3) > 0},
                       "targetRef": {"kind": "Pod", "name": pod, "uid": uid("Pod", pod)}})
            }).collect();
            json!({"metadata": meta(me, json!([])), "addressType": "IPv4", "endpoints": endpoints})
        }
    }
}

fn watched(kind: &str, event: Event<Value>) -> Watched {
    match kind {
        "BalancedApp" => Watched::App(typed(event)),
        "ControllerRevision" => Watched::Revision(typed(event)),
        "Deployment" => Watched::Deployment(typed(event)),
        "ReplicaSet" => Watched::ReplicaSet(typed(event)),
        "Pod" => Watched::Pod(typed(event)),
        "EndpointSlice" => Watched::Slice(typed(event)),
        "Service" => Watched::Service(typed(event)),
        "PodDisruptionBudget" => Watched::Budget(typed(event)),
        _ => Watched::ConfigMap(typed(event)),
    }
}

fn typed<K: DeserializeOwned>(event: Event<Value>) -> Event<K> {
    let read = |value: Value| serde_json::from_value(value).expect("readable");
    match event {
        Event::Apply(o) => Event::Apply(read(o)),
        Event::Delete(o) => Event::Delete(read(o)),
        Event::Init => Event::Init,
        Event::InitApply(o) => Event::InitApply(read(o)),
        Event::InitDone => Event::InitDone,
    }
}

/// Every answer about every app.
fn answers(tables: &Tables) -> BTreeMap<AppKey, (Compiled, BalancedAppStatus)> {
    let keys = NAMESPACES
        .iter()
        .flat_map(|namespace| APPS.map(|app| AppKey::new(*namespace, app)));
    let answer = |key: AppKey| {
        let compiled = compile(tables, &key, &Defaults::default());
        let status = status(&StatusInput {
            tables,
            key: &key,
            compiled: &compiled,
            outcome: &Outcome::default(),
            sync: &Sync::default(),
            previous: None,
            now: Time("2026-01-01T00:00:00Z".parse().expect("a time")),
        });
        (key, (compiled, status))
    };
    keys.map(answer).collect()
}

/// The tables, and what followed from them last.
struct World {
    tables: Tables,
    answers: BTreeMap<AppKey, (Compiled, BalancedAppStatus)>,
}

impl World {
    /// Every watch has listed, and found what `cluster` has.
    fn listed(cluster: &Cluster) -> Self {
        let tables = Tables::new(&NAMESPACES.map(str::to_owned));
        let mut world = World {
            answers: answers(&tables),
            tables,
        };
        for namespace in 0..NAMESPACES.len() {
            for kind in EMPTY {
                world.tell(kind, namespace, Event::Init);
                assert!(!world.tables.complete());
                world.tell(kind, namespace, Event::InitDone);
            }
        }
        for watched in [
            [Watched::Node(Event::Init), Watched::Node(Event::InitDone)],
            [Watched::Keys(Event::Init), Watched::Keys(Event::InitDone)],
        ]
        .into_iter()
        .flatten()
        {
            world.tables.apply(None, watched);
        }
        world.relist_all(cluster);
        assert!(world.tables.complete());
        world
    }

    fn relist_all(&mut self, cluster: &Cluster) {
        for kind in 0..KINDS.len() {
            for namespace in 0..NAMESPACES.len() {
                self.relist(cluster, kind, namespace);
            }
        }
    }

    fn relist(&mut self, cluster: &Cluster, kind: usize, namespace: usize) {
        self.tell(KINDS[kind], namespace, Event::Init);
        for (_, object) in cluster.range((kind, namespace, 0)..=(kind, namespace, usize::MAX)) {
            self.tell(KINDS[kind], namespace, Event::InitApply(object.clone()));
        }
        self.tell(KINDS[kind], namespace, Event::InitDone);
    }

    /// Hands an event in, and checks that whose answer changes is told.
    fn tell(&mut self, kind: &str, namespace: usize, event: Event<Value>) {
        let listing = matches!(event, Event::Init | Event::InitApply(_));
        let what = format!("{event:?} of {kind}");
        let dirty = self.tables.apply(Some(NAMESPACES[namespace]), watched(kind, event));
        if listing {
            assert!(dirty.is_empty(), "a list changes nothing before its end");
            return;
        }
        let answers = answers(&self.tables);
        for (key, answer) in &answers {
            let same = self.answers[key] == *answer;
            assert!(
                same || key.namespace == NAMESPACES[namespace],
                "{key} changed by {what} of another namespace"
            );
            assert!(
                same || dirty.contains(key),
                "{key} changed without being told, by {what}"
            );
        }
        self.answers = answers;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tables_follow_the_cluster(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::listed(&Cluster::new());
        let mut cluster = Cluster::new();
        for step in steps {
            match step {
                Step::Relist { kind, namespace } => world.relist(&cluster, kind, namespace),
                Step::Change { kind, namespace, name, seed, told } => {
                    // Of apps and Deployments there are two names.
                    let place = (kind, namespace, if kind == 0 || kind == 2 { name % 2 } else { name });
                    let event = match seed {
                        Some(seed) => {
                            let object = object(kind, namespace, place.2, seed);
                            cluster.insert(place, object.clone());
                            Event::Apply(object)
                        }
                        None => match cluster.remove(&place) {
                            Some(object) => Event::Delete(object),
                            None => continue,
                        },
                    };
                    if told {
                        world.tell(KINDS[kind], namespace, event);
                    }
                }
            }
        }
        world.relist_all(&cluster);
        let expected = World::listed(&cluster);
        prop_assert_eq!(&world.answers, &expected.answers);
        for namespace in NAMESPACES {
            for name in ["0", "1", "2"] {
                let index = NAMESPACES.iter().position(|n| *n == namespace).expect("known");
                let uid = format!("Pod-{index}-{name}");
                prop_assert_eq!(world.tables.app_of_pod(namespace, name, &uid), expected.tables.app_of_pod(namespace, name, &uid));
                prop_assert_eq!(world.tables.app_of_pod(namespace, name, "another"), None);
            }
        }
    }
}

#[test]
fn what_stands_in_the_way_of_a_child_is_told_by_its_name() {
    let mut tables = Tables::default();
    let app = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {"image": "i", "ports": []}});
    tables.apply(None, watched("BalancedApp", Event::Apply(app)));
    let foreign = |name: &str| json!({"metadata": {"name": name, "namespace": "n", "uid": name}});
    let mut told = |kind: &str, name: &str, gone: bool| {
        let event = if gone {
            Event::Delete(foreign(name))
        } else {
            Event::Apply(foreign(name))
        };
        tables
            .apply(None, watched(kind, event))
            .into_iter()
            .map(|key| key.to_string())
            .collect::<Vec<_>>()
    };
    for (kind, name) in [
        ("Service", "a"),
        ("PodDisruptionBudget", "a"),
        ("ConfigMap", "a-tenbin"),
    ] {
        assert_eq!(told(kind, name, false), ["n/a"], "{kind} came");
        assert!(told(kind, name, false).is_empty(), "{kind} is the same");
        assert_eq!(told(kind, name, true), ["n/a"], "{kind} went");
        assert!(told(kind, name, true).is_empty(), "{kind} was gone");
    }
    assert!(told("ConfigMap", "a", false).is_empty(), "no child has this name");
}

#[test]
fn events_of_a_scope_nobody_watches_have_no_effect() {
    let mut tables = Tables::new(&["n1".to_owned()]);
    let app = json!({"metadata": {"name": "a", "namespace": "n2", "uid": "u"}, "spec": {"image": "i", "ports": []}});
    assert!(
        tables
            .apply(None, watched("BalancedApp", Event::Apply(app.clone())))
            .is_empty()
    );
    assert!(
        tables
            .apply(Some("n2"), watched("BalancedApp", Event::Apply(app)))
            .is_empty()
    );
    assert_eq!(tables.apps().count(), 0);
}
