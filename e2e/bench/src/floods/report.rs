//! What is printed, and put into the page.

use std::fmt::{self, Display};

use super::turn::{Beside, Memory, Watched};
use crate::page::Place;
use crate::table::{Samples, Table, bytes, ms};

/// Where the page has the tables.
pub(crate) const PLACE: Place = Place("<!-- The tables of `cargo xtask bench floods` -->\n");

/// All that was measured; a row that was not is left out.
#[derive(Clone, Debug)]
pub(super) struct Results {
    /// On what, with what, for how long.
    head: String,
    pub(super) beside: Vec<Beside>,
    pub(super) memory: Vec<Memory>,
}

impl Results {
    /// Nothing yet.
    pub(super) fn new(head: String) -> Self {
        Results {
            head,
            beside: Vec::new(),
            memory: Vec::new(),
        }
    }

    /// The median of what was measured when it was quiet, of all rows.
    fn quiet(&self, value: fn(&Watched) -> f64) -> f64 {
        let quiet: Samples = self.beside.iter().map(|row| value(&row.quiet)).collect();
        quiet.median()
    }

    fn beside(&self) -> Table {
        let mut table = Table::new(
            "beside | connections | opened | thrown out | clients' CPU | proxy's CPU | load's core | probe's p50 | p99 | ÷ quiet | most | \
             failed | resident | grown | for each",
        );
        let quiet = self.quiet(|watched| watched.probed.p99_ms);
        let probe =
            |p50: f64, p99: f64, most: f64| format!("{} | {} | {:.1} × | {}", ms(p50), ms(p99), p99 / quiet, ms(most));
        table.row(format!(
            "nothing (medians) | – | – | – | – | {} | {} | {} | {:.0} | {} | – | –",
            percent(self.quiet(|watched| watched.proxy)),
            percent(self.quiet(|watched| watched.load)),
            probe(
                self.quiet(|watched| watched.probed.p50_ms),
                quiet,
                self.quiet(|watched| watched.probed.max_ms)
            ),
            self.quiet(|watched| watched.probed.failed as f64),
            bytes(self.quiet(|watched| watched.most)),
        ));
        for row in &self.beside {
            let (told, beside) = (&row.told, &row.beside);
            let probed = beside.probed;
            let for_each = if row.connections * row.row.each() >= MANY {
                bytes(row.each().max(0.0))
            } else {
                "–".to_owned()
            };
            table.row(format!(
                "{} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {for_each}",
                row.row.what,
                row.connections,
                told.opened,
                told.thrown_out,
                percent(told.cpu / told.seconds),
                percent(beside.proxy),
                percent(beside.load),
                probe(probed.p50_ms, probed.p99_ms, probed.max_ms),
                probed.failed,
                bytes(beside.most),
                bytes((beside.most - row.quiet.most).max(0.0)),
            ));
        }
        table
    }

    fn memory(&self) -> Table {
        let mut table = Table::new("each | open | resident before | with all | for each | bound");
        for row in &self.memory {
            table.row(format!(
                "{} | {} | {} | {} | {} | {}",
                row.row.what,
                row.open,
                bytes(row.none),
                bytes(row.all),
                bytes(row.each()),
                row.row.bound
            ));
        }
        table
    }
}

/// From so many connections or streams on, what the memory grew by is that of each.
const MANY: u64 = 1000;

impl Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.head)?;
        if !self.beside.is_empty() {
            writeln!(f, "{}", self.beside())?;
        }
        if !self.memory.is_empty() {
            writeln!(f, "{}", self.memory())?;
        }
        Ok(())
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::hostile::Told;
    use crate::client::probe::Probed;
    use crate::floods::Row;

    fn watched(p99_ms: f64, most: f64) -> Watched {
        Watched {
            probed: Probed {
                good: 100,
                failed: 0,
                p50_ms: 1.0,
                p99_ms,
                max_ms: 9.0,
            },
            proxy: 0.5,
            load: 0.25,
            most,
        }
    }

    #[test]
    fn rows_are_compared_with_the_median_of_what_was_quiet() {
        let told = Told {
            opened: 3000,
            thrown_out: 2000,
            open: 0,
            sent: 1,
            cpu: 0.3,
            seconds: 1.0,
        };
        let mut results = Results::new("here".to_owned());
        for quiet in [2.0, 1.0, 30.0] {
            results.beside.push(Beside {
                row: Row::named("slow-headers").unwrap(),
                connections: 1000,
                quiet: watched(quiet, 1024.0),
                beside: watched(5.0, 1024.0 + 1024.0 * 1000.0),
                told,
            });
        }
        results.memory.push(Memory {
            row: Row::named("websockets").unwrap(),
            open: 10,
            none: 0.0,
            all: 20480.0,
        });
        let text = results.to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let has = |line: &str| lines.contains(&line.split_whitespace().collect());
        let slow = "| headers, a byte a second | 1000 | 3000 | 2000 | 30 % | 50 % | 25 % | 1.0 ms | 5.0 ms | 2.5 × | 9.0 ms | 0 | \
                    1001.0 KiB | 1000.0 KiB | 1.0 KiB |";
        assert!(has(slow), "{text}");
        assert!(text.contains("| 2.0 KiB "), "{text}");
    }
}
