//! The id of a request, the same in every log on its way (`X-Request-ID`): the client's where it is well-formed, else a random UUID.

use http::Request;
use http::header::{HeaderName, HeaderValue};
use tenbin_balance::Rng;

/// The header.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is kept.
const MAX_LEN: usize = 128;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Makes sure that `request` has exactly one.
pub(super) fn ensure<B>(request: &mut Request<B>, rng: &mut Rng) {
    let mut given = request.headers().get_all(REQUEST_ID).iter();
    let is_good = matches!((given.next(), given.next()), (Some(id), None) if is_well_formed(id.as_bytes()));
    if !is_good && let Ok(id) = HeaderValue::from_bytes(&uuid(rng.next_u64(), rng.next_u64())) {
        request.headers_mut().insert(REQUEST_ID, id);
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    (1..=MAX_LEN).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// A random UUID (version 4, RFC 9562) as text.
fn uuid(high: u64, low: u64) -> [u8; 36] {
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    let mut text = [b'-'; 36];
    let (first, last) = text.split_at_mut(18);
    put(first, high, [0, 2, 4, 6, 9, 11, 14, 16]);
    put(last, low, [1, 3, 6, 8, 10, 12, 14, 16]);
    text
}

/// Writes the bytes of `digits` as two digits each, to these places.
fn put(text: &mut [u8], digits: u64, places: [usize; 8]) {
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or_default();
    for (byte, at) in digits.to_be_bytes().into_iter().zip(places) {
        if let Some([high, low]) = text.get_mut(at..at + 2) {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&str]) -> String {
        let mut request = Request::new(());
        for id in given {
            let id = HeaderValue::from_bytes(id.as_bytes()).unwrap();
            request.headers_mut().append(REQUEST_ID, id);
        }
        ensure(&mut request, &mut Rng::new(7));
        let ids: Vec<_> = request.headers().get_all(REQUEST_ID).iter().collect();
        assert_eq!(ids.len(), 1);
        ids[0].to_str().unwrap().to_owned()
    }

    #[test]
    fn uuids_are_of_version_4() {
        let max = uuid(u64::MAX, u64::MAX);
        assert_eq!(
            std::str::from_utf8(&max).unwrap(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        let some = uuid(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef);
        assert_eq!(
            std::str::from_utf8(&some).unwrap(),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }

    #[test]
    fn good_ones_are_kept_and_others_made() {
        let long = "x".repeat(MAX_LEN);
        for good in ["a", "01HZ-x_y.z", &long] {
            assert_eq!(of(&[good]), good);
        }
        for bad in [
            &[][..],
            &[""],
            &["a b"],
            &["\u{e4}"],
            &["a", "b"],
            &[&format!("{long}x")],
        ] {
            assert_eq!(of(bad).len(), 36, "{bad:?}");
        }
    }
}
