//! What is printed, and put into the page: the tables, what their rows are, and how to repeat them.

use std::fmt::{self, Display};

use super::idle::Idle;
use super::proxy::Proxy;
use super::row::Row;
use super::turn::Turn;
use super::workers::Workers;
use crate::page::Place;
use crate::table::{Samples, Table, bytes, ms};

/// Where the page has the tables.
pub(crate) const PLACE: Place = Place("<!-- The tables of `cargo xtask bench cpu` -->\n");

/// What was measured of a row, by proxy, round by round.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) row: Row,
    pub(crate) turns: Vec<(Proxy, Vec<Turn>)>,
}

/// All that was measured; a row that was not is left out.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    /// On what, with what, for how long.
    head: String,
    pub(crate) loads: Vec<Load>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) workers: Vec<Workers>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(head: String) -> Self {
        Results {
            head,
            loads: Vec::new(),
            idle: Vec::new(),
            workers: Vec::new(),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.loads.iter().map(|load| load.row).collect();
        rows.extend((!self.idle.is_empty()).then_some(Row::Idle));
        rows.extend((!self.workers.is_empty()).then_some(Row::Workers));
        rows
    }

    /// CPU per request of all, side by side.
    fn summary(&self, loads: &[Load]) -> Option<Table> {
        let proxies: Vec<Proxy> = loads.first()?.turns.iter().map(|(proxy, _)| *proxy).collect();
        let names: Vec<&str> = proxies.iter().map(|proxy| proxy.title()).collect();
        let mut table = Table::new(&format!(
            "CPU µs/request | {} | tenbin ÷ best of the others",
            names.join(" | ")
        ));
        for load in loads {
            let costs = load.costs();
            let cells: Vec<String> = costs.iter().map(|(_, cpu)| format!("{cpu:.1}")).collect();
            let ratio = ratio(&costs, Proxy::Tenbin);
            table.row(format!("{} | {} | {ratio}", load.row.name(), cells.join(" | ")));
        }
        Some(table)
    }

    fn details(&self) -> Table {
        let mut table = Table::new(
            "row | proxy | requests/s | CPU µs/request | user | system | ÷ best of the others | p50 | p99 | peak memory | of its core | \
             others on its core",
        );
        for load in &self.loads {
            let costs = load.costs();
            for (proxy, turns) in &load.turns {
                let of = |value: fn(&Turn) -> f64| median(turns, value);
                let (name, title) = (load.row.name(), proxy.title());
                let (rate, cpu, user, system) = (of(|t| t.rate), of(Turn::cpu), of(|t| t.user), of(|t| t.system));
                let (ratio, peak) = (ratio(&costs, *proxy), bytes(of(|t| t.peak)));
                let (p50, p99) = (ms(of(|t| t.p50_ms)), ms(of(|t| t.p99_ms)));
                let (used, others) = (100.0 * of(|t| t.used), 100.0 * of(|t| t.others));
                table.row(format!(
                    "{name} | {title} | {rate:.0} | {cpu:.1} | {user:.1} | {system:.1} | {ratio} | {p50} | {p99} | {peak} | {used:.0} % | \
                     {others:.0} %"
                ));
            }
        }
        table
    }

    fn idle(&self) -> Table {
        let mut table = Table::new(
            "idle | connections | resident without | with all | for each | ÷ best of the others | peak memory | CPU to open and \
             serve each | CPU while idle",
        );
        let costs: Vec<(Proxy, f64)> = self.idle.iter().map(|idle| (idle.proxy, idle.each())).collect();
        for idle in &self.idle {
            let (none, all) = (bytes(idle.none), bytes(idle.all));
            let (each, peak, ratio) = (bytes(idle.each()), bytes(idle.peak), ratio(&costs, idle.proxy));
            let open = idle.open * 1e6 / idle.connections as f64;
            table.row(format!(
                "{} | {} | {none} | {all} | {each} | {ratio} | {peak} | {open:.1} µs | {:.2} % of a core",
                idle.proxy.title(),
                idle.connections,
                100.0 * idle.cpu
            ));
        }
        table
    }

    fn workers(&self) -> Table {
        let mut table =
            Table::new("workers | cores | requests/s | CPU µs/request | user | system | ÷ one worker, shared");
        let shared = self.workers.iter().find(|way| way.shared && way.count == 1);
        let one = shared.map_or(f64::NAN, |way| median(&way.turns, Turn::cpu));
        for way in &self.workers {
            let of = |value: fn(&Turn) -> f64| median(&way.turns, value);
            let (rate, cpu, user, system) = (of(|t| t.rate), of(Turn::cpu), of(|t| t.user), of(|t| t.system));
            let cores = if way.shared { "shared" } else { "apart" };
            table.row(format!(
                "{} | {cores} | {rate:.0} | {cpu:.1} | {user:.1} | {system:.1} | {}",
                way.count,
                times(cpu / one)
            ));
        }
        table
    }
}

impl Load {
    /// CPU per request of each.
    fn costs(&self) -> Vec<(Proxy, f64)> {
        let of = |turns: &Vec<Turn>| median(turns, Turn::cpu);
        self.turns.iter().map(|(proxy, turns)| (*proxy, of(turns))).collect()
    }
}

impl Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.head)?;
        if let Some(summary) = self.summary(&self.loads) {
            writeln!(f, "{summary}\n{}", self.details())?;
        }
        if !self.idle.is_empty() {
            writeln!(f, "{}", self.idle())?;
        }
        if !self.workers.is_empty() {
            writeln!(f, "{}", self.workers())?;
        }
        for row in self.rows() {
            writeln!(f, "- `{}`: {}.", row.name(), row.about())?;
        }
        Ok(())
    }
}

fn median(turns: &[Turn], value: fn(&Turn) -> f64) -> f64 {
    turns.iter().map(value).collect::<Samples>().median()
}

/// What one costs over what the best of the others does.
fn ratio(costs: &[(Proxy, f64)], proxy: Proxy) -> String {
    let own = costs.iter().find(|(other, _)| *other == proxy);
    let others = costs.iter().filter(|(other, _)| *other != proxy);
    let best = others.map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    match own {
        Some((_, cost)) if best.is_finite() => times(cost / best),
        _ => "–".to_owned(),
    }
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(cpu: f64) -> Turn {
        Turn {
            user: cpu / 4.0,
            system: cpu * 3.0 / 4.0,
            rate: 1e6 / cpu,
            used: 1.0,
            others: 0.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            peak: 1024.0,
        }
    }

    #[test]
    fn tables_show_medians_and_ratios() {
        let mut results = Results::new("here".to_owned());
        let turns = |costs: [f64; 3]| costs.map(turn).to_vec();
        results.loads.push(Load {
            row: Row::Tls,
            turns: vec![
                (Proxy::Tenbin, turns([12.0, 99.0, 8.0])),
                (Proxy::Nginx, turns([20.0, 16.0, 1.0])),
                (Proxy::Envoy, turns([40.0, 40.0, 40.0])),
            ],
        });
        let text = results.to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let has = |line: &str| lines.contains(&line.split_whitespace().collect());
        assert!(has("| tls | 12.0 | 16.0 | 40.0 | 0.75 × |"), "{text}");
        let nginx = "| tls | nginx | 62500 | 16.0 | 4.0 | 12.0 | 1.33 × | 1.0 ms | 2.0 ms | 1.0 KiB | 100 % | 0 % |";
        assert!(has(nginx), "{text}");
        assert!(text.contains("- `tls`: "), "{text}");
        assert!(!text.contains("`idle`"), "{text}");
    }

    #[test]
    fn workers_are_compared_on_the_same_cores() {
        let mut results = Results::new("here".to_owned());
        results.workers = [(1, false, 10.0), (1, true, 20.0), (2, true, 22.0)]
            .map(|(count, shared, cpu)| Workers {
                count,
                shared,
                turns: vec![turn(cpu)],
            })
            .to_vec();
        let text = results.to_string();
        assert!(text.contains("1.10 ×"), "{text}");
        assert!(text.contains("0.50 ×"), "{text}");
    }

    #[test]
    fn the_best_is_that_of_others() {
        let costs = [(Proxy::Tenbin, 1.0), (Proxy::Envoy, 4.0)];
        assert_eq!(ratio(&costs, Proxy::Tenbin), "0.25 ×");
        assert_eq!(ratio(&costs, Proxy::Envoy), "4.00 ×");
        assert_eq!(ratio(&costs, Proxy::Nginx), "–");
        assert_eq!(ratio(&costs[..1], Proxy::Tenbin), "–");
    }
}
