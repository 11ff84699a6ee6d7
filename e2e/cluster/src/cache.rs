//! The cache: what is downloaded or built once and kept outside the tree, by version. An entry is made in a temporary
//! folder and renamed into place, so what exists is whole. Nothing here knows what an entry holds.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::interrupt::{self, Interrupted};
use crate::say::Say;

/// The cache folder: `$TENBIN_CACHE`, else `$XDG_CACHE_HOME/tenbin`, else `~/.cache/tenbin`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Held while a run does what only one may do at a time; goes with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Finds the folder and makes it.
    ///
    /// # Errors
    /// Where no home can be found, or the folder can't be made.
    pub fn open() -> Result<Self> {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = choose(var("TENBIN_CACHE"), var("XDG_CACHE_HOME"), var("HOME"))?;
        fs::create_dir_all(root.join("tmp")).with_context(|| format!("can't make the cache {}", root.display()))?;
        Ok(Self {
            root: root.canonicalize()?,
        })
    }

    /// A path inside the cache; its parent folder exists afterwards.
    ///
    /// # Errors
    /// Where the parent can't be made.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
        }
        Ok(path)
    }

    /// The cache folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A log file of the name.
    ///
    /// # Errors
    /// Where its folder can't be made.
    pub fn log(&self, name: &str) -> Result<PathBuf> {
        self.path(&format!("logs/{name}.log"))
    }

    /// A temporary folder in the cache, on the file system of its entries.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        let mut name = tempfile::Builder::new();
        let made = name
            .prefix(&format!("{}-", std::process::id()))
            .tempdir_in(self.root.join("tmp"));
        made.context("can't make a temporary folder in the cache")
    }

    /// The entry of the name: as it is, or made by `make` in a temporary folder and renamed into place.
    ///
    /// # Errors
    /// Those of `make`, and of the file system.
    pub fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name)?;
        if path.exists() {
            return Ok(path);
        }
        let scratch = self.scratch()?;
        make(scratch.path())?;
        match fs::rename(scratch.path(), &path) {
            // Another run was faster: its entry is as good.
            Err(_) if path.exists() => {}
            other => other.with_context(|| format!("can't make {}", path.display()))?,
        }
        Ok(path)
    }

    /// Whether the entry of the name exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }

    /// Waits until no other run holds the lock of this name.
    ///
    /// # Errors
    /// On a signal, or where the lock file can't be used.
    pub fn lock(&self, name: &str, say: &Say) -> Result<Lock> {
        let path = self.root.join(name);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
            }
            if !told {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                say.line(format_args!(
                    "waiting for another `cargo xtask` (process {}) to finish",
                    holder.trim()
                ));
                told = true;
            }
            if interrupt::requested() {
                bail!(Interrupted);
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock { _file: file })
    }

    /// Clears the temporary folders of runs that were killed.
    ///
    /// # Errors
    /// Where the temporary folder can't be read.
    pub fn clear_rests(&self) -> Result<()> {
        for rest in fs::read_dir(self.root.join("tmp"))?.flatten() {
            let name = rest.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.split('-').next())
                .unwrap_or_default();
            if id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists() {
                let _ = fs::remove_dir_all(rest.path());
            }
        }
        Ok(())
    }
}

/// Which folder it is, by what the environment says.
fn choose(own: Option<PathBuf>, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    let Some(root) = own
        .or(xdg.map(|dir| dir.join("tenbin")))
        .or(home.map(|dir| dir.join(".cache/tenbin")))
    else {
        bail!("no cache folder: set TENBIN_CACHE, XDG_CACHE_HOME or HOME");
    };
    if root.is_relative() {
        bail!("the cache folder must be an absolute path, not {}", root.display());
    }
    Ok(root)
}

/// A short key of everything that goes into an entry: twelve hexadecimal digits. The parts are told apart by their
/// lengths, so that `ab`, `c` and `a`, `bc` differ.
#[must_use]
pub fn key<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Every file under a folder (or the file itself), sorted by path: for keys over what a folder holds.
///
/// # Errors
/// Where something can't be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("can't read {}", path.display()))? {
        found.extend(files(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_follows_the_environment() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            choose(path("/own"), path("/xdg"), path("/home")).unwrap(),
            Path::new("/own")
        );
        assert_eq!(
            choose(None, path("/xdg"), path("/home")).unwrap(),
            Path::new("/xdg/tenbin")
        );
        assert_eq!(
            choose(None, None, path("/home")).unwrap(),
            Path::new("/home/.cache/tenbin")
        );
        assert!(choose(None, None, None).is_err());
        assert!(choose(path("here"), None, None).is_err());
    }

    #[test]
    fn keys_differ_by_content_and_by_cut() {
        assert_eq!(key(["ab", "c"]).len(), 12);
        assert_eq!(key(["ab", "c"]), key(["ab", "c"]));
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_ne!(key(["ab", "c"]), key(["ab", "d"]));
    }

    #[test]
    fn an_entry_is_made_once_and_only_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: dir.path().to_owned(),
        };
        fs::create_dir(dir.path().join("tmp")).unwrap();
        assert!(cache.entry("programs/x-1", |_| bail!("broke")).is_err());
        assert!(!cache.has("programs/x-1"));
        let made = cache
            .entry("programs/x-1", |dir| Ok(fs::write(dir.join("x"), "1")?))
            .unwrap();
        assert_eq!(fs::read_to_string(made.join("x")).unwrap(), "1");
        assert_eq!(cache.entry("programs/x-1", |_| bail!("made again")).unwrap(), made);
    }

    #[test]
    fn only_the_folders_of_dead_runs_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: dir.path().to_owned(),
        };
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let mine = cache.scratch().unwrap();
        // No process has this id: it is above the highest that Linux gives.
        let theirs = dir.path().join("tmp/4194305-x");
        fs::create_dir(&theirs).unwrap();
        cache.clear_rests().unwrap();
        assert!(mine.path().exists() && !theirs.exists());
    }

    #[test]
    fn files_come_sorted_and_from_below() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("b/two"), "").unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let names: Vec<_> = files(dir.path())
            .unwrap()
            .iter()
            .map(|p| p.strip_prefix(dir.path()).unwrap().to_owned())
            .collect();
        assert_eq!(names, [Path::new("a"), Path::new("b/two")]);
    }
}
