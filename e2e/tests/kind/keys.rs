//! What binds a request by a key of its own: 10,000 keys are spread over four pods, and each key goes to one pod, whichever sidecar
//! its request comes to.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tenbin_e2e::{App, Balancing, Driver, Lab, demo_spec, explain, say, test};
use tenbin_load::{Load, Report, Request};

/// A request whose key is its number.
struct Keyed {
    path: &'static str,
    header: Option<(&'static str, &'static str)>,
}

const HEADER: Keyed = Keyed {
    path: "/",
    header: Some(("x-user", "user-{n}")),
};
const FORWARDED: Keyed = Keyed {
    path: "/",
    header: Some(("x-forwarded-for", "{ip}")),
};

#[test]
fn a_key_goes_to_one_pod() {
    test("keys", async |lab| {
        let app = App::create(lab, "keys", demo_spec(lab, 4)).await?;
        let driver = lab.driver().await?;
        app.ready(4, 60).await?;
        let before = app.ready_names().await?;
        let header = json!({ "type": "Header", "header": { "name": "X-User" } });
        let hop = json!([format!("{}/32", lab.driver_ip().await?)]);

        // All that hashes, over many keys.
        let ways: [(&str, &Value, &Value, &Keyed); 3] = [
            ("RingHash", &header, &Value::Null, &HEADER),
            ("Maglev", &header, &Value::Null, &HEADER),
            ("SourceIpHash", &Value::Null, &hop, &FORWARDED),
        ];
        for (algorithm, affinity, hops, keyed) in ways {
            let balancing = Balancing {
                algorithm: algorithm.into(),
                affinity: affinity.clone(),
                trusted_hops: hops.clone(),
            };
            app.balance(4, &balancing).await?;
            let report = bound(lab, &app, &driver, keyed, 10_000).await.context(algorithm)?;
            let counts: Vec<u64> = report.instances.values().map(|i| i.ok).collect();
            say(format_args!("{algorithm}: {counts:?}"));
            ensure!(
                counts.len() == 4 && counts.iter().all(|count| count.abs_diff(2_500) <= 625),
                "{algorithm}: not 2500 ± 25% each: {}",
                explain(&report)
            );
        }

        // All that names a key, with the algorithm for those without left as it is by default.
        let ways = [
            (header, HEADER),
            (
                json!({ "type": "QueryParam", "queryParam": { "name": "user" } }),
                Keyed {
                    path: "/?other=1&user={n}",
                    header: None,
                },
            ),
            (
                json!({ "type": "Path" }),
                Keyed {
                    path: "/at/{n}",
                    header: None,
                },
            ),
            (
                json!({ "type": "Cookie", "cookie": { "issuedBy": "App", "name": "sid" } }),
                Keyed {
                    path: "/",
                    header: Some(("cookie", "theme=dark; sid={n}")),
                },
            ),
        ];
        for (affinity, keyed) in ways {
            app.balance(4, &Balancing::bound(affinity.clone())).await?;
            let object = app.get().await?;
            ensure!(
                object.data["spec"].get("algorithm").is_none() && object.data["status"]["algorithm"] == "Adaptive",
                "the default is to be told, and not written: {:#}",
                object.data
            );
            let report = bound(lab, &app, &driver, &keyed, 300).await;
            let report = report.with_context(|| affinity.to_string())?;
            ensure!(report.instances.len() == 4, "{affinity}: {}", explain(&report));
        }
        ensure!(app.ready_names().await? == before, "pods were replaced");
        Ok(())
    });
}

/// Sends a request of each key, and one more, by other clients: every key's two come to the same pod.
async fn bound(lab: &Lab, app: &App<'_>, driver: &Driver, keyed: &Keyed, keys: u64) -> anyhow::Result<Report> {
    let mut request = Request::get(app.url(keyed.path));
    let header = keyed.header.map(|(name, value)| (name.to_owned(), value.to_owned()));
    request.headers.extend(header);
    let load = |clients| Load {
        count: Some(keys),
        ..Load::new(request.clone(), clients)
    };
    let first = driver.run(&load(16)).await?;
    let second = driver.run(&load(7)).await?;
    let (one, two) = (answered(&first, keys)?, answered(&second, keys)?);
    let moved: Vec<u64> = one
        .iter()
        .filter(|(key, pod)| two.get(key) != Some(pod))
        .map(|(key, _)| *key)
        .collect();
    ensure!(
        moved.is_empty(),
        "{} of {keys} keys moved, the first {:?}; picks by reason: {:?}",
        moved.len(),
        moved.first(),
        reasons(lab, app).await?
    );
    Ok(first)
}

/// Why the proxies picked whom they picked, since they started.
async fn reasons(lab: &Lab, app: &App<'_>) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for pod in app.pods().await? {
        let metrics = lab.proxy_metrics(&pod).await?;
        for sample in metrics.named("tenbin_picks_total").filter(|s| s.value > 0.0) {
            let reason = sample.labels.get("reason").cloned().unwrap_or_default();
            *all.entry(reason).or_default() += sample.value;
        }
    }
    Ok(all)
}

/// Who answered which key: all of them, with whatever status.
fn answered(report: &Report, keys: u64) -> anyhow::Result<BTreeMap<u64, &str>> {
    let pairs = report.numbers.iter();
    let all: BTreeMap<u64, &str> = pairs
        .flat_map(|(pod, numbers)| numbers.iter().map(move |&number| (number, pod.as_str())))
        .collect();
    ensure!(
        all.len() as u64 == keys,
        "{} of {keys} keys: {}",
        all.len(),
        explain(report)
    );
    Ok(all)
}
