//! The state store's contract, held by the local one and by the one in a cluster.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shipit::driver::kubernetes::client::ClusterConnection;
use shipit::driver::state::kubernetes::KubernetesStore;
use shipit::driver::state::local::LocalStore;
use shipit::model::EnvironmentName;
use shipit::model::journal::{Direction, JournalEntry, What};
use shipit::model::plan::StepId;
use shipit::model::state::State;
use shipit::port::StateStore;
use shipit::port::store::{Lease, StoreError};

use crate::cluster::Cluster;
use crate::support::actor;

fn environment() -> EnvironmentName {
    "staging".parse().expect("a name")
}

/// A store, and what it lives in.
struct Place {
    store: Arc<dyn StateStore>,
    folder: tempfile::TempDir,
    cluster: Option<Cluster>,
}

async fn tell(kind: &str, told: impl AsyncFnOnce(&Place)) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut place = if kind == "local" {
        let store = Arc::new(LocalStore::new(folder.path().join("state")));
        Place {
            store,
            folder,
            cluster: None,
        }
    } else {
        let path = folder.path().to_owned();
        let opened = tokio::task::spawn_blocking(move || Cluster::open(&path))
            .await
            .expect("opened");
        let Some(cluster) = opened else { return };
        let connection = ClusterConnection {
            kubeconfig: Some(cluster.kubeconfig.clone()),
            ..ClusterConnection::default()
        };
        let (namespace, failures) = (cluster.namespace.clone(), folder.path().join("state"));
        let project = "shop".parse().expect("a name");
        let store = Arc::new(KubernetesStore::new(
            connection, namespace, project, failures,
        ));
        Place {
            store,
            folder,
            cluster: Some(cluster),
        }
    };
    told(&place).await;
    let cluster = place.cluster.take();
    tokio::task::spawn_blocking(move || drop(cluster))
        .await
        .expect("deleted");
}

macro_rules! suite {
    ($($story:ident),* $(,)?) => {
        mod local { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("local", async |place| super::$story(place).await).await; })* }
        mod kubernetes { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("kubernetes", async |place| super::$story(place).await).await; })* }
    };
}

suite!(
    what_was_saved_is_loaded_and_serials_count_up,
    a_lock_is_held_by_one_and_its_number_only_goes_up,
    a_waiting_taker_gets_the_lock_when_it_is_free,
    who_lost_the_lock_cannot_save,
    an_abort_reaches_the_holder,
    a_journal_is_read_back_in_order,
    what_is_known_about_a_failure_is_kept,
);

async fn lock(store: &dyn StateStore, above: u64) -> Result<Box<dyn Lease>, StoreError> {
    store
        .lock(
            &environment(),
            &actor("run-1"),
            "apply",
            above,
            Duration::ZERO,
        )
        .await
}

fn state(serial: u64) -> State {
    State {
        serial,
        ..State::empty("shop".parse().expect("a name"), environment())
    }
}

async fn what_was_saved_is_loaded_and_serials_count_up(place: &Place) {
    let store = &place.store;
    assert_eq!(store.load(&environment()).await.expect("loaded"), None);
    let lease = lock(store.as_ref(), 0).await.expect("locked");
    store.save(lease.as_ref(), &state(1)).await.expect("saved");
    assert_eq!(
        store.load(&environment()).await.expect("loaded"),
        Some(state(1))
    );
    let again = store.save(lease.as_ref(), &state(1)).await;
    assert!(
        matches!(again, Err(StoreError::Moved { found: 1, .. })),
        "{again:?}"
    );
    let skipped = store.save(lease.as_ref(), &state(3)).await;
    assert!(
        matches!(skipped, Err(StoreError::Moved { .. })),
        "{skipped:?}"
    );
    store.save(lease.as_ref(), &state(2)).await.expect("saved");
    assert_eq!(store.environments().await.expect("names"), [environment()]);
}

async fn a_lock_is_held_by_one_and_its_number_only_goes_up(place: &Place) {
    let store = &place.store;
    let first = lock(store.as_ref(), 6).await.expect("locked");
    assert_eq!(first.fence(), 7, "above what the engine has seen");
    let second = lock(store.as_ref(), 0).await;
    assert!(
        matches!(second, Err(StoreError::Locked { ref holder, .. }) if holder.command == "apply")
    );
    let holder = store
        .holder(&environment())
        .await
        .expect("an answer")
        .expect("somebody");
    assert_eq!((holder.fence, holder.pid), (7, std::process::id()));
    first.release().await.expect("released");
    assert_eq!(store.holder(&environment()).await.expect("an answer"), None);
    assert_eq!(lock(store.as_ref(), 0).await.expect("locked").fence(), 8);
}

async fn a_waiting_taker_gets_the_lock_when_it_is_free(place: &Place) {
    let store = &place.store;
    let first = lock(store.as_ref(), 0).await.expect("locked");
    let other = Arc::clone(store);
    let waiting = tokio::spawn(async move {
        other
            .lock(
                &environment(),
                &actor("run-2"),
                "apply",
                0,
                Duration::from_secs(30),
            )
            .await
            .map(|lease| lease.fence())
    });
    tokio::task::yield_now().await;
    first.release().await.expect("released");
    assert_eq!(waiting.await.expect("ended").expect("locked"), 2);
}

async fn who_lost_the_lock_cannot_save(place: &Place) {
    let store = &place.store;
    let first = lock(store.as_ref(), 0).await.expect("locked");
    store
        .break_lock(&environment())
        .await
        .expect("broken")
        .expect("somebody had it");
    let second = lock(store.as_ref(), 0).await.expect("locked");
    let saved = store.save(first.as_ref(), &state(1)).await;
    assert!(matches!(saved, Err(StoreError::Lost { .. })), "{saved:?}");
    store.save(second.as_ref(), &state(1)).await.expect("saved");
    // The heartbeat notices too, and tells the run.
    tokio::time::timeout(Duration::from_secs(20), first.lost().cancelled())
        .await
        .expect("told");
}

async fn an_abort_reaches_the_holder(place: &Place) {
    let store = &place.store;
    assert!(
        !store
            .request_abort(&environment())
            .await
            .expect("an answer"),
        "nobody holds it"
    );
    let lease = lock(store.as_ref(), 0).await.expect("locked");
    assert!(
        store
            .request_abort(&environment())
            .await
            .expect("an answer")
    );
    tokio::time::timeout(Duration::from_secs(20), lease.abort_requested().cancelled())
        .await
        .expect("told");
}

async fn a_journal_is_read_back_in_order(place: &Place) {
    let store = &place.store;
    assert_eq!(
        store.last_journal(&environment()).await.expect("an answer"),
        None
    );
    let entry = |step: u32| JournalEntry {
        at: Timestamp::UNIX_EPOCH,
        what: What::Intent {
            step: StepId(step),
            back: Direction::Forward,
        },
    };
    for run in 1..=7 {
        for step in 1..=12 {
            store
                .append(
                    &environment(),
                    &format!("20260101T00000{run}-abc"),
                    &entry(step),
                )
                .await
                .expect("written");
        }
    }
    let journal = store
        .last_journal(&environment())
        .await
        .expect("an answer")
        .expect("a journal");
    assert_eq!(journal.run, "20260101T000007-abc");
    assert_eq!(journal.entries, (1..=12).map(entry).collect::<Vec<_>>());
}

async fn what_is_known_about_a_failure_is_kept(place: &Place) {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("summary.txt", "one"),
        file("logs/web.log", "two"),
        file("../out.txt", "three"),
    ]
    .into();
    let number = shipit::model::ReleaseNumber(3);
    for _ in 0..2 {
        let kept = place
            .store
            .keep_failure(&environment(), number, &files)
            .await
            .expect("kept");
        let folder = std::path::PathBuf::from(kept.expect("a place"));
        assert!(
            folder.ends_with("state/staging/failures/3"),
            "{}",
            folder.display()
        );
        assert_eq!(
            std::fs::read_to_string(folder.join("logs/web.log")).expect("a file"),
            "two"
        );
        assert!(
            !place
                .folder
                .path()
                .join("state/staging/failures/out.txt")
                .exists()
        );
    }
}

#[tokio::test]
async fn a_journal_is_read_back_without_a_torn_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = LocalStore::new(folder.path().join("state"));
    assert_eq!(
        store.last_journal(&environment()).await.expect("an answer"),
        None
    );
    let entry = |step: u32| JournalEntry {
        at: Timestamp::UNIX_EPOCH,
        what: What::Intent {
            step: StepId(step),
            back: Direction::Forward,
        },
    };
    for step in 1..=3 {
        store
            .append(&environment(), "run-1", &entry(step))
            .await
            .expect("written");
    }
    let path = folder.path().join("state/staging/journal/run-1.jsonl");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, &text[..text.len() - 5]).expect("torn");
    let journal = store
        .last_journal(&environment())
        .await
        .expect("an answer")
        .expect("a journal");
    assert_eq!(journal.entries, [entry(1), entry(2)]);
    assert!(!journal.has_ended());
    store
        .append(&environment(), "run-2", &entry(9))
        .await
        .expect("written");
    assert_eq!(
        store
            .last_journal(&environment())
            .await
            .expect("an answer")
            .expect("a journal")
            .run,
        "run-2"
    );
}
