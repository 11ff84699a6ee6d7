//! The fault matrix: what clients see, what endpoints see, and who is blamed. It writes docs/outcomes.md (`UPDATE=1`), which is the
//! documentation, and fails where that page says something else. Time is moved by hand, and only past what should be over.

mod case;
mod tables;

use std::fmt::Write;
use std::path::Path;
use std::thread;

use self::case::{Case, Cell};
use self::tables::{Fault, TABLES, Table};
use crate::frames::{Way2, When};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/outcomes.md");

/// The requests, and how much body each has.
const REQUESTS: [(&str, &str, usize); 5] = [
    ("GET", "GET", 0),
    ("PUT 1 KiB", "PUT", 1 << 10),
    ("PUT 100 KiB", "PUT", 100 << 10),
    ("POST 1 KiB", "POST", 1 << 10),
    ("POST 100 KiB", "POST", 100 << 10),
];

const INTRO: &str = "# What comes of what goes wrong

Written by a test (`UPDATE=1 cargo test -p tenbin-proxy --test resilience outcomes`), which fails where this page is not what the proxy
does. Two endpoints: the first goes wrong as said, the second is good and only asked where the first cannot be. A cell says what the client
gets (a status, with the short code of the access log and of `tenbin_request_failures_total` where the request failed; `broken`: an answer
that breaks off) and how often endpoints saw the request. The last column: whether it counts against the endpoint.

A body of 1 KiB can be sent again, since it is kept while it streams; one of 100 KiB is longer than what is kept (`retries.bodyBytes`,
64 KiB) and cannot. `Closes` is an orderly end of the connection, `resets` is TCP's reset.
";

impl Table {
    /// A row for each fault.
    fn rows(&self) -> Vec<(&'static str, Vec<Cell>)> {
        let row = |&(name, fault): &(&'static str, Fault)| {
            let cells = REQUESTS.map(|(_, method, body)| {
                Case {
                    client: self.client,
                    endpoint: self.endpoint,
                    every: self.every,
                    fault,
                    method,
                    body,
                }
                .run()
            });
            (name, cells.into())
        };
        self.faults.iter().map(row).collect()
    }

    fn write(&self, rows: &[(&str, Vec<Cell>)]) -> String {
        let mut page = format!(
            "\n## {}\n\n{}\n\n| the endpoint, or who is named |",
            self.title, self.intro
        );
        for (name, _, _) in REQUESTS {
            let _ = write!(page, " {name} |");
        }
        page.push_str(" held against it |\n|---|---|---|---|---|---|---|\n");
        for (name, cells) in rows {
            let _ = write!(page, "| {name} |");
            for cell in cells {
                let _ = write!(page, " {} |", cell.text);
            }
            let blamed = match cells.iter().filter(|cell| cell.blamed).count() {
                0 => "no",
                n if n == cells.len() => "yes",
                _ => "where the client is told",
            };
            let _ = writeln!(page, " {blamed} |");
        }
        page
    }

    /// Whatever the page says: what may have been begun is not begun twice unless that was asked for.
    fn check(&self, rows: &[(&str, Vec<Cell>)]) {
        for ((name, fault), (_, cells)) in self.faults.iter().zip(rows) {
            for (cell, (request, method, _)) in cells.iter().zip(REQUESTS) {
                let may = self.every || fault.is_unprocessed() || method != "POST";
                assert!(may || !cell.text.ends_with("2×"), "{request}, {name}: {}", cell.text);
            }
        }
    }
}

impl Fault {
    /// Whether the endpoint says that it did not begin the request.
    fn is_unprocessed(self) -> bool {
        matches!(
            self,
            Fault::Own(Way2::Resets(_, h2::Reason::REFUSED_STREAM) | Way2::GoesAway(When::Before | When::Reuse))
        )
    }
}

#[test]
fn outcomes_are_as_documented() {
    let tables = thread::scope(|scope| {
        let tables = TABLES.map(|table| {
            scope.spawn(move || {
                let rows = table.rows();
                table.check(&rows);
                table.write(&rows)
            })
        });
        tables.map(|table| table.join().unwrap())
    });
    let page = INTRO.to_owned() + &tables.concat();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    for (line, (written, is)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(written, is, "docs/outcomes.md line {}", line + 1);
    }
    assert_eq!(written, page);
}
