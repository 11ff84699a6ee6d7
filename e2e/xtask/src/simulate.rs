//! `cargo xtask simulate`: every algorithm in every simulated world, as the table of the page on algorithms. What is simulated lives in
//! `tenbin-simulation`.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context as _, Result};
use clap::Args;
use tenbin_cluster::say::Say;
use tenbin_simulation::{all, scenarios, table};

/// The page that shows the table, and between which lines.
const PAGE: &str = "docs/algorithms.md";
const BEGIN: &str = "<!-- The table of `cargo xtask simulate` -->\n";
const END: &str = "<!-- End of the table -->\n";

/// What to do with the table.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Simulate {
    /// Puts it into docs/algorithms.md as well.
    #[arg(long)]
    write: bool,
    /// Worlds of each kind, by different seeds; the median of their figures is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
}

/// Simulates and prints.
pub(crate) fn run(say: &Say, root: &Path, simulate: Simulate) -> Result<()> {
    let worlds = scenarios::all();
    say.line(format_args!(
        "simulating {} worlds for each of {} algorithms: about two minutes",
        worlds.len(),
        all().len()
    ));
    let mut text = table(&worlds, &all(), simulate.seeds);
    text.push('\n');
    for world in &worlds {
        text.push_str(&format!("- **{}**: {}\n", world.name, world.about));
    }
    io::Write::write_all(&mut io::stdout(), text.as_bytes()).context("print the table")?;
    if simulate.write {
        let path = root.join(PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
        let page = placed(&page, &text).with_context(|| format!("{PAGE} lacks the lines {BEGIN:?} and {END:?}"))?;
        fs::write(&path, page).with_context(|| format!("write {PAGE}"))?;
    }
    Ok(())
}

/// `page` with `text` between its two lines.
fn placed(page: &str, text: &str) -> Option<String> {
    let (head, rest) = page.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}{text}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(placed(&page, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}b\n"));
        assert_eq!(placed("a", "new"), None);
    }

    #[test]
    fn the_page_has_a_place_for_it() {
        let page = include_str!("../../../docs/algorithms.md");
        assert!(placed(page, "").is_some());
    }
}
