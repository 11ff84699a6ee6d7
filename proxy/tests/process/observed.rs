//! What is documented is there, what is there is documented, and the dashboard asks for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tenbin_model::{OnDead, OnDrain};

use crate::app::App;
use crate::backend::{Backend, nobody};
use crate::harness::{Proxy, eventually};

const DOCS: &str = include_str!("../../../docs/observability.md");
const DASHBOARD: &str = include_str!("../../../charts/tenbin/dashboards/tenbin.json");

/// A metric: its type, and its labels without `le`.
type Metric = (String, BTreeSet<String>);

/// What the table of the documentation says.
fn documented() -> BTreeMap<String, Metric> {
    let rows = DOCS.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `tenbin_")?.split('|').collect();
        let name = format!("tenbin_{}", cells[0].trim().trim_end_matches('`'));
        let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((name, (cells[1].trim().to_owned(), labels)))
    });
    let rows: Vec<_> = rows.collect();
    let count = rows.len();
    let table: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(table.len(), count, "a metric is documented twice");
    table
}

/// What a scrape says.
fn exposed(text: &str) -> BTreeMap<String, Metric> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (family, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "histogram" => "_bucket",
            _ => "",
        };
        let sample = format!("{family}{suffix}");
        let series = text.lines().find(|line| {
            line.strip_prefix(&sample)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let series = series.unwrap_or_else(|| panic!("{family} has no series in\n{text}"));
        let labels = series
            .split_once('{')
            .map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        let labels = labels
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let labels = labels.filter(|label| label != "le").collect();
        let name = if kind == "histogram" { family.to_owned() } else { sample };
        all.insert(name, (kind.to_owned(), labels));
    }
    all
}

#[tokio::test]
async fn every_metric_is_documented_and_the_dashboard_knows_no_other() {
    let app = App::of(2, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    proxy.client().await.get("/who").await;
    let (_, text) = proxy.ask_status("/metrics").await;
    let (documented, exposed) = (documented(), exposed(&text));
    for (name, metric) in &exposed {
        assert_eq!(documented.get(name), Some(metric), "{name} in docs/observability.md");
    }
    for name in documented.keys() {
        assert!(exposed.contains_key(name), "{name} is documented, but not there");
    }

    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = BTreeSet::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 15, "{asked:?}");
    for name in asked {
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let is_there = exposed.contains_key(&name) || family.is_some_and(|family| exposed.contains_key(family));
        assert!(is_there, "the dashboard asks for {name}, which no proxy has");
    }
}

#[tokio::test]
async fn endpoints_beyond_a_hundred_are_one_series() {
    let endpoints = |n: u8| -> Vec<SocketAddr> { (1..=n).map(|n| ([127, 0, 1, n], 9).into()).collect() };
    for (n, expected) in [(100, 100), (101, 1)] {
        let proxy = Proxy::before(&endpoints(n)).await;
        let (_, text) = proxy.ask_status("/metrics").await;
        let series: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("tenbin_endpoint_weight{"))
            .collect();
        assert_eq!(series.len(), expected);
        if n > 100 {
            assert_eq!(
                series,
                ["tenbin_endpoint_weight{cluster=\"app\",endpoint=\"(all)\"} 101.0"]
            );
        }
    }
}

/// Failures to connect are told by what they led to.
#[tokio::test]
async fn why_endpoints_are_left_out_is_counted() {
    let app = Backend::app().await;
    let (gone, _nobody) = nobody();
    let proxy = Proxy::before(&[app.address, gone]).await;
    let mut client = proxy.client().await;
    let unreachable = "tenbin_ejections_total{cluster=\"app\",reason=\"unreachable\"}";
    eventually("the one that is gone is met", async || {
        client.get("/who").await;
        (proxy.metric(unreachable).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(
        proxy
            .metric("tenbin_ejections_total{cluster=\"app\",reason=\"failing\"}")
            .await,
        0.0
    );
    let of = |name: &str| format!("tenbin_endpoint_{name}{{cluster=\"app\",endpoint=\"{}\"}}", app.address);
    assert_eq!(proxy.metric(&of("connections")).await, 1.0);
    proxy.await_metric(&of("connections_idle"), 1.0).await;
    client.get("/who").await;
    assert!(proxy.metric(&of("connections_reused_total")).await >= 1.0);
}

/// The names of metrics in all expressions and variables of a dashboard.
fn expressions(value: &serde_json::Value, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value
                    .as_str()
                    .filter(|_| matches!(key.as_str(), "expr" | "query" | "definition"))
                {
                    Some(expression) => {
                        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                        names.extend(words.filter(|word| word.starts_with("tenbin_")).map(str::to_owned));
                    }
                    None => expressions(value, names),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, names)),
        _ => {}
    }
}
