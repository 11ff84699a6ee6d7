//! What `cargo test` says, read line by line: every `test result:` line, of every test program and of the documentation,
//! and which tests failed with what words.

use std::collections::BTreeMap;

/// How much of a failed test's message is kept for the summary, in lines.
const MESSAGE_LINES: usize = 12;

/// How many tests passed and failed, and what those that failed said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What tests that failed said, by name, in the order they failed.
    pub(crate) failures: Vec<(String, Vec<String>)>,
    panics: BTreeMap<String, Vec<String>>,
    panicking: Option<String>,
}

impl Counted {
    /// Adds what a line says; a line that says nothing of tests adds nothing.
    pub(crate) fn add(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(counts) = line.trim().strip_prefix("test result: ") {
            self.result(counts);
        } else if let Some(name) = failed_test(line) {
            // Captured output follows the results, uncaptured comes before them.
            let message = self.panics.get(name).cloned().unwrap_or_default();
            self.failures.push((name.to_owned(), message));
        } else if let Some(name) = panicking_thread(line) {
            self.panicking = Some(name.to_owned());
            self.panics.insert(name.to_owned(), Vec::new());
        } else if let Some(name) = self.panicking.clone() {
            self.message(&name, line);
        }
    }

    fn result(&mut self, counts: &str) {
        let Some((_, counts)) = counts.split_once(". ") else {
            return;
        };
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let count = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                _ => {}
            }
        }
        // Another program's tests may have the same names.
        self.panics.clear();
        self.panicking = None;
    }

    fn message(&mut self, name: &str, line: &str) {
        let message = self.panics.entry(name.to_owned()).or_default();
        if line.starts_with("stack backtrace:") || line.starts_with("note: run with") || message.len() == MESSAGE_LINES
        {
            self.panicking = None;
            return;
        }
        message.push(line.to_owned());
        if let Some((_, told)) = self.failures.iter_mut().rev().find(|(n, _)| n == name) {
            told.clone_from(message);
        }
    }
}

/// `test a::b ... FAILED`, also where output of the test came between.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?
        .strip_suffix("FAILED")?
        .split_once(" ... ")
        .map(|(name, _)| name)
}

/// `thread 'a::b' (123) panicked at …`; a test's thread has the name of the test.
fn panicking_thread(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("thread '")?.split_once('\'')?;
    rest.contains("panicked at").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lines: &str) -> Counted {
        let mut counted = Counted::default();
        lines.lines().for_each(|line| counted.add(line));
        counted
    }

    #[test]
    fn results_add_up_and_other_lines_do_not() {
        let counted = counted(
            "running 3 tests\n\
             test a::b ... ok\n\
             test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n\
             a line about a test result: ok. 5 passed",
        );
        assert_eq!((counted.passed, counted.failed), (15, 2));
    }

    #[test]
    fn a_failed_test_is_remembered_with_its_words_whichever_came_first() {
        let wanted = vec![("a::b".to_owned(), vec!["two is".to_owned(), "not three".to_owned()])];
        let uncaptured = "thread 'c::d' (2) panicked at x.rs:1:1:\nas it should\nstack backtrace:\n\
                          test c::d - should panic ... ok\n\
                          thread 'a::b' (3) panicked at x.rs:3:4:\ntwo is\nnot three\nstack backtrace:\n   0: x\n\
                          test a::b ... FAILED\n";
        assert_eq!(counted(uncaptured).failures, wanted);
        let captured = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\n\
                        thread 'a::b' (3) panicked at x.rs:3:4:\ntwo is\nnot three\n\
                        note: run with `RUST_BACKTRACE=1` to see more\n\nfailures:\n    a::b\n\n\
                        test result: FAILED. 0 passed; 1 failed; 0 ignored";
        assert_eq!(counted(captured).failures, wanted);
        // What `--show-output` adds: the words of those that passed come first, and those of failures begin with what the test told.
        let shown = "test a::a ... ok\ntest a::b ... FAILED\n\nsuccesses:\n\n---- a::a stdout ----\n    told\n\n\nsuccesses:\n    a::a\n\n\
                     failures:\n\n---- a::b stdout ----\n    told\n    a long description\n\n\
                     thread 'a::b' (3) panicked at x.rs:3:4:\ntwo is\nnot three\n\
                     note: run with `RUST_BACKTRACE=1` to see more\n\n\nfailures:\n    a::b\n\n\
                     test result: FAILED. 1 passed; 1 failed; 0 ignored";
        assert_eq!(counted(shown).failures, wanted);
    }
}
