//! The state store's contract, held by the local one.

use std::time::Duration;

use jiff::Timestamp;
use shipit::driver::state::local::LocalStore;
use shipit::model::EnvironmentName;
use shipit::model::journal::{Direction, Entry, What};
use shipit::model::plan::StepId;
use shipit::model::state::State;
use shipit::port::StateStore;
use shipit::port::store::{Lease, StoreError};

use crate::support::actor;

fn environment() -> EnvironmentName {
    "staging".parse().expect("a name")
}

fn store() -> (tempfile::TempDir, LocalStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = LocalStore::new(folder.path().join("state"));
    (folder, store)
}

async fn lock(store: &dyn StateStore, above: u64) -> Result<Box<dyn Lease>, StoreError> {
    store.lock(&environment(), &actor("run-1"), "apply", above, Duration::ZERO).await
}

fn state(serial: u64) -> State {
    State { serial, ..State::empty("shop".parse().expect("a name"), environment()) }
}

#[tokio::test]
async fn what_was_saved_is_loaded_and_serials_count_up() {
    let (_folder, store) = store();
    assert_eq!(store.load(&environment()).await.expect("loaded"), None);
    let lease = lock(&store, 0).await.expect("locked");
    store.save(lease.as_ref(), &state(1)).await.expect("saved");
    assert_eq!(store.load(&environment()).await.expect("loaded"), Some(state(1)));
    let again = store.save(lease.as_ref(), &state(1)).await;
    assert!(matches!(again, Err(StoreError::Moved { found: 1, .. })), "{again:?}");
    let skipped = store.save(lease.as_ref(), &state(3)).await;
    assert!(matches!(skipped, Err(StoreError::Moved { .. })), "{skipped:?}");
    store.save(lease.as_ref(), &state(2)).await.expect("saved");
    assert_eq!(store.environments().await.expect("names"), [environment()]);
}

#[tokio::test]
async fn a_lock_is_held_by_one_and_its_number_only_goes_up() {
    let (_folder, store) = store();
    let first = lock(&store, 6).await.expect("locked");
    assert_eq!(first.fence(), 7, "above what the engine has seen");
    let second = lock(&store, 0).await;
    assert!(matches!(second, Err(StoreError::Locked { ref holder, .. }) if holder.command == "apply"));
    let holder = store.holder(&environment()).await.expect("an answer").expect("somebody");
    assert_eq!((holder.fence, holder.pid), (7, std::process::id()));
    first.release().await.expect("released");
    assert_eq!(store.holder(&environment()).await.expect("an answer"), None);
    assert_eq!(lock(&store, 0).await.expect("locked").fence(), 8);
}

#[tokio::test]
async fn a_waiting_taker_gets_the_lock_when_it_is_free() {
    let (_folder, store) = store();
    let first = lock(&store, 0).await.expect("locked");
    let other = store.clone();
    let waiting = tokio::spawn(async move {
        other
            .lock(&environment(), &actor("run-2"), "apply", 0, Duration::from_secs(30))
            .await
            .map(|lease| lease.fence())
    });
    tokio::task::yield_now().await;
    first.release().await.expect("released");
    assert_eq!(waiting.await.expect("ended").expect("locked"), 2);
}

#[tokio::test]
async fn who_lost_the_lock_cannot_save() {
    let (_folder, store) = store();
    let first = lock(&store, 0).await.expect("locked");
    store.break_lock(&environment()).await.expect("broken").expect("somebody had it");
    let second = lock(&store, 0).await.expect("locked");
    let saved = store.save(first.as_ref(), &state(1)).await;
    assert!(matches!(saved, Err(StoreError::Lost { .. })), "{saved:?}");
    store.save(second.as_ref(), &state(1)).await.expect("saved");
    // The heartbeat notices too, and tells the run.
    tokio::time::timeout(Duration::from_secs(20), first.lost().cancelled()).await.expect("told");
}

#[tokio::test]
async fn an_abort_reaches_the_holder() {
    let (_folder, store) = store();
    assert!(!store.request_abort(&environment()).await.expect("an answer"), "nobody holds it");
    let lease = lock(&store, 0).await.expect("locked");
    assert!(store.request_abort(&environment()).await.expect("an answer"));
    tokio::time::timeout(Duration::from_secs(20), lease.abort_requested().cancelled()).await.expect("told");
}

#[tokio::test]
async fn a_journal_is_read_back_in_order_without_a_torn_line() {
    let (folder, store) = store();
    assert_eq!(store.last_journal(&environment()).await.expect("an answer"), None);
    let entry = |step: u32| Entry {
        at: Timestamp::UNIX_EPOCH,
        what: What::Intent { step: StepId(step), back: Direction::Forward },
    };
    for step in 1..=3 {
        store.append(&environment(), "run-1", &entry(step)).await.expect("written");
    }
    let path = folder.path().join("state/staging/journal/run-1.jsonl");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, &text[..text.len() - 5]).expect("torn");
    let journal = store.last_journal(&environment()).await.expect("an answer").expect("a journal");
    assert_eq!(journal.entries, [entry(1), entry(2)]);
    assert!(!journal.has_ended());
    store.append(&environment(), "run-2", &entry(9)).await.expect("written");
    assert_eq!(store.last_journal(&environment()).await.expect("an answer").expect("a journal").run, "run-2");
}
