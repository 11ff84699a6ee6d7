//! What replicas say to each other: how far the proxies on one of them are, first all of it, then what changes. gRPC with JSON
//! messages, additive: an unknown field is skipped, so that the channel can carry more later. No client, no server.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::key::AppKey;
use crate::status::Sync;
use crate::xds::streams::Progress;

/// Name of the gRPC service.
pub(super) const SERVICE: &str = "tenbin.Peers";
/// Path of its only method, a stream of [`Report`]s.
pub(super) const PATH: &str = "/tenbin.Peers/Follow";
/// The most apps in one report.
const MAX_APPS: usize = 1000;
/// The most rejections of an app that are passed on, and the longest, in characters.
pub(super) const MAX_REJECTED: usize = 8;
const MAX_REASON: usize = 500;

/// The question: nothing to say yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Follow {}

/// Counts of one replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// What was reported before does not count any more.
    pub(super) reset: bool,
    /// Apps whose counts are new.
    pub(super) apps: Vec<AppReport>,
}

/// Counts of one app on one replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AppReport {
    namespace: String,
    name: String,
    /// The spec that `synced` is about; replicas of before this field do not tell.
    generation: Option<i64>,
    connected: u32,
    synced: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<String>,
}

impl AppReport {
    fn of(key: &AppKey, progress: &Progress) -> Self {
        let short = |text: &String| text.chars().take(MAX_REASON).collect();
        let sync = &progress.sync;
        AppReport {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            generation: Some(progress.generation),
            connected: sync.connected,
            synced: sync.synced,
            rejected: sync.rejected.iter().take(MAX_REJECTED).map(short).collect(),
        }
    }

    /// The app and its counts. Of whom does not tell a generation, it is believed that it is the newest.
    pub(super) fn into_progress(self) -> (AppKey, Progress) {
        let progress = Progress {
            generation: self.generation.unwrap_or(i64::MAX),
            sync: Sync {
                connected: self.connected,
                synced: self.synced.min(self.connected),
                rejected: self.rejected,
            },
        };
        (AppKey::new(self.namespace, self.name), progress)
    }
}

/// The reports that bring a follower from `told` to `now`; with `reset`, whatever it has is forgotten first.
pub(super) fn reports(told: &BTreeMap<AppKey, Progress>, now: &BTreeMap<AppKey, Progress>, reset: bool) -> Vec<Report> {
    let gone = told
        .keys()
        .filter(|key| !now.contains_key(*key))
        .map(|key| AppReport::of(key, &Progress::default()));
    let new = now.iter().filter(|(key, progress)| told.get(*key) != Some(*progress));
    let apps: Vec<AppReport> = new
        .map(|(key, progress)| AppReport::of(key, progress))
        .chain(gone)
        .collect();
    let mut reports: Vec<Report> = apps
        .chunks(MAX_APPS)
        .map(|apps| Report {
            reset: false,
            apps: apps.to_vec(),
        })
        .collect();
    if reset {
        if reports.is_empty() {
            reports.push(Report::default());
        }
        reports[0].reset = true;
    }
    reports
}

/// JSON as a codec of tonic.
#[derive(Clone, Debug)]
pub(super) struct Json<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Json<E, D> {
    fn default() -> Self {
        Json(PhantomData)
    }
}

impl<E, D> Codec for Json<E, D>
where
    E: Serialize + Send + 'static,
    D: DeserializeOwned + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Json<E, D>;
    type Decoder = Json<E, D>;

    fn encoder(&mut self) -> Self::Encoder {
        Json::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Json::default()
    }
}

impl<E: Serialize, D> Encoder for Json<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut as _;
        serde_json::to_writer(buffer.writer(), &item).map_err(|e| Status::internal(e.to_string()))
    }
}

impl<E, D: DeserializeOwned> Decoder for Json<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        use bytes::Buf as _;
        let item = serde_json::from_reader(buffer.reader());
        item.map(Some).map_err(|e| Status::invalid_argument(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u32)]) -> BTreeMap<AppKey, Progress> {
        let progress = |connected| Progress {
            generation: 1,
            sync: Sync {
                connected,
                ..Sync::default()
            },
        };
        list.iter()
            .map(|(name, n)| (AppKey::new("a", *name), progress(*n)))
            .collect()
    }

    fn names(reports: &[Report]) -> Vec<(String, u32)> {
        let apps = reports.iter().flat_map(|r| &r.apps);
        apps.map(|app| (app.name.clone(), app.connected)).collect()
    }

    #[test]
    fn only_what_changed_is_told_and_what_is_gone_counts_nothing() {
        let told = counts(&[("one", 1), ("same", 2), ("gone", 3)]);
        let now = counts(&[("one", 4), ("same", 2), ("new", 5)]);
        let told = reports(&told, &now, false);
        assert_eq!(
            names(&told),
            [("new".to_owned(), 5), ("one".to_owned(), 4), ("gone".to_owned(), 0)]
        );
        assert!(reports(&now, &now, false).is_empty());
    }

    #[test]
    fn the_first_report_resets_even_when_empty_and_large_ones_are_split() {
        let none = BTreeMap::new();
        assert_eq!(
            reports(&none, &none, true),
            [Report {
                reset: true,
                apps: vec![]
            }]
        );
        let many: Vec<String> = (0..2500).map(|i| format!("app-{i:04}")).collect();
        let many: Vec<(&str, u32)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        let split = reports(&none, &counts(&many), true);
        assert_eq!(
            split.iter().map(|r| (r.reset, r.apps.len())).collect::<Vec<_>>(),
            [(true, 1000), (false, 1000), (false, 500)]
        );
    }

    #[test]
    fn a_report_of_another_version_is_read_and_absurd_counts_are_bounded() {
        let text =
            r#"{"reset":true,"sessions":7,"apps":[{"namespace":"a","name":"b","connected":1,"synced":9,"load":0.5}]}"#;
        let report: Report = serde_json::from_str(text).expect("additive");
        let (key, progress) = report.apps[0].clone().into_progress();
        let Progress { generation, sync } = progress;
        assert_eq!((key.to_string().as_str(), sync.connected, sync.synced), ("a/b", 1, 1));
        assert_eq!(generation, i64::MAX);
    }
}
