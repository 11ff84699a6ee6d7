//! Whether the Secret's certificates can be served: a pure judgement; the time is passed in. Never shows a key.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::issue::{CA_CERT, TLS_CERT, TLS_KEY};

/// The most CA certificates in a bundle: one, two during a rotation, some for what users add.
pub(super) const MAX_CAS: usize = 16;
/// The largest entry looked at, in bytes.
pub(super) const MAX_PEM: usize = 256 * 1024;

/// What the stream serves, and what proxies check it by.
#[derive(Clone)]
pub(super) struct Certificates {
    /// PEM of the CA certificates.
    pub(super) ca_bundle: String,
    /// Serving chain and key.
    pub(super) serving: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

/// Reads and checks the Secret: the key fits the certificate, the chain ends at the bundle, holds at `now` and for all `names`.
///
/// # Errors
/// Which entry is wrong, and how.
pub(super) fn judge(
    secret: &Secret,
    names: &[String],
    now: UnixTime,
    provider: &Arc<CryptoProvider>,
) -> Result<Certificates, String> {
    let entry = |key: &str| match secret.data.as_ref().and_then(|data| data.get(key)) {
        Some(value) if value.0.len() <= MAX_PEM => Ok(value.0.as_slice()),
        Some(value) => Err(format!("{key}: {} bytes, expected at most {MAX_PEM}", value.0.len())),
        None => Err(format!("{key}: missing, expected PEM")),
    };
    let certificates = |key: &str| {
        let parsed: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(entry(key)?).collect();
        match parsed {
            Ok(list) if !list.is_empty() => Ok(list),
            Ok(_) => Err(format!("{key}: no certificate in it, expected PEM")),
            Err(error) => Err(format!("{key}: expected PEM certificates: {error}")),
        }
    };
    let cas = certificates(CA_CERT)?;
    if cas.len() > MAX_CAS {
        return Err(format!(
            "{CA_CERT}: {} certificates, expected at most {MAX_CAS}",
            cas.len()
        ));
    }
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca).map_err(|e| format!("{CA_CERT}: {e}"))?;
    }
    let chain = certificates(TLS_CERT)?;
    let key =
        PrivateKeyDer::from_pem_slice(entry(TLS_KEY)?).map_err(|_| format!("{TLS_KEY}: expected a PEM private key"))?;
    let serving = CertifiedKey::from_der(chain, key, provider).map_err(|e| format!("{TLS_CERT} and {TLS_KEY}: {e}"))?;

    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| format!("{CA_CERT}: {e}"))?;
    let (leaf, intermediates) = serving.cert.split_first().ok_or(format!("{TLS_CERT}: empty"))?;
    for name in names {
        let name_type = ServerName::try_from(name.as_str()).map_err(|_| format!("{name}: no DNS name"))?;
        verifier
            .verify_server_cert(leaf, intermediates, &name_type, &[], now)
            .map_err(|e| format!("{TLS_CERT}: not good for {name}: {e}"))?;
    }
    let ca_bundle = String::from_utf8(entry(CA_CERT)?.to_vec()).map_err(|_| format!("{CA_CERT}: expected text"))?;
    let serving = Arc::new(serving);
    Ok(Certificates { ca_bundle, serving })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use k8s_openapi::ByteString;

    use super::super::issue::{CA_KEY, issue};
    use super::super::rotate::Lives;
    use super::*;

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::ring::default_provider())
    }

    fn names() -> Vec<String> {
        vec!["op.ns.svc".to_owned(), "op.ns.svc.cluster.local".to_owned()]
    }

    fn secret() -> Secret {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let lives = Lives::new(730 * 24 * 3600, 365 * 24 * 3600, 24 * 3600).expect("good");
        Secret {
            data: Some(issue(&names(), &lives, now.as_secs()).expect("issued")),
            ..Default::default()
        }
    }

    fn set(secret: &mut Secret, key: &str, value: Option<ByteString>) {
        let data = secret.data.get_or_insert_default();
        match value {
            Some(value) => data.insert(key.to_owned(), value),
            None => data.remove(key),
        };
    }

    #[test]
    fn what_we_issue_is_good() {
        let good = judge(&secret(), &names(), UnixTime::now(), &provider()).expect("good");
        assert!(good.ca_bundle.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(format!("{good:?}"), "Certificates");
    }

    #[test]
    fn an_overlapping_bundle_is_good_also_with_the_older_ca_last() {
        let (mut new, old) = (secret(), secret());
        let both = [&new, &old]
            .map(|s| s.data.as_ref().expect("data")[CA_CERT].0.clone())
            .concat();
        set(&mut new, CA_CERT, Some(ByteString(both)));
        judge(&new, &names(), UnixTime::now(), &provider()).expect("good");
    }

    #[test]
    fn each_fault_is_named() {
        let fault = |change: &dyn Fn(&mut Secret)| {
            let mut secret = secret();
            change(&mut secret);
            judge(&secret, &names(), UnixTime::now(), &provider()).expect_err("refused")
        };
        for key in [CA_CERT, TLS_CERT, TLS_KEY] {
            assert!(fault(&|s| set(s, key, None)).starts_with(&format!("{key}: missing")));
            let garbage = fault(&|s| set(s, key, Some(ByteString(b"garbage".to_vec()))));
            assert!(garbage.starts_with(key), "{garbage}");
        }
        let other = secret();
        let other = other.data.as_ref().expect("data");
        let foreign_key = fault(&|s| set(s, TLS_KEY, Some(other[TLS_KEY].clone())));
        assert!(foreign_key.starts_with("tls.crt and tls.key"), "{foreign_key}");
        let foreign_ca = fault(&|s| set(s, CA_CERT, Some(other[CA_CERT].clone())));
        assert!(foreign_ca.contains("not good for op.ns.svc"), "{foreign_ca}");
    }

    #[test]
    fn an_ended_certificate_and_another_name_are_refused_and_no_key_is_shown() {
        let secret = secret();
        let later = SystemTime::now() + Duration::from_secs(366 * 24 * 3600);
        let later = UnixTime::since_unix_epoch(later.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"));
        let error = judge(&secret, &names(), later, &provider()).expect_err("ended");
        assert!(error.contains("expired"), "{error}");
        let error = judge(&secret, &["other.svc".to_owned()], UnixTime::now(), &provider()).expect_err("other name");
        assert!(error.contains("other.svc"), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
        assert!(secret.data.expect("data").contains_key(CA_KEY));
    }
}
