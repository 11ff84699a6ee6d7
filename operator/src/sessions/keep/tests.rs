use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::compile::{Defaults, compile};
use crate::tables::Watched;
use crate::world::AppState;

const NOW: u64 = 1_800_000_000;
const UID: &str = "uid-hello";

fn rotation() -> Rotation {
    Rotation::new(30 * 24 * 3600).unwrap()
}

/// Tables in which every watch has listed: these apps by name and UID, and these Secrets.
fn world(apps: &[(&str, &str, Value)], secrets: Vec<Secret>) -> World {
    let mut world = World::default();
    macro_rules! listed {
        ($($kind:ident),*) => {$(
            world.tables.apply(None, Watched::$kind(Event::Init));
            world.tables.apply(None, Watched::$kind(Event::InitDone));
        )*};
    }
    listed!(
        App, Deployment, Service, Budget, ConfigMap, Revision, ReplicaSet, Pod, Slice, Node, Keys
    );
    for (name, uid, affinity) in apps {
        let app = json!({
            "apiVersion": "tenbin.dev/v1alpha1",
            "kind": "BalancedApp",
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "generation": 1},
            "spec": {"image": "shop:1", "ports": [{"name": "http", "port": 80}], "affinity": affinity},
        });
        let app = serde_json::from_value(app).unwrap();
        world.tables.apply(None, Watched::App(Event::Apply(app)));
    }
    for secret in secrets {
        world.tables.apply(None, Watched::Keys(Event::Apply(secret)));
    }
    let keys: Vec<AppKey> = world.tables.apps().collect();
    for key in keys {
        let state = AppState {
            compiled: compile(&world.tables, &key, &Defaults::default()),
            ..AppState::default()
        };
        world.apps.insert(key, state);
    }
    world
}

fn secret(app: &str, uid: &str, held: &Held) -> Secret {
    let mut secret = new_secret(&AppKey::new("shop", app), uid, held);
    secret.metadata.uid = Some(format!("uid-of-{uid}"));
    secret.metadata.resource_version = Some("7".to_owned());
    secret
}

fn named(actions: &[Action]) -> Vec<(&str, &str)> {
    actions.iter().map(|action| (action.name(), action.app())).collect()
}

#[test]
fn an_app_with_a_session_cookie_gets_keys_and_no_other_does() {
    let app_cookie = json!({"type": "Cookie", "cookie": {"issuedBy": "App", "name": "sid"}});
    let apps = [
        ("hello", UID, json!({"type": "Cookie"})),
        ("hashed", "uid-2", app_cookie),
        ("plain", "uid-3", json!({"type": "None"})),
    ];
    let (actions, _) = plan(&world(&apps, vec![]), rotation(), &[], NOW);
    assert_eq!(named(&actions), [("create", UID)]);
}

#[test]
fn what_was_made_is_read_back_and_given_to_the_apps_proxies() {
    let held = Held::first([7; 32], NOW);
    let world = world(
        &[("hello", UID, json!({"type": "Cookie"}))],
        vec![secret("hello", UID, &held)],
    );
    let (actions, next) = plan(&world, rotation(), &[], NOW);
    assert_eq!((actions, next), (vec![], NOW + 29 * 24 * 3600));
    let (app, state) = world.apps.first_key_value().unwrap();
    let keys = tenbin_model::Resource::Keys(super::super::resource(app, &held));
    assert!(state.compiled.resources.contains(&keys));
}

#[test]
fn a_step_that_is_due_replaces_the_very_version_that_was_looked_at() {
    let held = Held::first([7; 32], NOW);
    let world = world(
        &[("hello", UID, json!({"type": "Cookie"}))],
        vec![secret("hello", UID, &held)],
    );
    let (actions, _) = plan(&world, rotation(), &[], NOW + 29 * 24 * 3600);
    let [Action::Rotate { row, step, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!((&*row.version, *step), ("7", Step::Add));
}

#[test]
fn a_damaged_secret_is_left_alone() {
    let mut damaged = secret("hello", UID, &Held::first([7; 32], NOW));
    damaged.data = None;
    let world = world(&[("hello", UID, json!({"type": "Cookie"}))], vec![damaged]);
    assert_eq!(plan(&world, rotation(), &[], NOW).0, []);
    let problems = &world.apps.first_key_value().unwrap().1.compiled.problems;
    assert!(
        problems.iter().any(|p| p.reason == "BadSessionKeys" && !p.fatal),
        "{problems:?}"
    );
}

#[test]
fn keys_go_with_their_app_and_not_before() {
    let held = Held::first([7; 32], NOW);
    let secrets = || vec![secret("hello", UID, &held), secret("hello", "uid-before", &held)];
    let none = json!({"type": "None"});
    let world_with = |secrets| world(&[("hello", UID, none.clone())], secrets);
    let (actions, _) = plan(&world_with(secrets()), rotation(), &[], NOW);
    assert_eq!(
        named(&actions),
        [("delete", "uid-before")],
        "an app without a cookie keeps its keys"
    );
    let elsewhere = ["other".to_owned()];
    assert_eq!(
        plan(&world_with(secrets()), rotation(), &elsewhere, NOW).0,
        [],
        "what is not watched is not known to be gone"
    );
    let mut unlisted = World::default();
    let left = secret("hello", "uid-before", &held);
    unlisted.tables.apply(None, Watched::Keys(Event::Apply(left)));
    assert_eq!(plan(&unlisted, rotation(), &[], NOW).0, []);
}

#[test]
fn no_secret_is_shown() {
    let made = secret("hello", UID, &Held::first([171; 32], NOW));
    let event = Watched::Keys(Event::Apply(made.clone()));
    let world = world(&[("hello", UID, json!({"type": "Cookie"}))], vec![made]);
    let text = format!(
        "{event:?} {world:?} {:?}",
        plan(&world, rotation(), &[], u64::MAX / 2).0
    );
    assert!(text.contains("SessionKey(1)"), "{text}");
    assert!(!text.contains("171, 171") && !text.contains("q6ur"), "{text}");
}
