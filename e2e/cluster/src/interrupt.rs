//! Ctrl-C and its like: a flag that every running command looks at. The first signal makes the commands end and the run
//! clean up behind itself; the second ends the process at once (the next run finds and removes the rests).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The error of whatever was cut short by a signal.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Listens for SIGINT, SIGTERM and SIGHUP from now on; called once, by `main`.
///
/// # Errors
/// Where a handler can't be registered.
pub fn listen() -> Result<()> {
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order matters: the exit is armed by the flag of an earlier signal, so it must look before the flag is set.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(flag)).context("can't listen for signals")?;
        flag::register(signal, Arc::clone(flag)).context("can't listen for signals")?;
    }
    Ok(())
}

/// Whether a signal asked this process to end.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.get().is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Whether an error comes from a signal rather than from a fault.
#[must_use]
pub fn caused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Interrupted>().is_some())
}
