//! A node image of our own: kind's files on a Debian root file system, with programs built from Go modules. Every image in
//! it is made from files; nothing is pulled. When it is wanted is `node_image`'s business.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::Context;
use crate::cache::{files, key};
use crate::docker::Docker;
use crate::gomod::{CNI, CONTAINERD, COREDNS, ETCD, KIND, KUBERNETES, Module, PAUSE};
use crate::own_daemon::install_packages;
use crate::run::{Run, which};

/// The suite of the node's Debian packages. Its systemd still knows cgroup v1; apt checks the packages' signatures.
pub(crate) const SUITE: &str = "bookworm";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,\
    libseccomp2,pigz,e2fsprogs,bash,ca-certificates,curl,jq,procps,runc,hostname";
/// The container in which the control plane's images are imported.
const BUILDER: &str = "tenbin-node-build";

const MODULES: [Module; 6] = [KUBERNETES, ETCD, COREDNS, CONTAINERD, CNI, PAUSE];

/// The name of our own node image: the Kubernetes version, and a key over everything that goes into it.
pub(crate) fn reference(context: &Context) -> Result<String> {
    let mut parts = vec![KIND.entry(context)?.into_bytes(), SUITE.into(), PACKAGES.into()];
    for module in MODULES {
        parts.push(module.entry(context)?.into_bytes());
    }
    for file in files(&context.data("node"))? {
        parts.push(file.file_name().unwrap_or_default().as_encoded_bytes().to_vec());
        parts.push(fs::read(&file)?);
    }
    Ok(format!("tenbin/node:{}-{}", KUBERNETES.version, key(parts)))
}

/// The programs of the image: the long part where they are not in the cache.
fn programs(context: &Context) -> Result<()> {
    MODULES.iter().try_for_each(|module| module.ensure(context).map(drop))
}

/// Builds it, under this reference.
///
/// # Errors
/// Where a program, a package or Docker fails.
pub(crate) fn build(context: &Context, docker: &Docker, reference: &str) -> Result<()> {
    let say = &context.say;
    programs(context)?;
    let rootfs = rootfs(context)?;
    let scratch = context.cache.scratch()?;
    let base = format!("{reference}-base");

    say.line("   node image: the base");
    base_context(context, &rootfs, &scratch.path().join("base"))?;
    docker_build(docker, &base, &scratch.path().join("base"))?;

    say.line("   node image: the control plane's images");
    let images = control_plane(context, docker, &base, scratch.path())?;
    let archive = scratch.path().join("images.tar");
    let names = images.iter().map(String::as_str);
    docker
        .run(["save"])
        .args(names.clone())
        .args(["-o".as_ref(), archive.as_os_str()])
        .done()?;

    say.line("   node image: putting it together");
    let _ = docker.run(["rm", "-f", BUILDER]).out();
    let finished = assemble(context, docker, &base, &archive, reference);
    let _ = docker.run(["rm", "-f", BUILDER]).despite_interrupt().out();
    finished?;
    let _ = docker.run(["rmi"]).args(names).args([&base]).out();
    let _ = docker.run(["image", "prune", "-f"]).out();
    Ok(())
}

/// The root file system of a node, as a tar.
fn rootfs(context: &Context) -> Result<PathBuf> {
    let name = format!("rootfs/{SUITE}-{}", key([SUITE, PACKAGES]));
    let dir = context.cache.entry(&name, |dir| {
        if which("mmdebstrap").is_none() {
            install_packages(&context.say)?;
        }
        context.say.line(format_args!(
            "   root file system of a node: Debian {SUITE}, about a minute"
        ));
        Run::new("mmdebstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE])
            .args([dir.join("rootfs.tar")])
            .log(context.cache.log("mmdebstrap")?)
            .limit(Duration::from_secs(1200))
            .done()
    })?;
    Ok(dir.join("rootfs.tar"))
}

/// Kind's own files, fitted to a machine without CAP_SYS_RESOURCE, and our programs, laid out for `node/Dockerfile`.
fn base_context(context: &Context, rootfs: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let kind = KIND.source(context, "sigs.k8s.io/kind")?;
    copy_tree(&kind.join("images/base/files"), &dir.join("files"))?;
    edit(&dir.join("files/etc/systemd/system/containerd.service"), |text| {
        let raised = [
            "LimitNPROC=",
            "LimitCORE=",
            "LimitNOFILE=",
            "TasksMax=",
            "OOMScoreAdjust=",
        ];
        let kept = text
            .lines()
            .filter(|line| !raised.iter().any(|name| line.starts_with(name)));
        kept.flat_map(|line| [line, "\n"]).collect()
    })?;
    edit(&dir.join("files/etc/containerd/config.toml"), |text| {
        text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
    })?;
    place(rootfs, &dir.join("rootfs.tar"))?;
    for (module, folder) in [(CONTAINERD, "bin"), (CNI, "cni")] {
        let programs = module.ensure(context)?;
        for (_, program) in module.programs {
            place(&programs.join(program), &dir.join(folder).join(program))?;
        }
    }
    let kubernetes = KUBERNETES.ensure(context)?;
    for program in ["kubeadm", "kubelet", "kubectl"] {
        place(&kubernetes.join(program), &dir.join("kube").join(program))?;
    }
    fs::write(dir.join("version"), KUBERNETES.version)?;
    for file in ["Dockerfile", "default-cni.yaml", "default-storage.yaml"] {
        place(&context.data("node").join(file), &dir.join(file))?;
    }
    Ok(())
}

/// Builds the control plane's images, each from scratch, under the names that kubeadm and containerd ask for.
fn control_plane(context: &Context, docker: &Docker, base: &str, work: &Path) -> Result<Vec<String>> {
    let kubernetes = KUBERNETES.ensure(context)?;
    let list = Run::new(kubernetes.join("kubeadm"))
        .args(["config", "images", "list", "--kubernetes-version", KUBERNETES.version])
        .out()?;
    let wanted = |name: &str| image_called(&list, name);
    let config = fs::read_to_string(work.join("base/files/etc/containerd/config.toml"))?;
    let pause = sandbox_image(&config).context("kind's containerd config names no sandbox_image")?;
    let root = |name: &str| work.join("roots").join(name);
    let mut images = Vec::new();
    let mut image = |name: String, dir: &Path, rest: &str| -> Result<()> {
        fs::create_dir_all(dir.join("root/tmp"))?;
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        fs::write(
            dir.join("Dockerfile"),
            format!("FROM scratch\nCOPY root/ /\nENV PATH={path}\n{rest}"),
        )?;
        docker_build(docker, &name, dir)?;
        images.push(name);
        Ok(())
    };
    for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        place(
            &kubernetes.join(program),
            &root(program).join("root/usr/local/bin").join(program),
        )?;
        image(wanted(program)?, &root(program), "")?;
    }
    place(
        &ETCD.ensure(context)?.join("etcd"),
        &root("etcd").join("root/usr/local/bin/etcd"),
    )?;
    image(wanted("etcd")?, &root("etcd"), "")?;
    place(
        &COREDNS.ensure(context)?.join("coredns"),
        &root("coredns").join("root/coredns"),
    )?;
    image(wanted("coredns")?, &root("coredns"), "ENTRYPOINT [\"/coredns\"]\n")?;
    place(&PAUSE.ensure(context)?.join("pause"), &root("pause").join("root/pause"))?;
    image(pause, &root("pause"), "ENTRYPOINT [\"/pause\"]\n")?;

    let families = ["iptables", "ip6tables"]
        .iter()
        .flat_map(|name| ["", "-save", "-restore"].map(|end| format!("{name}{end}")));
    let programs: Vec<String> = families.chain(["nft".to_owned(), "conntrack".to_owned()]).collect();
    collect(context, docker, base, &programs, &root("kube-proxy"))?;
    place(
        &kubernetes.join("kube-proxy"),
        &root("kube-proxy").join("root/usr/local/bin/kube-proxy"),
    )?;
    image(wanted("kube-proxy")?, &root("kube-proxy"), "ADD programs.tar /\n")?;

    let programs = ["sh", "ip", "cat", "mv", "sleep"].map(str::to_owned);
    collect(context, docker, base, &programs, &root("podnet"))?;
    place(
        &kubernetes.join("kubectl"),
        &root("podnet").join("root/usr/bin/kubectl"),
    )?;
    place(&context.data("node/podnet"), &root("podnet").join("root/podnet"))?;
    let entrypoint = "ADD programs.tar /\nENTRYPOINT [\"/usr/bin/sh\", \"/podnet\"]\n";
    image("localhost/podnet:1".to_owned(), &root("podnet"), entrypoint)?;
    Ok(images)
}

/// Writes the node's own programs, with their libraries, into `programs.tar` of an image's folder.
fn collect(context: &Context, docker: &Docker, base: &str, programs: &[String], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let script = fs::read_to_string(context.data("node/collect"))?;
    docker
        .run([
            "run",
            "--rm",
            "--network=none",
            "--entrypoint=sh",
            base,
            "-c",
            &script,
            "collect",
        ])
        .args(programs)
        .out_file(dir.join("programs.tar"))
        .done()
}

/// Imports the images in a running base and commits it, as kind's own build does.
fn assemble(context: &Context, docker: &Docker, base: &str, archive: &Path, reference: &str) -> Result<()> {
    docker
        .run([
            "run",
            "-d",
            "--privileged",
            "--network=none",
            "--name",
            BUILDER,
            "--entrypoint=sleep",
            base,
            "infinity",
        ])
        .done()?;
    let copy = |from: &Path, to: &str| {
        docker
            .run(["cp"])
            .args([from.as_os_str(), format!("{BUILDER}:{to}").as_ref()])
            .done()
    };
    copy(archive, "/images.tar")?;
    copy(&context.data("node/import"), "/import")?;
    docker
        .run(["exec", BUILDER, "bash", "/import"])
        .log(context.cache.log("node-import")?)
        .limit(Duration::from_secs(300))
        .done()?;
    let entrypoint = "ENTRYPOINT [ \"/usr/local/bin/entrypoint\", \"/sbin/init\" ]";
    docker
        .run(["commit", "--change", entrypoint, BUILDER, reference])
        .done()
}

fn docker_build(docker: &Docker, name: &str, dir: &Path) -> Result<()> {
    docker
        .run(["build", "-q", "--network=none", "-t", name])
        .args([dir])
        .done()
}

/// `registry/NAME:tag` out of what `kubeadm config images list` says.
fn image_called(list: &str, name: &str) -> Result<String> {
    let found = list.lines().find(|line| {
        line.rsplit('/')
            .next()
            .is_some_and(|last| last.split(':').next() == Some(name))
    });
    match found {
        Some(line) => Ok(line.trim().to_owned()),
        None => bail!("kubeadm names no image for {name}, only:\n{list}"),
    }
}

/// The pause image that a containerd config asks for.
fn sandbox_image(config: &str) -> Option<String> {
    let line = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("sandbox_image = "))?;
    Some(line.trim_matches('"').to_owned())
}

fn edit(file: &Path, change: impl FnOnce(&str) -> String) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let changed = change(&text);
    // Kind's files move on: a change that hits nothing would come out as a node that doesn't start.
    anyhow::ensure!(
        changed != text,
        "{} is not as expected: nothing to change in it",
        file.display()
    );
    Ok(fs::write(file, changed)?)
}

/// Puts a file at a place in a build's folder: as a link where the file system allows it.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Copies a folder's files, writable whatever the source's modes (Go's module cache is read-only).
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let target = to.join(file.strip_prefix(from)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(target, fs::read(&file)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_their_last_name() {
        let list = "registry.example/kube-proxy:v1.35.4\nregistry.example/coredns/coredns:v1.13.1\n";
        assert_eq!(
            image_called(list, "coredns").unwrap(),
            "registry.example/coredns/coredns:v1.13.1"
        );
        assert!(
            image_called(list, "kube")
                .unwrap_err()
                .to_string()
                .contains("kube-proxy")
        );
        assert_eq!(
            sandbox_image("a\n  sandbox_image = \"r/pause:3.10\"\n").unwrap(),
            "r/pause:3.10"
        );
    }

    #[test]
    fn an_edit_that_hits_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "a = false").unwrap();
        edit(&file, |text| text.replace("false", "true")).unwrap();
        assert!(edit(&file, |text| text.replace("false", "true")).is_err());
    }
}
