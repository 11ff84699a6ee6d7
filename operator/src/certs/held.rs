//! What the Secret holds, read as far as it can be read: certificates with their validity and their keys' places. Judges nothing;
//! what can't be read is as good as missing. Keys never leave this room: no Debug.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::issue::{CA_CERT, CA_KEY, CA_NAME, NEXT_KEY, TLS_CERT};
use super::judge::{MAX_CAS, MAX_PEM};
use super::rotate::{CaFacts, Facts, Role, ServingFacts, Validity};

/// Entries of a Secret.
pub(super) type Data = BTreeMap<String, ByteString>;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A CA of the bundle.
pub(super) struct Ca {
    pub(super) pem: String,
    pub(super) facts: CaFacts,
}

/// What could be read.
pub(super) struct Held {
    /// In the order of the bundle.
    pub(super) cas: Vec<Ca>,
    /// Key of the current CA.
    pub(super) key: Option<KeyPair>,
    /// Key of the next CA.
    pub(super) next_key: Option<KeyPair>,
    serving: Option<ServingFacts>,
}

impl Held {
    /// Reads what a Secret holds.
    pub(super) fn of(data: &Data) -> Self {
        let (key, next_key) = (key(data, CA_KEY), key(data, NEXT_KEY));
        let leaf = blocks(data, TLS_CERT).into_iter().next().map(|(_, der)| der);
        let leaf = leaf.as_ref().and_then(parse);
        let fits = |key: &Option<KeyPair>, ca: &X509Certificate<'_>| {
            let public = &ca.public_key().subject_public_key.data;
            key.as_ref().is_some_and(|key| key.public_key_raw() == public.as_ref())
        };
        let (mut cas, mut signer) = (Vec::new(), None);
        for (pem, der) in blocks(data, CA_CERT).into_iter().take(MAX_CAS) {
            // Never what a proxy would refuse the whole bundle for.
            let Some(ca) = parse(&der).filter(|_| RootCertStore::empty().add(der.clone()).is_ok()) else {
                continue;
            };
            let role = match () {
                () if fits(&key, &ca) => Role::Current,
                () if fits(&next_key, &ca) => Role::Next,
                () if is_ours(&ca) => Role::Retired,
                () => Role::Foreign,
            };
            let validity = validity(&ca);
            let facts = CaFacts { role, validity };
            let signed = |leaf: &X509Certificate<'_>| leaf.verify_signature(Some(ca.public_key())).is_ok();
            if leaf.as_ref().is_some_and(signed) {
                signer.get_or_insert(facts);
            }
            cas.push(Ca { pem, facts });
        }
        let serving = leaf.map(|leaf| ServingFacts {
            validity: validity(&leaf),
            signer,
        });
        Held {
            cas,
            key,
            next_key,
            serving,
        }
    }

    /// What decisions are made from.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            cas: self.cas.iter().map(|ca| ca.facts).collect(),
            serving: self.serving,
        }
    }

    /// The CA in that role which is still valid at `now`.
    pub(super) fn ca(&self, role: Role, now: u64) -> Option<&Ca> {
        let usable = |ca: &&Ca| ca.facts.role == role && ca.facts.validity.ends > now;
        self.cas.iter().find(usable)
    }
}

fn entry<'a>(data: &'a Data, name: &str) -> Option<&'a [u8]> {
    data.get(name)
        .map(|value| value.0.as_slice())
        .filter(|v| v.len() <= MAX_PEM)
}

/// The certificates of an entry, each as its own PEM with a line's end, and in DER.
fn blocks<'a>(data: &'a Data, name: &str) -> Vec<(String, CertificateDer<'static>)> {
    let text = entry(data, name).and_then(|pem| std::str::from_utf8(pem).ok());
    let block = |part: &'a str| {
        let (body, _) = part.split_once(END)?;
        let pem = format!("{BEGIN}{body}{END}\n");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        Some((pem, der))
    };
    text.unwrap_or_default()
        .split(BEGIN)
        .skip(1)
        .filter_map(block)
        .collect()
}

fn key(data: &Data, name: &str) -> Option<KeyPair> {
    let pem = std::str::from_utf8(entry(data, name)?).ok()?;
    KeyPair::from_pem(pem).ok()
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn is_ours(ca: &X509Certificate<'_>) -> bool {
    let mut names = ca.subject().iter_common_name();
    names.any(|name| name.as_str().is_ok_and(|name| name.starts_with(CA_NAME)))
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Validity {
        starts: seconds(certificate.validity().not_before),
        ends: seconds(certificate.validity().not_after),
    }
}
