//! Tenbin's operator: watches → tables → compile → snapshot → xDS stream, and desired objects → API server.
//! `compile`, `fleet`, `status`, `snapshot` and `xds::session` are pure; IO lives in the modules that `run` starts.

#[expect(clippy::disallowed_methods, reason = "IO: the accept loop, which spawns and waits")]
pub mod admin;
#[expect(clippy::disallowed_methods, reason = "IO: writes to the API server, in time")]
pub mod apply;
#[expect(clippy::disallowed_methods, reason = "IO: asks the API server, in time")]
pub mod auth;
#[expect(clippy::disallowed_methods, reason = "IO: keeps the certificates, by the clock")]
pub mod certs;
pub mod compile;
pub mod config;
#[expect(clippy::disallowed_methods, reason = "IO: writes events, in time")]
pub mod events;
pub mod fleet;
pub mod key;
#[expect(clippy::disallowed_methods, reason = "IO: keeps the lease, by the clock")]
pub mod lease;
pub mod metrics;
pub mod owners;
#[expect(clippy::disallowed_methods, reason = "IO: follows the other replicas, in time")]
pub mod peers;
pub mod problem;
#[expect(
    clippy::disallowed_methods,
    reason = "IO: the loop, and the only place that spawns tasks"
)]
pub mod run;
pub mod sessions;
pub mod snapshot;
pub mod status;
#[expect(clippy::disallowed_methods, reason = "IO: writes statuses, in time")]
pub mod status_writer;
pub mod tables;
pub mod telemetry;
#[expect(clippy::disallowed_methods, reason = "IO: watches the API server, by the clock")]
pub mod watch;
#[expect(clippy::disallowed_methods, reason = "a queue with timers")]
pub mod work;
pub mod world;
pub mod xds;
