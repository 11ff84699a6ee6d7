//! One worker: a thread with a single-threaded runtime, its own listening sockets, connections and pool. What workers share is read
//! through `state` and counted in atomics; nothing else passes between them.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tenbin_balance::Rng;
use tokio::runtime::LocalOptions;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::alarm::Alarms;
use super::date::Dates;
use super::http1::Desks;
use super::http2::Clerks;
use super::lane::Lane;
use super::listener;
use crate::access_log::AccessLog;
use crate::clock::Clock;
use crate::lifecycle::{Lifecycle, Stage};
use crate::spans::Spans;
use crate::state::State;
use crate::upstream::Pool;

/// How often idle connections, free desks and clerks are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How many of the first bytes of a connection are read to find out what is spoken.
const FIRST_BYTES: usize = 8 * 1024;

/// What a worker is made of.
#[derive(Debug)]
pub struct Worker {
    /// The state that all workers read.
    pub state: Arc<State>,
    /// The life of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Where spans go.
    pub spans: Spans,
    /// The clock of the process.
    pub clock: Clock,
    /// What the worker's random choices follow from.
    pub seed: u64,
    /// Its sockets, in the order of the listeners.
    pub sockets: Vec<std::net::TcpListener>,
}

/// What everything on one worker has at hand.
#[derive(Debug)]
pub struct WorkerContext {
    pub(super) state: Arc<State>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) access_log: AccessLog,
    pub(super) spans: Spans,
    pub(super) clock: Clock,
    pub(super) rng: RefCell<Rng>,
    pub(super) pool: Pool,
    pub(super) dates: Dates,
    /// Where the first bytes of connections are read to.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// Wakes every connection when it is time to close.
    pub(super) closing: Notify,
    /// Where requests over HTTP/1 are served.
    pub(super) desks: Desks,
    /// Where the long steps of handshakes are done.
    pub(super) lane: Lane,
    /// What wakes requests whose time may be over.
    pub(super) alarms: Alarms,
    /// Who serves streams of HTTP/2.
    pub(super) clerks: Clerks,
}

/// Starts a worker's thread. It ends when the process's life does.
///
/// # Errors
/// No thread or no runtime could be made.
#[expect(clippy::disallowed_methods, reason = "workers are threads")]
pub fn spawn(index: usize, worker: Worker) -> io::Result<JoinHandle<io::Result<()>>> {
    Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())?;
        runtime.block_on(run(worker))
    })
}

/// Serves until the process's life ends, on the runtime that it is awaited on: one whose tasks may be local.
///
/// # Errors
/// A socket cannot be used.
#[expect(
    clippy::disallowed_methods,
    reason = "one accept loop for each listener, and one lane"
)]
pub async fn run(worker: Worker) -> io::Result<()> {
    let mut stage = worker.lifecycle.stage();
    let context = Rc::new(WorkerContext {
        state: worker.state,
        lifecycle: worker.lifecycle,
        access_log: worker.access_log,
        spans: worker.spans,
        clock: worker.clock,
        rng: RefCell::new(Rng::new(worker.seed)),
        pool: Pool::default(),
        dates: Dates::default(),
        scratch: RefCell::new(vec![0; FIRST_BYTES].into_boxed_slice()),
        closing: Notify::new(),
        desks: Desks::default(),
        lane: Lane::default(),
        alarms: Alarms::default(),
        clerks: Clerks::default(),
    });
    for (index, socket) in worker.sockets.into_iter().enumerate() {
        let socket = listener::watched(socket)?;
        tokio::task::spawn_local(listener::accept(Rc::clone(&context), index, socket));
    }
    let keeper = Rc::clone(&context);
    tokio::task::spawn_local(async move { keeper.lane.run(keeper.clock).await });
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = sweep.tick() => {
                context.pool.sweep(context.clock.now());
                context.desks.sweep();
                context.clerks.sweep();
            }
            changed = stage.changed() => {
                if changed.is_err() || *stage.borrow_and_update() == Stage::Stopped {
                    return Ok(());
                }
                context.closing.notify_waiters();
            }
        }
    }
}
