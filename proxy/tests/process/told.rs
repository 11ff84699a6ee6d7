//! What each side is told beside the message itself: who the client is, which request it is, who answered, what is still to come.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::backend::{Backend, read_head, write};
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy, eventually, simple};
use crate::inside::Inside;

async fn seen(client: &mut Client, headers: &str) -> String {
    client
        .send(format!("GET /headers HTTP/1.1\r\nhost: shop.example\r\n{headers}\r\n"))
        .await;
    client.response().await.text()
}

#[track_caller]
fn has(seen: &str, expected: &[&str]) {
    for line in expected {
        assert!(seen.contains(line), "{line} in {seen}");
    }
}

#[tokio::test]
async fn an_untrusted_client_says_nothing_about_itself() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    let forged = "x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n\
                  x-forwarded-proto: https\r\nx-forwarded-host: evil\r\nx-forwarded-port: 1\r\n\
                  connection: x-forwarded-for, x-real-ip, x-forwarded-proto\r\n";
    let seen = seen(&mut client, forged).await;
    let expected = [
        "\"x-forwarded-for\": \"127.0.0.1\"",
        "\"x-real-ip\": \"127.0.0.1\"",
        "\"x-forwarded-proto\": \"http\"",
        "\"x-forwarded-host\": \"shop.example\"",
        "\"x-forwarded-port\": \"80\"",
    ];
    has(&seen, &expected);
    assert!(
        !seen.contains("6.6.6.6") && !seen.contains("evil") && !seen.contains("\"forwarded\""),
        "{seen}"
    );
}

#[tokio::test]
async fn a_trusted_hop_is_added_to() {
    let app = Backend::app().await;
    let config = simple(&[app.address], "", ", trustedHops: [127.0.0.0/8]", "");
    let proxy = Proxy::standalone(&config, &[]).await;
    let mut client = proxy.client().await;
    let told = "x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nforwarded: for=7.7.7.7\r\nx-real-ip: 6.6.6.6\r\n\
                x-forwarded-proto: https\r\nx-forwarded-host: other\r\nx-forwarded-port: 443\r\n";
    let seen = seen(&mut client, told).await;
    let expected = [
        "\"x-forwarded-for\": \"6.6.6.6, 7.7.7.7, 127.0.0.1\"",
        "\"x-real-ip\": \"7.7.7.7\"",
        "\"x-forwarded-proto\": \"https\"",
        "\"x-forwarded-host\": \"other\"",
        "\"x-forwarded-port\": \"443\"",
        "\"forwarded\": \"for=7.7.7.7, for=127.0.0.1;proto=http;host=shop.example\"",
    ];
    has(&seen, &expected);
}

#[tokio::test]
async fn forwarded_is_told_where_it_is_asked_for_and_instances_are_named() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |listener| {
        listener.forwarded = true;
        listener.served_by = Some("x-served-by".to_owned());
    });
    let mut client = proxy.client().await;
    let seen = seen(&mut client, "forwarded: for=6.6.6.6\r\n").await;
    has(
        &seen,
        &["\"forwarded\": \"for=127.0.0.1;proto=http;host=shop.example\""],
    );
    assert_eq!(client.get("/who").await.header("x-served-by"), Some("app-0"));
    assert_eq!(client.get("/status/500").await.header("x-served-by"), Some("app-0"));
}

#[tokio::test]
async fn requests_have_ids() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    let trace = "x-request-id: abc-1\r\ntraceparent: 00-1-2-01\r\ntracestate: a=b\r\n";
    let kept = seen(&mut client, trace).await;
    has(
        &kept,
        &[
            "\"x-request-id\": \"abc-1\"",
            "\"traceparent\": \"00-1-2-01\"",
            "\"tracestate\": \"a=b\"",
        ],
    );
    let id = |seen: &str| {
        let line = seen.lines().find(|line| line.contains("x-request-id")).unwrap();
        line.split('"').nth(3).unwrap().to_owned()
    };
    let first = id(&seen(&mut client, "x-request-id: two words\r\n").await);
    let second = id(&seen(&mut client, "").await);
    assert_eq!((first.len(), second.len()), (36, 36));
    assert_ne!(first, second);
}

#[tokio::test]
async fn early_hints_reach_clients_before_the_response() {
    /// The endpoint goes on when the client has had the first.
    static HAD: Semaphore = Semaphore::const_new(0);
    let app = Backend::script(async |mut stream, _| {
        while read_head(&mut stream).await {
            let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
            write(&mut stream, hint).await;
            HAD.acquire().await.unwrap().forget();
            write(&mut stream, hint).await;
            write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
    let mut client = proxy.client().await;
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(
            String::from_utf8(client.exactly(hint.len()).await.unwrap()).unwrap(),
            hint
        );
        HAD.add_permits(1);
        assert_eq!(client.exactly(hint.len()).await.unwrap(), hint.as_bytes());
        let ok = client.exactly(15).await.unwrap();
        assert_eq!(ok, b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&ok));
        client.until_body().await;
    }
    // Pipelined requests: each response has its own.
    HAD.add_permits(100);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(client.exactly(2 * hint.len()).await.unwrap(), hint.repeat(2).as_bytes());
        client.until_body().await;
    }
    // HTTP/1.0 knows of none.
    let mut old = proxy.client().await;
    old.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(old.rest().await.starts_with(b"HTTP/1.0 200 OK"));
}

#[tokio::test]
async fn an_endpoint_that_wants_no_body_gets_none_and_one_that_does_gets_it() {
    let app = Backend::script(async |mut stream, n| {
        use tokio::io::AsyncReadExt;
        assert!(read_head(&mut stream).await);
        if n == 0 {
            write(
                &mut stream,
                "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno",
            )
            .await;
            let mut body = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut body)).await;
            assert!(body.is_empty(), "{body:?}");
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            write(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
            let mut body = [0; 4];
            stream.read_exact(&mut body).await.unwrap();
            write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let ask = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let mut refused = proxy.client().await;
    refused.send(ask).await;
    let response = refused.response().await;
    assert_eq!((response.status, response.text()), (417, "no".to_owned()));
    assert!(!String::from_utf8_lossy(&refused.rest().await).contains("100 Continue"));

    let mut welcome = proxy.client().await;
    welcome.send(ask).await;
    assert_eq!(welcome.exactly(25).await.unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    welcome.send("body").await;
    assert_eq!(welcome.response().await.status, 200);
}

#[tokio::test]
async fn an_endpoint_that_does_not_know_how_to_say_so_gets_the_body_too() {
    let app = Backend::script(async |mut stream, _| {
        use tokio::io::AsyncReadExt;
        assert!(read_head(&mut stream).await);
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert_eq!(client.exactly(25).await.unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn trailers_of_requests_reach_endpoints() {
    let app = Backend::script(async |mut stream, _| {
        use tokio::io::AsyncReadExt;
        let mut all = Vec::new();
        while !all.ends_with(b"x-sum: 7\r\n\r\n") {
            assert!(
                stream.read_buf(&mut all).await.unwrap() > 0,
                "{}",
                String::from_utf8_lossy(&all)
            );
        }
        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
        .await;
    client.send("2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn tiny_chunks_reach_endpoints_joined() {
    const TINY: usize = 1000;
    const LARGE: usize = 0x300;
    // Answers with how many chunks came.
    let app = Backend::script(async |mut stream, _| {
        use tokio::io::AsyncReadExt;
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stream.read_buf(&mut all).await.unwrap() > 0, "the end comes");
        }
        let all = String::from_utf8(all).unwrap();
        let lines: Vec<&str> = all.split_once("\r\n\r\n").unwrap().1.split_terminator("\r\n").collect();
        let body: String = lines.iter().skip(1).step_by(2).copied().collect();
        assert_eq!(body, format!("{}{}z", "x".repeat(TINY), "y".repeat(LARGE)));
        let count = lines.len() / 2;
        write(
            &mut stream,
            &format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{count:4}"),
        )
        .await;
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    let (tiny, large) = ("1\r\nx\r\n".repeat(TINY), "y".repeat(LARGE));
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    client
        .send(&format!("{head}{tiny}{LARGE:x}\r\n{large}\r\n1\r\nz\r\n0\r\n\r\n"))
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    let count: usize = response.text().trim().parse().unwrap();
    assert!(count < TINY / 10, "{count} chunks");
}

#[tokio::test]
async fn a_silent_tunnel_ends() {
    let app = Backend::app().await;
    let mut set = crate::inside::plain(&[app.address], |_| {});
    for resource in &mut set {
        if let tenbin_model::Resource::Routes(table) = resource {
            table.hosts[0].routes[0].timeouts.tunnel_idle = Duration::from_secs(4);
        }
    }
    let proxy = Inside::start(set);
    let mut client = proxy.client().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 101);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1400)).await;
        client.send("x").await;
        assert_eq!(client.exactly(1).await.unwrap(), b"x");
    }
    assert!(client.rest().await.is_empty());
    let stats = proxy.stats();
    let tunnels = || stats.tunnels.load(std::sync::atomic::Ordering::Relaxed);
    eventually("it is not counted any more", async || (tunnels() == 0).then_some(())).await;
}
