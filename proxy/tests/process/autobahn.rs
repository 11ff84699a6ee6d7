//! The Autobahn test suite's cases of the WebSocket protocol, driven by kosoku, through the proxy to an endpoint that echoes. `cargo
//! xtask test` fetches it; without that it is the one on PATH, and where there is none the test says so and passes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::inside::Inside;

/// Groups 1 to 7 and 10: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing. The rest is speed, size and compression.
const CASES: usize = 247;
const OTHERS: [&str; 3] = ["9.*", "12.*", "13.*"];
/// How long all of them may take; each waits for a second or more where it fails.
const LIMIT: Duration = Duration::from_secs(300);

/// Starts it from the folder of its Python package, else from PATH.
fn kosoku() -> Command {
    let Some(folder) = std::env::var_os("TENBIN_KOSOKU") else {
        return Command::new("kosoku");
    };
    let mut command = Command::new("python3");
    command.args(["-c", "from kosoku._cli import main; main()"]);
    command.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What it says of the server at `address`, and whether that is good; `None` where there is no kosoku.
async fn run(address: SocketAddr, reports: &Path) -> Option<(bool, String)> {
    let mut command = kosoku();
    command.args(["--mode", "fuzzingclient", "--parallelism", "4", "--outdir"]);
    command.arg(reports);
    command.args(OTHERS.map(|group| format!("--exclude={group}")));
    command.arg(format!("{address}/echo")).kill_on_drop(true);
    let output = match timeout(LIMIT, command.output()).await.expect("it ends") {
        Ok(output) => output,
        Err(error) if std::env::var_os("TENBIN_KOSOKU").is_none() => {
            eprintln!("there is no kosoku here: {error}");
            return None;
        }
        Err(error) => panic!("TENBIN_KOSOKU: {error}"),
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Sends back what it gets. Where that breaks the protocol, the library has said so to the client.
async fn echo(stream: TcpStream, _: usize) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn all_cases_of_the_websocket_protocol_pass() {
    let app = Backend::script(echo).await;
    let proxy = Inside::with(&[app.address], |_| {});
    let reports = TempDir::new().unwrap();
    let Some((good, said)) = run(proxy.address, reports.path()).await else {
        return;
    };
    assert!(good && said.contains(&format!("\n{CASES} cases passed")), "{said}");
}
