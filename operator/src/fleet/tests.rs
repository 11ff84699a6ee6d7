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
