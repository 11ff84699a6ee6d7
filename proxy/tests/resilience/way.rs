//! The ways in which apps go wrong, and what they have written by then.

/// How an app answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// 200, when all of the request came.
    Well,
    /// The same, when the test lets it.
    Gated,
    /// With this status.
    Status(u16),
    /// It ends the connection there.
    Ends(At, By),
    /// It answers, and closes connections that are idle for so many milliseconds.
    CloseAfter(u64),
    /// It takes the request and says nothing.
    Silent,
    /// It begins its head and stops.
    SlowHead,
    /// It begins its body and stops.
    SlowBody,
    /// It answers without reading the request's body.
    Early,
    /// It neither reads the request's body nor answers.
    Deaf,
    /// It answers what is not HTTP.
    Garbage,
    /// It answers with a body of so many bytes, with or without telling how many.
    Large(usize, bool),
    /// It takes the first bytes of a connection, whatever they are, and says nothing.
    Mute,
    /// It takes these, and ends the connection.
    HangsUp(By),
    /// It takes these, and answers what is neither TLS nor HTTP.
    Babbles,
}

/// Where an app ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// When it has the request.
    Begin,
    /// When it has the request's head, and some of its body lies there.
    Unread,
    /// When it has the second request of the connection; it answers the first.
    Reuse,
    /// In the middle of its head.
    Head,
    /// In the middle of its body, when the test lets it.
    Body,
    /// After a body of which nothing else says where it ends, when the test lets it.
    End,
}

/// How an app ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// In order: with TLS it says so.
    Close,
    /// By TCP's end alone, whatever goes over it.
    Cut,
    /// By TCP's reset.
    Reset,
}

impl Way {
    /// What is written of an answer over HTTP/1.1.
    pub(crate) fn text(self) -> String {
        let ok = "HTTP/1.1 200 OK\r\n";
        match self {
            Way::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 3\r\nx-own: 1\r\n\r\nown"),
            Way::Ends(At::Head, _) | Way::SlowHead => format!("{ok}content-le"),
            Way::Ends(At::Body, _) | Way::SlowBody => format!("{ok}content-length: 10\r\n\r\nhalf"),
            Way::Ends(At::End, _) => format!("{ok}\r\nhalf"),
            Way::Garbage => "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned(),
            Way::Large(size, true) => format!("{ok}content-length: {size}\r\n\r\n{}", "x".repeat(size)),
            Way::Large(size, false) => format!(
                "{ok}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n",
                "x".repeat(size)
            ),
            _ => format!("{ok}content-length: 2\r\n\r\nok"),
        }
    }
}
