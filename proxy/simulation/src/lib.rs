//! A discrete-event world around the very code with which the proxy picks endpoints: machines with workers and queues, faults, many
//! proxies each with its own view, and beside it the same requests in one perfect central queue that knows every fault at once.
//!
//! Pure and seeded: the same scenario gives the same figures everywhere. Nothing here knows sockets, threads or the wall clock, and no
//! balancing is done here.

mod algorithms;
mod machine;
mod perfect;
mod report;
mod scenario;
pub mod scenarios;
mod traffic;
mod world;

pub use algorithms::{Algorithm, all};
pub use perfect::perfect;
pub use report::{Figures, Latencies, compare, table};
pub use scenario::{Change, Fault, Scenario, Service};
pub use traffic::{Kind, Mix, Request, requests};
pub use world::{Outcome, run};
