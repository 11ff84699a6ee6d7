//! What a request costs our proxy with one worker and with two. Two need both cores, on which load and app are then as well; so one
//! worker is measured in the same way too.

use super::Options;
use super::proxy::Proxy;
use super::row::Row;
use super::site::Site;
use super::turn::{self, Turn};
use super::{LOAD_CORE, PROXY_CORE};

const BOTH: &str = "0,1";

/// A way of running it, and what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    pub(crate) count: u16,
    /// Whether load and app are on the proxy's cores.
    pub(crate) shared: bool,
    pub(crate) turns: Vec<Turn>,
}

/// All rounds of all ways: one worker alone on its core, one and two that share both.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Workers>> {
    let mut ways = [(1, false), (1, true), (2, true)].map(|(count, shared)| Workers {
        count,
        shared,
        turns: Vec::new(),
    });
    for round in 0..options.rounds {
        let begins = round as usize % ways.len();
        let (last, first) = ways.split_at_mut(begins);
        for way in first.iter_mut().chain(last) {
            let (cores, load_cores) = if way.shared {
                (BOTH, BOTH)
            } else {
                (PROXY_CORE, LOAD_CORE)
            };
            let site = Site::start(load_cores, &options.programs.demo)?;
            let plan = turn::Plan {
                row: Row::Workers,
                workers: way.count,
                cores,
                load_cores,
                seconds: options.seconds,
            };
            let turn = turn::measure(Proxy::Tenbin, plan, &site, &options.programs)?;
            eprintln!(
                "workers, round {} of {}: {}: {turn}",
                round + 1,
                options.rounds,
                way.count
            );
            way.turns.push(turn);
        }
    }
    Ok(ways.into())
}
