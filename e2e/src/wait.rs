//! Waiting for a condition, with a deadline, and with the last reason why it did not hold.

use std::time::{Duration, Instant};

use anyhow::Context;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks `probe` until it succeeds.
///
/// # Errors
/// It has not within `seconds`: what was waited for, and the probe's last error.
pub async fn eventually<T>(
    what: &str,
    seconds: u64,
    mut probe: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(e) if Instant::now() >= deadline => {
                return Err(e).with_context(|| format!("not within {seconds} s: {what}"));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// For what is tidied up: a failure is told and no more.
pub fn never_mind(what: &str, outcome: anyhow::Result<()>) {
    if let Err(e) = outcome {
        crate::say(format_args!("{what}: {e:#}"));
    }
}
