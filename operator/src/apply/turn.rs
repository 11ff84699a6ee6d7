//! Whose turn it is to have its proxies replaced: one app's at a time, the next when every replica of the one before runs and is
//! ready. An upgrade that does not come to that end keeps the turn, so that a bad proxy stops at one app. Pure.

use std::collections::BTreeSet;

use crate::fleet;
use crate::key::AppKey;
use crate::status::{Rollout, rollout};
use crate::tables::Tables;

/// Who has the turn, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    holder: Option<AppKey>,
    waiting: BTreeSet<AppKey>,
}

/// Whether an app may have its proxies replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Now.
    Begin,
    /// It is woken when it may.
    Wait,
    /// Its own replicas are not settled; it is looked at again when its Deployment changes.
    NotSettled,
}

impl Turn {
    /// Whether the app may begin now; it has the turn then.
    pub(super) fn take(&mut self, tables: &Tables, app: &AppKey) -> Answer {
        self.waiting.remove(app);
        if self.holder.as_ref() == Some(app) {
            return Answer::Begin;
        }
        if !is_settled(tables, app) {
            return Answer::NotSettled;
        }
        // A leader before this one may have begun another.
        if self.holder.is_some() || tables.apps().any(|other| other != *app && is_upgrading(tables, &other)) {
            self.waiting.insert(app.clone());
            return Answer::Wait;
        }
        self.holder = Some(app.clone());
        Answer::Begin
    }

    /// The app was looked at and neither begins nor waits. Gives who is to be looked at next, if the turn is free.
    pub(super) fn pass(&mut self, tables: &Tables, app: &AppKey) -> Option<AppKey> {
        let upgrading = is_upgrading(tables, app);
        if upgrading && self.holder.is_none() {
            self.holder = Some(app.clone());
        } else if !upgrading && self.holder.as_ref() == Some(app) {
            self.holder = None;
        }
        self.next()
    }

    /// The app is gone, or stands still by its user's wish.
    pub(super) fn leave(&mut self, app: &AppKey) -> Option<AppKey> {
        self.waiting.remove(app);
        self.holder.take_if(|holder| holder == app);
        self.next()
    }

    fn next(&mut self) -> Option<AppKey> {
        if self.holder.is_some() {
            return None;
        }
        self.waiting.pop_first()
    }
}

/// Whether its newest revision replaces proxies and is not through.
fn is_upgrading(tables: &Tables, app: &AppKey) -> bool {
    let paused = tables.app(app).is_none_or(|app| app.spec.paused);
    let newest = fleet::newest(tables, app);
    !paused && newest.is_some_and(fleet::is_upgrade) && !is_settled(tables, app)
}

fn is_settled(tables: &Tables, app: &AppKey) -> bool {
    let replicas = tables.app(app).map_or(0, |app| app.spec.replicas);
    rollout(tables.deployment(app), replicas) == Rollout::Done
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};
    use tenbin_crds::BalancedApp;

    use super::Answer::{Begin, NotSettled, Wait};
    use super::*;
    use crate::fleet::Cause;
    use crate::tables::Watched;

    fn key(name: &str) -> AppKey {
        AppKey::new("ns", name)
    }

    fn app(name: &str) -> BalancedApp {
        serde_json::from_value(json!({
            "apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp",
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1},
            "spec": {"image": "i", "replicas": 2, "ports": [{"name": "http", "port": 80}]},
        }))
        .expect("valid")
    }

    fn deployment(tables: &mut Tables, name: &str, updated: i32) {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("d-{name}"), "generation": 1, "ownerReferences":
                [{"apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp", "name": name, "uid": format!("uid-{name}"), "controller": true}]},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": 2, "availableReplicas": 2, "updatedReplicas": updated},
        }))
        .expect("valid");
        tables.apply(None, Watched::Deployment(Event::Apply(deployment)));
    }

    fn revision(tables: &mut Tables, name: &str, number: i64, cause: Cause) {
        let revision = fleet::revision(&app(name), &json!({"number": number}), number, cause);
        tables.apply(None, Watched::Revision(Event::Apply(revision)));
    }

    fn settled(names: &[&str]) -> Tables {
        let mut tables = Tables::default();
        for name in names {
            tables.apply(None, Watched::App(Event::Apply(app(name))));
            deployment(&mut tables, name, 2);
            revision(&mut tables, name, 1, Cause::Spec);
        }
        tables
    }

    #[test]
    fn one_after_the_other() {
        let mut tables = settled(&["a", "b", "c"]);
        let mut turn = Turn::default();
        assert_eq!(turn.take(&tables, &key("b")), Begin);
        assert_eq!(
            turn.take(&tables, &key("b")),
            Begin,
            "asked again before its revision is back"
        );
        assert_eq!(turn.take(&tables, &key("a")), Wait);
        assert_eq!(turn.take(&tables, &key("c")), Wait);
        revision(&mut tables, "b", 2, Cause::Upgrade);
        deployment(&mut tables, "b", 1);
        assert_eq!(turn.pass(&tables, &key("b")), None, "still under way");
        deployment(&mut tables, "b", 2);
        assert_eq!(turn.pass(&tables, &key("b")), Some(key("a")));
        assert_eq!(turn.take(&tables, &key("a")), Begin);
        assert_eq!(turn.take(&tables, &key("c")), Wait);
        assert_eq!(turn.leave(&key("a")), Some(key("c")), "deleted meanwhile");
    }

    #[test]
    fn one_that_does_not_come_up_keeps_the_turn_under_the_next_leader_too() {
        let mut tables = settled(&["a", "b"]);
        revision(&mut tables, "b", 2, Cause::Upgrade);
        deployment(&mut tables, "b", 1);
        let mut turn = Turn::default();
        assert_eq!(turn.take(&tables, &key("a")), Wait);
        assert_eq!(turn.pass(&tables, &key("b")), None);
        assert_eq!(turn.take(&tables, &key("a")), Wait);
        // A new spec of it is its own affair.
        revision(&mut tables, "b", 3, Cause::Spec);
        assert_eq!(turn.pass(&tables, &key("b")), Some(key("a")));
    }

    #[test]
    fn an_app_that_is_not_whole_is_left_alone_and_holds_up_nobody() {
        let mut tables = settled(&["a", "b"]);
        deployment(&mut tables, "a", 1);
        let mut turn = Turn::default();
        assert_eq!(turn.take(&tables, &key("a")), NotSettled);
        assert_eq!(turn.pass(&tables, &key("a")), None);
        assert_eq!(turn.take(&tables, &key("b")), Begin);
    }

    #[test]
    fn a_paused_upgrade_holds_up_nobody() {
        let mut tables = settled(&["a", "b"]);
        revision(&mut tables, "b", 2, Cause::Upgrade);
        deployment(&mut tables, "b", 1);
        let mut paused = app("b");
        paused.spec.paused = true;
        tables.apply(None, Watched::App(Event::Apply(paused)));
        assert_eq!(Turn::default().take(&tables, &key("a")), Begin);
        let template: Option<Value> = fleet::newest(&tables, &key("b")).and_then(fleet::template_of);
        assert_eq!(template, Some(json!({"number": 2})));
    }
}
