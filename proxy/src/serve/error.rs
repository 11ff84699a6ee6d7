//! Everything that can go wrong with a request, in one place: whose fault it is, whether it may be sent again, what the client is
//! told, and the short code under which it is counted and logged (Envoy's response flags where they have one).

use http::StatusCode;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The request is not acceptable: its Host is missing, doubled or malformed, or in HTTP/2 another header is.
    BadRequest,
    /// Its body does not keep to its form (RFC 9112 §7).
    BadBody,
    /// Its target is none that is served here, or its path can be read in more than one way.
    BadTarget,
    /// Its target says `https`, but it came in cleartext.
    Misdirected,
    /// It expects something else than to be told to go on.
    BadExpectation,
    /// The method is not served: CONNECT, TRACE.
    BadMethod,
    /// It asks for an upgrade, and the endpoints speak HTTP/2, where there is none.
    NoUpgrade,
    /// Its body is larger than its route takes.
    TooLarge,
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
    /// The cluster is at its limits, and no more requests may wait.
    Overflow,
    /// The cluster is at its limits, and was for as long as a request may wait.
    QueueTimeout,
    /// The endpoint refused the connection or cannot be reached.
    Connect,
    /// The endpoint did not answer a connection attempt in time, TLS included.
    ConnectTimeout,
    /// TLS with the endpoint failed: it is not who it should be, or does not speak what it should.
    Tls,
    /// This proxy could not open a connection: out of descriptors, ports or memory. There may be an idle one to another endpoint.
    Local,
    /// The endpoint sent the request back unprocessed (HTTP/2: REFUSED_STREAM, or GOAWAY before it).
    Refused,
    /// The endpoint reset the request (HTTP/2) before its response's headers were complete.
    Reset,
    /// The endpoint broke off in the middle of its response's body.
    BodyBroken,
    /// The endpoint closed the connection before a byte of its response.
    Closed,
    /// The endpoint closed the connection in the middle of its response's headers.
    HeadBroken,
    /// The endpoint answered with something that is not HTTP, or switched protocols unasked.
    Protocol,
    /// The endpoint did not send its response's headers in time, or no endpoint did.
    ResponseTimeout,
    /// The client's body stood still for too long.
    UploadIdle,
    /// The client took no more of the response for too long.
    DownloadIdle,
    /// The endpoint took no more of the request's body for too long, and did not answer.
    StreamIdle,
    /// The endpoint's body stood still for too long.
    BodyIdle,
    /// The endpoint's body is larger than the route takes.
    ResponseTooLarge,
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
    /// Nobody's: the endpoint said in time that it will not do it, as it may at its limits and before it leaves.
    Nobody,
}

/// Whether a request may be sent again, as far as the failure alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: it would fail again, or an answer has begun.
    Never,
    /// On another endpoint, whatever the method: nothing of it was sent.
    Elsewhere,
    /// Whatever the method: the endpoint says that no app has begun it.
    Unprocessed,
    /// An app may have begun it, but gave no answer: see [`tenbin_model::RetryOn::Closed`].
    Closed,
    /// An app may be at it still: see [`tenbin_model::RetryOn::Timeout`].
    Timeout,
    /// What came is no answer: see [`tenbin_model::RetryOn::GatewayError`].
    Gateway,
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
    pub const ALL: [Failure; 31] = [
        Failure::BadRequest,
        Failure::BadBody,
        Failure::BadTarget,
        Failure::Misdirected,
        Failure::BadExpectation,
        Failure::BadMethod,
        Failure::NoUpgrade,
        Failure::TooLarge,
        Failure::ClientGone,
        Failure::NoRoute,
        Failure::NoCluster,
        Failure::NoEndpoint,
        Failure::Session,
        Failure::Overflow,
        Failure::QueueTimeout,
        Failure::Connect,
        Failure::ConnectTimeout,
        Failure::Tls,
        Failure::Local,
        Failure::Refused,
        Failure::Reset,
        Failure::BodyBroken,
        Failure::Closed,
        Failure::HeadBroken,
        Failure::Protocol,
        Failure::ResponseTimeout,
        Failure::UploadIdle,
        Failure::DownloadIdle,
        Failure::StreamIdle,
        Failure::BodyIdle,
        Failure::ResponseTooLarge,
    ];

    #[rustfmt::skip]
    const fn facts(self) -> Facts {
        use {Fault::{Client, Endpoint, Nobody, Proxy}, Retry::{Closed, Elsewhere, Gateway, Never, Timeout, Unprocessed}};
        const fn facts(fault: Fault, retry: Retry, status: StatusCode, code: &'static str, text: &'static str) -> Facts {
            Facts { fault, retry, status, code, text }
        }
        match self {
            Failure::BadRequest => facts(Client, Never, StatusCode::BAD_REQUEST, "DPE", "tenbin: 400 DPE: one well-formed Host and well-formed headers are expected\n"),
            Failure::BadBody => facts(Client, Never, StatusCode::BAD_REQUEST, "DPE", "tenbin: 400 DPE: the request's body is malformed\n"),
            Failure::BadTarget => facts(Client, Never, StatusCode::BAD_REQUEST, "DPE", "tenbin: 400 DPE: the target is not served here, or its path can be read in more than one way\n"),
            Failure::Misdirected => facts(Client, Never, StatusCode::MISDIRECTED_REQUEST, "DPE", "tenbin: 421 DPE: the target is https, but the connection is cleartext\n"),
            Failure::BadExpectation => facts(Client, Never, StatusCode::EXPECTATION_FAILED, "DPE", "tenbin: 417 DPE: only 100-continue can be expected\n"),
            Failure::BadMethod => facts(Client, Never, StatusCode::METHOD_NOT_ALLOWED, "DPE", "tenbin: 405 DPE: CONNECT and TRACE are not served here\n"),
            Failure::NoUpgrade => facts(Client, Never, StatusCode::NOT_IMPLEMENTED, "DPE", "tenbin: 501 DPE: the endpoints speak HTTP/2, no upgrade passes\n"),
            Failure::TooLarge => facts(Client, Never, StatusCode::PAYLOAD_TOO_LARGE, "RTL", "tenbin: 413 RTL: the request's body is too large\n"),
            Failure::ClientGone => facts(Client, Never, StatusCode::BAD_REQUEST, "DC", "tenbin: 400 DC: the request's body broke off\n"),
            Failure::NoRoute => facts(Client, Never, StatusCode::NOT_FOUND, "NR", "tenbin: 404 NR: no route matches\n"),
            Failure::NoCluster => facts(Proxy, Never, StatusCode::SERVICE_UNAVAILABLE, "NC", "tenbin: 503 NC: the route's cluster is unknown\n"),
            Failure::NoEndpoint => facts(Endpoint, Never, StatusCode::SERVICE_UNAVAILABLE, "UH", "tenbin: 503 UH: no endpoint is available\n"),
            Failure::Session => facts(Endpoint, Never, StatusCode::SERVICE_UNAVAILABLE, "US", "tenbin: 503 US: the endpoint of this session is gone or cannot be reached\n"),
            Failure::Overflow => facts(Proxy, Never, StatusCode::SERVICE_UNAVAILABLE, "UO", "tenbin: 503 UO: too many requests are open\n"),
            Failure::QueueTimeout => facts(Proxy, Never, StatusCode::SERVICE_UNAVAILABLE, "UO", "tenbin: 503 UO: too many requests were open for too long\n"),
            Failure::Connect => facts(Endpoint, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "UF", "tenbin: 503 UF: no endpoint could be connected to\n"),
            Failure::ConnectTimeout => facts(Endpoint, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "UFT", "tenbin: 503 UFT: connecting to an endpoint took too long\n"),
            Failure::Tls => facts(Endpoint, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "UFS", "tenbin: 503 UFS: TLS with an endpoint failed\n"),
            Failure::Local => facts(Proxy, Elsewhere, StatusCode::SERVICE_UNAVAILABLE, "LR", "tenbin: 503 LR: the proxy is out of connections\n"),
            Failure::Refused => facts(Nobody, Unprocessed, StatusCode::SERVICE_UNAVAILABLE, "UR", "tenbin: 503 UR: the endpoint took no more requests\n"),
            Failure::Reset => facts(Endpoint, Closed, StatusCode::BAD_GATEWAY, "UR", "tenbin: 502 UR: the endpoint reset the request\n"),
            Failure::BodyBroken => facts(Endpoint, Never, StatusCode::BAD_GATEWAY, "UR", "tenbin: 502 UR: the endpoint broke off its answer\n"),
            Failure::Closed => facts(Endpoint, Closed, StatusCode::BAD_GATEWAY, "UC", "tenbin: 502 UC: the endpoint closed the connection before it answered\n"),
            Failure::HeadBroken => facts(Endpoint, Never, StatusCode::BAD_GATEWAY, "UC", "tenbin: 502 UC: the endpoint broke off its answer's headers\n"),
            Failure::Protocol => facts(Endpoint, Gateway, StatusCode::BAD_GATEWAY, "UPE", "tenbin: 502 UPE: the endpoint's answer is not valid HTTP\n"),
            Failure::ResponseTimeout => facts(Endpoint, Timeout, StatusCode::GATEWAY_TIMEOUT, "UT", "tenbin: 504 UT: the endpoint did not answer in time\n"),
            Failure::UploadIdle => facts(Client, Never, StatusCode::REQUEST_TIMEOUT, "SI", "tenbin: 408 SI: the request's body stood still for too long\n"),
            Failure::DownloadIdle => facts(Client, Never, StatusCode::REQUEST_TIMEOUT, "SI", "tenbin: 408 SI: the client did not take the answer\n"),
            Failure::StreamIdle => facts(Endpoint, Never, StatusCode::GATEWAY_TIMEOUT, "SI", "tenbin: 504 SI: the endpoint did not take the request's body\n"),
            Failure::BodyIdle => facts(Endpoint, Never, StatusCode::GATEWAY_TIMEOUT, "SI", "tenbin: 504 SI: the endpoint's answer stood still for too long\n"),
            Failure::ResponseTooLarge => facts(Endpoint, Never, StatusCode::BAD_GATEWAY, "UTL", "tenbin: 502 UTL: the endpoint's answer is too large\n"),
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

    /// The short code: letters only. Failures that share one stand side by side in [`Self::ALL`].
    pub const fn code(self) -> &'static str {
        self.facts().code
    }

    /// Whether it is likely to be over in a second: the client is told by Retry-After.
    pub const fn passes(self) -> bool {
        matches!(self, Failure::Overflow | Failure::QueueTimeout)
    }

    /// Whether nothing more is taken from the client over HTTP/1: what follows such a request may be part of it.
    pub const fn closes(self) -> bool {
        matches!(
            self,
            Failure::BadRequest
                | Failure::BadTarget
                | Failure::Misdirected
                | Failure::BadExpectation
                | Failure::BadMethod
        )
    }

    /// What a gRPC client is told (its `grpc-status`).
    pub const fn grpc_status(self) -> u8 {
        match self {
            Failure::ClientGone => 1,
            Failure::ResponseTimeout | Failure::StreamIdle | Failure::BodyIdle => 4,
            Failure::Overflow | Failure::QueueTimeout | Failure::TooLarge | Failure::ResponseTooLarge => 8,
            Failure::NoRoute | Failure::BadMethod | Failure::NoUpgrade => 12,
            Failure::BadRequest
            | Failure::BadBody
            | Failure::BadTarget
            | Failure::Misdirected
            | Failure::BadExpectation => 13,
            _ => 14,
        }
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
    fn those_of_one_code_stand_side_by_side() {
        let mut codes: Vec<_> = Failure::ALL.into_iter().map(Failure::code).collect();
        codes.dedup();
        let runs = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), runs, "a series of metrics must be there only once");
    }

    #[test]
    fn whatever_the_method_only_what_no_app_can_have_begun_is_sent_again() {
        let safe = |f: &Failure| matches!(f.retry(), Retry::Elsewhere | Retry::Unprocessed);
        let again: Vec<_> = Failure::ALL.into_iter().filter(safe).collect();
        let expected = [
            Failure::Connect,
            Failure::ConnectTimeout,
            Failure::Tls,
            Failure::Local,
            Failure::Refused,
        ];
        assert_eq!(again, expected);
        let clients = Failure::ALL.into_iter().filter(|f| f.fault() == Fault::Client);
        assert!(clients.clone().all(|f| f.retry() == Retry::Never));
        assert!(
            clients
                .clone()
                .all(|f| f.status().is_client_error() || f == Failure::NoUpgrade)
        );
    }
}
