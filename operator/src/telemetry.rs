//! Where log lines go and in which form. Installed once by `main`; nothing else may set a subscriber.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What the Kubernetes client logs of each failed try: whoever makes the request says so once, and counts. Shown only when a filter
/// names kube itself.
const QUIET: [&str; 2] = ["kube_client=off", "kube_runtime=error"];

/// Installs the process's log subscriber, writing to standard error.
///
/// # Errors
/// `filter` can't be parsed, or a subscriber is installed already.
pub fn install(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let mut directives = vec![filter];
    if !filter.contains("kube") {
        directives.extend(QUIET);
    }
    let filter = EnvFilter::try_new(directives.join(","))
        .with_context(|| format!("log filter {filter:?}: expected something as info or tenbin_operator=debug"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|e| anyhow::anyhow!("log subscriber: {e}"))
}
