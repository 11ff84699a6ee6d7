//! What lasts: server-sent events for a minute while the app's settings and replicas change, and a WebSocket with a gibibyte each way.

use anyhow::{Context, ensure};
use serde_json::json;
use tenbin_e2e::{App, Balancing, Driver, demo_spec, restarts, say, test};
use tenbin_load::{Listen, Volume};

/// Between two events, in milliseconds.
const EVERY: u64 = 500;
/// How long they are listened to, in milliseconds.
const LISTENED: u64 = 60_000;
/// What goes over the WebSocket each way.
const VOLUME: u64 = 1 << 30;

#[test]
fn streams_outlast_changes() {
    test("long", async |lab| {
        let mut spec = demo_spec(lab, 2);
        // A sidecar that held what it passes on would be killed for it. It may have a core, so that the volume does not take long.
        spec["proxy"] = json!({ "resources": {
            "requests": { "cpu": "20m", "memory": "48Mi" },
            "limits": { "cpu": "2", "memory": "48Mi" },
        } });
        let app = App::create(lab, "long", spec).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let listen = |http: &str| Listen {
            url: app.url(http),
            ms: LISTENED,
        };
        // Two listeners, so that both ways into the app are likely to be among them.
        let path = format!("/events?ms={EVERY}");
        let (one, two) = (listen(&path), listen(&path));
        let (one, two, changes) = tokio::join!(driver.listen(&one), driver.listen(&two), changes(&app, &driver));
        changes?;
        for heard in [one?, two?] {
            ensure!(
                heard.status == Some(200) && heard.broken.is_none() && heard.missed == 0,
                "{heard:?}"
            );
            let expected = LISTENED / EVERY;
            ensure!(
                heard.events >= expected * 9 / 10 && heard.longest_gap_ms < 10 * EVERY,
                "not {expected} events: {heard:?}"
            );
        }
        for pod in app.pods().await? {
            let count = restarts(&pod, "tenbin-proxy").context("the sidecar has a status")?;
            ensure!(count == 0, "a sidecar was restarted: {:?}", pod.status);
        }
        Ok(())
    });
}

/// A volume over a WebSocket, during which the algorithm changes; then more replicas.
async fn changes(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let plan = Volume {
        url: app.url("/ws"),
        bytes: VOLUME,
        message_bytes: 256 * 1024,
        timeout_ms: 90_000,
    };
    let random = Balancing::by("Random");
    let (moved, balanced) = tokio::join!(driver.volume(&plan), app.balance(2, &random));
    balanced?;
    let moved = moved?;
    say(format_args!("{VOLUME} bytes each way in {} ms", moved.took_ms));
    ensure!(
        moved.error.is_none() && moved.received == VOLUME && moved.sent_hash == moved.received_hash,
        "{moved:?}"
    );
    app.patch(&json!({ "replicas": 3, "algorithm": "LeastRequest" }))
        .await?;
    app.ready(3, 60).await
}
