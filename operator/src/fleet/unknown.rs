//! Where a JSON value and what was understood of it part: fields nobody knows, values of the wrong type. Knows nothing of pods.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The paths of what stands in `given` but not in `understood`, which is `given` read and written again. Empty values count as
/// understood.
pub(super) fn unknown_fields(path: &str, given: &Value, understood: &Value, found: &mut Vec<String>) {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            for (key, value) in given {
                let path = join(path, key);
                match understood.get(key) {
                    Some(known) => unknown_fields(&path, value, known, found),
                    None if is_empty(value) => {}
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(understood)) => {
            for (i, (value, known)) in given.iter().zip(understood).enumerate() {
                unknown_fields(&format!("{path}[{i}]"), value, known, found);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

fn join(path: &str, key: &str) -> String {
    // A key with a dot or a slash (labels) in brackets, as kubectl writes it.
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain {
        format!("{path}.{key}")
    } else {
        format!("{path}[{key}]")
    }
}

/// The path of the innermost value that keeps `value` from being read as a `T`, and that value; `path` is where `value` stands.
/// `None` when it can be read. Takes one try per value on the way: only called when reading failed.
pub(super) fn culprit<T: DeserializeOwned>(path: &str, value: &Value) -> Option<(String, Value)> {
    if serde_json::from_value::<T>(value.clone()).is_ok() {
        return None;
    }
    let mut path = path.to_owned();
    let mut pointer = String::new();
    // Descend as long as taking one part out makes the rest readable.
    'descend: loop {
        let parts: Vec<(String, String)> = match value.pointer(&pointer)? {
            Value::Object(o) => o.keys().map(|k| (join(&path, k), escape(k))).collect(),
            Value::Array(a) => (0..a.len()).map(|i| (format!("{path}[{i}]"), i.to_string())).collect(),
            _ => Vec::new(),
        };
        for (part_path, token) in parts {
            let part = format!("{pointer}/{token}");
            if serde_json::from_value::<T>(without(value, &pointer, &token)).is_ok() {
                (path, pointer) = (part_path, part);
                continue 'descend;
            }
        }
        return Some((path, value.pointer(&pointer)?.clone()));
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn without(value: &Value, pointer: &str, token: &str) -> Value {
    let mut rest = value.clone();
    match rest.pointer_mut(pointer) {
        Some(Value::Object(o)) => {
            o.remove(&token.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(a)) => {
            if let Ok(i) = token.parse::<usize>()
                && i < a.len()
            {
                a.remove(i);
            }
        }
        _ => {}
    }
    rest
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodTemplateSpec;
    use serde_json::json;

    use super::*;

    fn culprit_of(value: &Value) -> Option<(String, Value)> {
        culprit::<PodTemplateSpec>("t", value)
    }

    #[test]
    fn a_value_of_the_wrong_type_is_found_by_its_path() {
        let value = json!({"spec": {"containers": [{"name": "a"}, {"name": "app", "tty": "yes"}], "nodeName": "n"}});
        assert_eq!(
            culprit_of(&value),
            Some(("t.spec.containers[1].tty".to_owned(), json!("yes")))
        );
        let value = json!({"metadata": {"labels": {"a/b": 1}}});
        assert_eq!(
            culprit_of(&value),
            Some(("t.metadata.labels[a/b]".to_owned(), json!(1)))
        );
        assert_eq!(culprit_of(&json!({"spec": []})).map(|c| c.0), Some("t.spec".to_owned()));
        // Two at once: the innermost that holds both.
        let value = json!({"spec": {"hostNetwork": 1, "hostPID": 1}});
        assert_eq!(culprit_of(&value).map(|c| c.0), Some("t.spec".to_owned()));
        assert_eq!(culprit_of(&json!({})), None);
    }

    #[test]
    fn unknown_fields_are_found_by_their_paths() {
        let given = json!({
            "metadata": {"creationTimestamp": null, "labels": {"a/b": "c"}},
            "spec": {"tolerationz": [{}], "containers": [{"name": "app", "ports": [], "x-y": {}, "a.b": 1, "resources": {"limits": {"cpu": 1}}}]},
        });
        let read: PodTemplateSpec = serde_json::from_value(given.clone()).expect("readable");
        let mut found = Vec::new();
        unknown_fields("t", &given, &serde_json::to_value(read).expect("writable"), &mut found);
        assert_eq!(found, ["t.spec.containers[0][a.b]", "t.spec.tolerationz"]);
    }
}
