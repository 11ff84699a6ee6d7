//! The command line; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use tenbin_proxy::config::{Cli, Command};
use tenbin_proxy::plan::Plan;
use tenbin_proxy::{admin, run, telemetry};

/// A connection is a handful of allocations larger or more aligned than what glibc keeps at hand, and glibc keeps what a flood took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match act(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenbin-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: Cli) -> anyhow::Result<()> {
    let (common, plan) = match cli.command {
        Some(Command::Admin(question)) => {
            print!("{}", admin::ask(&question.socket, &question.command, question.json)?);
            return Ok(());
        }
        Some(Command::Sidecar(sidecar)) => (sidecar.common.clone(), Plan::sidecar(&sidecar)?),
        None => (cli.standalone.common.clone(), Plan::standalone(&cli.standalone)?),
    };
    let log_level = telemetry::start(&common.log, common.log_format)?;
    run::run(plan, log_level)
}
