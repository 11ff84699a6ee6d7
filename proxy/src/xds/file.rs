//! Configuration from a YAML file made for people, for a proxy without a control plane: `examples/standalone.yaml`. It becomes
//! the same [`Update`] that a stream would give, under the same bounds. Read once at start.

mod balancing;
mod cluster;
mod keys;
mod listener;
mod route;
mod tls;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tenbin_model::{Cluster, FieldError, Resource, ResourceName, Update, bounds};

use cluster::ClusterItem;
use listener::ListenerItem;

use crate::certificates::CertificateFiles;

/// The largest file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Standalone {
    /// All listeners, routes, clusters and endpoints.
    pub update: Update,
    /// The files of the certificates in it.
    pub certificates: Vec<CertificateFiles>,
    /// Where `/readyz` and `/metrics` are answered; nowhere if none.
    pub status: Option<SocketAddr>,
    /// The admin socket; none if none.
    pub admin: Option<PathBuf>,
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It can't be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not YAML of the right shape; the text shows the place.
    #[error("{path}: {error}")]
    Yaml {
        /// The file.
        path: String,
        /// Where and why.
        error: Box<serde_saphyr::Error>,
    },
    /// A value in it is not accepted.
    #[error("{path}: {error}")]
    Field {
        /// The file.
        path: String,
        /// Which field, which value, what would be accepted.
        error: FieldError,
    },
}

/// Reads and judges a file.
///
/// # Errors
/// The file, and in it the first field that can't be accepted.
pub fn load(path: &Path) -> Result<Standalone, LoadError> {
    let name = path.display().to_string();
    let mut text = String::new();
    let file = std::fs::File::open(path);
    match file.and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)) {
        Ok(_) => parse(&name, &text),
        Err(error) => Err(LoadError::Read { path: name, error }),
    }
}

/// Judges the text of a file; `path` is what errors call it. Files that it names are read.
///
/// # Errors
/// As those of [`load`].
pub fn parse(path: &str, text: &str) -> Result<Standalone, LoadError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| LoadError::Yaml {
        path: path.to_owned(),
        error: Box::new(error),
    })?;
    file.judge().map_err(|error| LoadError::Field {
        path: path.to_owned(),
        error,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    status: Option<String>,
    admin: Option<PathBuf>,
    listeners: Vec<ListenerItem>,
    clusters: Vec<ClusterItem>,
}

/// The clusters of the file, for those who name one.
type Clusters = BTreeMap<ResourceName, Cluster>;

impl File {
    fn judge(self) -> Result<Standalone, FieldError> {
        if self.listeners.is_empty() {
            return Err(FieldError::new("listeners", "[]", "at least one listener"));
        }
        let mut set = Vec::new();
        let mut clusters = Clusters::new();
        for (i, item) in self.clusters.iter().enumerate() {
            let path = format!("clusters[{i}]");
            let (cluster, endpoints) = item.judge().map_err(|e| e.within(&path))?;
            unique(clusters.contains_key(&cluster.name), &path, &cluster.name)?;
            let keys = item.keys(&cluster).map_err(|e| e.within(&path))?;
            set.extend(keys.map(Resource::Keys));
            set.extend([Resource::Cluster(cluster.clone()), Resource::Endpoints(endpoints)]);
            clusters.insert(cluster.name.clone(), cluster);
        }
        let mut certificates = Vec::new();
        let mut names: Vec<ResourceName> = Vec::new();
        for (i, item) in self.listeners.iter().enumerate() {
            let path = format!("listeners[{i}]");
            let resources = item.judge(&clusters).map_err(|e| e.within(&path))?;
            unique(
                names.contains(&resources.listener.name),
                &path,
                &resources.listener.name,
            )?;
            names.push(resources.listener.name.clone());
            for read in resources.certificates {
                set.push(Resource::Certificate(read.certificate));
                certificates.push(read.files);
            }
            set.push(Resource::Listener(resources.listener));
            set.extend(resources.routes.map(Resource::Routes));
        }
        let status = self.status.map(|text| socket("status", &text)).transpose()?;
        Ok(Standalone {
            update: Update {
                set,
                removed: Vec::new(),
            },
            certificates,
            status,
            admin: self.admin,
        })
    }
}

fn unique(known: bool, path: &str, name: &ResourceName) -> Result<(), FieldError> {
    if known {
        let path = format!("{path}.name");
        return Err(FieldError::new(path, name, "a name that no other of its kind has"));
    }
    Ok(())
}

/// A cluster of the file.
fn known<'a>(path: &str, name: &str, clusters: &'a Clusters) -> Result<&'a Cluster, FieldError> {
    let parsed = ResourceName::parse(path, name)?;
    clusters.get(&parsed).ok_or_else(|| {
        let known: Vec<&str> = clusters.keys().take(8).map(ResourceName::as_str).collect();
        let accepted = format!("the name of a cluster of this file, as {}", known.join(", "));
        FieldError::new(path, name, accepted)
    })
}

fn socket(path: &str, text: &str) -> Result<SocketAddr, FieldError> {
    text.parse()
        .map_err(|_| FieldError::new(path, text, "an IP address and a port, as 127.0.0.1:8080 or [::1]:8080"))
}

/// A time within the usual bounds, or the default.
fn time(path: &str, text: Option<&str>, default: Duration) -> Result<Duration, FieldError> {
    text.map_or(Ok(default), |text| duration(path, text, bounds::timeout))
}

/// A time within the bounds of `judge`.
fn duration(
    path: &str,
    text: &str,
    judge: fn(&str, Duration) -> Result<Duration, FieldError>,
) -> Result<Duration, FieldError> {
    judge(path, bounds::duration(path, text)?)
}

/// A number that may be given, within the bounds of `judge`.
fn number<T>(
    path: &str,
    value: Option<u64>,
    judge: fn(&str, u64) -> Result<T, FieldError>,
) -> Result<Option<T>, FieldError> {
    value.map(|value| judge(path, value)).transpose()
}

/// An error where a field is given that nothing reads.
fn unread(path: &str, given: bool, readers: &str) -> Result<(), FieldError> {
    if given {
        return Err(FieldError::new(
            path,
            "(set)",
            format!("nothing here but for {readers}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
