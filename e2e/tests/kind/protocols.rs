//! What apps and clients speak: HTTP/1.1, HTTP/2, gRPC, TLS to the app, plain TCP; by curl, by the load driver, and by hand where no
//! client shows what is on the wire. One app speaks all of it, on a port for each.

use crate::authority::Authority;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tenbin_e2e::{App, Balancing, Curl, Driver, Lab, demo_spec, eventually, pod_ip, test};
use tenbin_load::{Answer, Call, Calls, Connections, Raw, Received, Request, Step};

/// Ports of the Service, by what the app speaks there.
const HTTP: u16 = 80;
const H2C: u16 = 8081;
const GRPC: u16 = 8082;
const HTTPS: u16 = 8443;
const H2: u16 = 8444;
const TCP: u16 = 8090;
const BY_HAND: u16 = 8091;
/// The name that the app's certificate is for.
const NAME: &str = "speaks.test";
/// A request's headers up to its body of three bytes, which is to be asked for.
const EXPECT: &str = "content-length: 3\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";

#[test]
fn every_protocol_passes() {
    test("protocols", async |lab| {
        let ca = Authority::new()?;
        let app = App::create(lab, "speaks", spec(lab, &ca)?).await?;
        let driver = lab.driver().await?;
        let curl = Curl::start(lab, None).await?;
        app.ready(2, 60).await?;

        versions(&app, &curl).await.context("versions")?;
        heads_and_expectations(&app, &curl, &driver).await?;
        early_hints_and_trailers(&app, &driver).await?;
        what_the_app_is_told(lab, &app, &driver).await?;
        other_ports(&app, &driver).await.context("what the app speaks")?;
        calls(&app, &driver).await.context("gRPC")?;
        ended_calls(&app, &driver).await.context("gRPC")?;
        only_the_right_authority_is_trusted(&app, &driver, &ca).await?;
        connections(&app, &driver).await.context("TCP")
    });
}

fn spec(lab: &Lab, ca: &Authority) -> anyhow::Result<Value> {
    let (certificate, key) = ca.issue(NAME)?;
    let mut spec = demo_spec(lab, 2);
    spec["ports"] = ports(&ca.pem);
    spec["env"] = json!([
        { "name": "DEMO_HTTP_PORTS", "value": "8081,8082" },
        { "name": "DEMO_TLS_PORTS", "value": "8443,8444" },
        { "name": "DEMO_TLS_CERTIFICATE", "value": certificate },
        { "name": "DEMO_TLS_KEY", "value": key },
        { "name": "DEMO_TCP_PORT", "value": "8090" },
        { "name": "DEMO_RAW_PORT", "value": "8091" },
    ]);
    spec["proxy"] = json!({ "forwarded": true, "servedByHeader": "x-served-by" });
    Ok(spec)
}

fn ports(ca: &str) -> Value {
    let tls = json!({ "serverName": NAME, "caBundle": ca });
    json!([
        { "name": "http", "port": 8080, "servicePort": HTTP },
        { "name": "h2c", "port": H2C, "appProtocol": "h2c" },
        { "name": "grpc", "port": GRPC, "appProtocol": "grpc" },
        { "name": "https", "port": HTTPS, "appProtocol": "https", "tls": tls },
        { "name": "h2", "port": H2, "appProtocol": "h2", "tls": tls },
        { "name": "tcp", "port": TCP, "appProtocol": "tcp" },
        { "name": "raw", "port": BY_HAND },
    ])
}

/// curl in either version on every port of HTTP, whatever the app speaks there.
async fn versions(app: &App<'_>, curl: &Curl<'_>) -> anyhow::Result<()> {
    eventually("curl's node has the Service", 15, async || {
        for port in [HTTP, H2C, GRPC, HTTPS, H2] {
            curl.run(&[&app.url_of(port, "/")]).await?;
        }
        Ok(())
    })
    .await?;
    for port in [HTTP, H2C, GRPC, HTTPS, H2] {
        let url = app.url_of(port, "/");
        let format = "\n%{http_version} %{response_code} %{num_connects}";
        let twice = curl.run(&["--http1.1", "-w", format, &url, &url]).await?;
        // One connection for both requests.
        ensure!(
            twice.contains("\n1.1 200 1") && twice.contains("\n1.1 200 0"),
            "port {port}: {twice}"
        );
        // Several over one connection are the load driver's: many a curl can't do that by prior knowledge.
        let once = curl.run(&["--http2-prior-knowledge", "-w", format, &url]).await?;
        ensure!(once.contains("\n2 200 1"), "port {port}: {once}");
    }
    Ok(())
}

/// HEAD, and bodies that are asked for or refused before they come.
async fn heads_and_expectations(app: &App<'_>, curl: &Curl<'_>, driver: &Driver) -> anyhow::Result<()> {
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        let head = curl.run(&[flag, "--head", &app.url("/headers")]).await?;
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: u64 = length.with_context(|| format!("{flag}: {head}"))?.trim().parse()?;
        ensure!(length > 2 && head.ends_with("\r\n\r\n"), "{flag}: {head}");
    }
    let verbose = ["--http1.1", "-v", "--stderr", "-", "-H", "Expect: 100-continue"];
    let format = ["-w", "\nuploaded %{size_upload}", "--data-binary", "abc"];
    let post = async |path: &str| {
        let url = app.url(path);
        curl.run(&[&verbose[..], &format[..], &[&url]].concat()).await
    };
    let accepted = post("/sink").await?;
    ensure!(
        accepted.contains("100 Continue") && accepted.contains("uploaded 3") && accepted.contains(r#"{"bytes":3}"#),
        "{accepted}"
    );
    let refused = post("/status/413").await?;
    ensure!(
        !refused.contains("100 Continue") && refused.contains("uploaded 0") && refused.contains("HTTP/1.1 413"),
        "{refused}"
    );
    for (port, path, status) in [(HTTP, "/status/417", "417"), (BY_HAND, "/refuse", "417")] {
        let ask = format!("POST {path} HTTP/1.1\r\nhost: speaks\r\n{EXPECT}");
        let received = by_hand(app, driver, port, &[("", &ask), ("100 Continue\r\n\r\n", "abc")]).await?;
        ensure!(
            received.steps == 1 && received.text.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {received:?}"
        );
    }
    Ok(())
}

/// What comes before the response, and behind it and the request.
async fn early_hints_and_trailers(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let get = "GET /early HTTP/1.1\r\nhost: speaks\r\nconnection: close\r\n\r\n";
    let early = by_hand(app, driver, BY_HAND, &[("", get)]).await?;
    let (hints, rest) = early.text.split_once("\r\n\r\n").context("no head came")?;
    ensure!(
        hints.starts_with("HTTP/1.1 103") && hints.to_lowercase().contains("link: </style.css>"),
        "no early hints: {early:?}"
    );
    ensure!(rest.starts_with("HTTP/1.1 200") && early.closed, "{early:?}");

    let post = "POST /trailers HTTP/1.1\r\nhost: speaks\r\ntransfer-encoding: chunked\r\ntrailer: x-mine\r\nte: trailers\r\n\
                connection: te, close\r\n\r\n3\r\nabc\r\n0\r\nx-mine: last\r\n\r\n";
    for port in [HTTP, H2C] {
        let received = by_hand(app, driver, port, &[("", post)]).await?;
        ensure!(
            received.text.contains(r#"{"x-mine":"last"}"#),
            "port {port}: {received:?}"
        );
        ensure!(
            received.text.to_lowercase().contains("\r\nx-demo-bytes: 3\r\n"),
            "port {port}: {received:?}"
        );
        let mut request = Request::post(app.url_of(port, "/trailers"), 1000);
        request.http2 = true;
        request.headers.insert("te".to_owned(), "trailers".to_owned());
        let answer = driver.send(&request).await?;
        let behind = answer.trailers.get("x-demo-bytes").map(String::as_str);
        ensure!(
            behind == Some("1000") && answer.error.is_none(),
            "port {port}: {answer:?}"
        );
    }
    Ok(())
}

/// The client's address and the rest of what it said to the proxy, by headers that no client can make up; and who answered.
async fn what_the_app_is_told(lab: &Lab, app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let own = lab.driver_ip().await?;
    for (port, http2) in [(HTTP, false), (HTTP, true), (H2, true)] {
        let mut request = Request::get(app.url_of(port, "/headers"));
        request.http2 = http2;
        let lies = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("x-forwarded-host", "elsewhere.test"),
            ("x-forwarded-proto", "gopher"),
            ("forwarded", "for=192.0.2.1"),
        ];
        let headers = lies.map(|(name, value)| (name.to_owned(), value.to_owned()));
        request.headers = headers.into();
        let answer = driver.send(&request).await?;
        let seen: Value = serde_json::from_str(&answer.body).with_context(|| format!("{answer:?}"))?;
        let is = |name: &str, value: &str| seen[name].as_str() == Some(value);
        ensure!(
            is("x-forwarded-for", &own) && is("x-real-ip", &own),
            "not {own}: {seen:#}"
        );
        let host = seen["x-forwarded-host"].as_str().unwrap_or_default();
        ensure!(
            host.starts_with("speaks.") && is("x-forwarded-proto", "http"),
            "{seen:#}"
        );
        ensure!(is("x-forwarded-port", &port.to_string()), "{seen:#}");
        let forwarded = seen["forwarded"].as_str().unwrap_or_default();
        ensure!(forwarded.contains(&own) && !forwarded.contains("192.0.2.1"), "{seen:#}");
        let id = seen["x-request-id"].as_str().unwrap_or_default();
        ensure!(id.len() >= 32, "{seen:#}");
        let by = answer.headers.get("x-served-by");
        ensure!(
            by.is_some() && by == answer.headers.get("x-tenbin-instance"),
            "{:?}",
            answer.headers
        );
    }
    let mut request = Request::get(app.url("/headers"));
    request.headers.insert("x-request-id".to_owned(), "mine-7".to_owned());
    let seen: Value = serde_json::from_str(&driver.send(&request).await?.body)?;
    ensure!(seen["x-request-id"] == "mine-7", "{seen:#}");
    Ok(())
}

/// Each port is spoken to in its own protocol, which only the app knows for certain, and balanced.
async fn other_ports(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    for (port, spoken) in [
        (HTTP, "HTTP/1.1"),
        (H2C, "HTTP/2.0"),
        (GRPC, "HTTP/2.0"),
        (HTTPS, "HTTP/1.1"),
        (H2, "HTTP/2.0"),
    ] {
        for http2 in [false, true] {
            let mut request = Request::get(app.url_of(port, "/"));
            request.http2 = http2;
            let answer = driver.send(&request).await?;
            let found = answer.headers.get("x-demo-protocol").map(String::as_str);
            ensure!(
                found == Some(spoken),
                "port {port} is spoken to in {found:?}: {answer:?}"
            );
            let load = tenbin_load::Load {
                count: Some(200),
                ..tenbin_load::Load::new(request, 4)
            };
            let report = driver.run(&load).await?;
            super::lossless(&report).with_context(|| format!("port {port}, HTTP/2 {http2}"))?;
            ensure!(report.instances.len() == 2, "port {port}: {:?}", report.instances);
        }
    }
    Ok(())
}

/// All four kinds of call, each balanced by itself though all come over one connection; statuses and metadata of the app's own pass.
async fn calls(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let url = app.url_of(GRPC, "");
    for (call, messages) in [(Call::Say, 1), (Call::Count, 5), (Call::Gather, 1), (Call::Chat, 5)] {
        let plan = Calls {
            calls: 40,
            at_once: 4,
            messages: 5,
            ms: 10,
            ..Calls::new(&url, call)
        };
        let called = driver.grpc(&plan).await?;
        ensure!(
            called.codes == [(0, 40)].into() && called.messages == 40 * messages,
            "{call:?}: {called:?}"
        );
        ensure!(called.instances.len() == 2, "{call:?} is not balanced: {called:?}");
    }
    let plan = Calls {
        status: 9,
        metadata: [("x-mine".to_owned(), "yes".to_owned())].into(),
        ..Calls::new(&url, Call::Say)
    };
    let called = driver.grpc(&plan).await?;
    let metadata = called.metadata.get("x-mine").map(String::as_str);
    ensure!(called.codes == [(9, 1)].into() && metadata == Some("yes"), "{called:?}");
    Ok(())
}

/// A deadline ends a call at both ends, and so does a client that gives up.
async fn ended_calls(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let wait = Calls {
        ms: 30_000,
        ..Calls::new(app.url_of(GRPC, ""), Call::Wait)
    };
    let deadline = Calls {
        deadline_ms: Some(2_000),
        ..wait.clone()
    };
    let called = driver.grpc(&deadline).await?;
    ensure!(
        called.codes == [(4, 1)].into() && called.longest_ms < 10_000,
        "not DEADLINE_EXCEEDED in time: {called:?}"
    );
    cancelled(app, driver, 1).await.context("deadline")?;
    let given_up = Calls {
        calls: 3,
        at_once: 3,
        cancel_ms: Some(2_000),
        ..wait
    };
    let called = driver.grpc(&given_up).await?;
    ensure!(called.given_up == 3, "{called:?}");
    cancelled(app, driver, 4).await.context("given up")?;
    let again = driver.grpc(&Calls::new(app.url_of(GRPC, ""), Call::Say)).await?;
    ensure!(again.codes == [(0, 1)].into(), "{again:?}");
    Ok(())
}

/// Waits until the replicas were told that so many calls in all are over.
async fn cancelled(app: &App<'_>, driver: &Driver, wanted: u64) -> anyhow::Result<()> {
    eventually("the replicas hear of it", 10, async || {
        let (mut cancelled, mut waiting) = (0, 0);
        for pod in app.pods().await? {
            let answer = driver.get(&format!("http://{}:8080/waits", pod_ip(&pod))).await?;
            let waits: Value = serde_json::from_str(&answer.body)?;
            cancelled += waits["cancelled"].as_u64().unwrap_or_default();
            waiting += waits["waiting"].as_u64().unwrap_or_default();
        }
        ensure!(
            cancelled == wanted && waiting == 0,
            "{cancelled} cancelled, {waiting} waiting"
        );
        Ok(())
    })
    .await
}

/// An app whose certificate another authority signed gets no request, and the client is told why; it is trusted again, the same pods
/// serve on.
async fn only_the_right_authority_is_trusted(app: &App<'_>, driver: &Driver, ca: &Authority) -> anyhow::Result<()> {
    let before = app.ready_names().await?;
    let wrong = Authority::new()?;
    app.patch(&json!({ "ports": ports(&wrong.pem) })).await?;
    app.ready(2, 30).await?;
    // Connections from before may be in use for a moment.
    for port in [HTTPS, H2] {
        let refused = async || distrusted(&driver.send(&Request::get(app.url_of(port, "/"))).await?);
        eventually("the app is not trusted any more", 15, refused).await?;
    }
    let served = requests(app, driver).await?;
    for port in [HTTPS, H2] {
        // Also in HTTP/2 an answer to HEAD has no body, whoever makes it.
        let mut head = Request::get(app.url_of(port, "/"));
        (head.method, head.http2) = ("HEAD".to_owned(), true);
        let answer = driver.send(&head).await?;
        ensure!(answer.status == Some(503) && answer.error.is_none(), "HEAD: {answer:?}");
        distrusted(&driver.send(&Request::get(app.url_of(port, "/"))).await?)?;
        distrusted(&driver.send(&Request::post(app.url_of(port, "/sink"), 10)).await?)?;
    }
    ensure!(
        requests(app, driver).await? == served + 2,
        "a request reached an app that is not trusted"
    );
    app.patch(&json!({ "ports": ports(&ca.pem) })).await?;
    app.ready(2, 30).await?;
    for port in [HTTPS, H2] {
        eventually("it is trusted again", 40, async || {
            driver.get(&app.url_of(port, "/")).await
        })
        .await?;
    }
    let mut names = (before, app.ready_names().await?);
    names.0.sort();
    names.1.sort();
    ensure!(names.0 == names.1, "pods were replaced: {names:?}");
    Ok(())
}

/// The proxy answered by itself, and said that it is for TLS.
fn distrusted(answer: &Answer) -> anyhow::Result<()> {
    ensure!(
        answer.status == Some(503) && answer.body.starts_with("tenbin: 503 ") && answer.body.contains("TLS"),
        "{answer:?}"
    );
    Ok(())
}

/// Requests that the replicas have had, this asking (one for each) included.
async fn requests(app: &App<'_>, driver: &Driver) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pod in app.pods().await? {
        let answer = driver.get(&format!("http://{}:8080/", pod_ip(&pod))).await?;
        let who: Value = serde_json::from_str(&answer.body)?;
        sum += who["requests"].as_u64().context("no count")?;
    }
    Ok(sum)
}

/// Connections are balanced one by one, or by the client's address; each side may end its own half first.
async fn connections(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let plan = Connections {
        address: app.address(TCP),
        connections: 30,
        bytes: 200_000,
    };
    let spread = driver.tcp(&plan).await?;
    ensure!(spread.same == 30 && spread.instances.len() == 2, "{spread:?}");
    app.balance(2, &Balancing::bound(json!({ "type": "SourceIP" }))).await?;
    let bound = driver.tcp(&plan).await?;
    ensure!(bound.same == 30 && bound.instances.len() == 1, "{bound:?}");
    Ok(())
}

/// Sends these to a port, each when what it waits for has come.
async fn by_hand(app: &App<'_>, driver: &Driver, port: u16, steps: &[(&str, &str)]) -> anyhow::Result<Received> {
    let step = |(after, text): &(&str, &str)| Step {
        after: (*after).to_owned(),
        text: (*text).to_owned(),
    };
    let plan = Raw {
        address: app.address(port),
        steps: steps.iter().map(step).collect(),
        timeout_ms: 3_000,
    };
    driver.raw(&plan).await
}
