//! Bounds of timeouts, retries, bodies and limits. Plain times have theirs in the parent; no default stands here.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{number, time};
use crate::{Bodies, FieldError, Limits, Retry, Timeouts};

/// The most that a body may be bounded by, in bytes: 1 TiB.
const MAX_BODY: u64 = 1 << 40;
/// The most that connections or requests may be limited to.
const MAX_LIMIT: u32 = 1_000_000;

/// How long one try may take within these times: not longer than the request.
///
/// # Errors
/// Longer.
pub fn per_try(path: &str, timeouts: &Timeouts) -> Result<(), FieldError> {
    match timeouts.per_try {
        Some(one) if one > timeouts.request => {
            let accepted = format!("at most {:?}, which the whole request may take", timeouts.request);
            Err(FieldError::new(path, format!("{one:?}"), accepted))
        }
        _ => Ok(()),
    }
}

/// How often a request is sent in all: 1 to [`Retry::MAX_TRIES`].
///
/// # Errors
/// Fewer or more.
pub fn tries(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 1, Retry::MAX_TRIES)
}

/// Statuses that make a request be sent again: 400 to 599, at most [`Retry::MAX_STATUSES`].
///
/// # Errors
/// Too many, or the first that is none.
pub fn status_codes(path: &str, values: &[u64]) -> Result<BTreeSet<u16>, FieldError> {
    if values.len() > Retry::MAX_STATUSES {
        let accepted = format!("at most {} statuses", Retry::MAX_STATUSES);
        return Err(FieldError::new(path, values.len(), accepted));
    }
    let one = |(i, value): (usize, &u64)| number(&format!("{path}[{i}]"), *value, 400, 599);
    values.iter().enumerate().map(one).collect()
}

/// How much of a body is kept to be sent again, in bytes: 0 to [`Retry::MAX_BODY`].
///
/// # Errors
/// More.
pub fn retry_body(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 0, Retry::MAX_BODY)
}

/// Retries against requests in percent: 0 to 100.
///
/// # Errors
/// More.
pub fn budget(path: &str, value: u64) -> Result<u8, FieldError> {
    number(path, value, 0, 100)
}

/// How long the first retry waits at most: 1 ms to 10 s.
///
/// # Errors
/// Shorter or longer.
pub fn backoff(path: &str, value: Duration) -> Result<Duration, FieldError> {
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(10));
    time(path, value, least, most, "1ms to 10s")
}

/// The largest body in bytes: 1 to 1 TiB.
///
/// # Errors
/// Less or more.
pub fn body_max(path: &str, value: u64) -> Result<u64, FieldError> {
    number(path, value, 1, MAX_BODY)
}

/// How much of a response is held back, in bytes: 1 to [`Bodies::MAX_BUFFER`].
///
/// # Errors
/// Less or more.
pub fn buffer(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 1, Bodies::MAX_BUFFER)
}

/// The most connections or requests: 1 to 1,000,000.
///
/// # Errors
/// Fewer or more.
pub fn limit(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 1, MAX_LIMIT)
}

/// How many requests may wait: 0 to [`Limits::MAX_QUEUE`].
///
/// # Errors
/// More.
pub fn queue(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 0, Limits::MAX_QUEUE)
}
