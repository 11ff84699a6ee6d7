//! What is public of a certificate, for people: whom it is for, who signed it, until when. Nothing of its key.

use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::state::Shown;

/// A certificate that listeners show.
pub(super) fn certificate(shown: &Shown) -> Value {
    let parsed = shown.leaf().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let Some((_, leaf)) = parsed else {
        return json!({ "name": shown.name().as_str() });
    };
    let validity = leaf.validity();
    json!({
        "name": shown.name().as_str(),
        "subjects": subjects(&leaf),
        "issuer": leaf.issuer().to_string(),
        "serial": leaf.raw_serial_as_string(),
        "notBefore": validity.not_before.to_rfc2822().unwrap_or_default(),
        "notAfter": validity.not_after.to_rfc2822().unwrap_or_default(),
        "notAfterTimestamp": validity.not_after.timestamp(),
    })
}

/// The names that clients may ask for.
fn subjects(leaf: &X509Certificate<'_>) -> Vec<String> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let named = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use tenbin_model::{Certificate, ResourceName};

    use super::*;

    #[test]
    fn its_names_and_its_end_are_told_and_nothing_of_its_key() {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        let shown = Shown::judge(&Certificate {
            name: ResourceName::parse("name", "web").unwrap(),
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        });
        let value = certificate(&shown.unwrap());
        assert_eq!(
            (&value["name"], &value["subjects"]),
            (&json!("web"), &json!(["a.test", "10.0.0.1"]))
        );
        assert!(value["notAfterTimestamp"].as_i64().unwrap() > 1_700_000_000, "{value}");
        let fields: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            fields,
            [
                "issuer",
                "name",
                "notAfter",
                "notAfterTimestamp",
                "notBefore",
                "serial",
                "subjects"
            ]
        );
    }
}
