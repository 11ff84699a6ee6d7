//! What the proxy knows: made of the bootstrap and every update since, swapped as a whole, read by every request.
//! One writer; readers never wait. Making the next snapshot is pure (`snapshot`); here it is only published.

mod bootstrap;
mod budget;
mod choose;
mod cluster;
mod gate;
mod path;
mod router;
mod settings;
mod snapshot;
mod stats;
mod tls;
mod transport;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tenbin_balance::Time;
use tenbin_model::Update;

pub use bootstrap::{Bootstrap, OwnApp, Port};
pub use budget::Budget;
pub use choose::{Picked, Wanted};
pub use cluster::{Cluster, Endpoint};
pub use gate::{Admission, Gate};
pub(crate) use gate::{Line, below};
pub(crate) use path::canonical;
pub use router::{Match, Router};
pub use snapshot::{Listener, Routed, Snapshot};
pub(crate) use stats::count;
pub use stats::{EndpointStats, Histogram, PortStats};
pub use tls::{ServerTls, Shown, Terminator};
pub use transport::{EndpointTls, Transport};

/// The newest snapshot, shared by all threads.
#[derive(Debug)]
pub struct State(ArcSwap<Snapshot>);

impl State {
    /// The state before any update. Random choices follow from `seed`.
    pub fn new(bootstrap: Bootstrap, seed: u64) -> Self {
        State(ArcSwap::from_pointee(Snapshot::bootstrap(bootstrap, seed)))
    }

    /// The newest snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Publishes the snapshot after `update`, which came `now`. Called by one task only: two at once would lose an update.
    pub fn apply(&self, update: Update, now: Time, seed: u64) {
        let next = Snapshot::next(&self.load(), update, now, seed);
        self.0.store(Arc::new(next));
    }
}
