//! The end-to-end tests: the product as installed on a kind cluster, seen from outside. Run by `cargo xtask test`, which makes
//! the cluster and sets the environment (`tenbin_e2e::Settings`); one after the other (`--test-threads=1`), in the order of
//! their names, since the last ones take the operators away.

mod bad;
mod bodies;
mod deletion;
mod envoy;
mod hello;
mod kill;
mod ownership;
mod rollout;
mod spread;
mod streams;
mod zz_last;
mod zz_outage;
mod zz_rotation;
mod zz_upgrade;

use anyhow::ensure;
use tenbin_e2e::explain;
use tenbin_load::Report;

/// Whether a load answered something and lost nothing.
fn lossless(report: &Report) -> anyhow::Result<()> {
    ensure!(
        report.ok > 0 && report.failed == 0,
        "requests were lost: {}",
        explain(report)
    );
    Ok(())
}
