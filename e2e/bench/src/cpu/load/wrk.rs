//! wrk: HTTP/1.1 over kept connections, each of which sends its next request when it has its answer.

use anyhow::{Context, ensure};

use super::{Said, Target, output};
use crate::cpu::site::{HOST, pinned};

/// Kept connections.
const CONNECTIONS: u32 = 64;

/// Asks for `path`, whose answer has `body` bytes.
pub(super) fn run(target: Target<'_>, tls: bool, path: &str, body: usize, seconds: u32) -> anyhow::Result<Said> {
    let threads = target.cores.split(',').count();
    let scheme = if tls { "https" } else { "http" };
    let mut wrk = pinned(target.cores, "wrk");
    wrk.env("OPENSSL_CONF", target.site.openssl()).args([
        "--latency",
        &format!("-t{threads}"),
        &format!("-c{CONNECTIONS}"),
        &format!("-d{seconds}s"),
        // By name, which TLS needs; it comes to the address in the end, whatever else the name means here.
        &format!("{scheme}://{HOST}:{}{path}", target.address.port()),
    ]);
    let text = output(wrk)?;
    let good = !text.contains("Socket errors") && !text.contains("Non-2xx");
    ensure!(good, "not every request succeeded:\n{text}");
    let (said, read) = said(&text).with_context(|| format!("wrk says what is not understood:\n{text}"))?;
    // It rounds what it read to two places after the point.
    let least = 0.99 * said.requests * body as f64;
    ensure!(
        said.requests > 0.0 && read >= least,
        "wrk read less than {body} bytes for each answer:\n{text}"
    );
    Ok(said)
}

/// What it measured, and how many bytes it read.
fn said(text: &str) -> Option<(Said, f64)> {
    let quantile = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    // `123456 requests in 10.01s, 140.00MB read`
    let (requests, rest) = text.lines().find_map(|line| line.trim().split_once(" requests in "))?;
    let (time, read) = rest.split_once(", ")?;
    let said = Said {
        requests: requests.parse().ok()?,
        seconds: milliseconds(time)? / 1000.0,
        p50_ms: milliseconds(quantile("50%")?.trim())?,
        p99_ms: milliseconds(quantile("99%")?.trim())?,
    };
    Some((said, bytes(read.strip_suffix(" read")?)?))
}

/// A duration as wrk writes it: `12.00us`, `1.50ms`, `10.03s`, `1.00m`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(number * factor)
}

/// A number of bytes as wrk writes it: `512.00B`, `12.00KB`, `140.00MB`, `1.20GB`.
fn bytes(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let power = ["B", "KB", "MB", "GB", "TB"].iter().position(|other| *other == unit)?;
    Some(number * 1024_f64.powi(i32::try_from(power).ok()?))
}

fn split(text: &str) -> Option<(f64, &str)> {
    let (number, unit) = text.split_at_checked(text.find(|c: char| c.is_ascii_alphabetic())?)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "Running 10s test @ http://127.0.0.1:8080/\n  1 threads and 64 connections\n\
             \x20 Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.20ms  300.00us  9.01ms   90.00%\n\
             \x20 Latency Distribution\n     50%  635.91us\n     75%  712.34us\n     90%    1.04ms\n     99%    2.87ms\n\
             \x20 123456 requests in 10.01s, 140.00MB read\nRequests/sec:  12345.67\nTransfer/sec:     14.00MB\n";
        let (said, read) = said(text).unwrap();
        assert_eq!((said.requests, said.seconds, said.p99_ms), (123_456.0, 10.01, 2.87));
        assert!((said.p50_ms - 0.635_91).abs() < 1e-9);
        assert_eq!(read, 140.0 * 1024.0 * 1024.0);
        assert_eq!(super::said("unable to connect"), None);
    }

    #[test]
    fn units_are_told_apart() {
        assert_eq!(milliseconds("1.00m"), Some(60_000.0));
        assert_eq!(milliseconds("1.00h"), None);
        assert_eq!(bytes("1.50KB"), Some(1536.0));
        assert_eq!(bytes("12"), None);
    }
}
