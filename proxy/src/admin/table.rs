//! What admin answers, as tables for people. Made by the client of the JSON that the proxy gives; whatever is not there is a dash.

use std::fmt::Write as _;

use serde_json::Value;

/// The columns of a cluster's endpoints: a head, and where the value is.
const ENDPOINT: [(&str, &str); 11] = [
    ("INSTANCE", "/instance"),
    ("ADDRESS", "/address"),
    ("STATE", "/state"),
    ("WEIGHT", "/weight"),
    ("ZONE", "/zone"),
    ("IN-FLIGHT", "/inFlight"),
    ("CONNECTIONS", "/connections"),
    ("PICKS", "/picks"),
    ("LATENCY-MS", "/latencyMs"),
    ("FAILURES", "/skip/failures"),
    ("LEFT-OUT-MS", "/skip/leftMs"),
];

/// The clusters, each with its endpoints.
pub(super) fn clusters(answer: &Value) -> String {
    let mut text = String::new();
    for cluster in list(answer, "/clusters") {
        let affinity = match word(cluster, "/affinity/type").as_str() {
            "-" => "none".to_owned(),
            kind => kind.to_owned(),
        };
        let _ = writeln!(
            text,
            "{}: {}, affinity {affinity}, latency {} ms, late after {} ms",
            word(cluster, "/name"),
            word(cluster, "/algorithm"),
            word(cluster, "/latencyMs"),
            word(cluster, "/lateAfterMs"),
        );
        let rows = list(cluster, "/endpoints").iter();
        let rows = rows.map(|endpoint| ENDPOINT.map(|(_, place)| word(endpoint, place)));
        text.push_str(&table(ENDPOINT.map(|(head, _)| head.to_owned()), rows.collect()));
        text.push('\n');
    }
    text
}

fn list<'a>(value: &'a Value, place: &str) -> &'a [Value] {
    value
        .pointer(place)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn word(value: &Value, place: &str) -> String {
    match value.pointer(place) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Columns as wide as what stands in them.
fn table<const N: usize>(head: [String; N], rows: Vec<[String; N]>) -> String {
    let mut all = vec![head];
    all.extend(rows);
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &all {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, " {cell:<width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_stand_in_columns() {
        let endpoint = |name: &str, zone: &str, skip: Value| {
            json!({ "instance": name, "address": "10.0.0.1:80", "state": "Ready", "weight": 1, "zone": zone,
                    "inFlight": 0, "connections": 2, "picks": 12, "latencyMs": 1.5, "skip": skip })
        };
        let answer = json!({ "clusters": [{
            "name": "ns/hello/http", "algorithm": "Adaptive", "affinity": null, "latencyMs": 1.5, "lateAfterMs": 100,
            "endpoints": [
                endpoint("hello-1", "a", Value::Null),
                endpoint("hello-long-name", "", json!({ "failures": 3, "leftMs": 250 })),
            ],
        }]});
        let expected = "\
ns/hello/http: Adaptive, affinity none, latency 1.5 ms, late after 100 ms
  INSTANCE         ADDRESS      STATE  WEIGHT  ZONE  IN-FLIGHT  CONNECTIONS  PICKS  LATENCY-MS  FAILURES  LEFT-OUT-MS
  hello-1          10.0.0.1:80  Ready  1       a     0          2            12     1.5         -         -
  hello-long-name  10.0.0.1:80  Ready  1       -     0          2            12     1.5         3         250

";
        assert_eq!(clusters(&answer), expected);
    }
}
