//! What floods, slow clients and many of them do to others: the latency of a probe beside each, against its quiet value; the proxy's memory
//! meanwhile, and for each connection and stream. Here is what is measured when; how clients are hostile is in `client::hostile`.

mod proxy;
mod report;
mod turn;
mod what;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use nix::sys::resource::{Resource, getrlimit};

use crate::cpu::{LOAD_CORE, Site};
pub(crate) use report::PLACE;
use report::Results;
use turn::Bench;
pub(crate) use what::{Again, Kind, Open, Row, STREAMS, Slow};

/// A path that is not answered within a minute.
pub(crate) const NEVER: &str = "/slow?ms=60000";
/// A path whose answer has [`LONG_BODY`] bytes of body.
pub(crate) const LONG: &str = "/large-slow";
const LONG_BODY: usize = 1 << 20;
/// A path that reads a body and is answered at its end.
pub(crate) const SINK: &str = "/sink";

/// Descriptors of a proxy besides those of its clients.
const SPARE: u64 = 300;

/// What is measured, and how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows of the tables, as `idle,rapid-reset`; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = named)]
    rows: Vec<String>,
    /// Rounds of each row; medians of them are told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that the probe runs in each round, quiet and then beside the row.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How much of their core hostile clients take at most, in percent: what is left is for probe and app.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// A page in Markdown whose tables are replaced by what is printed; wants all rows.
    #[arg(long, value_name = "PAGE", conflicts_with = "rows")]
    write: Option<PathBuf>,
    /// Our proxy's release binary.
    #[arg(long, env = "TENBIN_PROXY_BINARY", default_value = "target/release/tenbin-proxy")]
    proxy: PathBuf,
    /// The demo app's release binary.
    #[arg(long, env = "TENBIN_DEMO_BINARY", default_value = "target/release/tenbin-demo")]
    demo: PathBuf,
}

fn named(name: &str) -> Result<String, String> {
    let names = || what::BESIDE.iter().chain(what::MEMORY).map(|row| row.name);
    match Row::named(name) {
        Some(row) => Ok(row.name.to_owned()),
        None => Err(format!("one of {}", names().collect::<Vec<_>>().join(", "))),
    }
}

/// Measures, and prints the tables. A row that fails is left out of them, and told in the end.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(cpus >= 2, "two CPUs are needed: one for the proxy, one for all else");
    if let Some(page) = &options.write {
        PLACE.is_in(page)?;
    }
    let site = Site::start(LOAD_CORE, &options.demo)?;
    proxy::long_answer(&site)?;
    let bench = Bench {
        site: &site,
        proxy: &options.proxy,
        rounds: options.rounds,
        seconds: options.seconds,
        share: options.share,
    };
    let mut results = Results::new(head(options)?);
    let mut failures = Vec::new();
    let wanted = |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|name| name == row.name);
    for row in what::BESIDE.iter().filter(wanted) {
        match turn::beside(&bench, row, connections(row)?) {
            Ok(beside) => results.beside.push(told(row, beside)),
            Err(error) => failures.push(failed(row, &error)),
        }
    }
    for row in what::MEMORY.iter().filter(wanted) {
        match turn::memory(&bench, row, connections(row)?) {
            Ok(memory) => results.memory.push(told(row, memory)),
            Err(error) => failures.push(failed(row, &error)),
        }
    }
    println!("\n## A probe beside floods\n\n{results}");
    ensure!(failures.is_empty(), "failed, as told above: {}", failures.join(", "));
    match &options.write {
        Some(page) => PLACE.write(page, &results.to_string()),
        None => Ok(()),
    }
}

fn told<T: std::fmt::Display>(row: &Row, what: T) -> T {
    eprintln!("{}: {what}", row.name);
    what
}

fn failed(row: &Row, error: &anyhow::Error) -> &'static str {
    eprintln!("{}: FAILED: {error:#}", row.name);
    row.name
}

/// As many connections as a row has, where the limit of descriptors allows it: the proxy takes clients for half of them.
fn connections(row: &Row) -> anyhow::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let room = most.saturating_sub(SPARE) / row.descriptors().max(2);
    ensure!(room > 0, "the limit of descriptors is {most}: too few for {}", row.what);
    Ok(row.connections.min(room))
}

/// What was measured on, with what, for how long.
fn head(options: &Options) -> anyhow::Result<String> {
    let version = crate::cpu::version(&options.proxy, "--version").context("the proxy's version")?;
    Ok(format!(
        "{}. tenbin {version}, one worker. Medians of {} × {} s, hostile clients on at most {} % of a core.",
        crate::machine::describe(),
        options.rounds,
        options.seconds,
        options.share
    ))
}
