//! Bounds of what TLS is made of. PEM is read as far as its armour: whether a certificate is any good is for who uses it to say. No
//! error here ever shows a byte of it.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::FieldError;

/// The longest PEM text, in bytes.
pub const MAX_PEM: usize = 64 << 10;

/// A chain of certificates in PEM: at least one, at most [`MAX_PEM`] bytes.
///
/// # Errors
/// Too long, or not PEM with a certificate in it.
pub fn chain(path: &str, text: &str) -> Result<String, FieldError> {
    let accepted = "PEM of a certificate and its chain, at most 65536 bytes";
    pem(path, text, are_certificates(text), accepted)
}

/// The certificates of CAs in PEM: at least one, at most [`MAX_PEM`] bytes.
///
/// # Errors
/// Too long, or not PEM with a certificate in it.
pub fn authorities(path: &str, text: &str) -> Result<String, FieldError> {
    let accepted = "PEM of the certificates of CAs, at most 65536 bytes";
    pem(path, text, are_certificates(text), accepted)
}

/// A private key in PEM (PKCS #8, PKCS #1 or SEC 1), at most [`MAX_PEM`] bytes.
///
/// # Errors
/// Too long, or not PEM with a private key in it.
pub fn private_key(path: &str, text: &str) -> Result<String, FieldError> {
    let accepted = "PEM of a private key (PKCS #8, PKCS #1 or SEC 1), at most 65536 bytes";
    pem(
        path,
        text,
        PrivateKeyDer::from_pem_slice(text.as_bytes()).is_ok(),
        accepted,
    )
}

fn are_certificates(text: &str) -> bool {
    let mut all = CertificateDer::pem_slice_iter(text.as_bytes()).peekable();
    all.peek().is_some() && all.all(|one| one.is_ok())
}

fn pem(path: &str, text: &str, good: bool, accepted: &str) -> Result<String, FieldError> {
    if good && text.len() <= MAX_PEM {
        Ok(text.to_owned())
    } else {
        Err(FieldError::new(path, format!("({} bytes)", text.len()), accepted))
    }
}

/// The name that a certificate must be for: a host name in lower case or an IP address.
///
/// # Errors
/// Anything else; a wildcard among it.
pub fn server_name(path: &str, value: &str) -> Result<String, FieldError> {
    let lower = !value.bytes().any(|b| b.is_ascii_uppercase());
    if lower && ServerName::try_from(value).is_ok() {
        Ok(value.to_owned())
    } else {
        Err(FieldError::new(
            path,
            value,
            "a host name in lower case, or an IP address",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

    #[test]
    fn pem_is_read_and_never_shown() {
        assert!(chain("c", &CERTIFICATE.repeat(3)).is_ok());
        assert!(private_key("k", KEY).is_ok());
        let long = CERTIFICATE.repeat(MAX_PEM / CERTIFICATE.len() + 1);
        for error in [
            chain("c", "").unwrap_err(),
            chain("c", KEY).unwrap_err(),
            chain("c", &CERTIFICATE.replace("AAAA", "A?")).unwrap_err(),
            authorities("c", &long).unwrap_err(),
            private_key("k", CERTIFICATE).unwrap_err(),
            private_key("k", &KEY.replace("END", "FIN")).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("bytes)") && !error.contains("c2Vj") && !error.contains("AAAA"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_server_has_a_name_or_an_address() {
        for good in ["a", "hello.shop.svc", "10.0.0.1", "::1"] {
            assert!(server_name("n", good).is_ok(), "{good}");
        }
        for bad in ["", "Hello", "*.a", "a:80", "[::1]", "a b"] {
            assert!(server_name("n", bad).is_err(), "{bad}");
        }
    }
}
