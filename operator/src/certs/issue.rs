//! Makes the CA and the serving certificate of the stream. Pure but for the keys' randomness: the time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// Key of the Secret: bundle of the CA certificates that proxies trust, newest first.
pub(super) const CA_CERT: &str = "ca.crt";
/// Key of the Secret: private key of the newest CA.
pub(super) const CA_KEY: &str = "ca.key";
/// Key of the Secret: the serving certificate, with its chain.
pub(super) const TLS_CERT: &str = "tls.crt";
/// Key of the Secret: private key of the serving certificate.
pub(super) const TLS_KEY: &str = "tls.key";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Both certificates are valid from a day before they were made, since clocks differ.
const BACKDATE: Duration = DAY;
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const SERVING_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A new CA and a serving certificate for `names`, as data of the Secret.
///
/// # Errors
/// A name is no DNS name.
pub(super) fn issue(names: &[String], now: SystemTime) -> Result<BTreeMap<String, ByteString>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    // A subject of its own per CA, so that a bundle of two during a rotation can be told apart.
    let born = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Tenbin stream CA {born}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + CA_LIFE).into();
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::new(names.to_vec())?;
    let common = names.first().map_or("tenbin-operator", String::as_str);
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A common name holds at most 64 characters; the SANs are what counts.
    params
        .distinguished_name
        .push(DnType::CommonName, common.chars().take(64).collect::<String>());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + SERVING_LIFE).into();
    let key = KeyPair::generate()?;
    let serving = params.signed_by(&key, &ca)?;

    let entries = [
        (CA_CERT, ca.as_ref().pem()),
        (CA_KEY, ca.key().serialize_pem()),
        (TLS_CERT, serving.pem()),
        (TLS_KEY, key.serialize_pem()),
    ];
    Ok(entries
        .map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes())))
        .into())
}
