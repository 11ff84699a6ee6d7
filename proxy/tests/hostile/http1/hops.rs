//! What stays behind of a request, and what a client says that only proxies may say.

use crate::row::{Row, Section, behind, form, get, post, row};

const GET: &str = "GET / HTTP/1.1";

pub(super) fn connections() -> Section<Row> {
    let rule = "9110 §7.6.1";
    let passes = |name, lines: &str, lacks: &'static str| row(name, get(lines), form(GET).lacks(lacks).passes(), rule);
    let stays = |name, lines: &str, has: &'static str| row(name, get(lines), form(GET).has(has).passes(), rule);
    Section {
        title: "Headers of one connection",
        intro: "They stay behind, with whatever `Connection` names; but what was routed by, and what we say, cannot be had removed.",
        rows: vec![
            passes(
                "a header that Connection names",
                "X-A: evil\r\nConnection: x-a\r\n",
                "evil",
            ),
            passes(
                "of several",
                "X-A: evil\r\nX-B: evil\r\nConnection: foo, X-A,,\r\nConnection:x-b\r\n",
                "evil",
            ),
            passes("Connection itself", "Connection: evil\r\n", "evil"),
            passes("Keep-Alive", "Keep-Alive: timeout=evil\r\n", "evil"),
            passes("Proxy-Connection", "Proxy-Connection: evil\r\n", "evil"),
            passes("Proxy-Authorization", "Proxy-Authorization: evil\r\n", "evil"),
            passes("Proxy-Authenticate", "Proxy-Authenticate: evil\r\n", "evil"),
            passes("TE", "TE: evil\r\nConnection: te\r\n", "te:"),
            stays("TE: trailers", "TE: trailers\r\nConnection: te\r\n", "te: trailers"),
            passes("Upgrade that Connection does not name", "Upgrade: evil\r\n", "evil"),
            row(
                "Proxy",
                get("Proxy: evil:80\r\n"),
                form(GET).lacks("evil").passes(),
                "CVE-2016-5385: CGI's HTTP_PROXY",
            ),
            stays("Connection names Host", "Connection: host\r\n", "host: a"),
            stays(
                "Connection names X-Forwarded-For",
                "Connection: x-forwarded-for\r\n",
                "x-forwarded-for: 127.0.0.1",
            ),
            stays(
                "Connection names X-Forwarded-Proto",
                "Connection: x-forwarded-proto\r\n",
                "x-forwarded-proto: http",
            ),
            stays(
                "Connection names X-Real-IP",
                "Connection: x-real-ip\r\n",
                "x-real-ip: 127.0.0.1",
            ),
            stays(
                "Connection names X-Request-ID",
                "X-Request-ID: id\r\nConnection: x-request-id\r\n",
                "x-request-id: id",
            ),
            behind(
                "Connection names what a trusted hop said",
                get(
                    "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nConnection: forwarded, x-forwarded-for\r\n",
                ),
                form(GET).has("x-forwarded-for: 192.0.2.1, 127.0.0.1").passes(),
                rule,
            ),
            row(
                "Connection names what frames the body",
                post("Content-Length: 5\r\nConnection: close, content-length\r\n", "hello"),
                form("POST / HTTP/1.1").body("hello").last(),
                rule,
            ),
            row("close", get("Connection: close\r\n"), form(GET).last(), "9112 §9.6"),
            row(
                "close, in a list",
                get("Connection: keep-alive, Close\r\n"),
                form(GET).last(),
                "9112 §9.6",
            ),
        ],
    }
}

pub(super) fn trust() -> Section<Row> {
    let rule = "7239 §8.1: nothing is believed that nobody trusted wrote";
    let gone = |name, lines: &str, lacks: &'static str| row(name, get(lines), form(GET).lacks(lacks).passes(), rule);
    let ours = |name, lines: &str, has: &'static str, lacks: &'static str| {
        row(name, get(lines), form(GET).has(has).lacks(lacks).passes(), rule)
    };
    let one_name = "CGI, WSGI and PHP make one variable of both";
    let imitates = |name, lines: &str| row(name, get(lines), form(GET).lacks("evil").passes(), one_name);
    Section {
        title: "What only proxies may say",
        intro: "From a client that is no trusted hop unless said otherwise; `127.0.0.1` is its address.",
        rows: vec![
            ours(
                "X-Forwarded-For",
                "X-Forwarded-For: 6.6.6.6\r\n",
                "x-forwarded-for: 127.0.0.1",
                "6.6.6.6",
            ),
            ours(
                "X-Forwarded-For, twice",
                "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.7\r\n",
                "x-forwarded-for: 127.0.0.1",
                "6.6.6",
            ),
            ours("X-Real-IP", "X-Real-IP: 6.6.6.6\r\n", "x-real-ip: 127.0.0.1", "6.6.6.6"),
            ours(
                "X-Forwarded-Proto",
                "X-Forwarded-Proto: https\r\n",
                "x-forwarded-proto: http",
                "https",
            ),
            ours(
                "X-Forwarded-Host",
                "X-Forwarded-Host: evil\r\n",
                "x-forwarded-host: a",
                "evil",
            ),
            ours(
                "X-Forwarded-Port",
                "X-Forwarded-Port: 666\r\n",
                "x-forwarded-port: 80",
                "666",
            ),
            gone("Forwarded", "Forwarded: for=6.6.6.6;proto=https\r\n", "forwarded: "),
            gone("X-Forwarded-Prefix", "X-Forwarded-Prefix: /evil\r\n", "evil"),
            gone("X-Forwarded-Ssl", "X-Forwarded-Ssl: on\r\n", "x-forwarded-ssl"),
            gone("X-Forwarded-User", "X-Forwarded-User: evil\r\n", "evil"),
            gone("X-Forwarded-Client-Cert", "X-Forwarded-Client-Cert: evil\r\n", "evil"),
            imitates("X_Forwarded_For", "X_Forwarded_For: evil\r\n"),
            imitates("X-Forwarded_Proto", "X-Forwarded_Proto: evil\r\n"),
            imitates("X_Real_IP", "X_Real_IP: evil\r\n"),
            imitates("X_Request_ID", "X_Request_ID: evil\r\n"),
            row(
                "another header with an underscore",
                get("api_key: 1\r\n"),
                form(GET).has("api_key: 1").passes(),
                "9110 §5.1: a good name",
            ),
            ours("X-Request-ID that is none", "X-Request-ID: a b\r\n", "host: a", "a b"),
            ours(
                "two of X-Request-ID",
                "X-Request-ID: evil\r\nX-Request-ID: worse\r\n",
                "host: a",
                "evil",
            ),
            row(
                "a good X-Request-ID",
                get("X-Request-ID: 01HZ-x\r\n"),
                form(GET).has("x-request-id: 01HZ-x").passes(),
                "it names, and proves nothing",
            ),
            behind(
                "X-Forwarded-For of a trusted hop",
                get("X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n"),
                form(GET)
                    .has("x-forwarded-for: 6.6.6.6, 192.0.2.1, 127.0.0.1")
                    .has("x-real-ip: 192.0.2.1")
                    .passes(),
                "7239 §5.2: the nearest that is not trusted",
            ),
            behind(
                "X-Forwarded-Proto of a trusted hop",
                get("X-Forwarded-Proto: https\r\n"),
                form(GET).has("x-forwarded-proto: https").passes(),
                "it is believed",
            ),
            behind(
                "X-Forwarded-User of a trusted hop",
                get("X-Forwarded-User: u\r\n"),
                form(GET).has("x-forwarded-user: u").passes(),
                "it is believed",
            ),
            behind(
                "X_Forwarded_For through a trusted hop",
                get("X_Forwarded_For: evil\r\n"),
                form(GET).lacks("evil").passes(),
                one_name,
            ),
        ],
    }
}
