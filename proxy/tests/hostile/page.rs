//! docs/hardening.md, from the rows.

use std::fmt::Write as _;
use std::path::Path;

use crate::row::{Section, code};
use crate::{answers, desync, floods, http1, http2};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hardening.md");

const INTRO: &str = "# Hostile input

Written from the rows of a test (`UPDATE=1 cargo test -p tenbin-proxy --test hostile`), which sends each of them over a real socket to a
proxy before an endpoint that records every byte. Behind every row over HTTP/1 comes one more request on the same connection: it is served
as a request of its own where the row's passes, and neither answered nor passed on where that is refused. After each row another client's
request, over the same connection to the endpoint where that is still open, has its own answer. Numbers like 9112 §6.1 are RFCs and their
sections.

What two readers could understand differently is refused, not repaired. *400, closed*: that response and nothing else, then the end of the
connection; not a byte of it reaches an endpoint.

Over TLS there is no early data (RFC 8446 §8): sessions are resumed, but no ticket allows it. A listener with TLS answers nothing in
cleartext. The limits are in [protocols.md](protocols.md).
";

/// A table with a column for what is sent.
fn table<R>(page: &mut String, section: &Section<R>, head: &str, cells: impl Fn(&R) -> Vec<String>) {
    let _ = writeln!(page, "\n## {}\n", section.title);
    if !section.intro.is_empty() {
        let _ = writeln!(page, "{}\n", section.intro);
    }
    let columns = head.matches('|').count() - 1;
    let _ = writeln!(page, "{head}\n|{}", "---|".repeat(columns));
    for row in &section.rows {
        let _ = writeln!(page, "| {} |", cells(row).join(" | "));
    }
}

fn page() -> String {
    let mut page = INTRO.to_owned();
    let head = "| what | input | answer | rule |";
    for section in http1::sections() {
        table(&mut page, &section, head, |row| {
            let name = if row.behind {
                format!("{} (from a trusted hop)", row.name)
            } else {
                row.name.to_owned()
            };
            vec![name, code(&row.input.shown), row.answer.told(), row.rule.to_owned()]
        });
    }
    for section in http2::sections() {
        table(&mut page, &section, head, |row| {
            vec![
                row.name.to_owned(),
                code(&row.shown),
                row.answer.told(),
                row.rule.to_owned(),
            ]
        });
    }
    for section in answers::sections() {
        table(
            &mut page,
            &section,
            "| what | answer | the client gets | rule |",
            |row| {
                vec![
                    row.name.to_owned(),
                    code(&row.shown),
                    row.answer.told(),
                    row.rule.to_owned(),
                ]
            },
        );
    }
    for section in floods::sections() {
        table(&mut page, &section, "| what | answer | rule |", |row| {
            vec![row.name.to_owned(), row.answer.to_owned(), row.rule.to_owned()]
        });
    }
    let head = "| tier | its advice | requests | refused | served |";
    table(&mut page, &desync::tiers(), head, |row| row.to_vec());
    table(&mut page, &desync::listed(), "| what | here | why |", |row| {
        vec![row[0].to_owned(), row[1].to_owned(), row[2].to_owned()]
    });
    page
}

#[test]
fn the_page_is_the_rows() {
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    for (line, (written, is)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(written, is, "docs/hardening.md line {}", line + 1);
    }
    assert_eq!(written, page);
}
