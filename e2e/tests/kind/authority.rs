//! A certificate authority of a test's own, and certificates that it signs.

/// Who signs certificates.
pub(crate) struct Authority {
    /// Its own certificate.
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::default();
        // A name of its own: OpenSSL takes a certificate that is named as its issuer for a self-signed one.
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the tests' authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        let issuer = rcgen::Issuer::new(params, key);
        Ok(Authority { pem, issuer })
    }

    /// A certificate for this name and its key, as PEM.
    pub(crate) fn issue(&self, name: &str) -> anyhow::Result<(String, String)> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new([name.to_owned()])?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}
