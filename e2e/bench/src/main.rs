//! The benchmarks, one process for each: what they measure is in the module of their name, the numbers are printed as tables
//! in Markdown. `cargo xtask bench` makes what they need. No number is judged here: budgets stand beside, people compare.

mod cpu;
mod latency;
mod machine;
mod operator;
mod process;
mod sockets;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Tenbin's benchmarks; `cargo xtask bench` runs them on what they need.
#[derive(Parser)]
#[command(name = "tenbin-bench", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The operator with many apps and proxies: memory, CPU, bytes and time of changes. Needs a cluster without controllers.
    Operator(operator::Options),
    /// From a write of an EndpointSlice to the first pick. Needs a cluster with Tenbin on it.
    Latency(latency::Options),
    /// CPU per request of the proxy against nginx.
    Cpu(cpu::Options),
    /// Memory of the proxy for each of many WebSockets.
    Sockets(sockets::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenbin-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: Bench) -> anyhow::Result<()> {
    // Each simulated proxy is a connection here and one in the operator, which inherits the limit.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    match bench {
        Bench::Operator(options) => runtime()?.block_on(operator::run(options)),
        Bench::Latency(options) => latency::run(&options),
        Bench::Cpu(options) => runtime()?.block_on(cpu::run(&options)),
        Bench::Sockets(options) => runtime()?.block_on(sockets::run(&options)),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
