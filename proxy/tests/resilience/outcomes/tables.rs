//! The tables of the page: who speaks what, and what goes wrong.

use h2::Reason;

use crate::app::{At, By, Way};
use crate::call::Over;
use crate::frames::{Way2, When};

/// A table.
pub(super) struct Table {
    pub(super) title: &'static str,
    /// One sentence.
    pub(super) intro: &'static str,
    pub(super) client: Over,
    pub(super) endpoint: Speaks,
    /// Whether all that can be retried is.
    pub(super) every: bool,
    pub(super) faults: &'static [(&'static str, Fault)],
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 in cleartext.
    Http2,
}

/// What goes wrong with the first endpoint, or with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Refused,
    Unreachable,
    /// An app without TLS where that is expected.
    Cleartext(Way),
    /// Its certificate is not one that is trusted.
    Stranger,
    App(Way),
    /// In a way that only HTTP/2 has.
    Own(Way2),
    ClientGone(By),
    UploadStalls,
    UploadBreaks,
    Exhausted,
}

pub(super) const TABLES: [&Table; 7] = [
    &Table {
        title: "Without settings",
        intro: "HTTP/1.1 with the client and in cleartext with the endpoints.",
        client: Over::Http1,
        endpoint: Speaks::Http1,
        every: false,
        faults: HTTP1,
    },
    &Table {
        title: "With `retries: {conditions: [Closed, GatewayError, Timeout], anyMethod: true}` and `timeouts.perTry`",
        intro: "The same where all that may be sent again is.",
        client: Over::Http1,
        endpoint: Speaks::Http1,
        every: true,
        faults: HTTP1,
    },
    &Table {
        title: "TLS with the endpoints",
        intro: "HTTP/1.1 over TLS, without settings; an end without TLS's own word for it (close_notify) may be anybody's.",
        client: Over::Http1,
        endpoint: Speaks::Tls,
        every: false,
        faults: TLS,
    },
    &Table {
        title: "HTTP/2 with the endpoints",
        intro: "HTTP/1.1 with the client and HTTP/2 in cleartext with the endpoints, which can say that they did not begin a request; without \
                settings.",
        client: Over::Http1,
        endpoint: Speaks::Http2,
        every: false,
        faults: HTTP2,
    },
    &Table {
        title: "HTTP/2 with the endpoints, and the same retries",
        intro: "With the `retries` and the `timeouts.perTry` of above.",
        client: Over::Http1,
        endpoint: Speaks::Http2,
        every: true,
        faults: HTTP2,
    },
    &Table {
        title: "HTTP/2 with the client",
        intro: "The main ones of a client over HTTP/2, to whom `broken` is a stream that is reset; HTTP/1.1 with the endpoints, without \
                settings.",
        client: Over::Http2,
        endpoint: Speaks::Http1,
        every: false,
        faults: CLIENT,
    },
    &Table {
        title: "HTTP/2 with both",
        intro: "The same with endpoints over HTTP/2.",
        client: Over::Http2,
        endpoint: Speaks::Http2,
        every: false,
        faults: BOTH,
    },
];

const fn ends(at: At, by: By) -> Fault {
    Fault::App(Way::Ends(at, by))
}

const fn resets(at: At, reason: Reason) -> Fault {
    Fault::Own(Way2::Resets(at, reason))
}

const fn goes_away(when: When) -> Fault {
    Fault::Own(Way2::GoesAway(when))
}

#[rustfmt::skip]
const HTTP1: &[(&str, Fault)] = &[
    ("it refuses the connection", Fault::Refused),
    ("it does not answer the connection attempt", Fault::Unreachable),
    ("it closes the connection before a byte of its answer", ends(At::Begin, By::Close)),
    ("it resets the connection before a byte of its answer", ends(At::Begin, By::Reset)),
    ("it resets the connection, the request's body unread", ends(At::Unread, By::Reset)),
    ("it closes a connection that had been idle when the request comes", ends(At::Reuse, By::Close)),
    ("it resets a connection that had been idle when the request comes", ends(At::Reuse, By::Reset)),
    ("it closes in the middle of its headers", ends(At::Head, By::Close)),
    ("it resets in the middle of its headers", ends(At::Head, By::Reset)),
    ("it closes in the middle of its body", ends(At::Body, By::Close)),
    ("it resets in the middle of its body", ends(At::Body, By::Reset)),
    ("it ends a body of unsaid length by closing", ends(At::End, By::Close)),
    ("it resets in a body of unsaid length", ends(At::End, By::Reset)),
    ("it takes the request and is silent", Fault::App(Way::Silent)),
    ("it begins its headers and stops", Fault::App(Way::SlowHead)),
    ("it begins its body and stops", Fault::App(Way::SlowBody)),
    ("it neither reads the request's body nor answers", Fault::App(Way::Deaf)),
    ("it answers before it read the request's body", Fault::App(Way::Early)),
    ("it answers 404", Fault::App(Way::Status(404))),
    ("it answers 500", Fault::App(Way::Status(500))),
    ("it answers 503", Fault::App(Way::Status(503))),
    ("it answers what is not HTTP", Fault::App(Way::Garbage)),
    ("the client leaves while the endpoint is at work", Fault::ClientGone(By::Close)),
    ("the client resets the connection while the endpoint is at work", Fault::ClientGone(By::Reset)),
    ("the client stops in the middle of its body", Fault::UploadStalls),
    ("the client leaves in the middle of its body", Fault::UploadBreaks),
    ("the cluster is at its limit, the queue full", Fault::Exhausted),
    ("nothing goes wrong", Fault::App(Way::Well)),
];

#[rustfmt::skip]
const TLS: &[(&str, Fault)] = &[
    ("it refuses the connection", Fault::Refused),
    ("it says nothing to TLS", Fault::Cleartext(Way::Mute)),
    ("it closes during the handshake", Fault::Cleartext(Way::HangsUp(By::Close))),
    ("it resets during the handshake", Fault::Cleartext(Way::HangsUp(By::Reset))),
    ("it answers what is not TLS", Fault::Cleartext(Way::Babbles)),
    ("its certificate is not trusted", Fault::Stranger),
    ("it closes before a byte of its answer", ends(At::Begin, By::Close)),
    ("it closes before a byte of its answer, without close_notify", ends(At::Begin, By::Cut)),
    ("it resets before a byte of its answer", ends(At::Begin, By::Reset)),
    ("it resets the connection, the request's body unread", ends(At::Unread, By::Reset)),
    ("it closes a connection that had been idle when the request comes", ends(At::Reuse, By::Close)),
    ("it resets a connection that had been idle when the request comes", ends(At::Reuse, By::Reset)),
    ("it closes in the middle of its headers", ends(At::Head, By::Close)),
    ("it resets in the middle of its headers", ends(At::Head, By::Reset)),
    ("it closes in the middle of its body", ends(At::Body, By::Close)),
    ("it closes in the middle of its body, without close_notify", ends(At::Body, By::Cut)),
    ("it resets in the middle of its body", ends(At::Body, By::Reset)),
    ("it ends a body of unsaid length by closing", ends(At::End, By::Close)),
    ("it ends a body of unsaid length without close_notify", ends(At::End, By::Cut)),
    ("it resets in a body of unsaid length", ends(At::End, By::Reset)),
    ("it takes the request and is silent", Fault::App(Way::Silent)),
    ("it begins its body and stops", Fault::App(Way::SlowBody)),
    ("it answers before it read the request's body", Fault::App(Way::Early)),
    ("it answers 503", Fault::App(Way::Status(503))),
    ("it answers what is not HTTP", Fault::App(Way::Garbage)),
    ("the client leaves while the endpoint is at work", Fault::ClientGone(By::Close)),
    ("the client stops in the middle of its body", Fault::UploadStalls),
    ("the client leaves in the middle of its body", Fault::UploadBreaks),
    ("nothing goes wrong", Fault::App(Way::Well)),
];

#[rustfmt::skip]
const HTTP2: &[(&str, Fault)] = &[
    ("it refuses the connection", Fault::Refused),
    ("it closes the connection before a byte of its answer", ends(At::Begin, By::Close)),
    ("it resets the connection before a byte of its answer", ends(At::Begin, By::Reset)),
    ("it resets the connection, the request's body unread", ends(At::Unread, By::Reset)),
    ("it closes a connection that had been idle when the request comes", ends(At::Reuse, By::Close)),
    ("it resets a connection that had been idle when the request comes", ends(At::Reuse, By::Reset)),
    ("it closes in the middle of its headers", ends(At::Head, By::Close)),
    ("it resets the connection in the middle of its headers", ends(At::Head, By::Reset)),
    ("it closes in the middle of its body", ends(At::Body, By::Close)),
    ("it resets the connection in the middle of its body", ends(At::Body, By::Reset)),
    ("it refuses the request (REFUSED_STREAM)", resets(At::Begin, Reason::REFUSED_STREAM)),
    ("it refuses it, the body unread", resets(At::Unread, Reason::REFUSED_STREAM)),
    ("it resets the request (RST_STREAM) before its headers", resets(At::Begin, Reason::INTERNAL_ERROR)),
    ("it resets it, the body unread", resets(At::Unread, Reason::INTERNAL_ERROR)),
    ("it resets it in the middle of its headers", resets(At::Head, Reason::INTERNAL_ERROR)),
    ("it resets it in the middle of its body", resets(At::Body, Reason::INTERNAL_ERROR)),
    ("it resets it there and says that it is no error (NO_ERROR)", resets(At::Body, Reason::NO_ERROR)),
    ("it takes no more requests (GOAWAY), this one included", goes_away(When::Before)),
    ("it says so on a connection that had been idle when the request comes", goes_away(When::Reuse)),
    ("it said so before the request comes", goes_away(When::Idle)),
    ("it takes no more requests after this one, and answers", goes_away(When::Answering)),
    ("it takes no more requests after this one, and closes before its answer", goes_away(When::Leaving)),
    ("it takes the request and is silent", Fault::App(Way::Silent)),
    ("it begins its headers and stops", Fault::App(Way::SlowHead)),
    ("it begins its body and stops", Fault::App(Way::SlowBody)),
    ("it takes nothing of the request's body, nor answers", Fault::App(Way::Deaf)),
    ("it answers, and wants no more of the request's body (NO_ERROR)", Fault::App(Way::Early)),
    ("it answers 404", Fault::App(Way::Status(404))),
    ("it answers 500", Fault::App(Way::Status(500))),
    ("it answers 503", Fault::App(Way::Status(503))),
    ("it answers what is not HTTP/2", Fault::App(Way::Garbage)),
    ("the client leaves while the endpoint is at work", Fault::ClientGone(By::Close)),
    ("the client stops in the middle of its body", Fault::UploadStalls),
    ("the client leaves in the middle of its body", Fault::UploadBreaks),
    ("the cluster is at its limit, the queue full", Fault::Exhausted),
    ("nothing goes wrong", Fault::App(Way::Well)),
];

#[rustfmt::skip]
const CLIENT: &[(&str, Fault)] = &[
    ("it refuses the connection", Fault::Refused),
    ("it closes the connection before a byte of its answer", ends(At::Begin, By::Close)),
    ("it resets the connection, the request's body unread", ends(At::Unread, By::Reset)),
    ("it closes a connection that had been idle when the request comes", ends(At::Reuse, By::Close)),
    ("it closes in the middle of its headers", ends(At::Head, By::Close)),
    ("it closes in the middle of its body", ends(At::Body, By::Close)),
    ("it ends a body of unsaid length by closing", ends(At::End, By::Close)),
    ("it resets in a body of unsaid length", ends(At::End, By::Reset)),
    ("it takes the request and is silent", Fault::App(Way::Silent)),
    ("it begins its body and stops", Fault::App(Way::SlowBody)),
    ("it neither reads the request's body nor answers", Fault::App(Way::Deaf)),
    ("it answers before it read the request's body", Fault::App(Way::Early)),
    ("it answers 503", Fault::App(Way::Status(503))),
    ("it answers what is not HTTP", Fault::App(Way::Garbage)),
    ("the client leaves while the endpoint is at work", Fault::ClientGone(By::Close)),
    ("the client stops in the middle of its body", Fault::UploadStalls),
    ("the client leaves in the middle of its body", Fault::UploadBreaks),
    ("the cluster is at its limit, the queue full", Fault::Exhausted),
    ("nothing goes wrong", Fault::App(Way::Well)),
];

#[rustfmt::skip]
const BOTH: &[(&str, Fault)] = &[
    ("it closes the connection before a byte of its answer", ends(At::Begin, By::Close)),
    ("it closes in the middle of its body", ends(At::Body, By::Close)),
    ("it refuses the request (REFUSED_STREAM)", resets(At::Begin, Reason::REFUSED_STREAM)),
    ("it resets the request (RST_STREAM) before its headers", resets(At::Begin, Reason::INTERNAL_ERROR)),
    ("it resets it in the middle of its body", resets(At::Body, Reason::INTERNAL_ERROR)),
    ("it resets it there and says that it is no error (NO_ERROR)", resets(At::Body, Reason::NO_ERROR)),
    ("it takes no more requests (GOAWAY), this one included", goes_away(When::Before)),
    ("it takes the request and is silent", Fault::App(Way::Silent)),
    ("it begins its body and stops", Fault::App(Way::SlowBody)),
    ("it takes nothing of the request's body, nor answers", Fault::App(Way::Deaf)),
    ("it answers, and wants no more of the request's body (NO_ERROR)", Fault::App(Way::Early)),
    ("the client leaves while the endpoint is at work", Fault::ClientGone(By::Close)),
    ("the client stops in the middle of its body", Fault::UploadStalls),
    ("the client leaves in the middle of its body", Fault::UploadBreaks),
    ("nothing goes wrong", Fault::App(Way::Well)),
];
