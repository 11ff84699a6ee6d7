//! What passes: connections kept alive, bodies as streams, upgrades, headers.

use crate::backend::{Backend, nobody};
use crate::client::Client;
use crate::harness::{Proxy, eventually, simple};

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    for _ in 0..100 {
        let response = client.get("/who").await;
        assert_eq!((response.status, response.text()), (200, app.address.to_string()));
    }
    assert_eq!(app.requests(), 100);
    assert_eq!(app.connections(), 1);
    assert_eq!(
        proxy
            .metric("tenbin_connections_accepted_total{listener=\"web\"}")
            .await,
        1.0
    );
    let opened = format!(
        "tenbin_endpoint_connections_opened_total{{cluster=\"app\",endpoint=\"{}\"}}",
        app.address
    );
    assert_eq!(proxy.metric(&opened).await, 1.0);
}

#[tokio::test]
async fn a_response_is_passed_on_as_it_comes() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client.send("GET /stream HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 200);
    assert_eq!(client.chunk().await.unwrap(), b"begin");
    app.open();
    assert_eq!(client.chunk().await.unwrap(), b"end");
    assert_eq!(client.chunk().await.unwrap(), b"");
    assert_eq!(client.get("/who").await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_request_is_passed_on_as_it_comes() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    for method in ["POST", "GET"] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "{method} /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
            ))
            .await;
        client.send("5\r\nfirst\r\n").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        assert_eq!(
            client.chunk().await.unwrap(),
            b"first",
            "it comes back before the rest is sent"
        );
        client.send("6\r\nsecond\r\n0\r\n\r\n").await;
        assert_eq!(client.chunk().await.unwrap(), b"second");
        assert_eq!(client.chunk().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_large_upload_needs_little_memory() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 100;
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client.get("/who").await;
    let before = proxy.peak_memory();
    client
        .send(format!(
            "POST /sink HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
            CHUNK * CHUNKS
        ))
        .await;
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..CHUNKS {
        client.send(&chunk).await;
    }
    assert_eq!(client.response().await.text(), (CHUNK * CHUNKS).to_string());
    let grown = proxy.peak_memory().saturating_sub(before);
    println!("peak memory: {before} KiB before, {grown} KiB more for 100 MiB");
    assert!(grown < 4096, "100 MiB took {grown} KiB");
}

#[tokio::test]
async fn a_large_download_needs_little_memory() {
    const SIZE: usize = 100 << 20;
    let app = Backend::script(async |mut stream, n| {
        use tokio::io::AsyncWriteExt;
        assert!(crate::backend::read_head(&mut stream).await);
        if n == 0 {
            return crate::backend::write(&mut stream, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
        crate::backend::write(
            &mut stream,
            &format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"),
        )
        .await;
        for _ in 0..100 {
            stream.write_all(&vec![b'x'; SIZE / 100]).await.unwrap();
        }
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/").await.status, 204);
    let before = proxy.peak_memory();
    assert_eq!(client.get("/").await.body.len(), SIZE);
    let grown = proxy.peak_memory().saturating_sub(before);
    assert!(grown < 4096, "100 MiB took {grown} KiB");
}

#[tokio::test]
async fn an_upgrade_is_a_tunnel_and_one_open_request_for_life() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: keep-alive, Upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 101);
    assert_eq!(
        (response.header("upgrade"), response.header("connection")),
        (Some("echo"), Some("upgrade"))
    );
    for message in ["one", "and two"] {
        client.send(message).await;
        assert_eq!(client.exactly(message.len()).await.unwrap(), message.as_bytes());
    }
    assert_eq!(proxy.endpoint(app.address).await["inFlight"], 1);
    assert_eq!(proxy.metric("tenbin_requests_in_flight{listener=\"web\"}").await, 1.0);
    assert_eq!(
        proxy
            .metric("tenbin_requests_total{listener=\"web\",code=\"1xx\"}")
            .await,
        1.0
    );
    drop(client);
    eventually("the tunnel is closed", async || {
        (proxy.endpoint(app.address).await["inFlight"] == 0).then_some(())
    })
    .await;
    proxy
        .await_metric("tenbin_requests_in_flight{listener=\"web\"}", 0.0)
        .await;
    proxy.await_metric("tenbin_connections{listener=\"web\"}", 0.0).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_a_response() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send("GET /who HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.get("/who").await.status, 200);
}

#[tokio::test]
async fn headers_of_one_connection_stay_behind() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET http://real.example/headers?x=1 HTTP/1.1\r\nhost: other\r\nconnection: x-hop\r\nx-hop: 1\r\nte: gzip\r\n\
             keep-alive: timeout=1\r\nproxy-connection: keep-alive\r\nx-end: 2\r\n\r\n",
        )
        .await;
    let seen = client.response().await.text();
    assert!(seen.starts_with("GET /headers?x=1\n"), "{seen}");
    assert!(
        seen.contains("\"host\": \"real.example\"") && seen.contains("\"x-end\": \"2\""),
        "{seen}"
    );
    for gone in ["x-hop", "\"te\"", "keep-alive", "connection"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    let response = client.get("/status/200").await;
    assert_eq!((response.header("x-hop"), response.header("x-end")), (None, Some("2")));
    assert_eq!(response.header("connection"), None);
}

#[tokio::test]
async fn responses_without_a_body() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    for status in [204, 304, 200] {
        assert_eq!(client.get(&format!("/status/{status}")).await.status, status);
    }
    client.send("HEAD /who HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(
        head.header("content-length"),
        Some(app.address.to_string().len().to_string().as_str())
    );
    assert_eq!(client.get("/who").await.status, 200, "no body came after the head");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_client_that_waits_for_continue_is_told() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    let told = client.exactly(25).await.unwrap();
    assert_eq!(told, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(client.response().await.text(), "body");
}

#[tokio::test]
async fn an_old_client_gets_an_old_answer() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client.send("GET /headers HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains("\"host\": \"\""), "{answer}");
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_order() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    let requests: String = (0..20)
        .map(|n| format!("GET /headers?n={n} HTTP/1.1\r\nhost: test\r\n\r\n"))
        .collect();
    client.send(requests).await;
    for n in 0..20 {
        assert!(
            client
                .response()
                .await
                .text()
                .starts_with(&format!("GET /headers?n={n}\n"))
        );
    }
}

#[tokio::test]
async fn routes_by_host_and_path() {
    let (one, two) = (Backend::app().await, Backend::app().await);
    let config = format!(
        "listeners:\n  - name: web\n    address: 127.0.0.1:0\n    routes:\n      \
         - {{host: api.example, prefix: /who, cluster: one}}\n      - {{prefix: /who, cluster: two}}\n\
         clusters:\n  - {{name: one, endpoints: ['{}']}}\n  - {{name: two, endpoints: ['{}']}}\n",
        one.address, two.address
    );
    let proxy = Proxy::standalone(&config, &[]).await;
    let mut client = proxy.client().await;
    for (host, path, expected) in [
        ("API.example:80", "/who", Some(&one)),
        ("other", "/who", Some(&two)),
        ("other", "/x/../%77ho", Some(&two)),
        ("other", "/", None),
    ] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let response = client.response().await;
        match expected {
            Some(app) => assert_eq!(response.text(), app.address.to_string(), "sent on as it was routed"),
            None => assert_eq!(response.text(), "tenbin: 404 NR: no route matches\n"),
        }
    }
}

#[tokio::test]
async fn the_example_works() {
    let (one, two, api) = (Backend::app().await, Backend::app().await, Backend::app().await);
    let example = include_str!("../../../examples/standalone.yaml");
    let config = example
        .replace("127.0.0.1:9001", &one.address.to_string())
        .replace("127.0.0.1:9002", &two.address.to_string())
        .replace("127.0.0.1:9003", &api.address.to_string())
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:15020", "127.0.0.1:0")
        .replace("admin:", "# admin:");
    let proxy = Proxy::standalone(&config, &["--workers=1"]).await;
    let mut client = proxy.client().await;
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..4 {
        seen.push(client.get("/who").await.text());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2, "{seen:?}");
    client
        .send("GET /v1/who HTTP/1.1\r\nhost: api.example.com\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 404);
    assert_eq!(api.requests(), 1);
    assert_eq!(proxy.ask_status("/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn each_request_has_a_line_in_the_access_log() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let app = Backend::app().await;
    let (gone, _nobody) = nobody();
    let config = simple(&[app.address, gone], ", algorithm: RoundRobin", "", "");
    let mut proxy = Proxy::standalone(&config, &["--access-log=on", "--log-format=json"]).await;
    let mut client = Client::connect(proxy.address()).await;
    client.get("/who?secret").await;
    client.get("/who").await;
    let mut lines = BufReader::new(proxy.child.stdout.take().unwrap()).lines();
    let mut tries = 0;
    for path in ["/who?secret", "/who"] {
        let line = lines.next_line().await.unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["status"], &line["path"]), (&200.into(), &path.into()));
        assert_eq!(line["endpoint"], app.address.to_string());
        assert_eq!((&line["reason"], &line["host"]), (&"policy".into(), &"test".into()));
        tries += line["tries"].as_u64().unwrap();
    }
    let failed = proxy.endpoint(gone).await["connectFailures"].as_u64().unwrap();
    assert!(failed >= 1, "one of the two found nobody first");
    assert_eq!(tries, 2 + failed);
}
