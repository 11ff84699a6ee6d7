//! The value of the Date header, made once a second for all responses of a worker.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use httpdate::fmt_http_date;

use crate::clock::since_1970;

/// The last second of the year 9999: the form has four digits.
const LAST: u64 = 253_402_300_799;

/// Knows the date as HTTP writes it (RFC 9110 §6.6.1).
#[derive(Debug, Default)]
pub(super) struct Dates {
    /// The last one that was made, and of which second it is.
    last: RefCell<Option<(u64, HeaderValue)>>,
}

impl Dates {
    /// Now.
    pub(super) fn now(&self) -> HeaderValue {
        self.at(since_1970())
    }

    fn at(&self, since_1970: Duration) -> HeaderValue {
        let second = since_1970.as_secs().min(LAST);
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((of, date)) if *of == second => date.clone(),
            _ => {
                let text = fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
                let date = HeaderValue::from_str(&text).expect("a date is of letters and digits");
                last.insert((second, date)).1.clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_of_its_second() {
        let dates = Dates::default();
        let at = |millis| dates.at(Duration::from_millis(millis));
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT", "a clock may be set back");
    }
}
