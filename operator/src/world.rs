//! What the loop knows, for those who read it: tables, and per app what it compiled to and how its last apply ended. The loop
//! is the only writer; readers hold the lock for a moment and never across an await.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::compile::Compiled;
use crate::fleet::FleetSettings;
use crate::key::AppKey;
use crate::status::Outcome;
use crate::tables::Tables;

/// Everything known.
#[derive(Debug, Default)]
pub struct World {
    /// What the API server said.
    pub tables: Tables,
    /// What follows from it, per app.
    pub apps: BTreeMap<AppKey, AppState>,
    /// What the sidecars of all apps have in common; none until the stream's certificate is there.
    pub settings: Option<Arc<FleetSettings>>,
}

/// What is known of one app besides its objects.
#[derive(Debug, Default)]
pub struct AppState {
    /// What it compiled to; its resources are moved on to the stream.
    pub compiled: Compiled,
    /// How the last apply by this replica ended.
    pub outcome: Outcome,
}

/// The world, shared with its readers.
#[derive(Clone, Debug)]
pub struct Shared {
    world: Arc<RwLock<World>>,
    version: watch::Sender<u64>,
}

impl Shared {
    /// A world with these tables.
    pub fn new(tables: Tables) -> Self {
        let world = World {
            tables,
            ..World::default()
        };
        Shared {
            world: Arc::new(RwLock::new(world)),
            version: watch::Sender::new(0),
        }
    }

    /// Reads.
    pub fn read(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes: for the loop alone.
    pub fn write(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells readers that the tables changed: for the loop alone.
    pub fn changed(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Changes whenever the tables do.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
