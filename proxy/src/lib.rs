//! The balancing proxy: sidecar beside each replica, and what the gateway will be. See `ARCHITECTURE.md` for the way of a request.
//! Threads: `workers` of them serve traffic, each on its own (`serve`); the control thread (`run`) does everything else.

pub mod access_log;
pub mod admin;
pub mod affinity;
pub mod app_tls;
pub mod certificates;
pub mod clock;
pub mod config;
pub mod drain;
mod http2;
pub mod lifecycle;
pub mod limits;
pub mod local_http;
pub mod metrics;
pub mod plan;
pub mod record;
pub mod run;
pub mod serve;
pub mod shared;
pub mod spans;
pub mod state;
pub mod status;
pub mod telemetry;
pub mod upstream;
pub mod xds;
