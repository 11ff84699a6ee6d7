//! The file: who may read it, how often it is written, what becomes of bad ones.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tenbin_model::{EndpointId, Update};

use super::*;
use crate::xds::session::Session;
use crate::xds::session::tests::{WEB, cluster, endpoints, listener, name, response, routes, sent};

fn owner(pod: &str) -> Owner {
    Owner {
        pod: EndpointId::parse("pod", pod).unwrap(),
        listeners: vec![name(WEB)],
    }
}

/// What a session has in use whose only endpoint is number `last`.
fn kept(last: u8, received: u64) -> Kept {
    let mut session = Session::new(String::new(), vec![name(WEB)]);
    session.connect();
    for resource in [
        listener(WEB),
        routes(WEB, &["a"]),
        cluster("a", 1),
        endpoints("a", last),
    ] {
        session.on_response(response(resource.kind(), vec![sent(&resource, "v")], &[]));
    }
    session.kept(received)
}

fn update(kept: &Kept) -> Update {
    Session::restored(String::new(), vec![name(WEB)], kept).1
}

fn store(folder: &TempDir) -> Store {
    Store::new(folder.path(), owner("uid-1"))
}

#[tokio::test]
async fn only_its_user_may_read_it_and_a_half_written_one_is_in_nobodys_way() {
    let folder = TempDir::new().unwrap();
    let (store, metrics) = (store(&folder), SnapshotMetrics::default());
    assert!(store.restore(&metrics).is_none());
    assert_eq!(metrics.refused.get(), 0, "no file is no bad file");
    fs::write(folder.path().join("snapshot.tmp"), "half").unwrap();
    for last in 1..3 {
        store.save(&kept(last, 7)).await.unwrap();
        let metadata = fs::metadata(folder.path().join(FILE)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside it");
        let (restored, age) = store.restore(&metrics).unwrap();
        assert_eq!(update(&restored), update(&kept(last, 7)));
        assert!(age > Duration::from_secs(1_000_000_000), "since 1970");
    }
    assert_eq!((metrics.restored.get(), metrics.refused.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn many_changes_are_few_saves_and_the_last_one_counts() {
    let folder = TempDir::new().unwrap();
    let (store, metrics) = (store(&folder), SnapshotMetrics::default());
    let (newest, unsaved) = watch::channel(None);
    let change = async move {
        for last in 1..=100 {
            newest.send_replace(Some(kept(last, 7)));
            sleep(REST / 100).await;
        }
        sleep(REST * 5).await;
        drop(newest);
    };
    futures::join!(store.keep(unsaved, &metrics), change);
    let saves = metrics.saves.get();
    assert!((2..=3).contains(&saves), "{saves}");
    assert_eq!(update(&store.restore(&metrics).unwrap().0), update(&kept(100, 7)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_counted_and_tried_again() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    let store = Store::new(&state, owner("uid-1"));
    let metrics = SnapshotMetrics::default();
    let (newest, unsaved) = watch::channel(None);
    newest.send_replace(Some(kept(2, 7)));
    let change = async {
        sleep(RETRY / 2).await;
        assert_eq!((metrics.saves.get(), metrics.save_failures.get()), (0, 1));
        sleep(RETRY).await;
        assert_eq!((metrics.saves.get(), metrics.save_failures.get()), (0, 2));
        fs::create_dir(&state).unwrap();
        sleep(RETRY).await;
        assert_eq!((metrics.saves.get(), metrics.save_failures.get()), (1, 2));
        sleep(RETRY * 3).await;
        assert_eq!(metrics.saves.get(), 1, "nothing new, nothing to save");
    };
    let change = async move {
        change.await;
        drop(newest);
    };
    futures::join!(store.keep(unsaved, &metrics), change);
    assert_eq!(update(&store.restore(&metrics).unwrap().0), update(&kept(2, 7)));
}

#[tokio::test]
async fn what_cannot_be_used_is_counted_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(FILE);
    let (store, metrics) = (store(&folder), SnapshotMetrics::default());
    store.save(&kept(1, 7)).await.unwrap();
    let other = Store::new(folder.path(), owner("uid-2"));
    assert!(other.restore(&metrics).is_none());
    let good = fs::read(&file).unwrap();
    let half = &good[..good.len() / 2];
    for (bad, n) in [half, b"", &vec![b'a'; MAX + 2]].into_iter().zip(2..) {
        fs::write(&file, bad).unwrap();
        assert!(store.restore(&metrics).is_none());
        assert_eq!(metrics.refused.get(), n);
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(store.restore(&metrics).is_none());
    assert_eq!((metrics.refused.get(), metrics.restored.get()), (5, 0));
}
