//! The driver against a server that answers well, badly, or not at all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenbin_load::{Answer, Cause, Load, Report, Request as Plan, Scan, Scanned, Started};
use tokio::net::{TcpListener, TcpStream};

/// An app that says who it is: `one`, or what the cookie `who` says. `/login` gives a cookie, `/echo` names the key that was sent.
async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let who = match path.as_str() {
        "/key" => header("x-key").unwrap_or_default(),
        "/query" => request.uri().query().unwrap_or_default().to_owned(),
        "/login" => header("cookie").unwrap_or_else(|| "nobody".to_owned()),
        "/host" => header("host").unwrap_or_default(),
        _ => "one".to_owned(),
    };
    let length = request.into_body().collect().await.map_or(0, |b| b.to_bytes().len());
    let body = match path.as_str() {
        "/bytes" => length.to_string(),
        _ => "ok".to_owned(),
    };
    let status = if path == "/bad" { 503 } else { 200 };
    let response = Response::builder()
        .status(status)
        .header("x-tenbin-instance", who)
        .header("set-cookie", "who=me; Path=/")
        .header("set-cookie", "b=2")
        .body(Full::new(Bytes::from(body)));
    Ok(response.expect("a status and a body make a response"))
}

/// An app that serves, and the address of a driver.
async fn start() -> (SocketAddr, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(app)));
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    tokio::spawn(tenbin_load::serve(free));
    while TcpStream::connect(free).await.is_err() {
        tokio::task::yield_now().await;
    }
    (address, free)
}

async fn call<T: DeserializeOwned>(driver: SocketAddr, method: &str, path: &str, body: &impl Serialize) -> T {
    let stream = TcpStream::connect(driver).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::from(serde_json::to_vec(body).unwrap()));
    let request = Request::builder().method(method).uri(path).body(body).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn run_to_end(driver: SocketAddr, load: &Load) -> Report {
    let started: Started = call(driver, "POST", "/loads", load).await;
    loop {
        let report: Report = call(driver, "GET", &format!("/loads/{}", started.id), &()).await;
        if report.clients == 0 {
            return report;
        }
    }
}

fn load(url: String, count: u64) -> Load {
    Load {
        count: Some(count),
        ..Load::new(Plan::get(url), 4)
    }
}

#[tokio::test]
async fn counts_what_succeeds_by_instance() {
    let (app, driver) = start().await;
    let report = run_to_end(driver, &load(format!("http://{app}/"), 100)).await;
    assert_eq!((report.ended, report.ok, report.failed), (100, 100, 0));
    assert_eq!(report.instances["one"].ok, 100);
    assert_eq!(report.order.len(), 100);
    assert!(report.connections <= 4, "{} connections", report.connections);

    let fresh = Load {
        fresh_connections: true,
        ..load(format!("http://{app}/"), 20)
    };
    assert_eq!(run_to_end(driver, &fresh).await.connections, 20);
}

#[tokio::test]
async fn records_what_fails_and_why() {
    let (app, driver) = start().await;
    let report = run_to_end(driver, &load(format!("http://{app}/bad"), 10)).await;
    assert_eq!((report.ok, report.failed), (0, 10));
    assert_eq!(report.failures[0].cause, Cause::Status);
    assert_eq!(report.failures[0].status, Some(503));
    assert!(report.last_failure_began_ms >= report.began_ms);

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let report = run_to_end(driver, &load(format!("http://{nobody}/"), 10)).await;
    assert_eq!(report.failures.len(), 10);
    assert!(report.failures.iter().all(|f| f.cause == Cause::Connect));

    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = Plan {
        timeout_ms: 50,
        ..Plan::get(format!("http://{}/", deaf.local_addr().unwrap()))
    };
    let answer: Answer = call(driver, "POST", "/requests", &request).await;
    assert_eq!(answer.error.expect("nobody answers").0, Cause::Timeout);
}

#[tokio::test]
async fn stops_when_told() {
    let (app, driver) = start().await;
    let endless = Load {
        count: None,
        pause_ms: 1,
        ..load(format!("http://{app}/"), 0)
    };
    let started: Started = call(driver, "POST", "/loads", &endless).await;
    let path = format!("/loads/{}", started.id);
    while call::<Report>(driver, "GET", &path, &()).await.ok < 10 {}
    let _: serde_json::Value = call(driver, "POST", &format!("{path}/stop"), &()).await;
    while call::<Report>(driver, "GET", &path, &()).await.clients > 0 {}
}

#[tokio::test]
async fn each_client_keeps_its_own_cookies() {
    let (app, driver) = start().await;
    let logins = Load {
        cookies: true,
        per_client: Some(5),
        count: None,
        ..load(format!("http://{app}/login"), 0)
    };
    let report = run_to_end(driver, &logins).await;
    assert_eq!(report.ok, 4 * 5);
    for visits in &report.visits {
        let seen: Vec<(&str, u64)> = visits.iter().map(|v| (v.instance.as_str(), v.ok)).collect();
        assert_eq!(seen, [("nobody", 1), ("b=2; who=me", 4)]);
        assert!(visits[0].first_ms <= visits[0].last_ms && visits[0].last_ms <= visits[1].last_ms);
    }
    let answer: Answer = call(driver, "POST", "/requests", &Plan::get(format!("http://{app}/"))).await;
    assert_eq!(answer.cookies, ["who=me; Path=/", "b=2"]);
}

#[tokio::test]
async fn numbers_requests() {
    let (app, driver) = start().await;
    let mut keys = load(format!("http://{app}/key"), 6);
    keys.request.headers.insert("x-key".to_owned(), "k{n}-{ip}".to_owned());
    let report = run_to_end(driver, &keys).await;
    assert_eq!(report.numbers.len(), 6);
    assert_eq!(report.numbers["k5-44.0.0.5"], [5]);

    let report = run_to_end(driver, &load(format!("http://{app}/query?a={{n}}"), 3)).await;
    assert_eq!(report.numbers["a=2"], [2]);
    let report = run_to_end(driver, &load(format!("http://{app}/"), 3)).await;
    assert!(report.numbers.is_empty(), "{:?}", report.numbers);
}

#[tokio::test]
async fn goes_from_host_to_host() {
    let (one, driver) = start().await;
    let (two, _) = start().await;
    let both = Load {
        hosts: vec![format!("http://{one}"), format!("http://{two}")],
        per_client: Some(10),
        count: None,
        ..load(format!("http://{one}/host"), 0)
    };
    let report = run_to_end(driver, &both).await;
    assert_eq!(report.instances[&one.to_string()].ok, 20);
    assert_eq!(report.instances[&two.to_string()].ok, 20);
    // Each client alternates, over one connection to each.
    assert!(
        report.visits.iter().all(|visits| visits.len() == 10),
        "{:?}",
        report.visits
    );
    assert_eq!(report.connections, 8);
}

#[tokio::test]
async fn sends_a_body_of_the_length_asked_for() {
    let (app, driver) = start().await;
    let request = Plan::post(format!("http://{app}/bytes"), 3_000_000);
    let answer: Answer = call(driver, "POST", "/requests", &request).await;
    assert_eq!((answer.status, answer.body.as_str()), (Some(200), "3000000"));
}

#[tokio::test]
async fn finds_the_open_ports() {
    let (app, driver) = start().await;
    let scan = Scan {
        address: "127.0.0.1".parse().unwrap(),
    };
    let scanned: Scanned = call(driver, "POST", "/scan", &scan).await;
    assert!(scanned.open.contains(&app.port()) && scanned.open.contains(&driver.port()));
}
