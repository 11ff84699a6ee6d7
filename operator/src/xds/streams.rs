//! Which streams are open, and how far each is: what the status of an app tells of its proxies. The server writes it, the
//! operator's loop reads it and is woken when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::session::StreamSync;
use crate::key::AppKey;
use crate::status::Sync;

/// All open streams of this replica.
#[derive(Debug, Default)]
pub struct Streams {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    apps: BTreeMap<AppKey, BTreeMap<u64, StreamSync>>,
    /// Apps whose [`Sync`] changed since it was last asked which.
    dirty: BTreeSet<AppKey>,
    opened: u64,
}

/// How far the proxies of an app on one replica are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The newest `metadata.generation` that any of them has been offered the configuration of.
    pub generation: i64,
    /// How many there are, and have all of that.
    pub sync: Sync,
}

/// One open stream; it leaves the table when this is dropped.
#[derive(Debug)]
pub struct OpenStream {
    streams: Arc<Streams>,
    app: AppKey,
    id: u64,
}

impl Streams {
    /// The most rejections of one app that are told apart.
    pub const MAX_REJECTED: usize = 8;

    /// How far the proxies of `app` are; of what they rejected at most [`Self::MAX_REJECTED`].
    pub fn progress_of(&self, app: &AppKey) -> Progress {
        let table = self.lock();
        let Some(streams) = table.apps.get(app) else {
            return Progress::default();
        };
        let newest = streams.values().map(|stream| stream.generation).max();
        let generation = newest.unwrap_or_default();
        let synced = streams
            .values()
            .filter(|stream| stream.synced && stream.generation == generation);
        let rejected: BTreeSet<&String> = streams.values().flat_map(|stream| &stream.rejected).collect();
        let sync = Sync {
            connected: count(streams.len()),
            synced: count(synced.count()),
            rejected: rejected.into_iter().take(Self::MAX_REJECTED).cloned().collect(),
        };
        Progress { generation, sync }
    }

    /// Waits until the [`Sync`] of any app has changed and says of which. For one caller; nothing is lost between two calls,
    /// nor when a call is dropped.
    pub async fn changed(&self) -> BTreeSet<AppKey> {
        loop {
            let dirty = std::mem::take(&mut self.lock().dirty);
            if !dirty.is_empty() {
                return dirty;
            }
            self.changed.notified().await;
        }
    }

    /// Enters a new stream of `app`.
    pub fn open(self: &Arc<Self>, app: AppKey) -> OpenStream {
        let mut table = self.lock();
        let id = table.opened;
        table.opened += 1;
        table
            .apps
            .entry(app.clone())
            .or_default()
            .insert(id, StreamSync::default());
        self.mark(table, app.clone());
        OpenStream {
            streams: Arc::clone(self),
            app,
            id,
        }
    }

    fn mark(&self, mut table: MutexGuard<'_, Table>, app: AppKey) {
        table.dirty.insert(app);
        drop(table);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(streams: usize) -> u32 {
    u32::try_from(streams).unwrap_or(u32::MAX)
}

impl OpenStream {
    /// The number of this stream: how many were opened before it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes how far the stream is. Who waits is woken only by a change.
    pub fn set(&self, sync: StreamSync) {
        let mut table = self.streams.lock();
        let Some(entry) = table.apps.get_mut(&self.app).and_then(|app| app.get_mut(&self.id)) else {
            return;
        };
        if *entry != sync {
            *entry = sync;
            self.streams.mark(table, self.app.clone());
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut table = self.streams.lock();
        if let Some(app) = table.apps.get_mut(&self.app) {
            app.remove(&self.id);
            if app.is_empty() {
                table.apps.remove(&self.app);
            }
        }
        self.streams.mark(table, self.app.clone());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn app() -> AppKey {
        AppKey::new("shop", "hello")
    }

    fn synced() -> StreamSync {
        StreamSync {
            generation: 1,
            synced: true,
            rejected: Vec::new(),
        }
    }

    #[test]
    fn open_synced_and_rejected_are_counted_and_a_dropped_stream_is_not() {
        let streams = Arc::new(Streams::default());
        let first = streams.open(app());
        let second = streams.open(app());
        first.set(synced());
        second.set(StreamSync {
            generation: 1,
            synced: false,
            rejected: vec!["cluster a: bad".to_owned()],
        });
        let Progress { generation, sync } = streams.progress_of(&app());
        assert_eq!((generation, sync.connected, sync.synced), (1, 2, 1));
        assert_eq!(sync.rejected, ["cluster a: bad"]);
        // What the first has is no longer the newest.
        second.set(StreamSync {
            generation: 2,
            ..synced()
        });
        let Progress { generation, sync } = streams.progress_of(&app());
        assert_eq!((generation, sync.connected, sync.synced), (2, 2, 1));
        drop((first, second));
        assert_eq!(streams.progress_of(&app()), Progress::default());
    }

    #[test]
    fn only_a_change_wakes() {
        let streams = Arc::new(Streams::default());
        assert_eq!(streams.changed().now_or_never(), None);
        let stream = streams.open(app());
        assert_eq!(streams.changed().now_or_never(), Some(BTreeSet::from([app()])));
        stream.set(synced());
        assert_eq!(streams.changed().now_or_never(), Some(BTreeSet::from([app()])));
        stream.set(synced());
        assert_eq!(streams.changed().now_or_never(), None);
        drop(stream);
        assert_eq!(streams.changed().now_or_never(), Some(BTreeSet::from([app()])));
    }
}
