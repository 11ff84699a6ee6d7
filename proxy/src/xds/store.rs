//! The IO of the saved snapshot: one file in the state folder, read once before anything is served, written by the control
//! thread. What is in it is `saved`'s work. Nothing that goes wrong here ends anything: it is counted, and told once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs as tokio_fs;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::metrics::SnapshotMetrics;
use super::saved::{Kept, MAX, Owner};
use crate::clock::since_1970;

/// The name of the file in its folder.
const FILE: &str = "snapshot";
/// The least time from one save to the next.
const REST: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again, if nothing new is to be saved before.
const RETRY: Duration = Duration::from_secs(30);

/// Where the snapshot is saved, and whose it is.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    owner: Owner,
}

impl Store {
    /// The store in `folder`, which must be there and nobody else's.
    pub fn new(folder: &Path, owner: Owner) -> Self {
        Store {
            path: folder.join(FILE),
            owner,
        }
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What was saved, with its age; none if there is nothing or it can't be used, which is told and counted. It blocks: for
    /// the time before anything is served.
    pub fn restore(&self, metrics: &SnapshotMetrics) -> Option<(Kept, Duration)> {
        let file = self.path.display();
        let read = self.read().map_err(|error| error.to_string());
        let kept = read.and_then(|bytes| {
            let kept = bytes.map(|bytes| Kept::decode(&self.owner, &bytes));
            kept.transpose().map_err(|error| error.to_string())
        });
        match kept {
            Ok(Some(kept)) => {
                let age = kept.age(since_1970());
                tracing::info!(%file, resources = kept.len(), age_seconds = age.as_secs(), "serving by the saved snapshot");
                metrics.restored.set(1);
                Some((kept, age))
            }
            Ok(None) => None,
            Err(reason) => {
                tracing::warn!(%file, reason, "the saved snapshot can't be used, starting without it");
                metrics.refused.inc();
                None
            }
        }
    }

    /// The content of the file; none if there is no file.
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        // Looked at before it is opened: opening a pipe would wait for whoever writes to it.
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let mut bytes = Vec::new();
        // One byte more than is accepted, so that too many are found out.
        File::open(&self.path)?.take(MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Saves what is newest, once a second at most, for as long as there can be something newer.
    pub async fn keep(&self, mut newest: watch::Receiver<Option<Kept>>, metrics: &SnapshotMetrics) {
        let mut failed: Option<String> = None;
        loop {
            let changed = match failed {
                // Nothing new within this time: the same once more.
                Some(_) => timeout(RETRY, newest.changed()).await.unwrap_or(Ok(())),
                None => newest.changed().await,
            };
            if changed.is_err() {
                return;
            }
            let Some(kept) = newest.borrow_and_update().clone() else {
                continue;
            };
            match self.save(&kept).await {
                Ok(()) => {
                    metrics.saves.inc();
                    failed = None;
                }
                Err(reason) => {
                    metrics.save_failures.inc();
                    if failed.as_ref() != Some(&reason) {
                        let file = self.path.display();
                        tracing::warn!(%file, reason, "the snapshot can't be saved, serving on");
                    }
                    failed = Some(reason);
                }
            }
            sleep(REST).await;
        }
    }

    async fn save(&self, kept: &Kept) -> Result<(), String> {
        let bytes = kept.encode(&self.owner).map_err(|error| error.to_string())?;
        self.replace(&bytes).await.map_err(|error| error.to_string())
    }

    /// Puts a new file in the place of the old one; there is a whole one at any time.
    async fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        // Left there by a process that was killed while it wrote.
        match tokio_fs::remove_file(&temporary).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = tokio_fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .await?;
        let written = async {
            file.write_all(bytes).await?;
            file.flush().await?;
            tokio_fs::rename(&temporary, &self.path).await
        };
        let written = written.await;
        if written.is_err() {
            // What is there of it would take the room of the next.
            let _ = tokio_fs::remove_file(&temporary).await;
        }
        written
    }
}

#[cfg(test)]
mod tests;
