//! The proxies that are compared, each set up as its users would in earnest: one worker, kept connections to the endpoints, the
//! fewest connections first, its metrics on, no access log. How each is told so is in the module of its name.

mod envoy;
mod haproxy;
pub(super) mod nginx;
mod tenbin;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use super::row::{App, Wire};
use super::site::{START, Site};
use crate::process::{Process, free_address};

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    /// Ours.
    Tenbin,
    /// The distribution's nginx.
    Nginx,
    /// The distribution's HAProxy.
    Haproxy,
    /// The released Envoy.
    Envoy,
}

/// Where programs are that are not the distribution's.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Programs {
    /// Our proxy's release binary.
    #[arg(long, env = "TENBIN_PROXY_BINARY", default_value = "target/release/tenbin-proxy")]
    proxy: PathBuf,
    /// The demo app's release binary.
    #[arg(long, env = "TENBIN_DEMO_BINARY", default_value = "target/release/tenbin-demo")]
    pub(super) demo: PathBuf,
    /// Envoy.
    #[arg(long, env = "TENBIN_ENVOY_BINARY", default_value = "envoy")]
    envoy: PathBuf,
}

/// What a proxy is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) wire: Wire,
    /// The cores that it may use: `0`, `0,1`.
    pub(crate) cores: &'a str,
    /// Its workers; others than ours have one.
    pub(crate) workers: u16,
    /// As many clients as may be connected, at least.
    pub(crate) clients: u64,
}

/// A proxy that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// What all need to know to write a configuration.
struct Plan<'a> {
    setup: Setup<'a>,
    site: &'a Site,
    /// A folder of this proxy's own.
    dir: &'a Path,
    /// Where clients are served, and where metrics are.
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Plan<'_> {
    fn endpoints(&self) -> &[SocketAddr] {
        self.site.endpoints(self.setup.wire.app)
    }

    fn grpc(&self) -> bool {
        self.setup.wire.app == App::Grpc
    }
}

impl Proxy {
    /// Its name, as it is written.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Proxy::Tenbin => "tenbin",
            Proxy::Nginx => "nginx",
            Proxy::Haproxy => "HAProxy",
            Proxy::Envoy => "Envoy",
        }
    }

    /// Starts a new process of it and waits until it listens.
    pub(crate) fn start(self, setup: Setup<'_>, site: &Site, programs: &Programs) -> anyhow::Result<Running> {
        let dir = tempfile::Builder::new()
            .prefix(self.title())
            // nginx's workers are somebody else.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .disable_cleanup(true)
            .tempdir_in(site.dir())?;
        let plan = Plan {
            setup,
            site,
            dir: dir.path(),
            address: free_address()?,
            metrics: free_address()?,
        };
        let mut process = match self {
            Proxy::Tenbin => tenbin::start(&plan, &programs.proxy),
            Proxy::Nginx => nginx::start(&plan),
            Proxy::Haproxy => haproxy::start(&plan),
            Proxy::Envoy => envoy::start(&plan, &programs.envoy),
        }?;
        process.listens(plan.address, START)?;
        Ok(Running {
            process,
            address: plan.address,
        })
    }

    /// Its version, as it tells it.
    pub(crate) fn version(self, programs: &Programs) -> anyhow::Result<String> {
        match self {
            Proxy::Tenbin => version(&programs.proxy, "--version"),
            Proxy::Nginx => version(Path::new("nginx"), "-v"),
            Proxy::Haproxy => version(Path::new("haproxy"), "-v"),
            Proxy::Envoy => version(&programs.envoy, "--version"),
        }
    }
}

/// A program's version, as it tells it when asked by `flag`.
pub(crate) fn version(program: &Path, flag: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(flag).output();
    // Some tell it as an error.
    let output = output.with_context(|| format!("can't run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let number = number(&text).with_context(|| format!("{} {flag} tells no version: {text}", program.display()))?;
    Ok(number.to_owned())
}

/// The first word that begins with numbers and dots.
fn number(text: &str) -> Option<&str> {
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let said = [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n",
                "2.6.12-1+deb12u4",
            ),
            (
                "\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n",
                "1.40.0",
            ),
            ("tenbin-proxy 0.1.0\n", "0.1.0"),
            ("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012\n", "4.1.0-3+b2"),
            ("h2load nghttp2/1.52.0\n", "1.52.0"),
        ];
        for (text, version) in said {
            assert_eq!(number(text), Some(version));
        }
        assert_eq!(number("no such option"), None);
    }
}
