//! Our own images: the release binary and the libraries it loads, from scratch, by the Dockerfile of each. A tag names the
//! content, so that what is unchanged is neither built nor loaded again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::Context;
use crate::cache::{files, key};
use crate::docker::Docker;
use crate::kind::Cluster;
use crate::node_build::place;
use crate::run::{Run, Stream};
use crate::say::span;

/// One image of one binary: the binary, which is its crate too where it is ours, the image's name, the name under which the
/// examples know it, and where its Dockerfile lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) binary: &'static str,
    pub(crate) name: &'static str,
    pub(crate) alias: Option<&'static str>,
    pub(crate) dockerfile: &'static str,
}

const PROXY: Recipe = Recipe {
    binary: "tenbin-proxy",
    name: "tenbin/proxy",
    alias: None,
    dockerfile: "proxy/Dockerfile",
};
const OPERATOR: Recipe = Recipe {
    binary: "tenbin-operator",
    name: "tenbin/operator",
    alias: None,
    dockerfile: "operator/Dockerfile",
};
const DEMO: Recipe = Recipe {
    binary: "tenbin-demo",
    name: "tenbin/demo",
    alias: Some("tenbin/demo:dev"),
    dockerfile: "e2e/apps/demo/Dockerfile",
};

/// An image that the daemon has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, without a tag.
    pub name: &'static str,
    /// Its tag: the workspace's version and a key over its content.
    pub tag: String,
    /// The name and tag under which the examples know it, whatever its content.
    pub alias: Option<&'static str>,
}

impl Image {
    /// `name:tag`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// All of our images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The proxy.
    pub proxy: Image,
    /// The operator.
    pub operator: Image,
    /// The demo app.
    pub demo: Image,
}

impl Images {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> [&Image; 3] {
        [&self.proxy, &self.operator, &self.demo]
    }
}

/// The release binaries, by crate.
#[derive(Clone, Debug)]
pub struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// The binary of a crate.
    ///
    /// # Errors
    /// Where cargo built none.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.with_context(|| format!("cargo built no {name}"))
    }
}

/// Builds the release binaries.
///
/// # Errors
/// Where cargo fails: what it said was shown.
pub fn binaries(context: &Context) -> Result<Binaries> {
    let begin = Instant::now();
    let mut told = begin;
    let (mut crates, mut found) = (0, BTreeMap::new());
    let mut build = Run::new(cargo()).args(["build", "--release", "--message-format=json-render-diagnostics"]);
    for recipe in [PROXY, OPERATOR, DEMO] {
        build = build.args(["-p", recipe.binary]);
    }
    build
        .dir(&context.root)
        .log(context.cache.log("cargo-build")?)
        .lines(|stream, line| match stream {
            Stream::Out => found.extend(executable(line)),
            Stream::Err => {
                crates += u32::from(line.trim_start().starts_with("Compiling "));
                if told.elapsed() > Duration::from_secs(20) {
                    told = Instant::now();
                    context
                        .say
                        .line(format_args!("   {crates} crates compiled in {}", span(begin.elapsed())));
                }
            }
        })?;
    Ok(Binaries(found))
}

/// Builds the images that the daemon doesn't have yet.
///
/// # Errors
/// Where a binary can't be read or Docker fails.
pub fn build(context: &Context, docker: &Docker, binaries: &Binaries) -> Result<Images> {
    let image = |recipe: Recipe| image(context, docker, recipe, binaries.path(recipe.binary)?);
    Ok(Images {
        proxy: image(PROXY)?,
        operator: image(OPERATOR)?,
        demo: image(DEMO)?,
    })
}

/// Builds the image of one binary, unless the daemon has it.
pub(crate) fn image(context: &Context, docker: &Docker, recipe: Recipe, binary: &Path) -> Result<Image> {
    let scratch = context.cache.scratch()?;
    stage(binary, recipe.binary, scratch.path())?;
    image_of(context, docker, recipe, scratch.path(), None)
}

/// Builds the image of a folder, on a base of ours where there is one (the Dockerfile's argument `BASE`), unless the daemon has it.
pub(crate) fn image_of(
    context: &Context,
    docker: &Docker,
    recipe: Recipe,
    dir: &Path,
    base: Option<&Image>,
) -> Result<Image> {
    let dockerfile = context.root.join(recipe.dockerfile);
    let base = base.map(|base| format!("BASE={}", base.reference()));
    let image = Image {
        name: recipe.name,
        tag: format!(
            "{}-{}",
            env!("CARGO_PKG_VERSION"),
            content(&dockerfile, dir, base.as_deref())?
        ),
        alias: recipe.alias,
    };
    if docker.has_image(&image.reference()) {
        context.say.line(format_args!("   {} is there", image.reference()));
    } else {
        let mut build = docker.run(["build", "-q", "--network=none", "-t", &image.reference()]);
        if let Some(base) = &base {
            build = build.args(["--build-arg", base]);
        }
        build.args(["-f".as_ref(), dockerfile.as_path(), dir]).done()?;
        context.say.line(format_args!("   {} is built", image.reference()));
    }
    if let Some(alias) = image.alias {
        docker.run(["tag", &image.reference(), alias]).done()?;
    }
    Ok(image)
}

/// A key over all that an image is made of.
fn content(dockerfile: &Path, dir: &Path, base: Option<&str>) -> Result<String> {
    let mut parts = vec![fs::read(dockerfile).with_context(|| format!("can't read {}", dockerfile.display()))?];
    parts.extend(base.map(|base| base.as_bytes().to_vec()));
    for file in files(dir)? {
        parts.push(file.strip_prefix(dir)?.as_os_str().as_encoded_bytes().to_vec());
        // What may be executed is part of the content, too.
        let mode = fs::metadata(&file)?.permissions().mode();
        parts.push(mode.to_be_bytes().to_vec());
        parts.push(fs::read(&file)?);
    }
    Ok(key(parts))
}

/// Loads images into a cluster's nodes, as far as they don't have them.
///
/// # Errors
/// Where Docker or kind fails.
pub fn load(context: &Context, cluster: &Cluster, images: &[&Image]) -> Result<()> {
    let mut missing: Vec<String> = Vec::new();
    for node in cluster.nodes()? {
        let list = cluster
            .docker
            .run(["exec", &node, "ctr", "-n", "k8s.io", "images", "ls"])
            .out()?;
        let there = digests(&list);
        missing.extend(images.iter().flat_map(|image| names_missing(image, &there)));
    }
    missing.sort();
    missing.dedup();
    if missing.is_empty() {
        context.say.line("   the nodes have them all");
        return Ok(());
    }
    context.say.line(format_args!("   loading {}", missing.join(", ")));
    let kind = cluster.docker.env(Run::new(&cluster.tools.kind));
    kind.args(["load", "docker-image", "--name", &cluster.name])
        .args(missing)
        .limit(Duration::from_secs(300))
        .done()
}

/// The names of an image that a node with these lacks. An alias moves with the content: it is right where both names lead to
/// the same.
fn names_missing(image: &Image, there: &BTreeMap<String, String>) -> Vec<String> {
    let reference = image.reference();
    match (there.get(&reference), image.alias) {
        (Some(digest), Some(alias)) if there.get(alias) == Some(digest) => Vec::new(),
        (Some(_), None) => Vec::new(),
        (_, alias) => [reference].into_iter().chain(alias.map(str::to_owned)).collect(),
    }
}

/// Lays out an image's folder: the binary in /usr/local/bin, each library it loads where it looks for it.
pub(crate) fn stage(binary: &Path, name: &str, dir: &Path) -> Result<()> {
    let root = dir.join("root");
    // What cargo sets for the programs that it runs would lead the loader astray here.
    let listed = Run::new("env")
        .args(["-u", "LD_LIBRARY_PATH", "ldd"])
        .args([binary])
        .out()?;
    let libraries = libraries(&listed)?;
    for library in &libraries {
        place_real(library, &root)?;
    }
    // Up to version 2.33, glibc's resolver loads these by name; later they are part of libc itself.
    if let Some(libc) = libraries.iter().find(|path| path.ends_with("libc.so.6")) {
        for module in ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"] {
            let path = libc.with_file_name(module);
            if path.exists() {
                place_real(&path, &root)?;
            }
        }
    }
    place(binary, &root.join("usr/local/bin").join(name))
}

/// Places the file that a path leads to under that path.
fn place_real(path: &Path, root: &Path) -> Result<()> {
    let real = path
        .canonicalize()
        .with_context(|| format!("can't find the library {}", path.display()))?;
    let target = root.join(path.strip_prefix("/").unwrap_or(path));
    if target.exists() { Ok(()) } else { place(&real, &target) }
}

/// The libraries and the loader in what `ldd` says.
fn libraries(listed: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in listed.lines().map(str::trim) {
        ensure!(
            !line.contains("not found"),
            "a library is missing on this machine: {line}"
        );
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if path.starts_with('/') {
            found.push(PathBuf::from(path.split(" (").next().unwrap_or(path)));
        }
    }
    Ok(found)
}

/// The binary that a line of cargo's JSON tells of.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Target,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    Some((message.target.name, message.executable?))
}

/// Name to digest, in what `ctr images ls` says: `REF TYPE DIGEST …`. containerd puts the host of a registry before a name
/// that has none; it says nothing here and is left out.
fn digests(listed: &str) -> BTreeMap<String, String> {
    let rows = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let reference = words.next()?;
        let host = reference.split_once('/').filter(|(host, _)| host.contains('.'));
        let name = host.map_or(reference, |(_, name)| name).to_owned();
        let digest = words.find(|word| word.starts_with("sha256:"))?;
        Some((name, digest.to_owned()))
    });
    rows.collect()
}

/// The cargo that runs us, else the one on `PATH`.
#[must_use]
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let listed = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x1)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let paths = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(listed).unwrap(), paths.map(PathBuf::from));
        assert!(libraries("\tstatically linked").unwrap().is_empty());
        assert!(
            libraries("\tlibx.so => not found")
                .unwrap_err()
                .to_string()
                .contains("libx.so")
        );
    }

    #[test]
    fn executables_are_read_from_cargo() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"tenbin-proxy"},"executable":"/t/tenbin-proxy"}"#;
        assert_eq!(
            executable(line),
            Some(("tenbin-proxy".to_owned(), PathBuf::from("/t/tenbin-proxy")))
        );
        assert_eq!(
            executable(r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":null}"#),
            None
        );
        assert_eq!(executable("not json"), None);
    }

    #[test]
    fn an_image_is_missing_until_all_its_names_lead_to_it() {
        let mut image = Image {
            name: "tenbin/demo",
            tag: "1".to_owned(),
            alias: None,
        };
        let mut there = BTreeMap::new();
        assert_eq!(names_missing(&image, &there), ["tenbin/demo:1"]);
        there.insert(image.reference(), "sha256:ab".to_owned());
        assert!(names_missing(&image, &there).is_empty());
        image.alias = Some("tenbin/demo:dev");
        assert_eq!(names_missing(&image, &there), ["tenbin/demo:1", "tenbin/demo:dev"]);
        there.insert("tenbin/demo:dev".to_owned(), "sha256:old".to_owned());
        assert_eq!(names_missing(&image, &there).len(), 2);
        there.insert("tenbin/demo:dev".to_owned(), "sha256:ab".to_owned());
        assert!(names_missing(&image, &there).is_empty());
    }

    #[test]
    fn the_content_follows_names_modes_bytes_and_base() {
        let dir = tempfile::tempdir().unwrap();
        let (dockerfile, file) = (dir.path().join("Dockerfile"), dir.path().join("root/a"));
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(&dockerfile, "FROM scratch").unwrap();
        fs::write(&file, "1").unwrap();
        let of = |base| content(&dockerfile, &dir.path().join("root"), base).unwrap();
        let first = of(None);
        assert_eq!(of(None), first);
        assert_ne!(of(Some("BASE=x")), first);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let executable = of(None);
        assert_ne!(executable, first);
        fs::write(&file, "2").unwrap();
        assert_ne!(of(None), executable);
    }

    #[test]
    fn digests_are_read_from_ctr() {
        let listed = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
            registry.example/tenbin/demo:dev application/vnd.docker.distribution.manifest.v2+json sha256:ab 3.1 MiB linux/amd64 -\n";
        assert_eq!(digests(listed)["tenbin/demo:dev"], "sha256:ab");
        assert_eq!(digests(listed).len(), 1);
    }

    #[test]
    fn a_staged_binary_has_its_libraries_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        stage(&std::env::current_exe().unwrap(), "program", dir.path()).unwrap();
        let staged = files(dir.path()).unwrap();
        assert!(staged.contains(&dir.path().join("root/usr/local/bin/program")));
        assert!(staged.iter().any(|file| file.ends_with("libc.so.6")), "{staged:?}");
    }
}
