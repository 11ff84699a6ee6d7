//! Schemas of the Kubernetes types that a BalancedApp embeds: taken from the types themselves, then bounded in every
//! string, list and map (the API server refuses rules whose cost has no bound) and stripped of their long texts.
//! No type of our own lives here.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, LocalObjectReference, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::rules;

/// Longest name of an object or a key (Kubernetes' own limit), also for strings that have no limit of their own.
const NAME_MAX: usize = 253;
/// Longest value of a variable, and longest message of a condition.
const VALUE_MAX: usize = 32_768;
/// Most variables, by `env` or by `envFrom`.
const ENV_MAX: usize = 256;
/// Most items of any other list, and entries of any map.
const FEW: usize = 16;

pub(crate) fn env(generator: &mut SchemaGenerator) -> Schema {
    let mut item = bounded::<EnvVar>(generator);
    limit(&mut item, "/properties/name", &[("minLength", json!(1))]);
    limit(&mut item, "/properties/value", &[("maxLength", json!(VALUE_MAX))]);
    rule(
        &mut item,
        "/properties/name",
        "!self.startsWith('TENBIN_')",
        "names beginning with TENBIN_ are set by the operator: choose another one",
    );
    rule(
        &mut item,
        "/properties/name",
        "!self.contains('=')",
        "a variable's name must not contain '='; its value belongs into value",
    );
    rule(
        &mut item,
        "",
        "!(has(self.valueFrom) && has(self.value) && self.value != '')",
        "a variable must have value or valueFrom, not both",
    );
    list(&item, ENV_MAX)
}

pub(crate) fn env_from(generator: &mut SchemaGenerator) -> Schema {
    let mut item = bounded::<EnvFromSource>(generator);
    rule(
        &mut item,
        "",
        "has(self.configMapRef) != has(self.secretRef)",
        "an item of envFrom must have exactly one of configMapRef and secretRef",
    );
    list(&item, FEW)
}

pub(crate) fn resources(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = bounded::<ResourceRequirements>(generator);
    for map in ["/properties/limits", "/properties/requests"] {
        rule(
            &mut schema,
            &format!("{map}/additionalProperties"),
            "type(self) == int ? self >= 0 : self.matches('^[0-9]+([.][0-9]*)?([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$')",
            "must be a quantity: a number with an optional unit, for example 500m (half a CPU) or 64Mi (memory)",
        );
    }
    limit(
        &mut schema,
        "/properties/claims",
        &[
            ("x-kubernetes-list-type", json!("map")),
            ("x-kubernetes-list-map-keys", json!(["name"])),
        ],
    );
    limit(&mut schema, "", &[("nullable", json!(true))]);
    schema
}

pub(crate) fn pull_secrets(generator: &mut SchemaGenerator) -> Schema {
    let mut item = bounded::<LocalObjectReference>(generator);
    limit(&mut item, "/properties/name", &[("minLength", json!(1))]);
    list(&item, FEW)
}

pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut item = bounded::<Condition>(generator);
    limit(&mut item, "/properties/message", &[("maxLength", json!(VALUE_MAX))]);
    limit(
        &mut item,
        "/properties/status",
        &[("enum", json!(["True", "False", "Unknown"]))],
    );
    list(&item, FEW)
}

/// Any object: what a pod template may contain is known to the operator, which names the path of what it does not know.
pub(crate) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "maxProperties": FEW,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// One of a few words, or nothing: `null`, as templates write it for an empty value, is nothing too (the API server drops it).
pub(crate) fn choice<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    schema.remove("description");
    schema.insert("nullable".to_owned(), json!(false));
    schema
}

pub(crate) fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 4,
        "nullable": false,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 0 && self <= 5000 : self.matches('^(100|[1-9]?[0-9])%$')",
            "message": "must be a number from 0 to 5000 or a percentage from 0% to 100%, for example 1 or 25%",
        }],
    })
}

/// Statuses that tell of a failure, none twice.
pub(crate) fn statuses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": FEW,
        "x-kubernetes-list-type": "set",
        "items": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599 },
    })
}

/// A time as in the Gateway API (GEP-2257), 1 ms to 10 s.
pub(crate) fn seconds(_: &mut SchemaGenerator) -> Schema {
    time("10s")
}

/// The same, to 1 h.
pub(crate) fn hour(_: &mut SchemaGenerator) -> Schema {
    time("1h")
}

/// The same, to 24 h.
pub(crate) fn day(_: &mut SchemaGenerator) -> Schema {
    time("24h")
}

/// A text that is no time at all is told by the rule too, in words.
fn time(most: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": rules::TIME,
        "nullable": false,
        "x-kubernetes-validations": [{
            "rule": format!("self.matches('{}') && duration(self) >= duration('1ms') && duration(self) <= duration('{most}')", rules::TIME),
            "message": format!("must be a time of 1ms to {most}, as 500ms, 2s or 1m30s"),
        }],
    })
}

fn list(item: &Schema, max: usize) -> Schema {
    json_schema!({ "type": "array", "maxItems": max, "items": item })
}

/// The schema of `T` with nothing unbounded in it and no texts.
fn bounded<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    bound(schema.ensure_object());
    schema
}

fn bound(object: &mut Map<String, Value>) {
    object.remove("description");
    match object.get("type").and_then(Value::as_str) {
        Some("string") => insert_default(object, "maxLength", NAME_MAX),
        Some("array") => insert_default(object, "maxItems", FEW),
        Some("object") if object.contains_key("additionalProperties") => insert_default(object, "maxProperties", FEW),
        // An integer or a string (a quantity): the longest string.
        None if object.contains_key("x-kubernetes-int-or-string") => insert_default(object, "maxLength", 32),
        _ => {}
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key).and_then(Value::as_object_mut) {
            bound(inner);
        }
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().filter_map(Value::as_object_mut).for_each(bound);
    }
}

fn insert_default(object: &mut Map<String, Value>, key: &str, value: usize) {
    object.entry(key).or_insert_with(|| json!(value));
}

/// The part of `schema` at `pointer`, which a test of the golden file shows to exist.
fn part<'a>(schema: &'a mut Schema, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    schema.pointer_mut(pointer).and_then(Value::as_object_mut)
}

fn limit(schema: &mut Schema, pointer: &str, keywords: &[(&str, Value)]) {
    if let Some(object) = part(schema, pointer) {
        object.extend(keywords.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
}

fn rule(schema: &mut Schema, pointer: &str, rule: &str, message: &str) {
    if let Some(object) = part(schema, pointer) {
        let rules = object.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(json!({ "rule": rule, "message": message }));
        }
    }
}
