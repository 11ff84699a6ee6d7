//! What a request costs our proxy and others, in one run, in turn: the same app, the same load, one core for the proxy alone, the
//! other for load and app. What differs between two runs of this on a shared machine is noise; the ratios are not. Here is who is
//! measured when; how, is in `turn`, `idle` and `workers`, what is printed in `report`.

mod idle;
mod load;
mod proxy;
mod report;
mod row;
mod site;
mod turn;
mod workers;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use proxy::{Programs, Proxy};
use report::{Load, Results};
use row::Row;

pub(crate) use load::Said;
pub(crate) use proxy::version;
pub(crate) use report::PLACE;
pub(crate) use row::App;
pub(crate) use site::{HOST, SMALL, START, Site, pinned};

/// The proxy's core; load and app share the other.
pub(crate) const PROXY_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";

/// What is measured, how long and how often.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows of the table, as `h1-1k,tls`; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Proxies, as `tenbin,nginx`; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    proxies: Vec<Proxy>,
    /// Rounds of each row; each measures all proxies, and another one begins.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds for each proxy in a round, after a warm-up of one.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// A page in Markdown whose tables are replaced by what is printed; wants all rows and proxies.
    #[arg(long, value_name = "PAGE", conflicts_with_all = ["rows", "proxies"])]
    write: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

/// Measures, and prints the tables. A row that fails is left out of them, and told in the end.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(
        cpus >= 2,
        "two CPUs are needed: one for the proxy, one for load and app"
    );
    if let Some(page) = &options.write {
        PLACE.is_in(page)?;
    }
    let mut results = Results::new(head(options)?);
    let mut failures = Vec::new();
    for row in chosen(&options.rows) {
        if let Err(error) = measure(options, row, &mut results) {
            eprintln!("{}: FAILED: {error:#}", row.name());
            failures.push(row.name());
        }
    }
    println!("\n## CPU per request\n\n{results}");
    ensure!(failures.is_empty(), "failed, as told above: {}", failures.join(", "));
    match &options.write {
        Some(page) => PLACE.write(page, &results.to_string()),
        None => Ok(()),
    }
}

fn measure(options: &Options, row: Row, results: &mut Results) -> anyhow::Result<()> {
    let proxies = chosen(&options.proxies);
    let programs = &options.programs;
    match row {
        Row::Idle => {
            let site = Site::start(LOAD_CORE, &programs.demo)?;
            results.idle = proxies
                .into_iter()
                .map(|proxy| idle::measure(proxy, &site, programs, options.seconds))
                .collect::<anyhow::Result<_>>()?;
        }
        Row::Workers => results.workers = workers::measure(options)?,
        _ => results.loads.push(loaded(options, row, &proxies)?),
    }
    Ok(())
}

/// All rounds of a row.
fn loaded(options: &Options, row: Row, proxies: &[Proxy]) -> anyhow::Result<Load> {
    let site = Site::start(LOAD_CORE, &options.programs.demo)?;
    let mut load = Load {
        row,
        turns: proxies.iter().map(|proxy| (*proxy, Vec::new())).collect(),
    };
    for round in 0..options.rounds {
        // Who begins changes, so that a machine that gets slower or faster meanwhile favours nobody.
        let begins = round as usize % proxies.len().max(1);
        let (last, first) = load.turns.split_at_mut(begins);
        for (proxy, turns) in first.iter_mut().chain(last) {
            let plan = turn::Plan {
                row,
                workers: 1,
                cores: PROXY_CORE,
                load_cores: LOAD_CORE,
                seconds: options.seconds,
            };
            let turn = turn::measure(*proxy, plan, &site, &options.programs)
                .with_context(|| format!("{}, round {}", proxy.title(), round + 1))?;
            let (name, title) = (row.name(), proxy.title());
            eprintln!("{name}, round {} of {}: {title}: {turn}", round + 1, options.rounds);
            turns.push(turn);
        }
    }
    Ok(load)
}

/// Those given, each once, or all.
fn chosen<T: ValueEnum + Clone + PartialEq>(given: &[T]) -> Vec<T> {
    let all = T::value_variants().iter().cloned();
    all.filter(|one| given.is_empty() || given.contains(one)).collect()
}

/// What was measured on, with what, for how long.
fn head(options: &Options) -> anyhow::Result<String> {
    let mut programs = Vec::new();
    for proxy in chosen(&options.proxies) {
        programs.push(format!("{} {}", proxy.title(), proxy.version(&options.programs)?));
    }
    for (tool, flag) in [("wrk", "-v"), ("h2load", "--version")] {
        programs.push(format!("{tool} {}", proxy::version(Path::new(tool), flag)?));
    }
    Ok(format!(
        "{}. {}. Medians of {} × {} s.",
        crate::machine::describe(),
        programs.join(", "),
        options.rounds,
        options.seconds
    ))
}
