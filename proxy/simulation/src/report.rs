//! Figures of a world, and the table of all.

use std::fmt::Write;
use std::time::Duration;

use tenbin_balance::Time;

use crate::algorithms::Algorithm;
use crate::perfect::perfect;
use crate::scenario::Scenario;
use crate::traffic::requests;
use crate::world::{Outcome, run};

/// What comes in the first seconds is not counted: queues fill, averages begin.
const WARM_UP: Duration = Duration::from_secs(3);

/// Latencies of plain requests.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, at: Time, latency: Duration) {
        if at.since(Time::default()) >= WARM_UP {
            self.0.push(latency);
        }
    }

    /// The latency that `share` of the requests did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How an algorithm does in a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The 99th percentile of latency, over that of the perfect queue.
    pub p99: f64,
    /// The 99.9th.
    pub p999: f64,
    /// Requests that failed.
    pub failed: usize,
    /// The longest time for which a ready endpoint that works had no request.
    pub longest_wait: Duration,
}

/// Runs an algorithm and the perfect queue in a scenario, over several seeds; the medians of the ratios, the most of the rest.
pub fn compare(scenario: &Scenario, algorithm: &Algorithm, seeds: u64) -> Figures {
    let mut all: Vec<Figures> = (1..=seeds).map(|seed| once(scenario, algorithm, seed)).collect();
    let median = |all: &mut Vec<Figures>, of: fn(&Figures) -> f64| {
        all.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&all[all.len() / 2])
    };
    Figures {
        p99: median(&mut all, |f| f.p99),
        p999: median(&mut all, |f| f.p999),
        failed: all.iter().map(|f| f.failed).max().unwrap_or(0),
        longest_wait: all.iter().map(|f| f.longest_wait).max().unwrap_or_default(),
    }
}

fn once(scenario: &Scenario, algorithm: &Algorithm, seed: u64) -> Figures {
    let requests = requests(scenario, seed);
    let ideal = perfect(scenario, &requests);
    let Outcome {
        latencies,
        failed,
        longest_wait,
        ..
    } = run(scenario, algorithm, &requests, seed);
    let ratio = |share| latencies.percentile(share).as_secs_f64() / ideal.percentile(share).as_secs_f64();
    Figures {
        p99: ratio(0.99),
        p999: ratio(0.999),
        failed,
        longest_wait,
    }
}

/// A table in Markdown: a row for each scenario, a column for each algorithm.
pub fn table(scenarios: &[Scenario], algorithms: &[Algorithm], seeds: u64) -> String {
    let mut text = String::from("| |");
    for algorithm in algorithms {
        let _ = write!(text, " {} |", algorithm.name);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(algorithms.len()));
    text.push('\n');
    for scenario in scenarios {
        let _ = write!(text, "| {} |", scenario.name);
        for algorithm in algorithms {
            let figures = compare(scenario, algorithm, seeds);
            let _ = write!(text, " {}, {}", times(figures.p99), times(figures.p999));
            if figures.failed > 0 {
                let _ = write!(text, ", {} failed", figures.failed);
            }
            text.push_str(" |");
        }
        text.push('\n');
    }
    text
}

fn times(ratio: f64) -> String {
    match ratio {
        r if r >= 1000.0 => "> 1000 ×".to_owned(),
        r if r >= 10.0 => format!("{r:.0} ×"),
        r => format!("{r:.2} ×"),
    }
}
