//! `cargo deny`: the one on `PATH`, else one of our own, built once into the cache. The checks that need no network always
//! run; advisories wherever their database can be had.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tenbin_cluster::images::cargo;
use tenbin_cluster::run::{Run, which};
use tenbin_cluster::{Context, interrupt};

/// The version that is built where `PATH` has none.
const VERSION: &str = "0.20.2";
/// How long fetching the advisories may take before they count as out of reach.
const FETCH: Duration = Duration::from_secs(45);

/// Runs all checks.
pub(crate) fn check(context: &Context) -> Result<()> {
    let deny = program(context)?;
    let run = |args: &[&str]| Run::new(&deny).args(args).dir(&context.root);
    run(&["check", "bans", "licenses", "sources"]).done()?;
    match run(&["fetch", "db"]).limit(FETCH).done() {
        Ok(()) => run(&["check", "--disable-fetch", "advisories"]).done(),
        Err(error) if interrupt::caused(&error) => Err(error),
        Err(_) => {
            context
                .say
                .line("   the advisory database can't be had from here: advisories are NOT checked");
            Ok(())
        }
    }
}

/// cargo-deny itself.
fn program(context: &Context) -> Result<PathBuf> {
    if let Some(path) = which("cargo-deny") {
        return Ok(path);
    }
    let dir = context.cache.entry(&format!("programs/cargo-deny-{VERSION}"), |dir| {
        context.say.line(format_args!("   building cargo-deny {VERSION}, once"));
        let target = context.cache.scratch()?;
        Run::new(cargo())
            .args([
                "install",
                "--locked",
                "--quiet",
                "cargo-deny",
                "--version",
                VERSION,
                "--root",
            ])
            .args([dir])
            .env("CARGO_TARGET_DIR", target.path())
            .log(context.cache.log("cargo-deny")?)
            .done()
            .context("cargo-deny is not on PATH and can't be built")
    })?;
    Ok(dir.join("bin/cargo-deny"))
}
