//! The chart's release on the cluster, as its administrator changes it.

use crate::{Lab, never_mind};

/// Where the chart lies.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/tenbin");
/// The longest until all operators are Ready.
const READY: [&str; 3] = ["--wait", "--timeout", "120s"];

impl Lab {
    /// Runs `body` and puts the chart's values back afterwards, whatever came of it: other tests need them as they were.
    ///
    /// # Errors
    /// Those of `body`; the values can't be read or put back.
    pub async fn with_chart(&self, body: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let values = self.helm(&["get", "values", "tenbin", "-o", "yaml"], "").await?;
        let outcome = body().await;
        let back = ["upgrade", "--install", "tenbin", CHART, "--reset-values", "-f", "-"];
        let back = self.helm(&[&back[..], &READY].concat(), &values).await.map(|_| ());
        if outcome.is_err() {
            never_mind("the chart's values", back);
            return outcome;
        }
        back
    }

    /// Upgrades the chart with these values changed, each as `name=value`.
    ///
    /// # Errors
    /// The operators are not Ready in time.
    pub async fn set_chart(&self, values: &[&str]) -> anyhow::Result<()> {
        let values = values.join(",");
        let set = ["upgrade", "tenbin", CHART, "--reuse-values", "--set", &values];
        self.helm(&[&set[..], &READY].concat(), "").await?;
        Ok(())
    }
}
