//! The operator's command line: every flag also from the environment variable named. Parsed once in `main`, read-only after.
//! No decisions: what a setting does is decided where it is used.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use k8s_openapi::api::core::v1::ResourceRequirements;
use tenbin_model::{AccessLog, AccessLogFormat, Tracing, bounds};

use crate::certs::Lives;
use crate::compile::Defaults;
use crate::fleet::FleetSettings;
use crate::sessions::Rotation;

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// Tenbin's operator: compiles BalancedApps into Kubernetes objects and streams their endpoints to the proxies.
#[derive(Clone, Debug, Parser)]
#[command(name = "tenbin-operator", version)]
pub struct Config {
    /// Name of this replica: its pod's. Written into the lease.
    #[arg(long, env = "TENBIN_POD_NAME")]
    pub pod_name: String,
    /// The operator's own namespace: home of its lease, its certificate and its Service.
    #[arg(long, env = "TENBIN_POD_NAMESPACE")]
    pub pod_namespace: String,
    /// Name of the operator's ServiceAccount: replicas accept each other by it.
    #[arg(long, env = "TENBIN_SERVICE_ACCOUNT", default_value = "tenbin-operator")]
    pub service_account: String,
    /// Name of the Service in front of the operator's replicas.
    #[arg(long, env = "TENBIN_SERVICE_NAME", default_value = "tenbin-operator")]
    pub service_name: String,
    /// Port of that Service which leads to the stream.
    #[arg(long, env = "TENBIN_STREAM_PORT", default_value_t = 15010)]
    pub service_port: u16,
    /// Where the stream (xDS over gRPC and TLS) listens.
    #[arg(long, env = "TENBIN_XDS_LISTEN", default_value = "0.0.0.0:15010")]
    pub xds_listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics listen (plain HTTP).
    #[arg(long, env = "TENBIN_ADMIN_LISTEN", default_value = "0.0.0.0:15020")]
    pub admin_listen: SocketAddr,
    /// File with the token by which this replica asks the others how many proxies hang on them; it may appear later.
    #[arg(long, env = "TENBIN_PEER_TOKEN", default_value = "/var/run/tenbin/peer/token")]
    pub peer_token: PathBuf,
    /// Namespaces whose BalancedApps are served, separated by commas; all when empty.
    #[arg(long, env = "TENBIN_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Image of the sidecar proxy.
    #[arg(long, env = "TENBIN_PROXY_IMAGE")]
    pub proxy_image: String,
    /// Pull policy of that image: Always, IfNotPresent or Never; the cluster's default unless given.
    #[arg(long, env = "TENBIN_PROXY_PULL_POLICY", value_parser = pull_policy)]
    pub proxy_pull_policy: Option<PullPolicy>,
    /// Requests and limits of the sidecar, as JSON of a Kubernetes ResourceRequirements.
    #[arg(long, env = "TENBIN_PROXY_RESOURCES", default_value = "{}", value_parser = resources)]
    pub proxy_resources: Box<ResourceRequirements>,
    /// How lines of the proxies' access log look, for apps that do not say: None (there are none), Text or JSON.
    #[arg(long, env = "TENBIN_PROXY_ACCESS_LOG", value_enum, default_value_t = AccessLogForm::None)]
    pub proxy_access_log: AccessLogForm,
    /// One line of it for so many requests: 1 to 1000000.
    #[arg(long, env = "TENBIN_PROXY_ACCESS_LOG_ONE_IN", default_value = "1", value_parser = one_in)]
    pub proxy_access_log_one_in: u32,
    /// Where proxies send spans of requests (OTLP over gRPC), as http://collector.observability:4317; nowhere when empty.
    #[arg(long, env = "TENBIN_TRACING_COLLECTOR", default_value = "", value_parser = collector)]
    pub tracing_collector: String,
    /// Requests that begin a trace, in percent: 0 to 100, as 1 or 0.01. One that comes with a trace context goes by that.
    #[arg(long, env = "TENBIN_TRACING_SAMPLE_PERCENT", default_value = "1", value_parser = sampled)]
    pub tracing_sample_percent: Sampled,
    /// Log filter of the sidecars, as `info` or `tenbin_proxy=debug`.
    #[arg(long, env = "TENBIN_PROXY_LOG", default_value = "info")]
    pub proxy_log: String,
    /// When an app whose spec stays gets pods with a new proxy: another image, resources or settings of it.
    #[arg(long, env = "TENBIN_PROXY_UPGRADE", value_enum, default_value_t = ProxyUpgrade::AtRollout)]
    pub proxy_upgrade: ProxyUpgrade,
    /// Life of a CA of the stream, in seconds: 240 to 315360000. A new one joins the proxies' bundle at two thirds of it.
    #[arg(long, env = "TENBIN_CERTIFICATE_CA_SECONDS", default_value_t = 730 * DAY)]
    pub certificate_ca_seconds: u64,
    /// Life of the stream's serving certificate, in seconds: 60 to half of the CA's. It is renewed at two thirds of it.
    #[arg(long, env = "TENBIN_CERTIFICATE_SERVING_SECONDS", default_value_t = 90 * DAY)]
    pub certificate_serving_seconds: u64,
    /// How long a new CA is in the bundle before it signs, in seconds: 60 to a quarter of the CA's life. Every proxy should have got
    /// the bundle by then.
    #[arg(long, env = "TENBIN_CERTIFICATE_OVERLAP_SECONDS", default_value_t = DAY)]
    pub certificate_overlap_seconds: u64,
    /// How long a key seals session cookies before the next one does, in seconds: 60 to 31536000.
    #[arg(long, env = "TENBIN_SESSION_KEYS_ROTATE_SECONDS", default_value_t = 30 * DAY)]
    pub session_keys_rotate_seconds: u64,
    /// Log filter of the operator, as `info` or `tenbin_operator=debug,kube=warn`.
    #[arg(long, env = "TENBIN_LOG", default_value = "info")]
    pub log: String,
    /// Form of the log lines.
    #[arg(long, env = "TENBIN_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// When apps get a new proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum ProxyUpgrade {
    /// With the app's next own change that replaces its pods.
    AtRollout,
    /// Now, one app after the other.
    Staggered,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How lines of the access log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum AccessLogForm {
    /// There are none.
    None,
    /// Words in a fixed order.
    Text,
    /// One JSON object a line.
    #[value(name = "JSON")]
    Json,
}

/// Requests of a million that begin a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled(u32);

/// When the sidecar's image is pulled; empty text stands for the cluster's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullPolicy(Option<String>);

impl Config {
    /// The namespaces to watch, without empty entries and without doubles; none means all.
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.watch_namespaces.iter().map(|n| n.trim().to_owned()).collect();
        names.retain(|n| !n.is_empty());
        names.sort();
        names.dedup();
        names
    }

    /// The DNS names by which proxies reach the stream; the serving certificate carries them. The first is what sidecars are told.
    pub fn stream_names(&self) -> [String; 2] {
        let host = format!("{}.{}.svc", self.service_name, self.pod_namespace);
        [host.clone(), format!("{host}.cluster.local")]
    }

    /// What the sidecars of all apps have in common, with the bundle that they check the stream's certificate by.
    pub fn fleet_settings(&self, ca_bundle: String) -> FleetSettings {
        let [host, _] = self.stream_names();
        FleetSettings {
            proxy_image: self.proxy_image.clone(),
            proxy_image_pull_policy: self.proxy_pull_policy.clone().and_then(|p| p.0),
            proxy_resources: (*self.proxy_resources).clone(),
            xds_address: format!("{host}:{}", self.service_port),
            ca_bundle,
            proxy_log: self.proxy_log.clone(),
        }
    }

    /// What apps that say nothing of it have of what is told of requests.
    pub fn defaults(&self) -> Defaults {
        let format = match self.proxy_access_log {
            AccessLogForm::None => AccessLogFormat::Off,
            AccessLogForm::Text => AccessLogFormat::Text,
            AccessLogForm::Json => AccessLogFormat::Json,
        };
        let tracing = Tracing {
            collector: self.tracing_collector.clone(),
            sampled: self.tracing_sample_percent.0,
            service: String::new(),
        };
        Defaults {
            access_log: AccessLog {
                format,
                one_in: self.proxy_access_log_one_in,
            },
            tracing: (!tracing.collector.is_empty()).then_some(tracing),
        }
    }

    /// How long the certificates of the stream live.
    ///
    /// # Errors
    /// They make no sense together: which, with what is accepted.
    pub fn certificate_lives(&self) -> Result<Lives, String> {
        Lives::new(
            self.certificate_ca_seconds,
            self.certificate_serving_seconds,
            self.certificate_overlap_seconds,
        )
    }

    /// How long a key of session cookies seals.
    ///
    /// # Errors
    /// Too short or too long, with what is accepted.
    pub fn rotation(&self) -> Result<Rotation, String> {
        Rotation::new(self.session_keys_rotate_seconds)
    }

    /// The user name that the API server knows this operator by.
    pub fn user_name(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.pod_namespace, self.service_account)
    }
}

fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "" => Ok(PullPolicy(None)),
        "Always" | "IfNotPresent" | "Never" => Ok(PullPolicy(Some(text.to_owned()))),
        _ => Err("expected Always, IfNotPresent or Never".to_owned()),
    }
}

fn resources(text: &str) -> Result<Box<ResourceRequirements>, String> {
    let text = if text.is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|e| format!("expected JSON as {{\"requests\":{{\"cpu\":\"10m\"}}}}: {e}"))
}

fn one_in(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().and_then(|n| bounds::one_in("", n).ok());
    number.ok_or_else(|| "expected a number of 1 to 1000000".to_owned())
}

fn collector(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    bounds::collector("", text).map_err(|error| format!("expected {}, or nothing", error.accepted))
}

fn sampled(text: &str) -> Result<Sampled, String> {
    let percent = text
        .parse::<f64>()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent));
    let percent = percent.ok_or_else(|| "expected a percentage of 0 to 100, as 1 or 0.01".to_owned())?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    let sampled = (percent * 10_000.0).round() as u32;
    Ok(Sampled(sampled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &[&str]) -> Result<Config, clap::Error> {
        let base = [
            "tenbin-operator",
            "--pod-name=a",
            "--pod-namespace=tenbin-system",
            "--proxy-image=proxy:1",
        ];
        Config::try_parse_from(base.iter().chain(extra))
    }

    #[test]
    fn namespaces_are_trimmed_sorted_and_unique() {
        let config = parse(&["--watch-namespaces=b, a,,b"]).expect("valid");
        assert_eq!(config.namespaces(), ["a", "b"]);
        assert!(parse(&["--watch-namespaces="]).expect("valid").namespaces().is_empty());
    }

    #[test]
    fn sidecars_get_the_short_service_name_and_the_settings() {
        let resources = r#"{"limits":{"memory":"64Mi"}}"#;
        let config = parse(&["--proxy-resources", resources, "--proxy-pull-policy=Never"]).expect("valid");
        let fleet = config.fleet_settings("bundle".to_owned());
        assert_eq!(fleet.xds_address, "tenbin-operator.tenbin-system.svc:15010");
        assert_eq!(fleet.proxy_image_pull_policy.as_deref(), Some("Never"));
        assert_eq!(fleet.proxy_resources.limits.expect("limits")["memory"].0, "64Mi");
    }

    #[test]
    fn what_is_told_of_requests_is_nothing_unless_said() {
        assert_eq!(parse(&[]).expect("valid").defaults(), Defaults::default());
        assert_eq!(
            parse(&["--tracing-collector="]).expect("valid").defaults().tracing,
            None
        );
        let said = parse(&[
            "--proxy-access-log=JSON",
            "--proxy-access-log-one-in=100",
            "--tracing-collector=http://otel:4317",
            "--tracing-sample-percent=0.01",
        ]);
        let defaults = said.expect("valid").defaults();
        let log = AccessLog {
            format: AccessLogFormat::Json,
            one_in: 100,
        };
        assert_eq!(defaults.access_log, log);
        let tracing = defaults.tracing.expect("tracing");
        assert_eq!((&*tracing.collector, tracing.sampled), ("http://otel:4317", 100));
        for (flag, accepted) in [
            ("--proxy-access-log=true", "None, Text, JSON"),
            ("--proxy-access-log-one-in=0", "1 to 1000000"),
            ("--tracing-collector=otel", "http://collector.observability:4317"),
            ("--tracing-sample-percent=101", "0 to 100"),
            ("--tracing-sample-percent=NaN", "0 to 100"),
        ] {
            let error = parse(&[flag]).expect_err("refused").to_string();
            assert!(error.contains(accepted), "{error}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_with_what_would_be_accepted() {
        let error = parse(&["--proxy-pull-policy=Sometimes"])
            .expect_err("refused")
            .to_string();
        assert!(error.contains("Always, IfNotPresent or Never"), "{error}");
        let error = parse(&["--proxy-resources=cpu=1"]).expect_err("refused").to_string();
        assert!(error.contains("expected JSON"), "{error}");
    }
    #[test]
    fn lives_of_certificates_that_make_no_sense_together_are_refused() {
        let lives = |extra: &[&str]| parse(extra).expect("parsed").certificate_lives();
        lives(&[]).expect("the defaults are good");
        let sped_up = [
            "--certificate-ca-seconds=360",
            "--certificate-serving-seconds=60",
            "--certificate-overlap-seconds=90",
        ];
        lives(&sped_up).expect("good");
        let cases = [
            (
                ["--certificate-ca-seconds=239"],
                "--certificate-ca-seconds",
                "239, expected 240 to",
            ),
            (
                ["--certificate-serving-seconds=31536001"],
                "certificates.servingSeconds",
                "31536001, expected 60 to 31536000, half",
            ),
            (
                ["--certificate-overlap-seconds=15768001"],
                "certificates.overlapSeconds",
                "15768001, expected 60 to 15768000, a quarter",
            ),
            (
                ["--certificate-overlap-seconds=0"],
                "--certificate-overlap-seconds",
                "0, expected 60 to",
            ),
        ];
        for (flag, field, accepted) in cases {
            let error = lives(&flag).expect_err("refused");
            assert!(error.contains(field) && error.contains(accepted), "{error}");
        }
    }
}
