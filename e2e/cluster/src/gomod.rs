//! Programs built from Go modules: versions and checksums are those of `modules/NAME/go.mod` and `go.sum` in the tree, and
//! `go build` may not change them. Each module is built once per content of those files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::Context;
use crate::cache::key;
use crate::run::{Run, Stream, which};
use crate::say::span;

/// How often a long build says how far it is.
const PROGRESS: Duration = Duration::from_secs(20);
/// Checksums are those of go.sum, checked on download: nothing is added to them here.
const READONLY: &str = "-mod=readonly";

/// One module of ours that names the programs of others.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its folder under `modules/`.
    pub name: &'static str,
    /// The version of the programs, as the names in the cache and the messages show it.
    pub version: &'static str,
    /// Linker flags; most programs want their version stamped.
    pub ldflags: &'static str,
    /// The packages to build, and what each program is to be called.
    pub programs: &'static [(&'static str, &'static str)],
}

/// Kubernetes' own programs. kubeadm refuses a build without a version.
pub const KUBERNETES: Module = Module {
    name: "kubernetes",
    version: "v1.35.4",
    ldflags: "-X k8s.io/component-base/version.gitVersion=v1.35.4 -X k8s.io/component-base/version.gitMajor=1 \
        -X k8s.io/component-base/version.gitMinor=35 -X k8s.io/component-base/version.gitTreeState=clean \
        -X k8s.io/component-base/version.gitCommit=unknown",
    programs: &[
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        (
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-controller-manager",
        ),
        ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
        ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("k8s.io/kubernetes/cmd/kubeadm", "kubeadm"),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ],
};
/// kubectl alone, for who lets kind pull its image and has none: a tenth of the build above.
pub const KUBECTL: Module = Module {
    programs: &[("k8s.io/kubernetes/cmd/kubectl", "kubectl")],
    ..KUBERNETES
};
/// kind.
pub const KIND: Module = Module {
    name: "kind",
    version: "v0.33.0",
    ldflags: "",
    programs: &[("sigs.k8s.io/kind", "kind")],
};
/// The API server's store.
pub const ETCD: Module = Module {
    name: "etcd",
    version: "v3.6.5",
    ldflags: "",
    programs: &[("go.etcd.io/etcd/server/v3", "etcd")],
};
/// The cluster's name server.
pub const COREDNS: Module = Module {
    name: "coredns",
    version: "v1.13.1",
    ldflags: "",
    programs: &[("github.com/coredns/coredns", "coredns")],
};
/// Helm.
pub const HELM: Module = Module {
    name: "helm",
    version: "v3.19.0",
    ldflags: "-X helm.sh/helm/v3/internal/version.version=v3.19.0",
    programs: &[("helm.sh/helm/v3/cmd/helm", "helm")],
};
/// The conformance tests of HTTP/2 servers.
pub const H2SPEC: Module = Module {
    name: "h2spec",
    version: "v2.2.1+incompatible",
    ldflags: "",
    programs: &[("github.com/summerwind/h2spec/cmd/h2spec", "h2spec")],
};
/// The interoperability tests of gRPC: grpc-go's client and server.
pub const GRPC_INTEROP: Module = Module {
    name: "grpc-interop",
    version: "v1.83.0",
    ldflags: "",
    programs: &[
        ("google.golang.org/grpc/interop/client", "grpc-interop-client"),
        ("google.golang.org/grpc/interop/server", "grpc-interop-server"),
    ],
};
/// The container runtime in the nodes. Version 2: Kubernetes 1.36 drops 1.x.
pub const CONTAINERD: Module = Module {
    name: "containerd",
    version: "v2.1.5",
    ldflags: "-X github.com/containerd/containerd/v2/version.Version=v2.1.5",
    programs: &[
        ("github.com/containerd/containerd/v2/cmd/containerd", "containerd"),
        ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
        (
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "containerd-shim-runc-v2",
        ),
    ],
};
/// The plug-ins that give a pod its network.
pub const CNI: Module = Module {
    name: "cni",
    version: "v1.7.1",
    ldflags: "",
    programs: &[
        ("github.com/containernetworking/plugins/plugins/main/ptp", "ptp"),
        (
            "github.com/containernetworking/plugins/plugins/main/loopback",
            "loopback",
        ),
        (
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
            "host-local",
        ),
        ("github.com/containernetworking/plugins/plugins/meta/portmap", "portmap"),
    ],
};
/// What holds a pod's namespaces open; a few lines of our own.
pub const PAUSE: Module = Module {
    name: "pause",
    version: "v1",
    ldflags: "",
    programs: &[("tenbin.invalid/pause", "pause")],
};

impl Module {
    /// The name of its programs' folder in the cache.
    ///
    /// # Errors
    /// Where the module's files can't be read.
    pub fn entry(&self, context: &Context) -> Result<String> {
        let dir = self.dir(context);
        let read =
            |name: &str| fs::read(dir.join(name)).with_context(|| format!("can't read {}/{name}", dir.display()));
        let mut parts = vec![read("go.mod")?, read("go.sum")?, self.ldflags.as_bytes().to_vec()];
        parts.extend(self.programs.iter().map(|(package, _)| package.as_bytes().to_vec()));
        if dir.join("main.go").exists() {
            parts.push(read("main.go")?);
        }
        Ok(format!("programs/{}-{}-{}", self.name, self.version, key(parts)))
    }

    /// Whether its programs are built.
    ///
    /// # Errors
    /// Where the module's files can't be read.
    pub fn built(&self, context: &Context) -> Result<bool> {
        Ok(context.cache.has(&self.entry(context)?))
    }

    /// The folder of its programs, built if they are not.
    ///
    /// # Errors
    /// Where there is no Go, a module can't be had, or the build fails.
    pub fn ensure(&self, context: &Context) -> Result<PathBuf> {
        context
            .cache
            .entry(&self.entry(context)?, |out| self.build(context, out))
    }

    fn dir(&self, context: &Context) -> PathBuf {
        context.data("modules").join(self.name)
    }

    fn build(&self, context: &Context, out: &Path) -> Result<()> {
        let say = &context.say;
        if which("go").is_none() {
            let names: Vec<&str> = self.programs.iter().map(|(_, name)| *name).collect();
            bail!(
                "Go (1.25 or newer) is needed to build {}, and PATH has none",
                names.join(", ")
            );
        }
        say.line(format_args!("   building {} {} with Go", self.name, self.version));
        let begin = Instant::now();
        let most = self.count(context)?;
        let (mut packages, mut told) = (0_u32, Instant::now());
        self.go(context, &["build", READONLY])
            .args(["-trimpath", "-buildvcs=false", "-v"])
            .args(["-ldflags", &format!("-s -w {}", self.ldflags), "-o"])
            .args([out])
            .args(self.programs.iter().map(|(package, _)| package))
            .log(context.cache.log(&format!("go-{}", self.name))?)
            .lines(|stream, line| {
                packages += u32::from(stream == Stream::Err && !line.contains(' '));
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    let time = span(begin.elapsed());
                    say.line(format_args!(
                        "   {}: {packages} of at most {most} packages in {time}",
                        self.name
                    ));
                }
            })?;
        self.rename(out)?;
        say.line(format_args!(
            "   built {} {} in {}",
            self.name,
            self.version,
            span(begin.elapsed())
        ));
        Ok(())
    }

    /// How many packages the programs are made of, the standard library's too; downloads what is missing.
    fn count(&self, context: &Context) -> Result<usize> {
        let list = self
            .go(context, &["list", READONLY, "-deps"])
            .args(self.programs.iter().map(|(package, _)| package))
            .log(context.cache.log(&format!("go-{}-list", self.name))?);
        Ok(list.out()?.lines().count())
    }

    /// Go calls a program by the last part of its path, or the one before a version: not always what it is known as.
    fn rename(&self, out: &Path) -> Result<()> {
        for (package, name) in self.programs {
            let mut parts = package.rsplit('/');
            let last = parts.next().unwrap_or_default();
            let version = last
                .strip_prefix('v')
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            let made = if version {
                parts.next().unwrap_or_default()
            } else {
                last
            };
            if made != *name {
                fs::rename(out.join(made), out.join(name))?;
            }
        }
        Ok(())
    }

    fn go(&self, context: &Context, command: &[&str]) -> Run {
        Run::new("go")
            .args(command)
            .dir(&self.dir(context))
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
    }

    /// The folder of one of the modules it needs, in Go's own cache.
    ///
    /// # Errors
    /// Where the module can't be had.
    pub fn source(&self, context: &Context, module: &str) -> Result<PathBuf> {
        // Of what is not there yet, Go tells no folder.
        self.go(context, &["mod", "download"]).args([module]).done()?;
        let dir = self
            .go(context, &["list", READONLY])
            .args(["-m", "-f", "{{.Dir}}", module])
            .out()?;
        ensure!(!dir.is_empty(), "Go has no folder of {module}");
        Ok(PathBuf::from(dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Module; 11] = [
        KUBERNETES,
        KUBECTL,
        KIND,
        ETCD,
        COREDNS,
        HELM,
        H2SPEC,
        GRPC_INTEROP,
        CONTAINERD,
        CNI,
        PAUSE,
    ];

    /// The pinned version of a module is the one that go.mod requires: else the name in the cache would lie.
    #[test]
    fn versions_are_those_of_the_modules() {
        for module in ALL {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(module.name);
            let text = fs::read_to_string(dir.join("go.mod")).unwrap();
            assert!(fs::exists(dir.join("go.sum")).unwrap(), "{}", module.name);
            if module.name == PAUSE.name {
                continue;
            }
            let required = text.lines().any(|line| {
                let mut words = line.trim().trim_start_matches("require ").split(' ');
                let path = words.next().unwrap_or_default();
                module.programs[0].0.starts_with(path) && !path.is_empty() && words.next() == Some(module.version)
            });
            assert!(required, "{} doesn't require {}", module.name, module.version);
        }
    }

    #[test]
    fn programs_get_the_name_they_are_known_by() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server"), "").unwrap();
        ETCD.rename(dir.path()).unwrap();
        assert!(dir.path().join("etcd").exists());
        fs::write(dir.path().join("kind"), "").unwrap();
        KIND.rename(dir.path()).unwrap();
        assert!(dir.path().join("kind").exists());
    }
}
