//! Item 8: WebSockets and large bodies through Service and sidecar.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tenbin_e2e::{App, demo_spec, restarts, test};
use tenbin_load::{Echo, Request};

/// 100 MiB.
const LARGE: u64 = 100 * 1024 * 1024;

#[test]
fn websockets_and_large_bodies_pass() {
    test("bodies", async |lab| {
        let mut spec = demo_spec(lab, 2);
        // A sidecar that held even half of a large body would be killed for it.
        spec["proxy"] = json!({ "resources": {
            "requests": { "cpu": "20m", "memory": "48Mi" },
            "limits": { "memory": "48Mi" },
        } });
        let app = App::create(lab, "bodies", spec).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;

        for (messages, bytes) in [(50, 100), (3, 1_000_000)] {
            let plan = Echo {
                url: app.url("/ws"),
                messages,
                bytes,
            };
            let echoed = driver.websocket(&plan).await?;
            ensure!(
                echoed.error.is_none() && echoed.same == messages && echoed.closed,
                "{messages} messages of {bytes} bytes: {echoed:?}"
            );
        }

        let large = |path: &str| Request {
            timeout_ms: 60_000,
            ..Request::post(app.url(path), LARGE)
        };
        // Several, so that both sidecars get some.
        for _ in 0..3 {
            let answer = driver.send(&large("/sink")).await?;
            ensure!(answer.status == Some(200), "{answer:?}");
            let counted: Value = serde_json::from_str(&answer.body)?;
            ensure!(counted["bytes"] == LARGE, "{counted}");
        }
        let echo = driver.send(&large("/echo")).await?;
        ensure!(
            echo.status == Some(200) && echo.error.is_none() && echo.body_bytes == LARGE,
            "{:?} {:?}, {} bytes",
            echo.status,
            echo.error,
            echo.body_bytes
        );
        for pod in app.pods().await? {
            let spec = serde_json::to_value(&pod.spec)?;
            let limit = spec.pointer("/initContainers/0/resources/limits/memory");
            ensure!(limit == Some(&json!("48Mi")), "the sidecar's limit is {limit:?}");
            let count = restarts(&pod, "tenbin-proxy").context("the sidecar has a status")?;
            ensure!(count == 0, "a sidecar was restarted: {:?}", pod.status);
        }
        Ok(())
    });
}
