//! Entry of the operator: crypto provider, command line, logs; everything else is in the library.

use anyhow::Context;
use clap::Parser;
use tenbin_operator::{config::Config, run, telemetry};

/// Watches list everything at once and then keep little of it: an allocator that gives such memory back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    // Before anything can use TLS: one provider for all of it.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS crypto provider is installed already");
    }
    let config = Config::parse();
    telemetry::install(&config.log, config.log_format)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime can't start")?
        .block_on(run::run(config))
}
