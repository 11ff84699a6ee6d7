//! A connection that is balanced as it is: to one endpoint, picked once, then bytes both ways. Until one is connected to, nothing of it
//! was sent, so another may be tried. It counts as one open request for life, as an upgraded connection does.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::SockRef;
use tenbin_balance::{Outcome, Tried};
use tenbin_model::ResourceName;
use tracing::debug;

use super::connection::Connection;
use super::copy::{Side, both_ways};
use super::error::{Failure, Fault, Retry};
use super::io::Counted;
use crate::state::{Picked, PortStats, Wanted};
use crate::upstream::{Socket, To};

/// How many endpoints a connection may be tried on.
const MAX_TRIES: usize = 3;

/// Serves a connection until it ends.
pub(super) async fn serve(connection: &Rc<Connection>, client: Counted) {
    let listener = connection.settings();
    let Some(cluster) = listener.tcp().cloned() else { return };
    let (stats, idle) = (Arc::clone(&listener.stats), listener.idle_timeout);
    drop(listener);
    let _open = OpenTunnel::count(&stats);
    match connect(connection, &stats, &cluster).await {
        Ok((picked, endpoint)) => {
            picked.open.held();
            let client = Side {
                io: client.transport,
                ahead: client.ahead.freeze(),
            };
            match both_ways(client, endpoint.into(), idle, &connection.worker.scratch).await {
                Ok((up, down)) => {
                    debug!(up, down, "a connection ended");
                    stats.received.fetch_add(up, Relaxed);
                    stats.sent.fetch_add(down, Relaxed);
                }
                Err(error) => debug!(%error, "a connection broke"),
            }
        }
        Err(failure) => {
            crate::state::count(&stats.failures[failure as usize]);
            debug!(client = %connection.client, code = failure.code(), "a connection found no endpoint");
            // A reset says that nobody was there, where an orderly end would say that somebody had nothing to say.
            let _ = SockRef::from(client.transport.socket()).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Connects to an endpoint that was not tried yet.
///
/// # Errors
/// What went wrong with the last of them, or that there is none.
async fn connect(
    connection: &Connection,
    stats: &PortStats,
    cluster: &ResourceName,
) -> Result<(Picked, Socket), Failure> {
    let worker = &connection.worker;
    let mut tried = Tried::default();
    let mut failure = None;
    for attempt in 0..MAX_TRIES {
        let cluster = worker
            .state
            .load()
            .cluster(cluster)
            .cloned()
            .ok_or(Failure::NoCluster)?;
        let bond = cluster.affinity.bond_connection(connection.client.ip());
        let wanted = Wanted {
            now: worker.clock.now(),
            bond: &bond,
            held: true,
            tried: &tried,
        };
        let picked = match cluster.pick(&wanted, &mut worker.rng.borrow_mut()) {
            Ok(picked) => picked,
            Err(nobody) => return Err(failure.unwrap_or(nobody)),
        };
        stats.picks[picked.reason as usize].fetch_add(1, Relaxed);
        stats.retries.fetch_add(u64::from(attempt > 0), Relaxed);
        let to = To {
            pool: &worker.pool,
            cluster: &cluster,
            endpoint: &picked.endpoint,
            clock: worker.clock,
        };
        match to.bare().await {
            Ok(endpoint) => {
                picked.open.answered(Outcome::Success, None, worker.clock.now());
                return Ok((picked, endpoint));
            }
            Err(why) => {
                if why.fault() == Fault::Endpoint {
                    picked.open.answered(Outcome::Failure, None, worker.clock.now());
                }
                if why.retry() != Retry::Elsewhere {
                    return Err(why);
                }
                tried.push(Arc::clone(picked.open.load()));
                failure = Some(why);
            }
        }
    }
    Err(failure.unwrap_or(Failure::NoEndpoint))
}

/// Counts a connection among open requests and upgraded connections while it lives, so that a drain waits for it.
struct OpenTunnel<'a>(&'a PortStats);

impl<'a> OpenTunnel<'a> {
    fn count(stats: &'a PortStats) -> Self {
        stats.in_flight.fetch_add(1, Relaxed);
        stats.tunnels.fetch_add(1, Relaxed);
        OpenTunnel(stats)
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
        self.0.tunnels.fetch_sub(1, Relaxed);
    }
}
