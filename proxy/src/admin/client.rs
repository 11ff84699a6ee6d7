//! The client of the admin socket: one question, its answer on standard output.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::timeout;

use super::table;
use crate::config::AdminCommand;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the proxy behind `socket`; gives its answer: for people where there is a form for them, unless `json`.
///
/// # Errors
/// Nobody answers there, or the question is refused; the text says why.
pub fn ask(socket: &Path, command: &AdminCommand, json: bool) -> anyhow::Result<String> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let answer = runtime.block_on(async {
        let answer = timeout(PATIENCE, converse(socket, command)).await;
        answer.with_context(|| format!("no answer within {PATIENCE:?}"))?
    })?;
    Ok(match command {
        AdminCommand::Clusters if !json => table::clusters(&serde_json::from_str(&answer)?),
        AdminCommand::LogLevel { .. } if !json => {
            let answer: Value = serde_json::from_str(&answer)?;
            format!("{}\n", answer["log"].as_str().unwrap_or_default())
        }
        _ => answer,
    })
}

async fn converse(socket: &Path, command: &AdminCommand) -> anyhow::Result<String> {
    let (method, path, body) = match command {
        AdminCommand::Status => (Method::GET, "/status", Bytes::new()),
        AdminCommand::Config => (Method::GET, "/config", Bytes::new()),
        AdminCommand::Clusters => (Method::GET, "/clusters", Bytes::new()),
        AdminCommand::Drain => (Method::POST, "/drain", Bytes::new()),
        AdminCommand::LogLevel { filter: None } => (Method::GET, "/log-level", Bytes::new()),
        AdminCommand::LogLevel { filter: Some(filter) } => (Method::POST, "/log-level", Bytes::from(filter.clone())),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close")
        .body(Full::new(body))?;

    let stream = UnixStream::connect(socket).await;
    let stream = stream.with_context(|| format!("no proxy answers at {}", socket.display()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // Driven together: a client of one question needs no task beside it.
    let (answer, _) = futures::join!(answer, connection);
    match answer? {
        (status, text) if status.is_success() => Ok(text),
        (status, text) => bail!("{status}: {}", text.trim_end()),
    }
}
