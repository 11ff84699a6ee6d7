//! The proxy's own log: lines on standard error, as text or JSON, with a level that can be changed while it runs.
//! What requests did goes to `access_log`, on standard output.

use std::io::{IsTerminal as _, stderr};

use tracing::Level;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::LogFormat;

/// Changes the level of the log.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Starts logging with `filter`, as `info` or `info,tenbin_proxy=debug`.
///
/// # Errors
/// The filter is not one, or something logs already.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<LogLevel> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let lines = match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(stderr().is_terminal())
            .with_writer(stderr)
            .boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
    };
    // Any client can have TLS warn, as often as it likes; failed handshakes are counted.
    let of_clients = filter_fn(|line| *line.level() == Level::WARN && line.target().starts_with("rustls"));
    let lines = lines.with_filter(of_clients.not());
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(LogLevel(handle))
}

impl LogLevel {
    /// What is logged by now; empty if nobody logs any more.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Logs by `filter` from now on.
    ///
    /// # Errors
    /// It is not a filter; the text says why.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}
