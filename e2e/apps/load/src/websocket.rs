//! A WebSocket client that sends and compares what comes back.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client::Target;
use crate::plan::{Echo, Echoed};

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Opens the WebSocket, sends message by message, waits for each, closes.
pub(crate) async fn echo(plan: &Echo) -> Echoed {
    let mut echoed = Echoed {
        same: 0,
        closed: false,
        error: None,
    };
    let outcome = tokio::time::timeout(LIMIT, exchange(plan, &mut echoed)).await;
    echoed.error = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(format!("{e:#}")),
        Err(_) => Some(format!("not done within {LIMIT:?}")),
    };
    echoed
}

async fn exchange(plan: &Echo, echoed: &mut Echoed) -> anyhow::Result<()> {
    let target = Target::resolve(&plan.url).await?;
    let stream = TcpStream::connect(target.address).await.context("connect")?;
    let url = format!("ws://{}{}", target.authority, target.path);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.context("upgrade")?;
    for n in 0..plan.messages {
        let text = format!("{n} {}", "x".repeat(plan.bytes));
        socket.send(Message::text(text.clone())).await.context("send")?;
        let answer = socket.next().await.context("ended")?.context("receive")?;
        ensure!(answer == Message::text(text), "message {n} came back changed");
        echoed.same += 1;
    }
    socket.close(None).await.context("close")?;
    while let Some(message) = socket.next().await {
        echoed.closed |= matches!(message, Ok(Message::Close(_)));
    }
    Ok(())
}
