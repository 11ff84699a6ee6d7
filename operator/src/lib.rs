//! Tenbin's operator: watches → tables → compile → snapshot → xDS stream, and desired objects → API server.
//! `compile`, `fleet`, `status`, `snapshot` and `xds::session` are pure; IO lives in the modules that `run` starts.

pub mod admin;
pub mod apply;
pub mod auth;
pub mod certs;
pub mod compile;
pub mod config;
pub mod events;
pub mod fleet;
pub mod key;
pub mod lease;
pub mod metrics;
pub mod owners;
pub mod peers;
pub mod problem;
pub mod run;
pub mod snapshot;
pub mod status;
pub mod status_writer;
pub mod tables;
pub mod telemetry;
pub mod watch;
pub mod work;
pub mod world;
pub mod xds;
