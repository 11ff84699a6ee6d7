//! Connections without a protocol: an echo with a name first, and bytes in and out as they are.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::plan::{Connected, Connections, Raw, Received};

/// How long one connection may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How much of what comes is kept, in bytes.
const KEPT: usize = 64 * 1024;

/// Opens the connections one after the other.
pub(crate) async fn connections(plan: &Connections) -> Connected {
    let mut connected = Connected::default();
    for _ in 0..plan.connections {
        let outcome = tokio::time::timeout(LIMIT, echo(plan)).await;
        match outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("not done within {LIMIT:?}"))) {
            Ok(name) => {
                connected.same += 1;
                *connected.instances.entry(name).or_default() += 1;
            }
            Err(e) => {
                connected.error.get_or_insert_with(|| format!("{e:#}"));
            }
        }
    }
    connected
}

/// Who answered.
async fn echo(plan: &Connections) -> anyhow::Result<String> {
    let stream = TcpStream::connect(&plan.address).await.context("connect")?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut name = String::new();
    reader.read_line(&mut name).await.context("read the name")?;
    ensure!(name.ends_with('\n'), "closed before a name came: {name:?}");
    // What was sent is closed on this side alone: what comes back must still come.
    let write = async {
        let mut text = tokio::io::repeat(b'x').take(plan.bytes);
        tokio::io::copy(&mut text, &mut writer).await.context("send")?;
        writer.shutdown().await.context("close")
    };
    let read = async {
        let mut buffer = vec![0; KEPT];
        let mut back = 0;
        loop {
            let count = reader.read(&mut buffer).await.context("receive")?;
            if count == 0 {
                return anyhow::Ok(back);
            }
            ensure!(
                buffer[..count].iter().all(|byte| *byte == b'x'),
                "other bytes came back"
            );
            back += count as u64;
        }
    };
    let ((), back) = tokio::try_join!(write, read)?;
    ensure!(back == plan.bytes, "{back} bytes came back, not {}", plan.bytes);
    Ok(name.trim_end().to_owned())
}

/// Sends the steps, each when what it waits for has come.
pub(crate) async fn raw(plan: &Raw) -> Received {
    let mut received = Received::default();
    let mut bytes = Vec::new();
    let limit = Duration::from_millis(plan.timeout_ms);
    let outcome = tokio::time::timeout(limit, exchange(plan, &mut bytes, &mut received)).await;
    // That time is up is no fault: the other side may keep the connection.
    if let Ok(Err(e)) = outcome {
        received.error = Some(format!("{e:#}"));
    }
    received.text = String::from_utf8_lossy(&bytes).into_owned();
    received
}

async fn exchange(plan: &Raw, bytes: &mut Vec<u8>, received: &mut Received) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&plan.address).await.context("connect")?;
    for step in &plan.steps {
        while !contains(bytes, step.after.as_bytes()) {
            if !more(&mut stream, bytes).await? {
                received.closed = true;
                return Ok(());
            }
        }
        stream.write_all(step.text.as_bytes()).await.context("send")?;
        received.steps += 1;
    }
    while more(&mut stream, bytes).await? {}
    received.closed = true;
    Ok(())
}

/// Reads what comes next; false at the end.
async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> anyhow::Result<bool> {
    ensure!(bytes.len() < KEPT, "more than {KEPT} bytes came");
    Ok(stream.read_buf(bytes).await.context("receive")? > 0)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|part| part == text)
}
