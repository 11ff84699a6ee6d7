//! h2spec, all of it and strictly, against HTTP/2 with clients. `cargo xtask test` builds it; without that it is the one on PATH, and
//! where there is none the test says so and passes.

use std::net::SocketAddr;
use std::time::Duration;

use tenbin_model::{Certificate, ListenerTls, Resource, TlsVersion};
use tokio::process::Command;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::inside::{Inside, name, plain};

/// How many tests there are at least.
const TESTS: usize = 146;
/// How long all of them may take; each may wait for seconds where it fails.
const LIMIT: Duration = Duration::from_secs(300);

/// What h2spec found.
struct Found {
    /// How many tests passed, and failed.
    passed: usize,
    failed: usize,
    /// What did not pass.
    failures: Vec<String>,
    text: String,
}

/// Runs it; `None` where there is none.
async fn h2spec(address: SocketAddr, more: &[&str]) -> Option<Found> {
    let program = std::env::var("TENBIN_H2SPEC").unwrap_or_else(|_| "h2spec".to_owned());
    let mut command = Command::new(program);
    command
        .args(["--strict", "--timeout", "5", "--path", "/who"])
        .args([
            "--host",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
        ])
        .args(more)
        .kill_on_drop(true);
    let output = match timeout(LIMIT, command.output()).await.expect("it ends") {
        Ok(output) => output,
        Err(error) if std::env::var("TENBIN_H2SPEC").is_err() => {
            eprintln!("there is no h2spec here: {error}");
            return None;
        }
        Err(error) => panic!("TENBIN_H2SPEC: {error}"),
    };
    Some(read(String::from_utf8(output.stdout).unwrap()))
}

/// Reads `146 tests, 145 passed, 0 skipped, 1 failed`, and before it each failure as `× 2: Sends …`.
fn read(text: String) -> Found {
    let summary = text.lines().rev().find(|line| line.contains(" tests, ")).expect(&text);
    let count = |what: &str| {
        let part = summary.split(", ").find_map(|part| part.strip_suffix(what));
        part.and_then(|number| number.trim().parse().ok()).expect(&text)
    };
    let failure = |line: &str| Some(line.trim().strip_prefix("× ")?.split_once(": ")?.1.to_owned());
    let mut failures: Vec<String> = text.lines().filter_map(failure).collect();
    failures.dedup();
    Found {
        passed: count(" passed"),
        failed: count(" failed"),
        failures,
        text,
    }
}

#[tokio::test]
async fn over_tls_all_of_it_passes() {
    let app = Backend::app().await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = Certificate {
        name: name("c"),
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    };
    let mut set = vec![Resource::Certificate(certificate)];
    set.extend(plain(&[app.address], |listener| {
        listener.tls = Some(ListenerTls {
            certificates: vec![name("c")],
            minimum: TlsVersion::Tls12,
        });
    }));
    let proxy = Inside::start(set);
    let Some(found) = h2spec(proxy.address, &["--tls", "--insecure"]).await else {
        return;
    };
    assert!(found.passed >= TESTS && found.failed == 0, "{}", found.text);
}

#[tokio::test]
async fn in_cleartext_all_but_what_is_for_http1_there() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let Some(found) = h2spec(proxy.address, &[]).await else {
        return;
    };
    // What does not begin as HTTP/2 is HTTP/1 on this port: it is refused by a status.
    let for_http1 = ["Sends invalid connection preface"];
    assert!(
        found
            .failures
            .iter()
            .all(|failure| for_http1.contains(&failure.as_str())),
        "{}",
        found.text
    );
    let others = TESTS - for_http1.len();
    assert!(
        found.passed >= others && found.failed <= for_http1.len(),
        "{}",
        found.text
    );
}

#[test]
fn a_summary_is_read() {
    let text = "  3.5. Preface\n    × 2: Sends a\n       -> must\n\nFailures:\n  × 2: Sends a\n\n147 tests, 145 passed, 1 skipped, 1 failed\n";
    let found = read(text.to_owned());
    assert_eq!((found.passed, found.failed), (145, 1));
    assert_eq!(found.failures, ["Sends a"]);
}
