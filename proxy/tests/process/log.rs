//! The access log, as the stream says.

use tenbin_model::{AccessLog, AccessLogFormat, OnDead, OnDrain};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::app::App;
use crate::client::Client;
use crate::harness::{Proxy, eventually};

async fn say(app: &App, proxy: &Proxy, format: AccessLogFormat, one_in: u32) {
    app.operator
        .says(|listener| listener.access_log = AccessLog { format, one_in });
    let name = match format {
        AccessLogFormat::Off => "Off",
        AccessLogFormat::Text => "Text",
        AccessLogFormat::Json => "JSON",
    };
    eventually("the log is as it was said", async || {
        let log = proxy.admin("config").await["listeners"][0]["accessLog"].clone();
        (log["format"] == name && log["oneIn"] == one_in).then_some(())
    })
    .await;
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next_line().await.unwrap().unwrap()
}

#[tokio::test]
async fn it_is_switched_over_the_stream() {
    let app = App::of(1, OnDrain::Keep, OnDead::Rebalance).await;
    let mut proxy = app.proxy(&[]).await;
    let mut lines = BufReader::new(proxy.child.stdout.take().unwrap()).lines();
    let mut client = Client::connect(proxy.address()).await;
    client.get("/who/unseen").await;

    say(&app, &proxy, AccessLogFormat::Json, 1).await;
    let request = "POST /sink?q HTTP/1.1\r\nhost: test\r\nx-request-id: r-1\r\nuser-agent: browser/1\r\ncontent-length: 5\r\n\r\nhello";
    client.send(request).await;
    assert_eq!(client.response().await.text(), "5");
    let line = next(&mut lines).await;
    assert!(!line.contains("browser"), "who uses what is nobody's business: {line}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (field, expected) in [
        ("listener", "ns/hello/http".into()),
        ("method", "POST".into()),
        ("path", "/sink?q".into()),
        ("protocol", "HTTP/1.1".into()),
        ("tls", serde_json::Value::Null),
        ("request_id", "r-1".into()),
        ("trace_id", serde_json::Value::Null),
        ("received", 5.into()),
        ("sent", 1.into()),
        ("tries", 1.into()),
        ("tried", serde_json::json!([{ "endpoint": "pod-0", "result": "200" }])),
    ] {
        assert_eq!(line[field], expected, "{field} of {line}");
    }
    let first_byte = line["first_byte_ms"].as_f64().unwrap();
    assert!(
        first_byte > 0.0 && first_byte <= line["duration_ms"].as_f64().unwrap(),
        "{line}"
    );

    say(&app, &proxy, AccessLogFormat::Text, 1).await;
    client.get("/who").await;
    let line = next(&mut lines).await;
    assert!(line.contains(" \"GET test /who\" 200 - "), "{line}");

    say(&app, &proxy, AccessLogFormat::Off, 1).await;
    client.get("/who/unseen").await;

    // Of a million requests one is chosen; whatever fails is told all the same.
    say(&app, &proxy, AccessLogFormat::Json, 1_000_000).await;
    for _ in 0..50 {
        client.get("/who/unseen").await;
    }
    client.get("/status/500").await;
    client.send("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n").await;
    assert_eq!(client.response().await.status, 400);
    for (status, code) in [(500, serde_json::Value::Null), (400, "DPE".into())] {
        let line = next(&mut lines).await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &code), "{line}");
    }
    let received = proxy
        .metric("tenbin_received_bytes_total{listener=\"ns/hello/http\"}")
        .await;
    assert_eq!(received, 5.0);
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    use nix::sys::signal::Signal;
    let app = App::of(1, OnDrain::Keep, OnDead::Rebalance).await;
    let mut proxy = app.proxy(&["--access-log=on", "--drain-seconds=0"]).await;
    let mut lines = BufReader::new(proxy.child.stdout.take().unwrap()).lines();
    for _ in 0..20 {
        assert_eq!(proxy.client().await.get("/who").await.status, 200);
    }
    proxy.signal(Signal::SIGTERM);
    assert!(proxy.ended().await.success());
    for _ in 0..20 {
        assert!(next(&mut lines).await.contains("/who"));
    }
}
