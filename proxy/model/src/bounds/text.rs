//! Times as people write them. One reader for all who take them, so that a text means the same everywhere.

use std::time::Duration;

use crate::FieldError;

/// A time as `500ms`, `2s` or `1m30s`: up to four numbers of at most nine digits, each with its unit (ms, s, m, h; d for days).
/// Its own bounds are for the caller to check.
///
/// # Errors
/// Anything else.
pub fn duration(path: &str, text: &str) -> Result<Duration, FieldError> {
    let wrong = || FieldError::new(path, text, "a time as 500ms, 30s, 1m30s, 1h or 1d");
    let (mut rest, mut millis) = (text, 0_u64);
    for part in 0.. {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        if part == 4 || !(1..=9).contains(&number.len()) {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        millis += number * unit_millis(unit).ok_or_else(wrong)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    Ok(Duration::from_millis(millis))
}

fn unit_millis(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_numbers_with_units() {
        for (text, millis) in [
            ("1ms", 1),
            ("0s", 0),
            ("2s", 2000),
            ("1m30s", 90_000),
            ("1h1m1s1ms", 3_661_001),
            ("1d", 86_400_000),
            ("99999d", 99_999 * 86_400_000),
        ] {
            assert_eq!(duration("t", text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "s",
            "1",
            "1x",
            "1.5s",
            "-1s",
            " 1s",
            "1s ",
            "1s1",
            "1000000000s",
            "1h1m1s1ms1s",
            "1é",
            "é",
            "1µs",
            "1S",
        ] {
            assert!(duration("t", bad).is_err(), "{bad:?}");
        }
    }
}
