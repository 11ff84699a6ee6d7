//! h2load: HTTP/2 over kept connections with several streams each. It tells no quantiles; they are of its log of all requests.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

use super::{Said, Target, output};
use crate::cpu::site::{CIPHER, HOST, SMALL, answer_length, pinned};
use crate::table::Samples;

/// Kept connections, and streams that are open on each at the same time.
const CONNECTIONS: u32 = 16;
const STREAMS: u32 = 10;

/// Small answers to GET over TLS.
pub(super) fn get(target: Target<'_>, seconds: u32) -> anyhow::Result<Said> {
    let mut command = h2load(target, seconds);
    command
        .arg(format!("--tls13-ciphers={CIPHER}"))
        .arg(format!("https://{HOST}/"));
    let spoken = [
        "Application protocol: h2\n",
        "TLS Protocol: TLSv1.3\n",
        &format!("Cipher: {CIPHER}\n"),
    ];
    run(command, target, &spoken, SMALL)
}

/// Unary gRPC calls in cleartext. That a status is good is seen by the answer's message: without it there is none.
pub(super) fn call(target: Target<'_>, seconds: u32) -> anyhow::Result<Said> {
    let mut command = h2load(target, seconds);
    command
        .args(["--header=content-type: application/grpc", "--header=te: trailers"])
        .arg("--data")
        .arg(target.site.call())
        .arg(format!("http://{HOST}{}", tenbin_load::demo::SAY));
    run(command, target, &["Application protocol: h2c\n"], answer_length())
}

fn h2load(target: Target<'_>, seconds: u32) -> Command {
    let mut command = pinned(target.cores, "h2load");
    command.args([
        "--threads=1",
        &format!("--clients={CONNECTIONS}"),
        &format!("--max-concurrent-streams={STREAMS}"),
        &format!("--duration={seconds}"),
        &format!("--connect-to={}", target.address),
    ]);
    command
}

/// Runs it; its answers have `body` bytes each, and it says each of `spoken`.
fn run(mut command: Command, target: Target<'_>, spoken: &[&str], body: usize) -> anyhow::Result<Said> {
    let log = target.site.dir().join("h2load.log");
    // What another run left would be added to.
    fs::write(&log, "")?;
    command.arg("--log-file").arg(&log);
    let text = output(command)?;
    let all = spoken.iter().all(|said| text.contains(said));
    ensure!(all, "h2load does not say all of {spoken:?}:\n{text}");
    let counts = counts(&text).with_context(|| format!("h2load says what is not understood:\n{text}"))?;
    let least = (counts.good as f64) * body as f64;
    ensure!(
        counts.bad == 0 && counts.good > 0 && counts.data >= least,
        "not every request succeeded with {body} bytes:\n{text}"
    );
    let times = fs::read_to_string(&log)?;
    let times: Samples = times.lines().filter_map(milliseconds).collect();
    ensure!(
        times.count() as u64 == counts.good,
        "h2load logged {} of {} requests",
        times.count(),
        counts.good
    );
    Ok(Said {
        requests: counts.good as f64,
        seconds: counts.seconds,
        p50_ms: times.median(),
        p99_ms: times.quantile(0.99),
    })
}

/// What became of the requests.
#[derive(Debug, PartialEq)]
struct Counts {
    /// Answered in whole, with 200 to 299.
    good: u64,
    /// Lost, or with another status; those that were open in the end are neither.
    bad: u64,
    seconds: f64,
    /// Bytes of all bodies.
    data: f64,
}

fn counts(text: &str) -> Option<Counts> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    // `finished in 1.00s, 31119.00 req/s, 2.11MB/s`; always in seconds from one on.
    let seconds = line("finished in ")?.split_once("s,")?.0.parse().ok()?;
    let (requests, statuses) = (line("requests: ")?, line("status codes: ")?);
    let bad = |line: &str, names: [&str; 3]| names.iter().map(|name| number(line, name)).sum::<Option<u64>>();
    let lost = bad(requests, [" failed", " errored", " timeout"])?;
    // `traffic: 2.11MB (2209547) total, 1.42MB (1493712) headers (space savings 51.02%), 151.95KB (155595) data`
    let (_, data) = line("traffic: ")?.rsplit_once('(')?;
    Some(Counts {
        good: number(requests, " succeeded")?,
        bad: lost + bad(statuses, [" 3xx", " 4xx", " 5xx"])?,
        seconds,
        data: data.strip_suffix(") data")?.parse().ok()?,
    })
}

/// The number before `what`, in a line of such pairs with commas between.
fn number(line: &str, what: &str) -> Option<u64> {
    let mut pairs = line.split(", ");
    pairs.find_map(|pair| pair.strip_suffix(what))?.parse().ok()
}

/// How long a request of the log took: when it began, its status, microseconds.
fn milliseconds(line: &str) -> Option<f64> {
    let time: f64 = line.split('\t').nth(2)?.parse().ok()?;
    Some(time / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "starting benchmark...\nApplication protocol: h2c\n\nfinished in 1.00s, 31119.00 req/s, 2.11MB/s\n\
         requests: 31122 total, 31127 started, 31121 done, 31119 succeeded, 2 failed, 0 errored, 0 timeout\n\
         status codes: 31120 2xx, 0 3xx, 0 4xx, 2 5xx\n\
         traffic: 2.11MB (2209547) total, 1.42MB (1493712) headers (space savings 51.02%), 151.95KB (155595) data\n\
         \x20                    min         max         mean         sd        +/- sd\n\
         time for request:       25us     24.40ms       227us       496us    98.23%\n";

    #[test]
    fn h2load_is_understood() {
        let counts = counts(TEXT).unwrap();
        let expected = Counts {
            good: 31_119,
            bad: 4,
            seconds: 1.0,
            data: 155_595.0,
        };
        assert_eq!(counts, expected);
        assert_eq!(super::counts("finished in 1.00s, 0.00 req/s, 0B/s\n"), None);
    }

    #[test]
    fn its_log_is_understood() {
        assert_eq!(milliseconds("1795315196096602\t200\t685"), Some(0.685));
        assert_eq!(milliseconds("1795315196096602"), None);
    }
}
