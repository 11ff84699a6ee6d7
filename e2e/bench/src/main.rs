//! The benchmarks, one process for each: what they measure is in the module of their name, the numbers are printed as tables
//! in Markdown. `cargo xtask bench` makes what they need. No number is judged here: budgets stand beside, people compare.

mod client;
mod cpu;
mod floods;
mod latency;
mod machine;
mod operator;
mod page;
mod process;
mod procfs;
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
    /// CPU per request, throughput, latency and memory of the proxy against nginx, HAProxy and Envoy.
    Cpu(cpu::Options),
    /// A probe's latency beside floods, slow and many clients, and the proxy's memory for each connection and stream.
    Floods(floods::Options),
    /// Memory of the proxy for each of many WebSockets.
    Sockets(sockets::Options),
    /// What the benchmarks run as a client of a proxy, in a process of its own.
    #[command(subcommand, hide = true)]
    Client(client::Client),
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
        Bench::Cpu(options) => cpu::run(&options),
        Bench::Floods(options) => floods::run(&options),
        Bench::Sockets(options) => runtime()?.block_on(sockets::run(&options)),
        // It shares its core with what is behind the proxy: more threads would only switch.
        Bench::Client(client) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(client::run(&client)),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
