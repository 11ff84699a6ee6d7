//! Smuggling by Upgrade: bytes after a request for an upgrade belong to another protocol only when the endpoint has switched. The
//! endpoint of these rows never does.

use crate::row::{Answer, Row, Section, form, get, post, raw, row};

const GET: &str = "GET / HTTP/1.1";

pub(super) fn section() -> Section<Row> {
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let rule = "9110 §7.8";
    let never = "9113 §3.1: never spoken, since requests would pass the routes unseen";
    Section {
        title: "Upgrades",
        intro: "The endpoint answers 200, and does not switch. (Where it switches unasked: see below, 502.)",
        rows: vec![
            row(
                "an upgrade that is refused, and a request after it",
                get(socket).shown("Connection: Upgrade\\r\\nUpgrade: websocket"),
                form(GET).has("connection: upgrade").has("upgrade: websocket").passes(),
                "9110 §7.8 (CVE-2024-23326): what follows is a request like any other",
            ),
            row(
                "an upgrade with a body",
                post(format!("{socket}Content-Length: 5\r\n"), "hello")
                    .shown("Connection: Upgrade\\r\\nUpgrade: websocket\\r\\nContent-Length: 5"),
                form("POST / HTTP/1.1").lacks("upgrade").body("hello").passes(),
                rule,
            ),
            row(
                "an upgrade with a chunked body",
                post(
                    format!("{socket}Transfer-Encoding: chunked\r\n"),
                    "5\r\nhello\r\n0\r\n\r\n",
                )
                .shown("Connection: Upgrade\\r\\nUpgrade: websocket\\r\\nTransfer-Encoding: chunked"),
                form("POST / HTTP/1.1").lacks("upgrade").body("hello").passes(),
                rule,
            ),
            row(
                "an upgrade in HTTP/1.0",
                raw("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"),
                form(GET).lacks("upgrade").passes(),
                "9110 §7.8: ignored",
            ),
            row(
                "h2c",
                get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
                form(GET).lacks("upgrade").lacks("h2c").lacks("http2-settings").passes(),
                never,
            ),
            row(
                "h2c, in a list",
                get("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n"),
                form(GET).lacks("upgrade").passes(),
                never,
            ),
            row(
                "h2c, and HTTP/2 at once",
                raw(
                    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n\
                     PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                ),
                Answer::Then(form(GET).lacks("h2c"), 505),
                never,
            ),
        ],
    }
}
