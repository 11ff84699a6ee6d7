//! One table: the rows of one kind, found by name, by UID and by what they belong to. It knows no kind and decides nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::watcher::Event;

/// What is kept of an object.
pub(super) trait Row: PartialEq {
    /// The object it is made of.
    type Object: Resource;
    /// Keeps what somebody reads.
    fn from_object(object: Self::Object) -> Self;
    /// The UID others refer to it by, where they do.
    fn uid(&self) -> Option<&Arc<str>>;
    /// What it belongs to: the UID of its controller, or the like. Rows are found by it.
    fn group(&self) -> Option<&Arc<str>>;
}

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

impl Name {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Name {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn of(meta: &ObjectMeta) -> Self {
        Name::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

/// The rows of one kind.
#[derive(Debug)]
pub(super) struct Table<R> {
    rows: HashMap<Name, R>,
    by_uid: HashMap<Arc<str>, Name>,
    by_group: HashMap<Arc<str>, BTreeSet<Name>>,
    scopes: Vec<Scope<R>>,
}

/// One watch of the kind.
#[derive(Debug)]
struct Scope<R> {
    /// Its namespace; all when there is none.
    namespace: Option<Box<str>>,
    listed: bool,
    /// What a list under way has told so far.
    pending: HashMap<Name, R>,
}

/// A row that came, went or differs.
#[derive(Debug)]
pub(super) struct Change<R> {
    pub(super) name: Name,
    /// What the table held before.
    pub(super) old: Option<R>,
}

impl<R: Row> Table<R> {
    pub(super) fn new(namespaces: &[String]) -> Self {
        let scope = |namespace: Option<&str>| Scope {
            namespace: namespace.map(Into::into),
            listed: false,
            pending: HashMap::new(),
        };
        Table {
            rows: HashMap::new(),
            by_uid: HashMap::new(),
            by_group: HashMap::new(),
            scopes: match namespaces {
                [] => vec![scope(None)],
                some => some.iter().map(|n| scope(Some(n))).collect(),
            },
        }
    }

    /// Takes an event of the watch of `namespace`; of a watch that was not announced, nothing.
    pub(super) fn take(&mut self, namespace: Option<&str>, event: Event<R::Object>) -> Vec<Change<R>> {
        let Some(scope) = self.scopes.iter_mut().find(|s| s.namespace.as_deref() == namespace) else {
            return Vec::new();
        };
        match event {
            Event::Init => {
                scope.pending = HashMap::new();
                Vec::new()
            }
            Event::InitApply(object) => {
                scope.pending.insert(Name::of(object.meta()), R::from_object(object));
                Vec::new()
            }
            Event::InitDone => {
                scope.listed = true;
                let listed = std::mem::take(&mut scope.pending);
                self.replace(namespace, listed)
            }
            Event::Apply(object) => {
                let name = Name::of(object.meta());
                self.set(name, R::from_object(object)).into_iter().collect()
            }
            Event::Delete(object) => self.remove(&Name::of(object.meta())).into_iter().collect(),
        }
    }

    /// Whether each of its watches has listed once.
    pub(super) fn complete(&self) -> bool {
        self.scopes.iter().all(|scope| scope.listed)
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&R> {
        self.rows.get(&Name::new(namespace, name))
    }

    pub(super) fn named(&self, name: &Name) -> Option<&R> {
        self.rows.get(name)
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<(&Name, &R)> {
        let name = self.by_uid.get(uid)?;
        Some((name, self.rows.get(name)?))
    }

    /// The rows that belong to `group`, by name.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = (&Name, &R)> {
        let names = self.by_group.get(group).into_iter().flatten();
        names.filter_map(|name| Some((name, self.rows.get(name)?)))
    }

    /// All rows, in no order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.values()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.rows.keys()
    }

    fn replace(&mut self, namespace: Option<&str>, listed: HashMap<Name, R>) -> Vec<Change<R>> {
        let in_scope = |name: &&Name| namespace.is_none_or(|namespace| *name.namespace == *namespace);
        let gone = self
            .rows
            .keys()
            .filter(in_scope)
            .filter(|name| !listed.contains_key(name));
        let gone: Vec<Name> = gone.cloned().collect();
        let mut changes: Vec<Change<R>> = gone.iter().filter_map(|name| self.remove(name)).collect();
        changes.extend(listed.into_iter().filter_map(|(name, row)| self.set(name, row)));
        changes
    }

    fn set(&mut self, name: Name, row: R) -> Option<Change<R>> {
        if self.rows.get(&name) == Some(&row) {
            return None;
        }
        let old = self.remove(&name).and_then(|change| change.old);
        if let Some(uid) = row.uid() {
            self.by_uid.insert(uid.clone(), name.clone());
        }
        if let Some(group) = row.group() {
            self.by_group.entry(group.clone()).or_default().insert(name.clone());
        }
        self.rows.insert(name.clone(), row);
        Some(Change { name, old })
    }

    fn remove(&mut self, name: &Name) -> Option<Change<R>> {
        let old = self.rows.remove(name)?;
        // A name can be taken over by a new object before the old one's end is told: only what is still ours goes.
        if let Some(uid) = old.uid()
            && self.by_uid.get(uid) == Some(name)
        {
            self.by_uid.remove(uid);
        }
        if let Some(group) = old.group()
            && let Some(names) = self.by_group.get_mut(group)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_group.remove(group);
            }
        }
        Some(Change {
            name: name.clone(),
            old: Some(old),
        })
    }
}
