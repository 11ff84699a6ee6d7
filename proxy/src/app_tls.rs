//! How the app beside a sidecar is spoken TLS with before the operator has said so: read once, at the start, from the pod's volume.
//! What the stream says later counts instead, and never comes here.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use tenbin_model::{SidecarPort, UpstreamTls};

/// The TLS of the port called `name`, from its file in `folder`.
///
/// # Errors
/// The file, and why it is of no use.
pub fn read(folder: &Path, name: &str) -> Result<UpstreamTls, String> {
    let path = folder.join(SidecarPort::tls_file(name));
    let tell = |why: String| format!("{}: {why}", path.display());
    let bytes = content(&path).map_err(|error| tell(error.to_string()))?;
    UpstreamTls::from_json(&bytes).map_err(|error| tell(error.to_string()))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a pipe would wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    // One byte more than is accepted, so that too many are found out.
    let most = UpstreamTls::MAX_JSON as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_or_the_file_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let tls = UpstreamTls {
            server_name: "hello.ns.svc".to_owned(),
            ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        };
        let missing = read(folder.path(), "s").unwrap_err();
        assert!(missing.contains("tls-s.json: No such file"), "{missing}");
        fs::write(folder.path().join("tls-s.json"), tls.to_json()).unwrap();
        assert_eq!(read(folder.path(), "s"), Ok(tls));
        let long = vec![b' '; UpstreamTls::MAX_JSON + 2];
        fs::write(folder.path().join("tls-s.json"), long).unwrap();
        let long = read(folder.path(), "s").unwrap_err();
        assert!(long.contains("tls-s.json: tls: \"(131073 bytes)\""), "{long}");
        fs::create_dir(folder.path().join("tls-d.json")).unwrap();
        let folder = read(folder.path(), "d").unwrap_err();
        assert!(folder.ends_with("tls-d.json: not a file"), "{folder}");
    }
}
