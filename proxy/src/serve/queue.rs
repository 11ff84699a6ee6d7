//! How a request gets an endpoint: at once, or where its cluster has limits, as soon as there is room. What the limits are counted in is
//! `state::gate`, who is picked `state::choose`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tenbin_balance::{Time, Tried};
use tokio::time::timeout;

use super::error::Failure;
use super::patience::Patience;
use super::worker::WorkerContext;
use crate::affinity::Bond;
use crate::state::{Admission, Cluster, Picked, Wanted};

/// How often the first in a line looks even if nobody told it to: what others take for a moment and give back, they do not tell.
const LOOK: Duration = Duration::from_millis(100);

/// What a request asks of its cluster.
pub(super) struct Ask<'a> {
    pub(super) worker: &'a Rc<WorkerContext>,
    pub(super) cluster: &'a Arc<Cluster>,
    pub(super) bond: &'a Bond,
    pub(super) held: bool,
    /// Now, where it did not have to wait.
    pub(super) now: Time,
}

/// Room in a cluster for as long as a request is open; `None` where there is no limit to that.
type Room = Option<Admission>;

impl Ask<'_> {
    /// An endpoint for the first try.
    ///
    /// # Errors
    /// There is none, or none in time.
    pub(super) async fn first(&self, patience: &Patience) -> Result<(Room, Picked), Failure> {
        if !self.cluster.limited {
            return Ok((None, self.pick(self.cluster, &Tried::default(), self.now)?));
        }
        // Boxed, as what is rare: every connection is as large as the largest that a request on it may need.
        Box::pin(self.in_line(patience)).await
    }

    async fn in_line(&self, patience: &Patience) -> Result<(Room, Picked), Failure> {
        let nothing = Tried::default();
        let gate = Arc::clone(&self.cluster.gate);
        let endpoint = self.cluster.line(&self.wanted(&nothing, self.now));
        let line = endpoint.as_ref().map_or(&gate.line, |endpoint| &endpoint.line);
        if line.is_empty() {
            match self.enter(self.cluster, true) {
                Err(Failure::Overflow) => {}
                outcome => return outcome,
            }
        }
        let limits = self.cluster.limits;
        let Some(place) = gate.join(line, limits.queue) else {
            return Err(Failure::Overflow);
        };
        let wait = async {
            let _turn = place.first().await;
            loop {
                match self.enter(&self.newest(), false) {
                    // Sooner if something becomes free.
                    Err(Failure::Overflow) => drop(timeout(LOOK, place.freed()).await),
                    outcome => return outcome,
                }
            }
        };
        match patience.before(timeout(limits.queue_timeout, wait)).await? {
            Ok(outcome) => outcome,
            Err(_) => {
                gate.timed_out();
                Err(Failure::QueueTimeout)
            }
        }
    }

    /// An endpoint that was not tried, of those that are there now: they may have changed since the first try.
    ///
    /// # Errors
    /// There is none, or they are at their limit.
    pub(super) fn next(&self, tried: &Tried) -> Result<Picked, Failure> {
        self.pick(&self.newest(), tried, self.now)
    }

    fn newest(&self) -> Arc<Cluster> {
        let snapshot = self.worker.state.load();
        Arc::clone(snapshot.cluster(&self.cluster.name).unwrap_or(self.cluster))
    }

    /// An endpoint, if the cluster has room; `tells` those who wait if there was room but no endpoint. (The first in line would only wake
    /// itself.)
    fn enter(&self, cluster: &Arc<Cluster>, tells: bool) -> Result<(Room, Picked), Failure> {
        let limit = cluster.request_limit();
        let room = limit.map(|limit| cluster.gate.admit(limit).ok_or(Failure::Overflow));
        let room = room.transpose()?;
        match (self.pick(cluster, &Tried::default(), self.worker.clock.now()), room) {
            (Ok(picked), room) => Ok((room, picked)),
            (Err(failure), Some(room)) if !tells => {
                room.cancel();
                Err(failure)
            }
            (Err(failure), _) => Err(failure),
        }
    }

    fn pick(&self, cluster: &Cluster, tried: &Tried, now: Time) -> Result<Picked, Failure> {
        cluster.pick(&self.wanted(tried, now), &mut self.worker.rng.borrow_mut())
    }

    fn wanted<'a>(&'a self, tried: &'a Tried, now: Time) -> Wanted<'a> {
        Wanted {
            now,
            bond: self.bond,
            held: self.held,
            tried,
        }
    }
}
