//! The fault matrix: what clients see, what endpoints see, and who is blamed. It writes docs/outcomes.md (`UPDATE=1`), which is the
//! documentation, and fails where that page says something else.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use tenbin_model::RetryOn;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::app::{App, Way, nobody};
use crate::client::{Got, request, send};
use crate::world::{Settings, World, eventually};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/outcomes.md");

/// The requests, and how much body each has.
const REQUESTS: [(&str, &str, usize); 5] = [
    ("GET", "GET", 0),
    ("PUT 1 KiB", "PUT", 1 << 10),
    ("PUT 100 KiB", "PUT", 100 << 10),
    ("POST 1 KiB", "POST", 1 << 10),
    ("POST 100 KiB", "POST", 100 << 10),
];

/// What goes wrong with the first endpoint, or with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    Unreachable,
    App(Way),
    ClientGone,
    UploadStalls,
    Exhausted,
}

const FAULTS: [(&str, Fault); 19] = [
    ("it refuses the connection", Fault::Refused),
    ("it does not answer the connection attempt", Fault::Unreachable),
    (
        "it closes the connection before a byte of its answer",
        Fault::App(Way::Close),
    ),
    (
        "it closes a connection that had been idle when the request comes",
        Fault::App(Way::CloseAtReuse),
    ),
    ("it closes in the middle of its headers", Fault::App(Way::CloseInHead)),
    ("it closes in the middle of its body", Fault::App(Way::CloseInBody)),
    ("it takes the request and is silent", Fault::App(Way::Silent)),
    ("it begins its headers and stops", Fault::App(Way::SlowHead)),
    ("it begins its body and stops", Fault::App(Way::SlowBody)),
    ("it neither reads the request's body nor answers", Fault::App(Way::Deaf)),
    ("it answers before it read the request's body", Fault::App(Way::Early)),
    ("it answers 404", Fault::App(Way::Status(404))),
    ("it answers 500", Fault::App(Way::Status(500))),
    ("it answers 503", Fault::App(Way::Status(503))),
    ("it answers what is not HTTP", Fault::App(Way::Garbage)),
    ("the client leaves while the endpoint is at work", Fault::ClientGone),
    ("the client stops in the middle of its body", Fault::UploadStalls),
    ("the cluster is at its limit, the queue full", Fault::Exhausted),
    ("nothing goes wrong", Fault::App(Way::Well)),
];

/// What became of a request.
#[derive(Debug)]
struct Cell {
    text: String,
    blamed: bool,
}

fn settings(settings: &mut Settings, every: bool) {
    settings.reserve = 1;
    settings.cluster.connect_timeout = Duration::from_millis(800);
    let timeouts = &mut settings.route.timeouts;
    timeouts.request = Duration::from_millis(3000);
    timeouts.idle = Duration::from_millis(2000);
    if every {
        timeouts.per_try = Some(Duration::from_millis(1000));
        settings.route.retry.on = [RetryOn::Closed, RetryOn::GatewayError, RetryOn::Timeout].into();
        settings.route.retry.any_method = true;
    }
}

async fn cell(fault: Fault, method: &str, body: usize, every: bool) -> Cell {
    let good = App::new(Way::Well).await;
    let bad = match fault {
        Fault::App(way) => Some(App::new(way).await),
        Fault::Refused | Fault::Unreachable => None,
        Fault::ClientGone => Some(App::new(Way::Silent).await),
        Fault::UploadStalls => Some(App::new(Way::Well).await),
        Fault::Exhausted => Some(App::new(Way::Gated).await),
    };
    let (address, _full) = match (&bad, fault) {
        (Some(app), _) => (app.address, None),
        (None, Fault::Unreachable) => {
            let (address, full) = unreachable().await;
            (address, Some(full))
        }
        (None, _) => {
            let (address, socket) = nobody();
            (address, Some((socket, Vec::new())))
        }
    };
    let world = World::of(&[address, good.address], |s| {
        settings(s, every);
        if fault == Fault::Exhausted {
            s.cluster.limits.requests = Some(1);
            s.cluster.limits.queue = 0;
        }
    });
    let seen = || bad.as_ref().map_or(0, App::seen) + good.seen();
    let mut before = 0;
    let text = request(method, body);
    let got = match fault {
        Fault::App(Way::CloseAtReuse) => {
            send(world.address, &request("GET", 0)).await;
            before = seen();
            Some(send(world.address, &text).await)
        }
        Fault::Exhausted => {
            let (proxy, first) = (world.address, request("GET", 0));
            let held = tokio::spawn(async move { send(proxy, &first).await });
            eventually("the limit is reached", || seen() == 1).await;
            let got = send(world.address, &text).await;
            let cell = Cell {
                text: format!("{}, {}×", outcome(Some(&got), &world), seen() - 1),
                blamed: world.is_blamed(address),
            };
            held.abort();
            return cell;
        }
        Fault::ClientGone => {
            let (proxy, text) = (world.address, text.clone());
            let client = tokio::spawn(async move { send(proxy, &text).await });
            eventually("the endpoint is at work", || seen() == 1).await;
            client.abort();
            eventually("it is counted", || !world.codes().is_empty()).await;
            None
        }
        Fault::UploadStalls if body > 0 => Some(send(world.address, &text[..text.len() - body / 2]).await),
        _ => Some(send(world.address, &text).await),
    };
    // What is on its way to another endpoint still comes, or never does.
    sleep(Duration::from_millis(50)).await;
    Cell {
        text: format!("{}, {}×", outcome(got.as_ref(), &world), seen() - before),
        blamed: world.is_blamed(address),
    }
}

fn outcome(got: Option<&Got>, world: &World) -> String {
    let code = world.codes().first().copied().unwrap_or_default();
    let what = match got {
        None => "–".to_owned(),
        Some(Got {
            status: Some(status),
            whole: true,
            ..
        }) => status.to_string(),
        Some(_) => "broken".to_owned(),
    };
    format!("{what} {code}").trim_end().to_owned()
}

/// An address whose backlog is full: the kernel drops what else wants to connect.
async fn unreachable() -> (SocketAddr, (socket2::Socket, Vec<TcpStream>)) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut full = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        full.push(stream);
    }
    (address, (socket, full))
}

const INTRO: &str = "# What comes of what goes wrong

Written by a test (`UPDATE=1 cargo test -p tenbin-proxy --test resilience outcomes`), which fails where this page is not what the proxy
does. Two endpoints: the first goes wrong as said, the second is good and only asked where the first cannot be. A cell says what the client
gets (a status, with the short code of the access log and of `tenbin_request_failures_total` where the request failed; `broken`: an answer
that breaks off) and how often endpoints saw the request. The last column: whether it counts against the endpoint.

A body of 1 KiB can be sent again, since it is kept while it streams; one of 100 KiB is longer than what is kept (`retries.bodyBytes`,
64 KiB) and cannot.
";

fn table(title: &str, rows: &[(&str, Vec<Cell>)]) -> String {
    let mut page = format!("\n## {title}\n\n| the endpoint, or who is named |");
    for (name, _, _) in REQUESTS {
        let _ = write!(page, " {name} |");
    }
    page.push_str(" held against it |\n|---|---|---|---|---|---|---|\n");
    for (name, cells) in rows {
        let _ = write!(page, "| {name} |");
        for cell in cells {
            let _ = write!(page, " {} |", cell.text);
        }
        let blamed = cells.iter().filter(|cell| cell.blamed).count();
        let blamed = match blamed {
            0 => "no",
            n if n == cells.len() => "yes",
            _ => "where the client is told",
        };
        let _ = writeln!(page, " {blamed} |");
    }
    page
}

async fn rows(every: bool) -> Vec<(&'static str, Vec<Cell>)> {
    let row = |(name, fault): (&'static str, Fault)| async move {
        let cells = REQUESTS.map(|(_, method, body)| cell(fault, method, body, every));
        (name, join_all(cells).await)
    };
    let mut rows = Vec::new();
    // A few at a time: deadlines hold for a machine that is not overrun.
    for few in FAULTS.chunks(5) {
        rows.extend(join_all(few.iter().copied().map(row)).await);
    }
    rows
}

#[tokio::test]
async fn outcomes_are_as_documented() {
    let (plain, every) = (rows(false).await, rows(true).await);
    // Whatever the page says: what may have been begun is not begun twice unless that was asked for.
    for (name, cells) in &plain {
        for (cell, (request, method, _)) in cells.iter().zip(REQUESTS) {
            if method == "POST" {
                assert!(!cell.text.ends_with("2×"), "{request}, {name}: {}", cell.text);
            }
        }
    }
    let page = INTRO.to_owned()
        + &table("Without settings", &plain)
        + &table(
            "With `retries: {conditions: [Closed, GatewayError, Timeout], anyMethod: true}` and `timeouts.perTry`",
            &every,
        );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    for (line, (written, is)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(written, is, "docs/outcomes.md line {}", line + 1);
    }
    assert_eq!(written, page);
}
