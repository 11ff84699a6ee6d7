//! The rows of the table: what each is called, what its clients and its app speak, and what is said of it on the page. How it is
//! loaded is in `load` and `idle`, how proxies are set up for it in `proxy`.

use clap::ValueEnum;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// HTTP/1.1, 1 KiB, kept connections.
    #[value(name = "h1-1k")]
    Small,
    /// HTTP/1.1, 1 KiB, kept connections; nginx and HAProxy add no headers.
    #[value(name = "h1-1k-bare")]
    Bare,
    /// HTTP/1.1, 100 KiB, kept connections.
    #[value(name = "h1-100k")]
    Large,
    /// HTTP/1.1, 1 KiB, kept connections over TLS.
    Tls,
    /// HTTP/2 over TLS, 1 KiB.
    H2,
    /// A new connection for each request.
    New,
    /// A new connection over TLS for each request.
    NewTls,
    /// Unary gRPC calls.
    Grpc,
    /// Messages over kept WebSockets.
    Websocket,
    /// Memory and CPU of idle connections.
    Idle,
    /// Two workers against one; ours alone.
    Workers,
}

/// What a row's clients and its app speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    /// Whether clients speak TLS with the proxy.
    pub(crate) tls: bool,
    /// What is behind the proxy.
    pub(crate) app: App,
    /// Whether nginx and HAProxy are set up to tell the app of the client and of the request's id, as we and Envoy do by default.
    pub(crate) tells: bool,
}

/// What is behind a proxy; nothing of it speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum App {
    /// nginx with fixed answers, HTTP/1.1.
    Web,
    /// The demo app's gRPC, HTTP/2 in cleartext on both sides.
    Grpc,
    /// The demo app's WebSocket, HTTP/1.1.
    Websocket,
}

impl Row {
    /// As it is called on the command line and in tables.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What is spoken.
    pub(crate) fn wire(self) -> Wire {
        let (tls, app) = match self {
            Row::Small | Row::Bare | Row::Large | Row::New | Row::Idle | Row::Workers => (false, App::Web),
            Row::Tls | Row::H2 | Row::NewTls => (true, App::Web),
            Row::Grpc => (false, App::Grpc),
            Row::Websocket => (false, App::Websocket),
        };
        Wire {
            tls,
            app,
            tells: self != Row::Bare,
        }
    }

    /// What is done in it, for the page.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Row::Small => "GET over HTTP/1.1, 1 KiB of body, 64 kept connections (wrk)",
            Row::Bare => {
                "the same with an nginx and a HAProxy that add no header to requests, against a Tenbin that does"
            }
            Row::Large => "as `h1-1k` with 100 KiB of body, from a file of the app's",
            Row::Tls => "as `h1-1k`, over 64 kept TLS connections (wrk)",
            Row::H2 => "GET over HTTP/2 over TLS, 1 KiB of body, 16 kept connections with 10 streams each (h2load)",
            Row::New => {
                "GET over HTTP/1.1 with `Connection: close`, 1 KiB of body, a connection for each request, 32 at a time; each time is \
                 from before connecting until the proxy has closed (a client of the benchmark's own)"
            }
            Row::NewTls => "the same with a full TLS handshake for each request, no session resumed",
            Row::Grpc => {
                "unary gRPC calls with 100 bytes of text, HTTP/2 in cleartext on both sides of the proxy, 16 kept connections with 10 \
                 streams each (h2load), against the demo app"
            }
            Row::Websocket => {
                "messages of 100 bytes and their echoes over 64 kept WebSockets, one in flight on each (a client of the benchmark's \
                 own), against the demo app; a request is a message and its echo"
            }
            Row::Idle => {
                "HTTP/1.1 connections in cleartext that were served one request of 1 KiB and then nothing; afterwards each is served \
                 another, so all were still open"
            }
            Row::Workers => {
                "`h1-1k` with one worker and with two: *apart* as in the other rows, *shared* with proxy, load and app all on both \
                 cores"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for row in Row::value_variants() {
            assert_eq!(Row::from_str(&row.name(), false), Ok(*row));
        }
    }
}
