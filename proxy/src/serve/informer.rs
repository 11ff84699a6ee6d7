//! What a client hears of its request before the response: informational responses (1xx, RFC 9110 §15.2), in the way of its protocol.

use std::rc::Rc;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, StatusCode, Version};

use super::http1::Wire;

/// Headers that make no sense in them, or would be wrong on another connection.
const DROPPED: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Tells the client of one request.
#[derive(Clone, Debug)]
pub(super) enum Informer {
    /// It speaks HTTP/1.
    Http1(Rc<Wire>, Version),
    /// It speaks HTTP/2.
    Http2,
}

impl Informer {
    /// Tells what an endpoint says before its response. 100 is about the connection to the endpoint alone.
    pub(super) fn tell(&self, status: StatusCode, mut headers: HeaderMap) {
        if status == StatusCode::CONTINUE {
            return;
        }
        for name in DROPPED {
            headers.remove(name);
        }
        match self {
            // HTTP/1.0 has none.
            Informer::Http1(wire, version) if *version == Version::HTTP_11 => wire.tell(status, &headers),
            Informer::Http1(..) | Informer::Http2 => {}
        }
    }
}
