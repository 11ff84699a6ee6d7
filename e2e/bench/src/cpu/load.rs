//! The load of a row on one proxy: which program makes it, pinned to its cores, and what all of them tell alike. A load of which one
//! answer is not what was asked for is an error.

mod h2load;
mod wrk;

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::row::Row;
use super::site::{LARGE, LARGE_PATH, SMALL, Site, pinned};

/// What a load saw.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Said {
    /// Good answers.
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Where the load runs, and on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) site: &'a Site,
    /// The load's cores: `1`, `0,1`.
    pub(crate) cores: &'a str,
}

/// Loads the target with what `row` is about, for some seconds.
pub(crate) fn run(row: Row, target: Target<'_>, seconds: u32) -> anyhow::Result<Said> {
    match row {
        Row::Small | Row::Bare | Row::Workers => wrk::run(target, false, "/", SMALL, seconds),
        Row::Large => wrk::run(target, false, LARGE_PATH, LARGE, seconds),
        Row::Tls => wrk::run(target, true, "/", SMALL, seconds),
        Row::H2 => h2load::get(target, seconds),
        Row::Grpc => h2load::call(target, seconds),
        Row::New => own("new", target, false, seconds),
        Row::NewTls => own("new", target, true, seconds),
        Row::Websocket => own("websocket", target, false, seconds),
        Row::Idle => bail!("idle connections are no load"),
    }
}

/// This program as a client, in a process of its own.
pub(crate) fn client(kind: &str, target: Target<'_>) -> anyhow::Result<Command> {
    let this = std::env::current_exe().context("find the own program")?;
    let mut command = pinned(target.cores, this);
    command.args(["client", kind, &target.address.to_string()]);
    Ok(command)
}

fn own(kind: &str, target: Target<'_>, tls: bool, seconds: u32) -> anyhow::Result<Said> {
    let mut command = client(kind, target)?;
    command.args(["--seconds", &seconds.to_string()]);
    if tls {
        command.arg("--certificate").arg(target.site.certificate());
    }
    let text = output(command)?;
    serde_json::from_str(&text).with_context(|| format!("the client says what is not understood:\n{text}"))
}

/// What a program says that must succeed.
fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("can't run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{text}{errors}");
    Ok(text)
}
