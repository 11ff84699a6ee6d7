//! CPU per request of our proxy and of nginx, in one run, in turn: the same backend, the same load, one core for the proxy alone,
//! the other for load and backend. What differs between two runs of this on a shared machine is noise; the ratio is not.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::machine;
use crate::process::{Process, core_time, free_address};
use crate::table::{Samples, Table, ms};

/// The proxy's core; load and backend share the other.
const PROXY_CORE: &str = "0";
const OTHER_CORE: &str = "1";
/// Length of the response's body, in bytes.
const BODY: usize = 1024;
/// Endpoints of the backend: ports of one process.
const ENDPOINTS: usize = 4;
/// How long a proxy runs before it is measured, in each round.
const WARM_UP: u32 = 2;
/// How long a program may take to start.
const START: Duration = Duration::from_secs(10);

/// How long and how hard.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; each measures both proxies, in alternating order.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds for each proxy in a round.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Connections of the load, all kept; each sends its next request when it has its answer.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Our proxy's release binary.
    #[arg(long, env = "TENBIN_PROXY_BINARY", default_value = "target/release/tenbin-proxy")]
    proxy: PathBuf,
}

/// A proxy under load.
struct Subject {
    name: &'static str,
    process: Process,
    address: SocketAddr,
    turns: Vec<Turn>,
}

/// What was measured of a proxy in a round.
struct Turn {
    /// CPU in µs per request.
    cpu: f64,
    /// Requests per second.
    rate: f64,
    /// Share of its core that the proxy used, and that others did.
    used: f64,
    others: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Runs it and prints the tables.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(
        cpus >= 2,
        "two CPUs are needed: one for the proxy, one for load and backend"
    );
    println!("\n## CPU per request\n\n{}\n", machine::describe());
    let dir = TempDir::new()?;
    let (_backend, endpoints) = backend(dir.path()).await?;
    let ours = ours(dir.path(), &options.proxy, &endpoints).await?;
    let mut subjects = [ours, nginx(dir.path(), &endpoints).await?];
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        // Who begins changes, so that a machine that gets slower or faster meanwhile favours nobody.
        for turn in 0..2 {
            subjects[((round + turn) % 2) as usize].measure(options)?;
        }
    }
    print(options, &subjects);
    Ok(())
}

fn print(options: &Options, subjects: &[Subject; 2]) {
    let [ours, nginx] = subjects;
    let mut ratios = Samples::default();
    let mut rounds =
        Table::new("round | tenbin µs/request | nginx µs/request | ratio | tenbin requests/s | nginx requests/s");
    for (n, (our, their)) in ours.turns.iter().zip(&nginx.turns).enumerate() {
        let ratio = our.cpu / their.cpu;
        ratios.add(ratio);
        let (n, rates) = (n + 1, format!("{:.0} | {:.0}", our.rate, their.rate));
        rounds.row(format!(
            "{n} | {:.2} | {:.2} | {ratio:.3} | {rates}",
            our.cpu, their.cpu
        ));
    }
    let mut medians =
        Table::new("median of rounds | requests/s | CPU µs/request | of its core | others on its core | p50 | p99");
    for subject in subjects {
        let of = |value: fn(&Turn) -> f64| {
            let mut samples = Samples::default();
            subject.turns.iter().for_each(|turn| samples.add(value(turn)));
            samples.median()
        };
        let (name, rate, cpu) = (subject.name, of(|t| t.rate), of(|t| t.cpu));
        let (used, others) = (100.0 * of(|t| t.used), 100.0 * of(|t| t.others));
        let (p50, p99) = (ms(of(|t| t.p50_ms)), ms(of(|t| t.p99_ms)));
        medians.row(format!(
            "{name} | {rate:.0} | {cpu:.2} | {used:.0} % | {others:.0} % | {p50} | {p99}"
        ));
    }
    let (min, median, max) = (ratios.min(), ratios.median(), ratios.max());
    println!("{rounds}\n{medians}");
    println!("Ratio tenbin / nginx: min {min:.3}, median {median:.3}, max {max:.3} (budget: ≤ 1, then ≤ 0.8).\n");
    println!(
        "HTTP/1.1, GET, kept connections, {BODY} bytes of body, {} connections (wrk), {ENDPOINTS} endpoints (nginx), one worker each, \
         metrics on, access log off; {} rounds of {} s. CPU: user and system of the proxy's processes.",
        options.connections, options.rounds, options.seconds
    );
}

impl Subject {
    fn new(name: &'static str, process: Process, address: SocketAddr) -> Self {
        let turns = Vec::new();
        Subject {
            name,
            process,
            address,
            turns,
        }
    }

    /// One turn of it, after a warm-up.
    fn measure(&mut self, options: &Options) -> anyhow::Result<()> {
        load(self.address, WARM_UP, options.connections)?;
        let (before, core_before) = (self.process.cpu()?, core_time(PROXY_CORE)?);
        let said = load(self.address, options.seconds, options.connections)
            .with_context(|| format!("load on {}, which says:\n{}", self.name, self.process.said()))?;
        let (cpu, core) = (self.process.cpu()? - before, core_time(PROXY_CORE)? - core_before);
        self.turns.push(Turn {
            cpu: cpu * 1e6 / said.requests,
            rate: said.requests / said.seconds,
            used: cpu / said.seconds,
            others: (core - cpu).max(0.0) / said.seconds,
            p50_ms: said.p50_ms,
            p99_ms: said.p99_ms,
        });
        Ok(())
    }
}

/// What the load saw.
#[derive(Debug, PartialEq)]
struct Said {
    requests: f64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn load(address: SocketAddr, seconds: u32, connections: u32) -> anyhow::Result<Said> {
    let mut wrk = pinned(OTHER_CORE, "wrk");
    wrk.args([
        "--latency",
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{seconds}s"),
        &format!("http://{address}/"),
    ]);
    let output = wrk.output().with_context(|| format!("can't run {wrk:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let good = output.status.success() && !text.contains("Socket errors") && !text.contains("Non-2xx");
    ensure!(
        good,
        "not every request succeeded:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said(&text).with_context(|| format!("wrk says what is not understood:\n{text}"))
}

/// Reads what wrk says.
fn said(text: &str) -> Option<Said> {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |share: &str| {
        lines
            .iter()
            .find(|words| words.len() == 2 && words[0] == share)
            .and_then(|words| milliseconds(words[1]))
    };
    let ended = lines.iter().find(|words| words.get(1) == Some(&"requests"))?;
    Some(Said {
        requests: ended[0].parse().ok()?,
        seconds: milliseconds(ended.get(3)?.trim_end_matches(','))? / 1000.0,
        p50_ms: of("50%")?,
        p99_ms: of("99%")?,
    })
}

/// A duration as wrk writes it: `12.00us`, `1.50ms`, `10.03s`, `1.00m`.
fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

fn pinned(core: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program.as_ref());
    command
}

/// nginx with a configuration of our own, in a folder of its own.
fn start_nginx(dir: &Path, name: &str, core: &str, http: &str) -> anyhow::Result<Process> {
    let prefix = dir.join(name);
    fs::create_dir(&prefix)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .concat();
    let config = format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr warn;\nevents {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n{temporary}{http}}}\n"
    );
    fs::write(prefix.join("nginx.conf"), config)?;
    let mut nginx = pinned(core, "nginx");
    nginx.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&prefix);
    Process::start(name, nginx, dir.join(format!("{name}.log")))
}

/// What the proxies balance over.
async fn backend(dir: &Path) -> anyhow::Result<(Process, Vec<SocketAddr>)> {
    let endpoints: Vec<SocketAddr> = (0..ENDPOINTS).map(|_| free_address()).collect::<anyhow::Result<_>>()?;
    let listen: String = endpoints
        .iter()
        .map(|address| format!("    listen {address};\n"))
        .collect();
    let answer = "x".repeat(BODY);
    let http =
        format!("  server {{\n{listen}    location / {{ default_type text/plain; return 200 {answer}; }}\n  }}\n");
    let mut process = start_nginx(dir, "backend", OTHER_CORE, &http)?;
    process.answers(endpoints[0], "/", START).await?;
    Ok((process, endpoints))
}

/// nginx as it would be set up in earnest: one worker, kept connections to the endpoints, the fewest connections first.
async fn nginx(dir: &Path, endpoints: &[SocketAddr]) -> anyhow::Result<Subject> {
    let address = free_address()?;
    let servers: String = endpoints
        .iter()
        .map(|endpoint| format!("    server {endpoint};\n"))
        .collect();
    let http = format!(
        "  upstream app {{\n    least_conn;\n{servers}    keepalive 256;\n    keepalive_requests 1000000000;\n  }}\n\
         \x20 server {{\n    listen {address} reuseport;\n    location = /nginx_status {{ stub_status; }}\n    location / {{\n\
         \x20     proxy_pass http://app;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
         \x20     proxy_set_header Host $host;\n    }}\n  }}\n"
    );
    let mut process = start_nginx(dir, "nginx", PROXY_CORE, &http)?;
    process.answers(address, "/", START).await?;
    Ok(Subject::new("nginx", process, address))
}

/// Our proxy from a file, with its defaults.
async fn ours(dir: &Path, binary: &Path, endpoints: &[SocketAddr]) -> anyhow::Result<Subject> {
    let (address, status) = (free_address()?, free_address()?);
    let config = serde_json::json!({
        "status": status,
        "listeners": [{ "name": "web", "address": address, "routes": [{ "cluster": "app" }] }],
        "clusters": [{ "name": "app", "endpoints": endpoints }],
    });
    // JSON is YAML.
    let file = dir.join("tenbin.yaml");
    fs::write(&file, config.to_string())?;
    let mut command = pinned(PROXY_CORE, binary);
    command
        .args(["--workers", "1", "--access-log", "off", "--config"])
        .arg(&file);
    let mut process = Process::start("tenbin-proxy", command, dir.join("tenbin.log"))?;
    process.answers(address, "/", START).await?;
    Ok(Subject::new("tenbin", process, address))
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
        let said = said(text).unwrap();
        assert_eq!((said.requests, said.seconds, said.p99_ms), (123_456.0, 10.01, 2.87));
        assert!((said.p50_ms - 0.635_91).abs() < 1e-9);
        assert_eq!(super::said("unable to connect"), None);
    }
}
