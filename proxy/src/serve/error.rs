//! Everything that can go wrong with a request, in one place: whose fault it is, whether it may be sent again, what the client is
//! told, and the short code under which it is counted and logged (Envoy's response flags where they have one).

use http::StatusCode;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The request is not acceptable: its Host is missing, doubled or malformed.
    BadRequest,
    /// The method is not served: CONNECT.
    BadMethod,
    /// The client left, or broke off its request's body.
    ClientGone,
    /// No route matches.
    NoRoute,
    /// The route names a cluster that is not known.
    NoCluster,
    /// The cluster has no endpoint.
    NoEndpoint,
    /// The endpoint of the client's session is gone or cannot be reached, and sessions may not move.
    Session,
    /// The endpoint refused the connection or cannot be reached.
    Connect,
    /// The endpoint did not answer a connection attempt in time.
    ConnectTimeout,
    /// This proxy could not open a connection: out of descriptors, ports or memory. There may be an idle one to another endpoint.
    Local,
    /// The endpoint closed the connection before its response's headers were complete.
    Closed,
    /// The endpoint answered with something that is not HTTP, or switched protocols unasked.
    Protocol,
    /// The endpoint did not send its response's headers in time.
    ResponseTimeout,
    /// The endpoint broke off in the middle of its response's body.
    BodyBroken,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// This proxy's, or of what it was told.
    Proxy,
    /// The endpoint's.
    Endpoint,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: an app may have begun it, or it would fail again.
    Never,
    /// On another endpoint, whatever the method: nothing of it was sent.
    Elsewhere,
}

/// What there is to say about a failure.
struct Facts {
    fault: Fault,
    retry: Retry,
    status: StatusCode,
    code: &'static str,
    text: &'static str,
}

impl Failure {
    /// Every failure; its place here is its place in [`crate::state::PortStats::failures`].
    pub const ALL: [Failure; 14] = [
        Failure::BadRequest,
        Failure::BadMethod,
        Failure::ClientGone,
        Failure::NoRoute,
        Failure::NoCluster,
        Failure::NoEndpoint,
        Failure::Session,
        Failure::Connect,
        Failure::ConnectTimeout,
        Failure::Local,
        Failure::Closed,
        Failure::Protocol,
        Failure::ResponseTimeout,
        Failure::BodyBroken,
    ];

    #[rustfmt::skip]
    const fn facts(self) -> Facts {
        use {Fault::{Client, Endpoint, Proxy}, Retry::{Elsewhere, Never}};
        const fn facts(fault: Fault, retry: Retry, status: StatusCode, code: &'static str, text: &'static str) -> Facts {
            Facts { fault, retry, status, code, text }
        }
        match self {
            Failure::BadRequest => facts(Client, Never, StatusCode::BAD_REQUEST, "DPE", "tenbin: 400 DPE: exactly one well-formed Host is expected\n"),
            Failure::BadMethod => facts(Client, Never, StatusCode::METHOD_NOT_ALLOWED, "DPE", "tenbin: 405 DPE: CONNECT is not served here\n"),
            Failure::ClientGone => facts(Client, Never, StatusCode::BAD_REQUEST, "DC", "tenbin: 400 DC: the request's body broke off\n"),
            Failure::NoRoute => facts(Client, Never, StatusCode::NOT_FOUND, "NR", "tenbin: 404 NR: no route matches\n"),
            Failure::NoCluster => facts(Proxy, Never, StatusCode::SERVICE_UNAVAILABLE, "NC", "tenbin: 503 NC: the route's cluster is unknown\n"),
            Failure::NoEndpoint => facts(Endpoint, Never, StatusCode::SERVICE_UNAVAILABLE, "UH", "tenbin: 503 UH: no endpoint is available\n"),
            Failure::Session => facts(Endpoint, Never, StatusCode::SERVICE_UNAVAILABLE, "US", "tenbin: 503 US: the endpoint of this session is gone or cannot be reached\n"),
            Failure::Connect => facts(Endpoint, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "UF", "tenbin: 503 UF: no endpoint could be connected to\n"),
            Failure::ConnectTimeout => facts(Endpoint, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "UFT", "tenbin: 503 UFT: connecting to an endpoint took too long\n"),
            Failure::Local => facts(Proxy, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "LR", "tenbin: 503 LR: the proxy is out of connections\n"),
            Failure::Closed => facts(Endpoint, Never, StatusCode::BAD_GATEWAY, "UC", "tenbin: 502 UC: the endpoint closed the connection before it answered\n"),
            Failure::Protocol => facts(Endpoint, Never, StatusCode::BAD_GATEWAY, "UPE", "tenbin: 502 UPE: the endpoint's answer is not valid HTTP\n"),
            Failure::ResponseTimeout => facts(Endpoint, Never, StatusCode::GATEWAY_TIMEOUT, "UT", "tenbin: 504 UT: the endpoint did not answer in time\n"),
            Failure::BodyBroken => facts(Endpoint, Never, StatusCode::BAD_GATEWAY, "UR", "tenbin: 502 UR: the endpoint broke off its answer\n"),
        }
    }

    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        self.facts().fault
    }

    /// Whether the request may be sent again.
    pub const fn retry(self) -> Retry {
        self.facts().retry
    }

    /// What the client is answered, where it can still be answered.
    pub const fn status(self) -> StatusCode {
        self.facts().status
    }

    /// The short code: letters only, unique but for the two ways of a bad request.
    pub const fn code(self) -> &'static str {
        self.facts().code
    }

    /// The body of the answer.
    pub const fn text(self) -> &'static str {
        self.facts().text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_texts_agree() {
        for (place, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, place);
            let expected = format!("tenbin: {} {}: ", failure.status().as_u16(), failure.code());
            assert!(failure.text().starts_with(&expected), "{failure:?}: {}", failure.text());
        }
    }

    #[test]
    fn only_what_was_never_sent_is_sent_again() {
        let again: Vec<_> = Failure::ALL
            .into_iter()
            .filter(|f| f.retry() == Retry::Elsewhere)
            .collect();
        assert_eq!(again, [Failure::Connect, Failure::ConnectTimeout, Failure::Local]);
        assert!(again.iter().all(|f| f.fault() != Fault::Client));
    }
}
