//! Where the operator's loop leaves each app's newest snapshot and the streams of that app find it. Newest only: who is slow
//! skips what lay between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::key::AppKey;
use crate::snapshot::AppSnapshot;

/// The newest snapshot of every app.
#[derive(Debug, Default)]
pub struct Store {
    apps: Mutex<BTreeMap<AppKey, watch::Sender<Option<Arc<AppSnapshot>>>>>,
}

impl Store {
    /// Sets an app's snapshot and wakes its streams. None: the app is gone. Its streams then keep what they have, until their
    /// pods end: taking away the routes of a pod that drains would fail the requests it still serves.
    pub fn publish(&self, app: AppKey, snapshot: Option<Arc<AppSnapshot>>) {
        let mut apps = self.lock();
        if snapshot.is_some() {
            apps.entry(app).or_default().send_replace(snapshot);
            return;
        }
        if let Some(sender) = apps.get(&app) {
            sender.send_replace(None);
        }
        apps.retain(|_, sender| sender.receiver_count() > 0 || sender.borrow().is_some());
    }

    /// An app's snapshot, now and whenever it changes; none while there is none.
    pub fn subscribe(&self, app: &AppKey) -> watch::Receiver<Option<Arc<AppSnapshot>>> {
        self.lock().entry(app.clone()).or_default().subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppKey, watch::Sender<Option<Arc<AppSnapshot>>>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppKey {
        AppKey::new("shop", name)
    }

    #[test]
    fn a_stream_sees_the_newest_and_no_other_apps() {
        let store = Store::default();
        let mut one = store.subscribe(&app("one"));
        let other = store.subscribe(&app("other"));
        assert!(one.borrow_and_update().is_none());
        store.publish(app("one"), Some(Arc::default()));
        store.publish(app("one"), Some(Arc::default()));
        assert!(one.has_changed().unwrap());
        assert!(one.borrow_and_update().is_some());
        assert!(!one.has_changed().unwrap());
        assert!(!other.has_changed().unwrap());
    }

    #[test]
    fn what_nobody_needs_any_more_is_not_kept() {
        let store = Store::default();
        let stream = store.subscribe(&app("gone"));
        store.publish(app("gone"), Some(Arc::default()));
        store.publish(app("gone"), None);
        assert_eq!(store.lock().len(), 1, "a stream still holds on to it");
        drop(stream);
        store.publish(app("other"), None);
        assert_eq!(store.lock().len(), 0);
    }
}
