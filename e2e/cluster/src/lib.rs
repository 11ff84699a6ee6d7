//! The local Kubernetes cluster: kind, for everybody, also where no Docker daemon answers and no image can be pulled.
//! Stages, each idempotent, each cached by version outside the tree: daemon → node image → cluster → our images → charts.
//! Plain blocking code on other people's programs; no Kubernetes client, no async runtime, nothing of Tenbin's own crates.

pub mod cache;
pub mod charts;
pub mod curl;
pub mod diagnostics;
pub mod docker;
pub mod down;
pub mod envoy;
pub mod firewall;
pub mod gomod;
pub mod hello;
pub mod images;
pub mod interrupt;
pub mod kind;
pub mod machine;
mod node_build;
pub mod node_image;
pub mod own_daemon;
pub mod rests;
pub mod run;
pub mod say;
pub mod socketio;
pub mod tools;
mod wheel;

use std::path::PathBuf;

/// What every stage needs: where the tree is, where the cache is, and how to talk to the user.
#[derive(Clone, Debug)]
pub struct Context {
    /// The root of the workspace.
    pub root: PathBuf,
    /// What outlives a run, by version.
    pub cache: cache::Cache,
    /// What is said to the user.
    pub say: say::Say,
}

impl Context {
    /// The same context, whose lines name the lane they come from: for work that runs beside other work.
    #[must_use]
    pub fn lane(&self, name: &str) -> Self {
        Self {
            say: self.say.lane(name),
            ..self.clone()
        }
    }

    /// A path inside this crate's folder of the tree: data files of the cluster.
    #[must_use]
    pub fn data(&self, path: &str) -> PathBuf {
        self.root.join("e2e/cluster").join(path)
    }
}
