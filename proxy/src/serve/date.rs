//! The time of day as HTTP writes it (RFC 9110 §5.6.7), formatted once a second for each worker.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{DATE, HeaderMap, HeaderValue};

use crate::clock::since_1970;

/// The last one, and its second.
#[derive(Debug)]
pub(super) struct Date(RefCell<(u64, HeaderValue)>);

impl Default for Date {
    fn default() -> Self {
        Date(RefCell::new((u64::MAX, HeaderValue::from_static(""))))
    }
}

impl Date {
    /// The header of a response that begins now; `None` if it has one (RFC 9110 §6.6.1).
    pub(super) fn header(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        (!headers.contains_key(DATE)).then(|| self.at(since_1970().as_secs()))
    }

    fn at(&self, second: u64) -> HeaderValue {
        let (formatted, text) = &mut *self.0.borrow_mut();
        if *formatted != second {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            if let Ok(date) = HeaderValue::from_str(&date) {
                (*formatted, *text) = (second, date);
            }
        }
        text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_its_second() {
        let date = Date::default();
        assert_eq!(date.at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
        let mut headers = HeaderMap::new();
        assert!(date.header(&headers).is_some());
        headers.insert(DATE, HeaderValue::from_static("x"));
        assert_eq!(date.header(&headers), None);
    }
}
