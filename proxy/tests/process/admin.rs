//! The admin socket, its client, and the status port.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::Proxy;

#[tokio::test]
async fn only_its_user_may_open_the_socket() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let metadata = std::fs::metadata(proxy.folder.path().join("admin.sock")).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn everything_can_be_asked() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    proxy.client().await.get("/who").await;

    let status = proxy.admin("status").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["draining"], &status["updates"]), (&false.into(), &1.into()));
    assert_eq!(status["listeners"][0]["name"], "web");

    let config = proxy.admin("config").await;
    assert_eq!(config["listeners"][0]["idleTimeoutMs"], 600_000);
    let route = &config["routes"][0]["hosts"][0]["routes"][0];
    assert_eq!(route["cluster"], "app");
    assert_eq!(
        (&route["timeouts"]["requestMs"], &route["retry"]["tries"]),
        (&60_000.into(), &3.into())
    );
    assert_eq!(config["clusters"][0]["limits"]["queue"], 1024);
    assert_eq!(config["clusters"][0]["algorithm"], "Adaptive");
    assert_eq!(
        config["clusters"][0]["endpoints"][0]["address"],
        app.address.to_string()
    );

    let endpoint = proxy.endpoint(app.address).await;
    assert_eq!((&endpoint["picks"], &endpoint["state"]), (&1.into(), &"Ready".into()));

    assert_eq!(proxy.try_admin(&["log-level"]).await.unwrap(), "info\n");
    assert!(proxy.try_admin(&["log-level", "tenbin_proxy=debug,warn"]).await.is_ok());
    let now = proxy.admin("log-level").await["log"].as_str().unwrap().to_owned();
    assert!(now.contains("tenbin_proxy=debug") && now.contains("warn"), "{now}");
    let refused = proxy.try_admin(&["log-level", "tenbin=loud"]).await.unwrap_err();
    assert!(
        refused.contains("400") && refused.contains("tenbin=loud") && refused.contains("trace or off"),
        "{refused}"
    );

    let table = proxy.try_admin(&["clusters"]).await.unwrap();
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].starts_with("app: Adaptive, affinity none"), "{table}");
    assert!(
        rows[1].contains("INSTANCE") && rows[2].contains(&app.address.to_string()),
        "{table}"
    );

    proxy.admin("drain").await;
    assert_eq!(proxy.admin("status").await["draining"], true);
    let response = proxy.client().await.get("/who").await;
    assert_eq!((response.status, response.closes()), (200, true));
}

#[tokio::test]
async fn a_socket_where_nobody_answers_is_named() {
    let app = Backend::app().await;
    let mut proxy = Proxy::before(&[app.address]).await;
    proxy.child.kill().await.unwrap();
    let error = proxy.try_admin(&["status"]).await.unwrap_err();
    assert!(
        error.contains("no proxy answers at") && error.contains("admin.sock"),
        "{error}"
    );
}

#[tokio::test]
async fn the_status_port_has_two_pages() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    assert_eq!(proxy.ask_status("/readyz").await, (200, "ready\n".to_owned()));
    for other in ["/", "/config", "/drain", "/status"] {
        assert_eq!(proxy.ask_status(other).await.0, 404, "{other}");
    }
    let status = proxy.status.unwrap();
    assert_eq!(Client::connect(status).await.post("/readyz", "").await.status, 405);
}

/// Every metric that the documentation names, by its series.
#[tokio::test]
async fn metrics_have_their_names() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut client = proxy.client().await;
    client.get("/who").await;
    client.get("/status/404").await;
    let (_, text) = proxy.ask_status("/metrics").await;
    let endpoint = format!("{{cluster=\"app\",endpoint=\"{}\"}}", app.address);
    for (series, value) in [
        ("tenbin_build_info{version=\"0.1.0\"}", "1.0"),
        ("tenbin_requests_total{listener=\"web\",code=\"2xx\"}", "1"),
        ("tenbin_requests_total{listener=\"web\",code=\"4xx\"}", "1"),
        ("tenbin_requests_total{listener=\"web\",code=\"none\"}", "0"),
        ("tenbin_request_failures_total{listener=\"web\",reason=\"UF\"}", "0"),
        ("tenbin_requests_in_flight{listener=\"web\"}", "0.0"),
        ("tenbin_request_duration_seconds_count{listener=\"web\"}", "2"),
        (
            "tenbin_request_duration_seconds_bucket{le=\"+Inf\",listener=\"web\"}",
            "2",
        ),
        ("tenbin_request_retries_total{listener=\"web\"}", "0"),
        ("tenbin_affinity_total{listener=\"web\",outcome=\"hit\"}", "0"),
        ("tenbin_affinity_total{listener=\"web\",outcome=\"none\"}", "0"),
        ("tenbin_picks_total{listener=\"web\",reason=\"policy\"}", "2"),
        ("tenbin_picks_total{listener=\"web\",reason=\"affinity\"}", "0"),
        ("tenbin_upgraded_connections{listener=\"web\"}", "0.0"),
        ("tenbin_connections{listener=\"web\"}", "1.0"),
        ("tenbin_connections_accepted_total{listener=\"web\"}", "1"),
        ("tenbin_connections_refused_total{listener=\"web\"}", "0"),
        ("tenbin_connections_malformed_total{listener=\"web\"}", "0"),
        ("tenbin_connections_header_timeouts_total{listener=\"web\"}", "0"),
        ("tenbin_draining", "0.0"),
        ("tenbin_snapshot_updates_total", "1"),
        ("tenbin_access_log_dropped_total", "0"),
        ("tenbin_endpoints{cluster=\"app\",state=\"ready\"}", "1.0"),
        ("tenbin_endpoints{cluster=\"app\",state=\"draining\"}", "0.0"),
        (&format!("tenbin_endpoint_picks_total{endpoint}"), "2"),
        (&format!("tenbin_endpoint_requests_in_flight{endpoint}"), "0.0"),
        (&format!("tenbin_endpoint_connections_opened_total{endpoint}"), "1"),
        (&format!("tenbin_endpoint_connect_failures_total{endpoint}"), "0"),
        (&format!("tenbin_endpoint_skipped{endpoint}"), "0.0"),
        (&format!("tenbin_endpoint_weight{endpoint}"), "1.0"),
    ] {
        assert!(
            text.lines().any(|line| line == format!("{series} {value}")),
            "{series} {value} in\n{text}"
        );
    }
    let latency = format!("tenbin_endpoint_latency_seconds{endpoint} ");
    let latency = text.lines().find_map(|line| line.strip_prefix(&latency)).unwrap();
    assert!(latency.parse::<f64>().unwrap() > 0.0, "{latency}");
    for series in [
        "tenbin_connection_limit ",
        "tenbin_fd_limit ",
        "tenbin_snapshot_age_seconds ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "{series} in\n{text}");
    }
    let mut series: Vec<_> = text
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "no series is there twice");
    assert!(text.ends_with("# EOF\n"));
}
