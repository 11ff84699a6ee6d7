//! Who a client is, by `X-Forwarded-For`: what a trusted hop says counts, what anybody else says does not.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::{Value, json};
use tenbin_e2e::{App, Balancing, Driver, demo_spec, explain, test};
use tenbin_load::{Load, Request};

/// Clients, each with an address of its own.
const CLIENTS: u64 = 200;

#[test]
fn only_trusted_hops_are_believed() {
    test("forwarded", async |lab| {
        let app = App::create(lab, "forwarded", demo_spec(lab, 3)).await?;
        let driver = lab.driver().await?;
        app.ready(3, 60).await?;
        // The load driver is the hop, or nobody's.
        let hop = format!("{}/32", lab.driver_ip().await?);
        let trust = async |hops: Value| {
            let balancing = Balancing {
                trusted_hops: hops,
                ..Balancing::bound(json!({ "type": "SourceIP" }))
            };
            app.balance(3, &balancing).await
        };

        trust(Value::Null).await?;
        let own = pods(&app, &driver, "{ip}").await?;
        ensure!(own.len() == 1, "what an untrusted peer says was believed: {own:?}");

        trust(json!(["192.0.2.0/24"])).await?;
        let again = pods(&app, &driver, "{ip}").await?;
        ensure!(
            again == own,
            "a hop that is not in front was believed: {again:?}, not {own:?}"
        );

        trust(json!([hop])).await?;
        let spread = pods(&app, &driver, "{ip}").await?;
        ensure!(spread.len() == 3, "a trusted hop was not believed: {spread:?}");
        // What came before the address that the hop saw is what a client made up.
        let made_up = pods(&app, &driver, "{ip}, 203.0.113.7").await?;
        ensure!(made_up.len() == 1, "a client chose its address: {made_up:?}");
        // What is no address is not believed either, and fails nothing.
        for nonsense in ["{n}.example, unknown", "{n}", ", ,", "999.1.1.{n}"] {
            let answered = pods(&app, &driver, nonsense).await?;
            ensure!(answered.len() == 1, "{nonsense:?} was believed: {answered:?}");
        }

        // Two hops, both trusted: whom the first one saw.
        trust(json!([hop, "203.0.113.0/24"])).await?;
        let behind = pods(&app, &driver, "{ip}, 203.0.113.7").await?;
        ensure!(behind.len() == 3, "the second hop was taken for the client: {behind:?}");
        Ok(())
    });
}

/// Which pods answer the clients, each of which comes with this in its `X-Forwarded-For`.
async fn pods(app: &App<'_>, driver: &Driver, forwarded: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut request = Request::get(app.url("/"));
    request
        .headers
        .insert("x-forwarded-for".to_owned(), forwarded.to_owned());
    let load = Load {
        count: Some(CLIENTS),
        ..Load::new(request, 8)
    };
    let report = driver.run(&load).await?;
    super::lossless(&report)?;
    ensure!(report.ok == CLIENTS, "{}", explain(&report));
    Ok(report.instances.into_keys().collect())
}
