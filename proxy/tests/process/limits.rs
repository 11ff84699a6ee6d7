//! What a client may not do: bad, large and slow requests, too many connections.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::{Proxy, simple};

#[tokio::test]
async fn what_is_not_a_request_is_refused_and_closed() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(70_000));
    let path = "p".repeat(70_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), 400),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_owned(), 405),
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\n".to_owned(), 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx".to_owned(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_owned(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
            501,
        ),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{large}\r\n"), 431),
        (format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n"), 414),
    ] {
        let shown = &request[..request.len().min(60)];
        let mut client = proxy.client().await;
        client.send(&request).await;
        assert_eq!(client.response().await.status, status, "{shown:?}");
    }
    assert_eq!(app.requests(), 0);
    assert_eq!(Client::connect(proxy.address()).await.get("/who").await.status, 200);
}

#[tokio::test]
async fn slow_headers_have_their_time() {
    let app = Backend::app().await;
    let config = simple(&[app.address], "", ", headerTimeout: 3s, idleTimeout: 60s", "");
    let proxy = Proxy::standalone(&config, &[]).await;
    let slow = async {
        let mut slow = proxy.client().await;
        slow.send("GET /who HTTP/1.1\r\nhost: te").await;
        let response = slow.response().await;
        assert_eq!((response.status, response.closes()), (408, true));
        assert_eq!(
            response.text(),
            "tenbin: 408 DPE: the request's headers took too long\n"
        );
        assert!(slow.rest().await.is_empty());
    };
    // The same on a connection that had a request before.
    let second = async {
        let mut second = proxy.client().await;
        second.get("/who").await;
        second.send("GET /who HT").await;
        assert_eq!(second.response().await.status, 408);
    };
    // Who says nothing is told nothing.
    let silent = async { assert!(proxy.client().await.rest().await.is_empty()) };
    // A request that takes longer than headers may is none of that.
    let busy = async {
        let mut busy = proxy.client().await;
        busy.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(3300)).await;
        app.open();
        assert_eq!(busy.response().await.status, 200);
        tokio::time::sleep(Duration::from_millis(3300)).await;
        assert_eq!(busy.get("/who").await.status, 200, "idle time is another");
    };
    // Side by side, since each takes its time.
    tokio::join!(slow, second, silent, busy);
    proxy
        .await_metric("tenbin_connections_header_timeouts_total{listener=\"web\"}", 2.0)
        .await;
}

#[tokio::test]
async fn idle_connections_have_their_time() {
    let app = Backend::app().await;
    let proxy = Proxy::standalone(&simple(&[app.address], "", ", idleTimeout: 300ms", ""), &[]).await;
    let mut client = proxy.client().await;
    let start = Instant::now();
    client.get("/who").await;
    assert!(client.rest().await.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn connections_are_limited_by_descriptors() {
    let app = Backend::app().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("proxy.yaml");
    let socket = folder.path().join("admin.sock");
    let config = simple(&[app.address], "", "", "");
    std::fs::write(&file, format!("{config}admin: {}\n", socket.display())).unwrap();
    let mut command = Command::new("sh");
    // The soft limit is lower still: it is raised.
    command.args([
        "-c",
        "ulimit -Sn 50 && ulimit -Hn 84 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_tenbin-proxy"),
    ]);
    command.arg("--config").arg(Path::new(&file)).arg("--workers=2");
    let proxy = Proxy::start(command, folder, socket).await;
    let status = proxy.admin("status").await;
    assert_eq!(
        (&status["fdLimit"], &status["connectionLimit"]),
        (&84.into(), &10.into())
    );

    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = proxy.client().await;
        assert_eq!(client.get("/who").await.status, 200);
        clients.push(client);
    }
    let mut one_more = proxy.client().await;
    let response = one_more.response().await;
    assert_eq!((response.status, response.closes()), (503, true));
    proxy
        .await_metric("tenbin_connections_refused_total{listener=\"web\"}", 1.0)
        .await;
    clients.pop();
    proxy.await_metric("tenbin_connections{listener=\"web\"}", 9.0).await;
    assert_eq!(proxy.client().await.get("/who").await.status, 200);
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_response_is_no_slow_header() {
    let app = Backend::script(async |mut stream, _| {
        let mut body = [0; 8];
        while crate::backend::read_head(&mut stream).await {
            crate::backend::write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            if body == [0; 8] {
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body)
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let proxy = Proxy::standalone(&simple(&[app.address], "", ", headerTimeout: 3s", ""), &[]).await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    for byte in b"slowpace" {
        client.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    assert_eq!(
        proxy
            .metric("tenbin_connections_header_timeouts_total{listener=\"web\"}")
            .await,
        0.0
    );
    assert_eq!(client.get("/").await.status, 200, "the connection lives on");
}
