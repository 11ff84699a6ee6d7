//! Pages in Markdown that hold what a benchmark printed last, between two lines.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// The line behind every place.
const END: &str = "<!-- End of the tables -->\n";

/// A place in a page: the line before it, with its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(pub(crate) &'static str);

impl Place {
    /// Whether a page has it: asked before anything is measured.
    pub(crate) fn is_in(self, page: &Path) -> anyhow::Result<()> {
        self.replaced(page, "").map(drop)
    }

    /// Puts tables there, in place of those that are.
    pub(crate) fn write(self, page: &Path, tables: &str) -> anyhow::Result<()> {
        let text = self.replaced(page, tables)?;
        fs::write(page, text).with_context(|| format!("write {}", page.display()))
    }

    fn replaced(self, page: &Path, tables: &str) -> anyhow::Result<String> {
        let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let placed = self.placed(&text, tables);
        placed.with_context(|| format!("{} lacks the lines {:?} and {END:?}", page.display(), self.0))
    }

    /// `page` with `tables` between its two lines.
    fn placed(self, page: &str, tables: &str) -> Option<String> {
        let begin = self.0;
        let (head, rest) = page.split_once(begin)?;
        let (_, tail) = rest.split_once(END)?;
        Some(format!("{head}{begin}{tables}{END}{tail}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_places() {
        let page = include_str!("../../../docs/performance.md");
        let [cpu, floods] = [crate::cpu::PLACE, crate::floods::PLACE];
        let one = cpu.placed(page, "new\n").unwrap();
        assert!(one.contains(&format!("{}new\n{END}", cpu.0)));
        let both = floods.placed(&one, "newer\n").unwrap();
        assert!(both.contains(&format!("{}new\n{END}", cpu.0)));
        assert!(both.contains(&format!("{}newer\n{END}", floods.0)));
        assert_eq!(floods.placed(&both, "newer\n").as_deref(), Some(both.as_str()));
        assert_eq!(cpu.placed("a", "new"), None);
    }
}
