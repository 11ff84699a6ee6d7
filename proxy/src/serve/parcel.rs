//! A request as it is sent to endpoints, more than once where that must be: made for what the endpoint speaks. Pure; sending it is
//! `upstream`'s.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TE, UPGRADE};
use http::request::Parts;
use http::uri::{self, Authority, Scheme, Uri};
use http::{Method, Request};
use http_body::Body;

use super::forwarding::Told;
use super::http2::strip_request;
use super::upload::{RequestBody, Upload};
use crate::state::{Endpoint, EndpointTls};

/// A request, in the form of the version of HTTP that it was sent in last.
#[derive(Debug)]
pub struct Parcel {
    /// Gone when it was sent and is not to be sent again.
    head: Option<Parts>,
    upload: Option<Rc<Upload>>,
    /// Whether the head was made fit for HTTP/2, and what Host it had then.
    is_http2: bool,
    host: Option<HeaderValue>,
    /// What endpoints are told beside the head.
    told: Option<Rc<Told>>,
}

/// Whether a request by this method usually has a body, so that its length is said where there is none, too (RFC 9110 §8.6).
pub(crate) fn usually_has_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
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
    /// A head made [what is sent](super::headers::to_endpoint).
    pub(super) fn new(head: Parts, upload: Option<Rc<Upload>>, told: Option<Rc<Told>>) -> Self {
        Parcel {
            head: Some(head),
            upload,
            is_http2: false,
            host: None,
            told,
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

    /// The request for an endpoint that speaks HTTP/1.1, from its beginning, with header lines that are ready; `None` if it is not to be sent
    /// again.
    pub(crate) fn once_more(&mut self) -> Option<(&Parts, &[u8], RequestBody)> {
        self.head.as_ref()?;
        let body = self.body();
        let head = self.head.as_mut()?;
        self.is_http2 = false;
        if let Some(authority) = head.uri.authority() {
            let named = || HeaderValue::from_str(authority.as_str()).ok();
            if let Some(host) = self.host.take().or_else(named) {
                head.headers.insert(HOST, host);
            }
            let mut origin = uri::Parts::default();
            origin.path_and_query = head.uri.path_and_query().cloned();
            head.uri = Uri::from_parts(origin).unwrap_or_default();
        }
        let told = self.told.as_deref().map_or(&b""[..], Told::http1);
        Some((head, told, body))
    }

    /// It was sent, and is not to be sent again.
    pub(crate) fn spend(&mut self) {
        self.drop_head();
    }

    /// The request for `endpoint`, which speaks HTTP/2, from its beginning, with headers that are [ready](Self::ready) beside it; `None` if it
    /// is not to be sent again. If it may be, its head is to be given back ([`Self::keep`]).
    pub(crate) fn request(&mut self, endpoint: &Endpoint) -> Option<(Request<()>, RequestBody)> {
        let mut head = self.head.take()?;
        let body = self.body();
        if !std::mem::replace(&mut self.is_http2, true) {
            self.host = to_http2(&mut head, &body);
        }
        address(&mut head.uri, self.host.as_ref(), endpoint);
        Some((Request::from_parts(head, ()), body))
    }

    /// Headers of a request for an endpoint that speaks HTTP/2, as part of a header block.
    pub(crate) fn ready(&self) -> &[u8] {
        self.told.as_deref().map_or(&b""[..], Told::http2)
    }

    /// The head of a request that may be sent again.
    pub(crate) fn keep(&mut self, request: Request<()>) {
        self.head = Some(request.into_parts().0);
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

/// What is said in frames is not said in headers (RFC 9113 §8.2.2), but for how much there is to come. Gives Host, which is said elsewhere;
/// none where the target says it.
fn to_http2(head: &mut Parts, body: &RequestBody) -> Option<HeaderValue> {
    let headers = &mut head.headers;
    // All that is left of what is of a connection.
    if headers.contains_key(UPGRADE) {
        strip_request(headers);
    }
    if !headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
        && (length > 0 || usually_has_body(&head.method))
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.remove(HOST)
}

/// Host becomes the authority (RFC 9113 §8.3.1).
fn address(uri: &mut Uri, host: Option<&HeaderValue>, endpoint: &Endpoint) {
    let scheme = match endpoint.transport.tls {
        EndpointTls::Off => Scheme::HTTP,
        EndpointTls::On { .. } | EndpointTls::Unusable(_) => Scheme::HTTPS,
    };
    if host.is_none() && uri.scheme() == Some(&scheme) {
        return;
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.scheme = Some(scheme);
    if let Some(host) = host {
        let authority = Authority::try_from(host.as_bytes()).ok();
        parts.authority = authority.or_else(|| endpoint.address.to_string().parse().ok());
    }
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tenbin_model::EndpointId;

    use super::*;
    use crate::state::{EndpointStats, Transport};

    fn endpoint() -> Endpoint {
        Endpoint {
            id: EndpointId::parse("test", "one").unwrap(),
            address: SocketAddr::from(([10, 0, 0, 1], 8080)),
            instance: "one".into(),
            transport: Arc::new(Transport::default()),
            stats: Arc::new(EndpointStats::new(&Arc::default())),
        }
    }

    /// What a request says of its target, sent in turns to endpoints that speak HTTP/2 and such that speak HTTP/1.1, as where a cluster
    /// changes between two tries.
    fn sent(request: Request<()>, turns: &str) -> Vec<(String, Option<String>)> {
        let mut parcel = Parcel::new(request.into_parts().0, None, None);
        let said = |uri: &Uri, headers: &HeaderMap| {
            let host = headers.get(HOST).map(|host| host.to_str().unwrap().to_owned());
            (uri.to_string(), host)
        };
        let turn = |version| match version {
            '2' => {
                let (request, _) = parcel.request(&endpoint()).unwrap();
                let said = said(request.uri(), request.headers());
                parcel.keep(request);
                said
            }
            _ => {
                let (head, _, _) = parcel.once_more().unwrap();
                said(&head.uri, &head.headers)
            }
        };
        turns.chars().map(turn).collect()
    }

    #[test]
    fn the_host_stays_whatever_the_next_endpoint_speaks() {
        let http1 = ("/a?b".to_owned(), Some("Shop.test:81".to_owned()));
        let http2 = ("http://Shop.test:81/a?b".to_owned(), None);
        let from_http1 = || Request::get("/a?b").header(HOST, "Shop.test:81").body(()).unwrap();
        // A client's own authority, which came over TLS.
        let from_http2 = || Request::get("https://Shop.test:81/a?b").body(()).unwrap();
        for turns in ["1", "2", "12", "21", "121", "212", "1122112"] {
            let expected: Vec<_> = turns
                .chars()
                .map(|version| if version == '2' { http2.clone() } else { http1.clone() })
                .collect();
            assert_eq!(sent(from_http1(), turns), expected, "HTTP/1.1, {turns}");
            assert_eq!(sent(from_http2(), turns), expected, "HTTP/2, {turns}");
        }
    }

    #[test]
    fn a_host_that_is_no_authority_reaches_http1_as_it_is() {
        let request = || Request::get("/").header(HOST, "").body(()).unwrap();
        let (uri, host) = sent(request(), "2").pop().unwrap();
        assert_eq!((uri.as_str(), host), ("http://10.0.0.1:8080/", None));
        let (uri, host) = sent(request(), "21").pop().unwrap();
        assert_eq!((uri.as_str(), host.as_deref()), ("/", Some("")));
    }

    #[test]
    fn what_is_sent_last_is_gone() {
        let mut parcel = Parcel::new(Request::get("/").body(()).unwrap().into_parts().0, None, None);
        assert!(parcel.is_whole() && parcel.request(&endpoint()).is_some());
        assert!(!parcel.is_whole() && parcel.once_more().is_none() && parcel.request(&endpoint()).is_none());
    }
}
