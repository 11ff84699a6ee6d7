//! The CRD as YAML, held in the tree twice: where people read it, and in the chart that installs it.
//! `UPDATE=1 cargo test -p tenbin-crds` rewrites both after a change of the types.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::{Path, PathBuf};

use kube::CustomResourceExt;
use serde_json::Value;
use tenbin_crds::BalancedApp;

const HEADER: &str =
    "# Written by `UPDATE=1 cargo test -p tenbin-crds` from the types in crds/src; not to be edited.\n";

/// Plain `kubectl apply` keeps the whole object in an annotation, of which 256 KiB is the limit; we stay far below it.
const MAX_BYTES: usize = 100 * 1024;

fn files() -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        root.join("yaml/balancedapps.tenbin.dev.yaml"),
        root.join("../charts/tenbin-crds/files/balancedapps.tenbin.dev.yaml"),
    ]
}

fn crd() -> Value {
    serde_json::to_value(BalancedApp::crd()).unwrap()
}

fn schema() -> Value {
    crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

#[test]
fn the_files_say_what_the_types_say() {
    let yaml = format!("{HEADER}{}", serde_saphyr::to_string(&crd()).unwrap());
    assert!(
        yaml.len() < MAX_BYTES,
        "the CRD has {} bytes, more than {MAX_BYTES}",
        yaml.len()
    );
    for file in files() {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &yaml).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == yaml,
            "{} is not up to date: run `UPDATE=1 cargo test -p tenbin-crds`",
            file.display()
        );
    }
    let parsed: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(parsed, crd(), "the YAML reads back as something else");
}

/// Calls `visit` with every schema under `schema` and its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            walk(inner, &format!("{path}[*]"), visit);
        }
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), visit);
    }
}

#[test]
fn everything_is_bounded() {
    let mut unbounded = Vec::new();
    walk(&schema(), "", &mut |path, schema| {
        let has = |keyword: &str| schema.get(keyword).is_some();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum") || has("format"),
            // A generation only grows; it has the bounds of its type.
            Some("integer") => (has("minimum") && has("maximum")) || schema["format"] == "int64",
            Some("array") => has("maxItems"),
            Some("object") => has("properties") || has("maxProperties") || path.ends_with(".tcp"),
            Some("boolean") => true,
            _ => has("x-kubernetes-int-or-string") && has("maxLength"),
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
    });
    assert!(unbounded.is_empty(), "without a bound: {unbounded:?}");
}

#[test]
fn every_own_field_is_described_and_every_rule_explained() {
    let embedded = [
        "spec.env[",
        "spec.envFrom[",
        "resources.",
        "spec.imagePullSecrets[",
        "status.conditions[",
    ];
    let mut missing = Vec::new();
    walk(&schema(), "", &mut |path, schema| {
        let ours = path.starts_with(".spec") || path.starts_with(".status");
        let item = path.ends_with("[*]");
        if ours && !item && !embedded.iter().any(|part| path.contains(part)) && schema["description"].is_null() {
            missing.push(path.to_owned());
        }
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule
                .get("message")
                .or(rule.get("messageExpression"))
                .and_then(Value::as_str);
            if message.is_none_or(|text| text.is_empty() || text.contains('\n')) {
                missing.push(format!("{path}: {}", rule["rule"]));
            }
        }
    });
    assert!(missing.is_empty(), "without a text: {missing:?}");
}

#[test]
fn rules_on_embedded_types_are_in_place() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    for pointer in [
        "/env/items",
        "/env/items/properties/name",
        "/envFrom/items",
        "/resources/properties/limits/additionalProperties",
        "/resources/properties/requests/additionalProperties",
        "/proxy/properties/resources/properties/limits/additionalProperties",
        "/rollout/properties/maxSurge",
        "/rollout/properties/maxUnavailable",
    ] {
        let rules = spec.pointer(pointer).map(|part| &part["x-kubernetes-validations"]);
        assert!(rules.is_some_and(Value::is_array), "no rule at {pointer}");
    }
    for (list, key) in [("env", "name"), ("imagePullSecrets", "name"), ("ports", "name")] {
        assert_eq!(spec[list]["x-kubernetes-list-type"], "map", "{list}");
        assert_eq!(
            spec[list]["x-kubernetes-list-map-keys"],
            serde_json::json!([key]),
            "{list}"
        );
        assert!(
            spec[list]["items"]["required"]
                .as_array()
                .unwrap()
                .contains(&key.into()),
            "{list}"
        );
    }
}

#[test]
fn names_columns_and_scale_are_as_documented() {
    let crd = crd();
    assert_eq!(crd["spec"]["names"]["shortNames"], serde_json::json!(["bapp"]));
    assert_eq!(crd["spec"]["names"]["categories"], serde_json::json!(["all"]));
    let version = &crd["spec"]["versions"][0];
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(columns, ["Ready", "Desired", "Algorithm", "Synced", "Proxy", "Age"]);
    let scale = &version["subresources"]["scale"];
    assert_eq!(scale["specReplicasPath"], ".spec.replicas");
    assert_eq!(scale["statusReplicasPath"], ".status.replicas");
    assert_eq!(scale["labelSelectorPath"], ".status.selector");
}

#[test]
fn an_object_with_only_what_is_required_gets_the_documented_defaults() {
    let app: BalancedApp = serde_json::from_value(serde_json::json!({
        "apiVersion": "tenbin.dev/v1alpha1",
        "kind": "BalancedApp",
        "metadata": { "name": "hello" },
        "spec": { "image": "hello:1", "ports": [{ "name": "http", "port": 8080 }], "healthProbe": { "tcp": {} } },
    }))
    .unwrap();
    let with_defaults = serde_json::to_value(&app.spec).unwrap();
    let schema = schema();
    let properties = &schema["properties"]["spec"]["properties"];
    for (field, default) in [
        ("replicas", serde_json::json!(1)),
        ("paused", false.into()),
        (
            "rollout",
            serde_json::json!({ "maxSurge": "25%", "maxUnavailable": 0, "drainSeconds": 5, "graceSeconds": 45 }),
        ),
    ] {
        assert_eq!(with_defaults[field], default, "{field} in Rust");
        assert_eq!(properties[field]["default"], default, "{field} in the schema");
    }
    for (field, part) in properties["healthProbe"]["properties"].as_object().unwrap() {
        if let Some(default) = part.get("default") {
            assert_eq!(with_defaults["healthProbe"][field], *default, "healthProbe.{field}");
        }
    }
    assert_eq!(with_defaults["ports"][0]["appProtocol"], "http");
}
