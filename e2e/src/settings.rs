//! What the tests are told by environment variables: `cargo xtask test` sets them.

use anyhow::Context;

/// The cluster's side of the tests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TENBIN_DEMO_IMAGE`: the demo app, which is the load driver too, as the nodes know it.
    pub demo_image: String,
    /// `TENBIN_PROXY_IMAGE`: what the sidecars must run.
    pub proxy_image: String,
    /// `TENBIN_OPERATOR_IMAGE`: what the operators must run.
    pub operator_image: String,
    /// `TENBIN_ENVOY_IMAGE`: a stock Envoy, for the test that needs it.
    pub envoy_image: Option<String>,
    /// `TENBIN_CURL_IMAGE`: curl on the demo app's image, for the test that needs it.
    pub curl_image: Option<String>,
    /// `TENBIN_CLUSTER`: the kind cluster's name, after which its nodes are named; `tenbin-test` unless given.
    pub cluster: String,
    /// `TENBIN_SYSTEM_NAMESPACE`: where the chart is installed; `tenbin-system` unless given.
    pub system: String,
    /// `TENBIN_HELM`: the helm program; `helm` unless given.
    pub helm: String,
    /// `TENBIN_KUBECTL`: the kubectl program; `kubectl` unless given.
    pub kubectl: String,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// An image is not given: there is no cluster to test on.
    pub fn from_env() -> anyhow::Result<Self> {
        let must = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set, expected an image: run `cargo xtask test`"))
        };
        let may = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Ok(Settings {
            demo_image: must("TENBIN_DEMO_IMAGE")?,
            proxy_image: must("TENBIN_PROXY_IMAGE")?,
            operator_image: must("TENBIN_OPERATOR_IMAGE")?,
            envoy_image: std::env::var("TENBIN_ENVOY_IMAGE").ok(),
            curl_image: std::env::var("TENBIN_CURL_IMAGE").ok(),
            cluster: may("TENBIN_CLUSTER", "tenbin-test"),
            system: may("TENBIN_SYSTEM_NAMESPACE", "tenbin-system"),
            helm: may("TENBIN_HELM", "helm"),
            kubectl: may("TENBIN_KUBECTL", "kubectl"),
        })
    }
}
