//! Many writers of one state, and one that was stopped: held by every store.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shipit::driver::kubernetes::client::ClusterConnection;
use shipit::driver::state::kubernetes::KubernetesStore;
use shipit::driver::state::local::LocalStore;
use shipit::model::EnvironmentName;
use shipit::model::state::State;
use shipit::port::StateStore;
use shipit::port::store::StoreError;

use crate::store::{Place, agents_store, bucket_at, environment, suite, tell};
use crate::support::actor;

/// How many write at once.
const WRITERS: usize = 32;

/// Names the store that a writer in a process of its own writes to.
const STORE: &str = "SHIPIT_TEST_STORE";

suite!(
    of_many_writers_none_loses_what_it_wrote,
    a_writer_that_was_stopped_and_lost_its_lock_writes_nothing,
);

/// Each takes the lock, reads the state, and writes it with one more to its count.
async fn of_many_writers_none_loses_what_it_wrote(place: &Place) {
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let store = Arc::clone(&place.store);
        writers.spawn(async move { write(store.as_ref(), number).await });
    }
    let fences: BTreeSet<u64> = writers.join_all().await.into_iter().collect();
    assert_eq!(fences.len(), WRITERS, "each has a number of its own");

    let written = place.store.load(&environment()).await.expect("loaded");
    let serial = written.expect("a state").serial;
    assert_eq!(serial, WRITERS as u64, "none is lost");
    let holder = place.store.holder(&environment()).await.expect("an answer");
    assert_eq!(holder, None);
}

/// Writes once, and gives the number that it had.
async fn write(store: &dyn StateStore, number: usize) -> u64 {
    let actor = actor(&format!("run-{number}"));
    let wait = Duration::from_mins(5);
    let lease = store.lock(&environment(), &actor, "apply", 0, wait).await;
    let lease = lease.expect("the lock, in time");
    let found = store.load(&environment()).await.expect("loaded");
    let serial = found.map_or(0, |state| state.serial) + 1;
    let saved = store.save(lease.as_ref(), &state(serial)).await;
    saved.expect("nobody else writes meanwhile");
    let fence = lease.fence();
    lease.release().await.expect("released");
    fence
}

fn state(serial: u64) -> State {
    let environment: EnvironmentName = environment();
    State {
        serial,
        ..State::empty("shop".parse().expect("a name"), environment)
    }
}

async fn a_writer_that_was_stopped_and_lost_its_lock_writes_nothing(place: &Place) {
    let store = &place.store;
    let mut writer = Writer::start(place);
    assert_eq!(writer.line(), "locked");
    writer.signal(Signal::STOP);

    // Somebody takes the lock from it and goes on.
    let broken = store.break_lock(&environment()).await.expect("an answer");
    assert!(broken.is_some(), "it holds the lock");
    assert!(write(store.as_ref(), 2).await > 1);

    writer.signal(Signal::CONT);
    writer.go_on();
    assert_eq!(writer.line(), "lost");
    let written = store.load(&environment()).await.expect("loaded");
    assert_eq!(written.expect("a state").serial, 1, "what the other wrote");
}

/// A process of its own that takes the lock, and writes when it is told to.
struct Writer {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "writers::writes_in_a_process_of_its_own"])
            .args(["--ignored", "--nocapture", "--quiet"])
            .env(STORE, &place.named)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let says = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, says }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is there");
    }

    fn go_on(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("its input");
        stdin.write_all(b"\n").expect("it reads");
    }

    /// What it says next: the harness says other things too.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let count = self.says.read_line(&mut line).expect("text");
            assert_ne!(count, 0, "it ended without a word");
            if let Some(said) = line.trim().strip_prefix("writer: ") {
                return said.to_owned();
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of [`Writer`].
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another test starts it"]
#[allow(clippy::print_stdout)]
async fn writes_in_a_process_of_its_own() {
    let Ok(named) = std::env::var(STORE) else {
        return;
    };
    let store = named_store(&named);
    let lease = store
        .lock(
            &environment(),
            &actor("stopped"),
            "apply",
            0,
            Duration::ZERO,
        )
        .await
        .expect("the lock");
    println!("\nwriter: locked");

    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    told.await.expect("read").expect("a line");
    let written = store.save(lease.as_ref(), &state(7)).await;
    match written {
        Err(StoreError::Lost { .. }) => println!("\nwriter: lost"),
        other => println!("\nwriter: {other:?}"),
    }
}

/// The store that [`Place::named`] names.
fn named_store(named: &str) -> Arc<dyn StateStore> {
    let parts: Vec<&str> = named.split('\n').collect();
    let project = "shop".parse().expect("a name");
    match parts[..] {
        ["local", folder] => Arc::new(LocalStore::new(PathBuf::from(folder))),
        ["host", agent, failures] => Arc::new(agents_store(agent.into(), failures.into())),
        ["s3", endpoint, name, failures] => Arc::new(bucket_at(endpoint, name, failures)),
        ["kubernetes", kubeconfig, namespace, failures] => {
            let connection = ClusterConnection {
                kubeconfig: Some(PathBuf::from(kubeconfig)),
                ..ClusterConnection::default()
            };
            let failures = PathBuf::from(failures);
            let store = KubernetesStore::new(connection, namespace.to_owned(), project, failures);
            Arc::new(store)
        }
        _ => panic!("{named} names no store"),
    }
}
