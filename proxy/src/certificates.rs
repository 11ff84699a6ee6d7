//! Certificates in files: read, and looked after by the control thread, so that a renewed one is shown without a restart. One that cannot
//! be used is left aside with a word, and the one before stays. What a certificate is good for is `state::tls`'s.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tenbin_model::{Certificate, Resource, ResourceName, Update};
use tokio::fs;
use tokio::io::AsyncReadExt;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::state::Shown;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The largest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Its name.
    pub name: ResourceName,
    /// The chain, in PEM.
    pub chain: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// The certificates of an update.
pub fn of(update: &Update) -> Vec<Certificate> {
    let certificate = |resource: &Resource| match resource {
        Resource::Certificate(certificate) => Some(certificate.clone()),
        _ => None,
    };
    update.set.iter().filter_map(certificate).collect()
}

/// What tells that a file is another one, without reading it.
type Stamp = (Option<SystemTime>, u64, u64);

/// What is known of a certificate.
struct Watched {
    files: CertificateFiles,
    /// As the files were when they were last read well.
    stamps: Option<[Stamp; 2]>,
    content: Option<Certificate>,
    /// What was last said against them.
    complaint: Option<String>,
}

/// Looks after `files` for ever, and gives every change to `apply`. The first look gives nothing, where what is there is what was read
/// at the start: `known`.
pub async fn follow(files: Vec<CertificateFiles>, known: Vec<Certificate>, mut apply: impl FnMut(Update)) {
    let mut known: BTreeMap<ResourceName, Certificate> = known.into_iter().map(|c| (c.name.clone(), c)).collect();
    let watch = |files: CertificateFiles| Watched {
        content: known.remove(&files.name),
        files,
        stamps: None,
        complaint: None,
    };
    let mut all: Vec<Watched> = files.into_iter().map(watch).collect();
    if all.is_empty() {
        return std::future::pending().await;
    }
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let mut set = Vec::new();
        for watched in &mut all {
            set.extend(watched.look().await.map(Resource::Certificate));
        }
        if !set.is_empty() {
            apply(Update {
                set,
                removed: Vec::new(),
            });
        }
    }
}

impl Watched {
    /// The certificate, if it is another one than before, and good.
    async fn look(&mut self) -> Option<Certificate> {
        match self.changed().await {
            Ok(changed) => {
                self.complaint = None;
                changed
            }
            Err(complaint) => {
                if self.complaint.as_ref() != Some(&complaint) {
                    warn!(certificate = %self.files.name, %complaint, "a certificate is left aside");
                }
                self.complaint = Some(complaint);
                None
            }
        }
    }

    async fn changed(&mut self) -> Result<Option<Certificate>, String> {
        let stamps = [stamp(&self.files.chain).await?, stamp(&self.files.key).await?];
        if self.stamps == Some(stamps) {
            return Ok(None);
        }
        let certificate = Certificate {
            name: self.files.name.clone(),
            chain: read(&self.files.chain).await?,
            key: read(&self.files.key).await?,
        };
        Shown::judge(&certificate).map_err(|error| error.to_string())?;
        self.stamps = Some(stamps);
        if self.content.as_ref() == Some(&certificate) {
            return Ok(None);
        }
        info!(certificate = %self.files.name, "a new certificate");
        self.content = Some(certificate.clone());
        Ok(Some(certificate))
    }
}

async fn stamp(path: &Path) -> Result<Stamp, String> {
    let about = fs::metadata(path).await.map_err(|error| told(path, &error))?;
    Ok((about.modified().ok(), about.len(), about.ino()))
}

async fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = fs::File::open(path).await.map_err(|error| told(path, &error))?;
    let mut file = file.take(MAX_FILE);
    file.read_to_string(&mut text)
        .await
        .map_err(|error| told(path, &error))?;
    Ok(text)
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tempfile::TempDir;

    fn put(folder: &TempDir) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        for (name, text) in [("tls.crt", &chain), ("tls.key", &key)] {
            // A file of its own, whatever the resolution of times.
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, folder.path().join(name)).unwrap();
        }
        (chain, key)
    }

    #[tokio::test]
    async fn what_changes_for_the_better_is_given_on_once() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            name: ResourceName::parse("name", "a").unwrap(),
            chain: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        let (chain, key) = put(&folder);
        let mut watched = Watched {
            content: Some(Certificate {
                name: files.name.clone(),
                chain,
                key,
            }),
            files,
            stamps: None,
            complaint: None,
        };
        assert_eq!(watched.look().await, None, "it was read at the start");
        let (chain, _) = put(&folder);
        let found = watched.look().await.unwrap();
        assert_eq!(found.chain, chain);
        assert_eq!(watched.look().await, None);

        let (_, key) = put(&folder);
        std::fs::write(folder.path().join("tls.key"), "half of a").unwrap();
        assert_eq!(watched.look().await, None);
        let complaint = watched.complaint.clone().unwrap();
        assert!(complaint.starts_with("key: "), "{complaint}");
        std::fs::write(folder.path().join("tls.key"), key).unwrap();
        assert!(watched.look().await.is_some(), "the rest of it came");
        assert_eq!(watched.complaint, None);

        std::fs::remove_file(folder.path().join("tls.crt")).unwrap();
        assert_eq!(watched.look().await, None);
        assert!(watched.complaint.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_applied() {
        let folder = tempfile::tempdir().unwrap();
        put(&folder);
        let files = vec![CertificateFiles {
            name: ResourceName::parse("name", "a").unwrap(),
            chain: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        }];
        let given = RefCell::new(Vec::new());
        let follow = follow(files, Vec::new(), |update| given.borrow_mut().push(update));
        let until = async {
            while given.borrow().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = follow => unreachable!(),
            () = until => {}
        }
        assert_eq!(given.borrow()[0].set.len(), 1);
    }
}
