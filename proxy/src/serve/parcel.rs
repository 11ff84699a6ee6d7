//! A request as it is sent to endpoints, more than once where that must be: made for what the endpoint speaks. Pure; sending it is
//! `upstream`'s.

use std::rc::Rc;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Version};

use super::upload::{RequestBody, Upload};
use crate::state::{Endpoint, EndpointTls};

const PROXY_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request, in the form of HTTP/1.1.
#[derive(Debug)]
pub struct Parcel {
    /// Gone when it was sent and is not to be sent again.
    head: Option<Parts>,
    upload: Option<Rc<Upload>>,
    /// Whether the client takes trailers: said to endpoints that speak HTTP/2.
    takes_trailers: bool,
}

/// Whether a client says that it takes trailers.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    values.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

impl Parcel {
    pub(super) fn new(head: Parts, upload: Option<Rc<Upload>>, takes_trailers: bool) -> Self {
        Parcel {
            head: Some(head),
            upload,
            takes_trailers,
        }
    }

    /// Its body, if it has one.
    pub fn upload(&self) -> Option<&Upload> {
        self.upload.as_deref()
    }

    /// Its headers, while it may still be sent.
    pub(super) fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        self.head.as_mut().map(|head| &mut head.headers)
    }

    /// Whether all of it is there.
    pub fn is_whole(&self) -> bool {
        self.head.is_some() && self.upload.as_ref().is_none_or(|upload| upload.is_whole())
    }

    /// The request for an endpoint that speaks HTTP/1.1, from its beginning; `None` if it is not to be sent again.
    pub(crate) fn once_more(&self) -> Option<(&Parts, RequestBody)> {
        self.head.as_ref().map(|head| (head, self.body()))
    }

    /// It was sent, and is not to be sent again.
    pub(crate) fn spend(&mut self) {
        self.drop_head();
    }

    /// The request for `endpoint`, which speaks HTTP/2; with `keep`, it may be sent again. `None` if it was sent without.
    pub(crate) fn request(&mut self, endpoint: &Endpoint, keep: bool) -> Option<Request<RequestBody>> {
        let head = if keep { self.head.clone() } else { self.head.take() };
        let mut request = Request::from_parts(head?, self.body());
        to_http2(&mut request, endpoint, self.takes_trailers);
        Some(request)
    }

    fn body(&self) -> RequestBody {
        self.upload.as_ref().map_or_else(RequestBody::empty, Upload::send)
    }

    fn drop_head(&mut self) {
        if let Some(head) = self.head.take() {
            tenbin_http1::recycle(head.headers);
        }
    }

    /// It will not be sent again.
    pub(super) fn settle(&mut self) -> Option<Rc<Upload>> {
        self.drop_head();
        let upload = self.upload.take()?;
        upload.settle();
        Some(upload).filter(|upload| upload.ended().is_none())
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.settle();
        }
    }
}

/// Host becomes the authority (RFC 9113 §8.3.1), what is said in frames is not said in headers (§8.2.2).
fn to_http2(request: &mut Request<RequestBody>, endpoint: &Endpoint, takes_trailers: bool) {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    let host = headers.remove(HOST);
    for name in [CONNECTION, UPGRADE].into_iter().chain(PROXY_HEADERS) {
        headers.remove(name);
    }
    headers.remove(TE);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = authority.or_else(|| endpoint.address.to_string().parse().ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(match endpoint.transport.tls {
        EndpointTls::Off => Scheme::HTTP,
        EndpointTls::On { .. } | EndpointTls::Unusable(_) => Scheme::HTTPS,
    });
    parts.authority = authority;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}
