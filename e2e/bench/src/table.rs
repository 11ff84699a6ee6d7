//! Numbers to text: samples, and tables in Markdown that a terminal shows well too.

use std::fmt::{self, Display};

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub(crate) fn add(&mut self, sample: f64) {
        let at = self.0.partition_point(|other| *other < sample);
        self.0.insert(at, sample);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that a part `q` of all does not exceed; NaN without samples.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.0.len() as f64).ceil() as usize;
        self.0
            .get(rank.clamp(1, self.0.len().max(1)) - 1)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The largest.
    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        let mut all: Vec<f64> = samples.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Samples(all)
    }
}

/// A table; its first row is the head. A row is text with ` | ` between its cells.
#[derive(Clone, Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table without rows.
    pub(crate) fn new(head: &str) -> Self {
        let mut table = Table(Vec::new());
        table.row(head);
        table
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl AsRef<str>) {
        self.0.push(cells.as_ref().split(" | ").map(str::to_owned).collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column| {
            self.0
                .iter()
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (at, row) in self.0.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                write!(f, "| {:<width$} ", cell(row, column))?;
            }
            writeln!(f, "|")?;
            if at == 0 {
                widths
                    .iter()
                    .try_for_each(|width| write!(f, "|{}", "-".repeat(width + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// A number of bytes, for people.
pub(crate) fn bytes(count: f64) -> String {
    match count {
        c if c < 1024.0 => format!("{c:.0} B"),
        c if c < 1024.0 * 1024.0 => format!("{:.1} KiB", c / 1024.0),
        c => format!("{:.1} MiB", c / 1024.0 / 1024.0),
    }
}

/// A duration in milliseconds, for people.
pub(crate) fn ms(milliseconds: f64) -> String {
    match milliseconds {
        m if m.is_nan() => "–".to_owned(),
        m if m.abs() < 100.0 => format!("{m:.1} ms"),
        m if m.abs() < 10_000.0 => format!("{m:.0} ms"),
        m => format!("{:.1} s", m / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        assert!(samples.median().is_nan());
        (1..=100).rev().for_each(|n| samples.add(f64::from(n)));
        let at_once: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!(at_once.0, samples.0);
        let found = [0.0, 0.5, 0.99, 1.0].map(|q| samples.quantile(q));
        assert_eq!(found, [1.0, 50.0, 99.0, 100.0]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new("what | n");
        table.row(format!("µs per request | {}", 3));
        assert_eq!(
            table.to_string(),
            "| what           | n |\n|----------------|---|\n| µs per request | 3 |\n"
        );
    }
}
