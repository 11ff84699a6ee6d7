use serde_json::{Value, json};

use super::*;

fn children(balancing: &Value) -> Vec<Child> {
    let mut app = json!({
        "apiVersion": "tenbin.dev/v1alpha1",
        "kind": "BalancedApp",
        "metadata": {"name": "hello", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"image": "shop:1", "ports": [{"name": "http", "port": 80}]},
    });
    let fields = balancing.as_object().expect("fields").clone();
    app["spec"].as_object_mut().expect("a spec").extend(fields);
    let app: BalancedApp = serde_json::from_value(app).expect("valid");
    let settings = FleetSettings {
        proxy_image: "proxy:1".to_owned(),
        proxy_image_pull_policy: None,
        proxy_resources: ResourceRequirements::default(),
        xds_address: "tenbin-operator.ops.svc:15010".to_owned(),
        ca_bundle: "PEM".to_owned(),
        proxy_log: "info".to_owned(),
    };
    desired(&app, &app.spec, &settings).expect("good")
}

#[test]
fn how_requests_are_balanced_changes_no_child_and_so_no_pod() {
    let plain = children(&json!({}));
    for balancing in [
        json!({"algorithm": "RoundRobin"}),
        json!({"algorithm": "PeakEwma", "algorithmConfig": {"decaySeconds": 3, "slowStart": {"windowSeconds": 9}}}),
        json!({"affinity": {"type": "Cookie", "cookie": {"ttlSeconds": 60}, "onDrain": "Move"}}),
        json!({"algorithm": "Maglev", "affinity": {"type": "Header", "header": {"name": "x-user"}}}),
        json!({"trafficDistribution": "PreferSameZone", "trustedHops": ["10.0.0.0/8"]}),
    ] {
        assert_eq!(children(&balancing), plain, "{balancing}");
    }
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// The children of an app with one port.
fn with_port(port: &Value) -> Vec<Child> {
    let mut port = port.clone();
    port["name"] = "http".into();
    port["port"] = 80.into();
    children(&json!({"ports": [port]}))
}

fn kept(children: &[Child]) -> &BTreeMap<String, String> {
    let data = children.iter().find_map(|child| match child {
        Child::ConfigMap(map) => map.data.as_ref(),
        _ => None,
    });
    data.expect("a ConfigMap with data")
}

fn pods(children: &[Child]) -> Value {
    let deployment = children.iter().find_map(|child| match child {
        Child::Deployment(deployment) => deployment.spec.as_ref(),
        _ => None,
    });
    serde_json::to_value(&deployment.expect("a Deployment").template).expect("JSON")
}

/// What the sidecar is told, and by what the kubelet finds it started.
fn told(children: &[Child]) -> (String, String) {
    let pods = pods(children);
    let proxy = &pods["spec"]["initContainers"][0];
    let env = proxy["env"].as_array().expect("variables");
    let value = |name: &str| env.iter().find(|v| v["name"] == name)?["value"].as_str();
    let told = format!(
        "{} {}",
        value("TENBIN_PORTS").unwrap_or(""),
        value("TENBIN_TLS_DIR").unwrap_or("-")
    );
    let started = proxy["startupProbe"]["httpGet"]["path"].as_str();
    assert_eq!(proxy["readinessProbe"]["httpGet"]["path"], "/readyz");
    (told, started.unwrap_or_default().to_owned())
}

#[test]
fn a_sidecar_is_told_what_its_app_speaks() {
    let tls = json!({"caBundle": CERTIFICATE});
    for (port, expected, started) in [
        (json!({}), "http=15080:80 -", "/readyz"),
        (json!({"appProtocol": "http"}), "http=15080:80 -", "/readyz"),
        (json!({"appProtocol": "h2c"}), "http=15080:80/h2c -", "/readyz"),
        (json!({"appProtocol": "grpc"}), "http=15080:80/h2c -", "/readyz"),
        (json!({"appProtocol": "tcp"}), "http=15080:80/tcp -", "/readyz"),
        (
            json!({"appProtocol": "https", "tls": tls}),
            "http=15080:80/https /var/run/tenbin/ca",
            "/livez",
        ),
        (
            json!({"appProtocol": "h2", "tls": tls}),
            "http=15080:80/h2 /var/run/tenbin/ca",
            "/livez",
        ),
        (
            json!({"appProtocol": "grpc", "tls": tls}),
            "http=15080:80/h2 /var/run/tenbin/ca",
            "/livez",
        ),
    ] {
        let children = with_port(&port);
        assert_eq!(told(&children), (expected.to_owned(), started.to_owned()), "{port}");
        let files: Vec<_> = kept(&children).keys().map(String::as_str).collect();
        let expected: &[&str] = if port["tls"].is_null() {
            &["ca.crt"]
        } else {
            &["ca.crt", "tls-http.json"]
        };
        assert_eq!(files, expected, "{port}");
    }
}

#[test]
fn another_ca_or_name_of_the_app_replaces_no_pod() {
    let https = |tls: Value| with_port(&json!({"appProtocol": "https", "tls": tls}));
    let before = https(json!({"caBundle": CERTIFICATE}));
    let expected = json!({"serverName": "hello.default.svc", "caBundle": CERTIFICATE}).to_string();
    let sorted = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(sorted(&kept(&before)["tls-http.json"]), sorted(&expected));
    for tls in [
        json!({"caBundle": CERTIFICATE.repeat(2)}),
        json!({"caBundle": CERTIFICATE, "serverName": "shop.example.com"}),
    ] {
        let after = https(tls);
        assert_eq!(pods(&after), pods(&before));
        assert_ne!(kept(&after), kept(&before));
    }
}

#[test]
fn what_does_not_fit_into_the_config_map_is_left_out_and_the_rest_is_there() {
    let large = CERTIFICATE.repeat(1000);
    let port = |n: u16, ca: &str| json!({"name": format!("p{n}"), "port": 8000 + n, "appProtocol": "https", "tls": {"caBundle": ca}});
    let mut ports: Vec<Value> = (0..12).map(|n| port(n, &large)).collect();
    ports.push(port(12, CERTIFICATE));
    let children = children(&json!({"ports": ports}));
    let kept = kept(&children);
    let size: usize = kept.values().map(String::len).sum();
    assert!((400 << 10..1 << 20).contains(&size), "{size}");
    assert!(kept.contains_key("ca.crt") && kept.contains_key("tls-p0.json"));
    assert!(!kept.contains_key("tls-p11.json") && kept.contains_key("tls-p12.json"));
}
