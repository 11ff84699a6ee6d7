//! What goes wrong with endpoints, and what the client sees of it.

use std::time::Duration;

use crate::backend::{Backend, listen, nobody, read_head, write};
use crate::harness::{Proxy, eventually, simple};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_refused_connection_is_not_seen_by_the_client() {
    let app = Backend::app().await;
    let (dead, _nobody) = nobody();
    let config = simple(&[app.address, dead], ", algorithm: RoundRobin", "", "");
    let proxy = Proxy::standalone(&config, &["--workers=1"]).await;
    let mut client = proxy.client().await;
    for _ in 0..20 {
        assert_eq!(
            client.post("/echo", "body").await.text(),
            "body",
            "whatever the method, with its body"
        );
    }
    let endpoint = proxy.endpoint(dead).await;
    assert_eq!(
        endpoint["skip"]["failures"], endpoint["connectFailures"],
        "it is left out, and tried once in a while"
    );
    assert_eq!(endpoint["inFlight"], 0);
    let failures = endpoint["connectFailures"].as_f64().unwrap();
    assert_eq!(
        proxy.metric("tenbin_request_retries_total{listener=\"web\"}").await,
        failures
    );
    assert_eq!(
        proxy
            .metric("tenbin_requests_total{listener=\"web\",code=\"2xx\"}")
            .await,
        20.0
    );
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_used_again() {
    let app = Backend::app().await;
    let (address, socket) = nobody();
    let config = simple(&[app.address, address], ", algorithm: RoundRobin", "", "");
    let proxy = Proxy::standalone(&config, &["--workers=1"]).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.get("/who").await;
    }
    let failures = proxy.endpoint(address).await["connectFailures"].clone();
    assert!(failures.as_u64().unwrap() >= 1, "it was met: {failures}");
    let listener = listen(socket);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            while read_head(&mut stream).await {
                write(&mut stream, OK).await;
            }
        }
    });
    eventually("it is picked again", async || {
        (client.get("/who").await.text() == "ok").then_some(())
    })
    .await;
    assert_eq!(proxy.endpoint(address).await["skip"], serde_json::Value::Null);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let silent = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let closing = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
    })
    .await;
    let partial = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-le").await;
    })
    .await;
    let garbage = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        write(&mut stream, "SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    })
    .await;
    let switching = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        write(
            &mut stream,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        )
        .await;
    })
    .await;
    let (dead, _nobody) = nobody();
    for (endpoints, status, code) in [
        (vec![], 503, "UH"),
        (vec![dead], 503, "UF"),
        (vec![closing.address], 502, "UC"),
        (vec![partial.address], 502, "UC"),
        (vec![garbage.address], 502, "UPE"),
        (vec![switching.address], 502, "UPE"),
        (vec![silent.address], 504, "UT"),
    ] {
        let limit = if code == "UT" { ", requestTimeout: 200ms" } else { "" };
        let proxy = Proxy::standalone(&simple(&endpoints, "", "", limit), &[]).await;
        let mut client = proxy.client().await;
        let response = client.get("/").await;
        assert_eq!(response.status, status, "{code}");
        assert!(
            response.text().starts_with(&format!("tenbin: {status} {code}: ")),
            "{}",
            response.text()
        );
        let failures = format!("tenbin_request_failures_total{{listener=\"web\",reason=\"{code}\"}}");
        proxy.await_metric(&failures, 1.0).await;
        proxy
            .await_metric("tenbin_requests_total{listener=\"web\",code=\"5xx\"}", 1.0)
            .await;
        assert_eq!(client.get("/").await.status, status, "the client's connection lives on");
    }
}

#[tokio::test]
async fn connecting_has_its_time_too() {
    // A full backlog: the kernel drops what else wants to connect.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        fill.push(stream);
    }
    let proxy = Proxy::standalone(&simple(&[address], ", connectTimeout: 100ms", "", ""), &[]).await;
    let response = proxy.client().await.get("/").await;
    assert_eq!(
        response.text(),
        "tenbin: 503 UFT: connecting to an endpoint took too long\n"
    );

    let app = Backend::app().await;
    let config = simple(
        &[address, app.address],
        ", connectTimeout: 100ms, algorithm: RoundRobin",
        "",
        "",
    );
    let proxy = Proxy::standalone(&config, &[]).await;
    let mut client = proxy.client().await;
    for _ in 0..4 {
        assert_eq!(client.post("/echo", "x").await.status, 200, "another endpoint takes it");
    }
}

/// Answers the first request of a connection, and closes when the second comes: a keep-alive limit that just ran out.
async fn one_request_each(mut stream: tokio::net::TcpStream, _: usize) {
    if read_head(&mut stream).await {
        write(&mut stream, OK).await;
        read_head(&mut stream).await;
    }
}

#[tokio::test]
async fn an_idle_connection_that_dies_is_not_seen_where_that_is_safe() {
    let app = Backend::script(one_request_each).await;
    let proxy = Proxy::standalone(&simple(&[app.address], "", "", ""), &["--workers=1"]).await;
    let mut client = proxy.client().await;
    for connections in 1..=5 {
        assert_eq!(client.get("/").await.text(), "ok");
        assert_eq!(app.connections(), connections);
    }
    assert_eq!(client.post("/", "x").await.status, 502, "an app may have begun it");
    assert_eq!(client.post("/", "x").await.status, 200);
    assert_eq!(
        proxy.metric("tenbin_request_retries_total{listener=\"web\"}").await,
        0.0,
        "it is one try on one endpoint"
    );
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_not_used() {
    let app = Backend::script(async |mut stream, _| {
        if read_head(&mut stream).await {
            write(&mut stream, OK).await;
        }
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    for _ in 0..20 {
        // The close may be on its way still; a POST would be answered with 502 then.
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(app.connections(), 20);
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off() {
    let length = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    })
    .await;
    let chunked = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        )
        .await;
    })
    .await;
    for app in [length, chunked] {
        let proxy = Proxy::before(&[app.address]).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert!(
            client.try_response().await.is_none(),
            "no whole response can be made of half of one"
        );
        proxy
            .await_metric("tenbin_request_failures_total{listener=\"web\",reason=\"UR\"}", 1.0)
            .await;
        proxy
            .await_metric("tenbin_requests_in_flight{listener=\"web\"}", 0.0)
            .await;
        proxy.await_metric("tenbin_connections{listener=\"web\"}", 0.0).await;
    }
}

#[tokio::test]
async fn a_response_without_a_length_ends_with_its_connection() {
    let app = Backend::script(async |mut stream, _| {
        read_head(&mut stream).await;
        write(&mut stream, "HTTP/1.1 200 OK\r\n\r\nall of it").await;
    })
    .await;
    let proxy = Proxy::before(&[app.address]).await;
    assert_eq!(proxy.client().await.get("/").await.text(), "all of it");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
    eventually("the app has it", async || (app.requests() == 1).then_some(())).await;
    drop(client);
    eventually("the app sees it go", async || (app.cancelled() == 1).then_some(())).await;
    proxy
        .await_metric("tenbin_request_failures_total{listener=\"web\",reason=\"DC\"}", 1.0)
        .await;
    proxy
        .await_metric("tenbin_requests_total{listener=\"web\",code=\"none\"}", 1.0)
        .await;
    assert_eq!(proxy.endpoint(app.address).await["inFlight"], 0);
}

#[tokio::test]
async fn an_upload_that_is_malformed_is_the_clients_doing() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client
        .send("POST /sink HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnot a chunk")
        .await;
    assert!(
        client
            .try_response()
            .await
            .is_none_or(|response| response.status == 400)
    );
    proxy
        .await_metric("tenbin_request_failures_total{listener=\"web\",reason=\"DPE\"}", 1.0)
        .await;
    assert_eq!(
        proxy.endpoint(app.address).await["skip"],
        serde_json::Value::Null,
        "nobody blames the endpoint"
    );
}

#[tokio::test]
async fn a_slow_upload_is_not_a_slow_endpoint() {
    let app = Backend::app().await;
    let proxy = Proxy::standalone(&simple(&[app.address], "", "", ", requestTimeout: 3s"), &[]).await;
    let mut client = proxy.client().await;
    client
        .send("POST /sink HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\n")
        .await;
    for byte in b"slowpace" {
        client.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    assert_eq!(client.response().await.text(), "8");
}

#[tokio::test]
async fn an_answer_to_an_upload_that_nobody_reads_arrives() {
    let app = Backend::app().await;
    let proxy = Proxy::standalone(&simple(&[app.address], "", "", ", prefix: /only"), &[]).await;
    for _ in 0..10 {
        let mut client = proxy.client().await;
        client
            .send("POST /other HTTP/1.1\r\nhost: test\r\ncontent-length: 300000\r\n\r\n")
            .await;
        client.send(vec![b'x'; 200_000]).await;
        assert_eq!(client.response().await.status, 404, "it is not wiped out by a reset");
    }
}
