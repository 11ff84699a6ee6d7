//! TLS in the file: certificates, keys and CAs in files of their own, in PEM. No error here ever shows a byte of them.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenbin_model::{Certificate, FieldError, ListenerTls, ResourceName, TlsVersion, UpstreamTls, bounds};

use crate::certificates::CertificateFiles;
use crate::state::Shown;

/// TLS with clients.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ListenerTlsItem {
    certificates: Vec<CertificateItem>,
    min_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateItem {
    chain: PathBuf,
    key: PathBuf,
}

/// A certificate, and where it came from.
pub(super) struct FromFiles {
    pub(super) certificate: Certificate,
    pub(super) files: CertificateFiles,
}

/// TLS with endpoints.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ClusterTlsItem {
    server_name: String,
    ca: PathBuf,
}

impl ListenerTlsItem {
    /// What it says of its certificates, and these, named after their listener.
    pub(super) fn judge(&self, listener: &ResourceName) -> Result<(ListenerTls, Vec<FromFiles>), FieldError> {
        if !(1..=ListenerTls::MAX).contains(&self.certificates.len()) {
            let accepted = format!("1 to {} certificates", ListenerTls::MAX);
            return Err(FieldError::new("certificates", self.certificates.len(), accepted));
        }
        let minimum = match self.min_version.as_deref() {
            None | Some("1.2") => TlsVersion::Tls12,
            Some("1.3") => TlsVersion::Tls13,
            Some(other) => return Err(FieldError::new("minVersion", other, "1.2 or 1.3")),
        };
        let mut certificates = Vec::with_capacity(self.certificates.len());
        for (i, item) in self.certificates.iter().enumerate() {
            let (chain, key) = (format!("certificates[{i}].chain"), format!("certificates[{i}].key"));
            let certificate = Certificate {
                name: ResourceName::parse("name", &format!("{listener}/certificate/{i}"))?,
                chain: read(&chain, &item.chain, bounds::chain)?,
                key: read(&key, &item.key, bounds::private_key)?,
            };
            Shown::judge(&certificate).map_err(|error| error.within(&format!("certificates[{i}]")))?;
            let files = CertificateFiles {
                name: certificate.name.clone(),
                chain: item.chain.clone(),
                key: item.key.clone(),
            };
            certificates.push(FromFiles { certificate, files });
        }
        let tls = ListenerTls {
            certificates: certificates.iter().map(|read| read.files.name.clone()).collect(),
            minimum,
        };
        Ok((tls, certificates))
    }
}

impl ClusterTlsItem {
    pub(super) fn judge(&self) -> Result<UpstreamTls, FieldError> {
        Ok(UpstreamTls {
            server_name: bounds::server_name("serverName", &self.server_name)?,
            ca: read("ca", &self.ca, bounds::authorities)?,
        })
    }
}

/// The text of a file, within the bounds of `judge`.
fn read(path: &str, file: &Path, judge: fn(&str, &str) -> Result<String, FieldError>) -> Result<String, FieldError> {
    let mut text = String::new();
    // One byte more than is accepted, so that what is cut off does not pass.
    let most = bounds::MAX_PEM as u64 + 1;
    let read = std::fs::File::open(file).and_then(|open| open.take(most).read_to_string(&mut text));
    read.map_err(|error| FieldError::new(path, format!("{}: {error}", file.display()), "a file of PEM"))?;
    judge(path, &text).map_err(|error| {
        let value = format!("{}: {}", file.display(), error.value);
        FieldError::new(path, value, error.accepted)
    })
}
