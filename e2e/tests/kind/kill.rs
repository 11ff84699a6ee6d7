//! Item 4: replicas that die at once, under load.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use tenbin_e2e::{App, Driver, demo_spec, eventually, explain, pod_ip, restarts, test};
use tenbin_load::{Load, Request};

/// How far the clocks of a kill and of a request may be apart, in milliseconds: both are the driver's, on a machine that is busy.
const BLUR: u64 = 500;
/// Within how many milliseconds what the killed replicas had is over, and somebody answers.
const SOON: u64 = 5_000;

#[test]
fn only_requests_in_flight_on_a_killed_replica_fail() {
    test("kill", async |lab| {
        let app = App::create(lab, "kill", demo_spec(lab, 4)).await?;
        let driver = lab.driver().await?;
        app.ready(4, 60).await?;
        through_the_proxy(&app, &driver).await?;
        app.ready(4, 60).await?;

        let clients = 12;
        let load = driver
            .start(&Load {
                pause_ms: 5,
                ..app.load("/slow?ms=10", clients)
            })
            .await?;
        load.answered(200).await?;
        let pods = app.pods().await?;
        let (survivor, victims) = pods.split_first().context("no pod")?;
        let survivor = survivor.metadata.name.clone().context("a pod has a name")?;
        let mut killed_ms = 0;
        for pod in victims {
            killed_ms = kill(&driver, pod).await?;
        }
        let during = load.report().await?;
        load.answered(200).await?;
        app.ready(4, 60).await?;
        load.answered(200).await?;
        let report = load.stop().await?;

        ensure!(
            report.failed <= (clients * victims.len()) as u64,
            "more failed than can have been in flight: {}",
            explain(&report)
        );
        let late = report.failures.iter().find(|f| f.began_ms > killed_ms + BLUR);
        ensure!(
            late.is_none(),
            "a request that began {} ms after the last kill failed: {late:?}\n{}",
            late.map_or(0, |f| f.began_ms - killed_ms),
            explain(&report)
        );
        let last = report.failures.iter().map(|f| f.ended_ms).max().unwrap_or(0);
        ensure!(last <= killed_ms + SOON, "failed late: {}", explain(&report));
        // While the others are down, it is the survivor that goes on.
        ensure!(
            report.instances[&survivor].last_ms > killed_ms && report.instances[&survivor].ok > 0,
            "{}\nduring: {}",
            explain(&report),
            explain(&during)
        );
        ensure!(
            report.longest_gap_ms < SOON,
            "nobody answered for a while: {}",
            explain(&report)
        );
        // By themselves: the same pods, their containers restarted.
        eventually("the killed containers are restarted", 60, async || {
            let after = app.pods().await?;
            for victim in victims {
                let again = after.iter().find(|p| p.metadata.uid == victim.metadata.uid);
                let count = again.and_then(|p| restarts(p, "app"));
                let before = restarts(victim, "app").unwrap_or(0);
                ensure!(count == Some(before + 1), "restarts: {count:?}, {before} before");
                let sidecar = again.and_then(|p| restarts(p, "tenbin-proxy"));
                ensure!(sidecar == Some(0), "the sidecar restarted: {sidecar:?}");
            }
            Ok(())
        })
        .await
    });
}

/// Kills the app of `pod`, not through the proxy; gives the time when it was dead.
async fn kill(driver: &Driver, pod: &Pod) -> anyhow::Result<u64> {
    let request = Request {
        timeout_ms: 2_000,
        ..Request::post(format!("http://{}:8080/kill", pod_ip(pod)), 0)
    };
    Ok(driver.send(&request).await?.ended_ms)
}

/// `/kill` as a user calls it: GET is refused and kills nobody; POST is answered by the proxy with 502, since what it was sent to
/// may have done it, so that it must not be sent to another replica.
async fn through_the_proxy(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    driver.reached(&app.url("/")).await?;
    let get = driver.send(&Request::get(app.url("/kill"))).await?;
    ensure!(get.status == Some(405), "{get:?}");
    let total = async || -> anyhow::Result<i32> {
        let pods = app.pods().await?;
        Ok(pods.iter().filter_map(|p| restarts(p, "app")).sum())
    };
    ensure!(total().await? == 0, "a GET killed somebody");
    let post = driver.send(&Request::post(app.url("/kill"), 0)).await?;
    ensure!(post.status == Some(502), "{post:?}");
    eventually("one of four is restarted", 30, async || {
        let total = total().await?;
        ensure!(total == 1, "{total} restarts");
        Ok(())
    })
    .await?;
    // An app's own 503 is passed on as it is.
    let own = driver.send(&Request::get(app.url("/status/503"))).await?;
    ensure!(own.status == Some(503), "{own:?}");
    Ok(())
}
