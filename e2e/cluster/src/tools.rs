//! kind, kubectl and helm: the ones on `PATH` where they are of a version that works, else built from Go modules. The
//! choice is by version only, so that everybody's cluster behaves the same.

use std::path::PathBuf;

use anyhow::Result;

use crate::Context;
use crate::gomod::{GRPC_INTEROP, H2SPEC, HELM, KIND, KUBECTL, KUBERNETES, Module};
use crate::run::{Run, which};
use crate::wheel::Wheel;

/// The Autobahn test suite's cases of the WebSocket protocol with a runner of their own, for Python 3.10 and newer.
const KOSOKU: Wheel = Wheel {
    program: "kosoku",
    package: "kosoku",
    version: "0.1.0",
    hashes: [
        "a9b34e593defe29d931e346c88947b58a015495f09dd13643e4cc952c75602ac",
        "911610fc6d21e9d8b5b53936ea134b2b4ab58cd6252e9ad7c7f69c540a028027",
    ],
    binary: "kosoku/_kosoku.abi3.so",
};

/// The programs that drive a cluster.
#[derive(Clone, Debug)]
pub struct Tools {
    /// kind.
    pub kind: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// Helm.
    pub helm: PathBuf,
}

/// Finds or builds all three.
///
/// # Errors
/// Where one is neither on `PATH` nor can be built.
pub fn ensure(context: &Context) -> Result<Tools> {
    Ok(Tools {
        kind: kind(context)?,
        kubectl: kubectl(context)?,
        helm: helm(context)?,
    })
}

/// kind from 0.30 on, whose base image our own node image resembles.
fn kind(context: &Context) -> Result<PathBuf> {
    let good = |text: &str| version(text).is_some_and(|version| version >= (0, 30));
    from_path(context, "kind", &["version"], good).map_or_else(|| build(context, KIND, "kind"), Ok)
}

/// kubectl within reach of both Kubernetes versions a node may have.
fn kubectl(context: &Context) -> Result<PathBuf> {
    let good = |text: &str| version(text).is_some_and(|version| version >= (1, 34));
    if let Some(path) = from_path(context, "kubectl", &["version", "--client"], good) {
        return Ok(path);
    }
    let module = if KUBERNETES.built(context)? {
        KUBERNETES
    } else {
        KUBECTL
    };
    build(context, module, "kubectl")
}

/// Helm 3 or 4.
pub(crate) fn helm(context: &Context) -> Result<PathBuf> {
    let good = |text: &str| version(text).is_some_and(|version| matches!(version.0, 3 | 4));
    from_path(context, "helm", &["version", "--short"], good).map_or_else(|| build(context, HELM, "helm"), Ok)
}

/// h2spec, of the one version that is known to be right about our proxy.
///
/// # Errors
/// Where it cannot be built.
pub fn h2spec(context: &Context) -> Result<PathBuf> {
    build(context, H2SPEC, "h2spec")
}

/// The folder of gRPC's interoperability client and server.
///
/// # Errors
/// Where they cannot be built.
pub fn grpc_interop(context: &Context) -> Result<PathBuf> {
    GRPC_INTEROP.ensure(context)
}

/// The folder of kosoku's package, for Python to import from.
///
/// # Errors
/// Where there is no Python to fetch the package with and none can be installed, or the package can't be had or is another than
/// the one pinned.
pub fn kosoku(context: &Context) -> Result<PathBuf> {
    KOSOKU.folder(context)
}

fn build(context: &Context, module: Module, program: &str) -> Result<PathBuf> {
    Ok(module.ensure(context)?.join(program))
}

fn from_path(context: &Context, program: &str, args: &[&str], good: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let path = which(program)?;
    let said = Run::new(&path)
        .args(args)
        .limit(std::time::Duration::from_secs(20))
        .out()
        .ok()?;
    if good(&said) {
        return Some(path);
    }
    let first = said.lines().next().unwrap_or_default();
    context.say.line(format_args!(
        "   {program} on PATH is too old or unknown ({first}): one of our own is used"
    ));
    None
}

/// Major and minor of the first thing in a text that looks like `v1.2`, whatever stands around it.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .find_map(|word| {
            let mut parts = word.strip_prefix('v')?.split('.');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("kind v0.33.0 go1.26.8 linux/amd64"), Some((0, 33)));
        assert_eq!(
            version("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0"),
            Some((1, 32))
        );
        assert_eq!(version("v3.19.0+g3d8990f"), Some((3, 19)));
        assert_eq!(version("no version here"), None);
    }
}
