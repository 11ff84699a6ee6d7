//! What an open WebSocket costs a proxy in memory: many of them through one proxy of a sidecar's size (one worker), to one demo app,
//! all on loopback. They are idle, talk a little, talk at length, and go.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::{SinkExt, future};
use nix::sys::resource::{Resource, getrlimit};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::machine;
use crate::process::{Process, free_address};
use crate::table::{Samples, Table, bytes, ms};

/// How long a program may take to start.
const START: Duration = Duration::from_secs(10);
/// How long one socket may take to open or to get a message back.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the proxy has to let go of closed sockets.
const GONE: Duration = Duration::from_secs(30);
/// Sockets that open or talk at the same time.
const AT_ONCE: usize = 64;
/// Descriptors of a proxy besides those of its sockets: listeners, epoll, metrics, reserve.
const SPARE: u64 = 300;
/// Messages, in bytes.
const SHORT: usize = 100;
const LONG: usize = 16 * 1024;

/// How many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// WebSockets at the same time; fewer where the limit of descriptors (ulimit -Hn) does not allow two each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=25_000))]
    sockets: u64,
    /// Our proxy's release binary.
    #[arg(long, env = "TENBIN_PROXY_BINARY", default_value = "target/release/tenbin-proxy")]
    proxy: PathBuf,
    /// The demo app's release binary.
    #[arg(long, env = "TENBIN_DEMO_BINARY", default_value = "target/release/tenbin-demo")]
    demo: PathBuf,
}

type Socket = WebSocketStream<TcpStream>;

/// Runs it and prints the table.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    println!("\n## WebSockets through one proxy\n\n{}\n", machine::describe());
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let count = options.sockets.min(most.saturating_sub(SPARE) / 2);
    ensure!(
        count > 0,
        "the limit of descriptors is {most}, at least {} are needed",
        SPARE + 2
    );
    if count < options.sockets {
        println!(
            "{count} instead of {}: each takes two descriptors of the proxy, and their limit here is {most}.\n",
            options.sockets
        );
    }
    let dir = TempDir::new()?;
    let (_demo, endpoint) = demo(dir.path(), &options.demo).await?;
    let (mut proxy, address, status) = proxy(dir.path(), &options.proxy, endpoint).await?;
    let mut measured = Measured::new(&mut proxy, count)?;
    measured.turn("none")?;

    let count = usize::try_from(count)?;
    let mut sockets: Vec<Socket> = stream::iter(0..count)
        .map(|_| limited("open a socket", open(address)))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    measured.turn("open, idle")?;
    let short = round(&mut sockets, SHORT).await?;
    measured.turn("each sent and got 100 bytes")?;
    let long = round(&mut sockets, LONG).await?;
    measured.turn("each sent and got 16 KiB")?;
    close(sockets).await;
    gone(status).await?;
    measured.turn("closed")?;

    println!("{}", measured.table);
    println!(
        "{count} WebSockets, one worker, one endpoint, loopback; {AT_ONCE} at a time open or talk. From message to answer: 100 bytes \
         p50 {}, p99 {}; 16 KiB p50 {}, p99 {}.",
        ms(short.median()),
        ms(short.quantile(0.99)),
        ms(long.median()),
        ms(long.quantile(0.99))
    );
    Ok(())
}

/// What the proxy's memory and CPU time were, turn by turn.
struct Measured<'a> {
    proxy: &'a mut Process,
    sockets: f64,
    idle: f64,
    cpu: f64,
    table: Table,
}

impl<'a> Measured<'a> {
    fn new(proxy: &'a mut Process, sockets: u64) -> anyhow::Result<Self> {
        Ok(Measured {
            idle: proxy.memory("VmRSS")?,
            cpu: proxy.cpu()?,
            proxy,
            sockets: sockets as f64,
            table: Table::new("sockets | resident | for each, above none | most so far | CPU since | budget"),
        })
    }

    fn turn(&mut self, what: &str) -> anyhow::Result<()> {
        let (resident, most) = (self.proxy.memory("VmRSS")?, self.proxy.memory("VmHWM")?);
        let each = bytes((resident - self.idle).max(0.0) / self.sockets);
        let since = self.proxy.cpu()? - self.cpu;
        let budget = match what {
            "none" => "≤ 15 MiB idle",
            "open, idle" => "≤ 20 KiB for an idle connection",
            _ => "–",
        };
        self.table.row(format!(
            "{what} | {} | {each} | {} | {since:.2} s | {budget}",
            bytes(resident),
            bytes(most)
        ));
        self.cpu = self.proxy.cpu()?;
        Ok(())
    }
}

/// The app that sends everything back.
async fn demo(dir: &Path, binary: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(binary);
    command.args(["--instance", "demo", "--port", &address.port().to_string()]);
    let mut process = Process::start("tenbin-demo", command, dir.join("demo.log"))?;
    process.answers(address, "/", START).await?;
    Ok((process, address))
}

/// Our proxy from a file, with its defaults, and the addresses where it balances and tells its metrics.
async fn proxy(dir: &Path, binary: &Path, endpoint: SocketAddr) -> anyhow::Result<(Process, SocketAddr, SocketAddr)> {
    let (address, status) = (free_address()?, free_address()?);
    let config = serde_json::json!({
        "status": status,
        "listeners": [{ "name": "web", "address": address, "routes": [{ "cluster": "app" }] }],
        "clusters": [{ "name": "app", "endpoints": [endpoint] }],
    });
    // JSON is YAML.
    let file = dir.join("tenbin.yaml");
    fs::write(&file, config.to_string())?;
    let mut command = Command::new(binary);
    command.args(["--workers", "1", "--config"]).arg(&file);
    let mut process = Process::start("tenbin-proxy", command, dir.join("tenbin.log"))?;
    process.answers(address, "/", START).await?;
    Ok((process, address, status))
}

async fn limited<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = tokio::time::timeout(ANSWER, work).await;
    done.with_context(|| format!("{what}: not within {ANSWER:?}"))?
        .with_context(|| what.to_owned())
}

async fn open(address: SocketAddr) -> anyhow::Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // The library's own buffers would take more memory than all that is measured.
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let url = format!("ws://{address}/ws");
    let (socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}

/// A message over every socket, and back; how long each took, in milliseconds.
async fn round(sockets: &mut [Socket], length: usize) -> anyhow::Result<Samples> {
    let message = Message::binary(vec![b'x'; length]);
    let took: Vec<f64> = stream::iter(sockets.iter_mut())
        .map(|socket| limited("a message and its answer", echo(socket, message.clone())))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut samples = Samples::default();
    took.into_iter().for_each(|took| samples.add(took));
    Ok(samples)
}

async fn echo(socket: &mut Socket, message: Message) -> anyhow::Result<f64> {
    let began = Instant::now();
    socket.send(message.clone()).await?;
    let back = socket.next().await.context("closed")??;
    ensure!(back == message, "another message came back");
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

async fn close(sockets: Vec<Socket>) {
    stream::iter(sockets)
        .map(|mut socket| async move {
            // That one is gone already changes nothing.
            let _ = socket.close(None).await;
            let rest = socket.take_while(|message| future::ready(message.is_ok()));
            let _ = tokio::time::timeout(ANSWER, rest.count()).await;
        })
        .buffer_unordered(AT_ONCE)
        .count()
        .await;
}

/// Waits until the proxy has no such connection any more, by its own count.
async fn gone(status: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let text = crate::process::get(status, "/metrics").await?;
        let open = tenbin_e2e::Samples::parse(&text).sum("tenbin_upgraded_connections", &[]);
        if open == 0.0 {
            return Ok(());
        }
        if began.elapsed() > GONE {
            bail!("{open} upgraded connections are still open after {GONE:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
