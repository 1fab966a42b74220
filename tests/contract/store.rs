//! The state store's contract, held by the local one, by an agent's, by the one in a cluster and by
//! the one in a bucket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use jiff::Timestamp;
use shipit::driver::aws::Aws;
use shipit::driver::host::HostEngine;
use shipit::driver::kubernetes::client::ClusterConnection;
use shipit::driver::state::host as by_agent;
use shipit::driver::state::kubernetes::KubernetesStore;
use shipit::driver::state::local::LocalStore;
use shipit::driver::state::objects::ObjectStore;
use shipit::driver::state::s3::{self as in_bucket, Bucket};
use shipit::model::command::{CommandRecord, RecordedPlace};
use shipit::model::journal::{Direction, Journal, JournalEntry, What};
use shipit::model::notice::{DeliveryStatus, Notice, NoticeEvent, OutboxEntry};
use shipit::model::plan::StepId;
use shipit::model::release::{Release, ReleaseStatus};
use shipit::model::source::Source;
use shipit::model::state::{Migrated, State};
use shipit::model::{ContentHash, EnvironmentName, ReleaseNumber, Slot};
use shipit::port::StateStore;
use shipit::port::store::{Lease, StoreError};
use shipit::proto::Directory;

use crate::cluster::Cluster;
use crate::engine::start;
use crate::s3::{CAREFUL, CARELESS, OtherS3};
use crate::support::actor;

pub(crate) fn environment() -> EnvironmentName {
    "staging".parse().expect("a name")
}

/// A store, and what it lives in.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn StateStore>,
    /// What another process finds it by.
    pub(crate) named: String,
    folder: tempfile::TempDir,
    cluster: Option<Cluster>,
    /// The client of the bucket, and its name.
    bucket: Option<(aws_sdk_s3::Client, String)>,
    /// The agent that has it.
    agent: Option<Child>,
    /// The server that has its bucket, where that is not the one for all tests.
    _server: Option<OtherS3>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// How a state is damaged.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Somebody wrote another number into it.
    Edited,
    /// Only its first half is there.
    Torn,
}

impl Cut {
    fn of(self, text: &str) -> String {
        match self {
            Self::Edited => text.replacen("ours", "mine", 1),
            Self::Torn => text[..text.len() / 2].to_owned(),
        }
    }
}

impl Place {
    /// Damages the state where it is kept.
    async fn damage(&self, cut: Cut) {
        if let Some((s3, bucket)) = &self.bucket {
            let key = "team/shipit/shop/staging/state.json";
            let found = s3
                .get_object()
                .bucket(bucket)
                .key(key)
                .send()
                .await
                .expect("an object");
            let bytes = found.body.collect().await.expect("bytes").into_bytes();
            let text = cut.of(std::str::from_utf8(&bytes).expect("text"));
            let put = s3
                .put_object()
                .bucket(bucket)
                .key(key)
                .body(text.into_bytes().into());
            put.send().await.expect("written");
        } else if let Some(cluster) = &self.cluster {
            let path = cluster.of("v1", "configmaps") + "/shipit-state-shop-staging";
            let head = cluster.get(&path);
            let text = cut.of(head["data"]["head"].as_str().expect("a head"));
            let damaged = serde_json::json!({"data": {"head": text}});
            cluster.patch(&path, "kim", &damaged);
        } else {
            let path = match self.agent {
                Some(_) => "a/documents/shop/staging/state.json",
                None => "state/staging/state.json",
            };
            let path = self.folder.path().join(path);
            let text = std::fs::read_to_string(&path).expect("text");
            std::fs::write(&path, cut.of(&text)).expect("written");
        }
    }
}

pub(crate) async fn tell(kind: &str, told: impl AsyncFnOnce(&Place)) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut place = if kind == "local" {
        let state = folder.path().join("state");
        Place {
            named: format!("local\n{}", state.display()),
            store: Arc::new(LocalStore::new(state)),
            folder,
            cluster: None,
            bucket: None,
            agent: None,
            _server: None,
        }
    } else if kind == "host" {
        let (agent, state) = (folder.path().join("a"), folder.path().join("state"));
        let running = start(&Directory::find(Some(agent.clone()))).await;
        Place {
            named: format!("host\n{}\n{}", agent.display(), state.display()),
            store: Arc::new(agents_store(agent, state)),
            folder,
            cluster: None,
            bucket: None,
            agent: Some(running),
            _server: None,
        }
    } else if kind == "s3" || kind == "other_s3" {
        let server = (kind == "other_s3").then(|| OtherS3::start(CAREFUL));
        let endpoint = match &server {
            Some(server) => server.as_ref().map(|server| server.endpoint.clone()),
            None => amazon(),
        };
        let Some(endpoint) = endpoint else { return };
        let (aws, bucket, s3) = bucket(&endpoint).await;
        let client = (s3, bucket.name.clone());
        let state = folder.path().join("state");
        let named = format!("s3\n{endpoint}\n{}\n{}", bucket.name, state.display());
        let (project, failures) = ("shop".parse().expect("a name"), folder.path().join("state"));
        let store = Arc::new(in_bucket::store(aws, bucket, &project, failures));
        Place {
            store,
            named,
            folder,
            cluster: None,
            bucket: Some(client),
            agent: None,
            _server: server.flatten(),
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
        let (kubeconfig, state) = (cluster.kubeconfig.display(), failures.display());
        let named = format!("kubernetes\n{kubeconfig}\n{namespace}\n{state}");
        let store = Arc::new(KubernetesStore::new(
            connection, namespace, project, failures,
        ));
        Place {
            store,
            named,
            folder,
            cluster: Some(cluster),
            bucket: None,
            agent: None,
            _server: None,
        }
    };
    told(&place).await;
    let cluster = place.cluster.take();
    tokio::task::spawn_blocking(move || drop(cluster))
        .await
        .expect("deleted");
}

/// The store of the agent in a folder.
pub(crate) fn agents_store(agent: PathBuf, failures: PathBuf) -> ObjectStore {
    let project = "shop".parse().expect("a name");
    by_agent::store(HostEngine::new(Some(agent)), &project, failures)
}

/// The store in a bucket that is there, for another process.
pub(crate) fn bucket_at(endpoint: &str, name: &str, failures: &str) -> ObjectStore {
    let bucket = Bucket {
        name: name.to_owned(),
        ..new_bucket()
    };
    let aws = Arc::new(Aws::with(played(endpoint)));
    let project = "shop".parse().expect("a name");
    in_bucket::store(aws, bucket, &project, failures.into())
}

/// How whoever plays Amazon is asked.
fn played(endpoint: &str) -> SdkConfig {
    let keys = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .endpoint_url(endpoint)
        .build()
}

fn new_bucket() -> Bucket {
    Bucket {
        name: format!("shop-{}", uuid::Uuid::new_v4().simple()),
        prefix: "team/shipit".to_owned(),
        endpoint: None,
        path_style: true,
    }
}

/// Where whoever plays Amazon is.
fn amazon() -> Option<String> {
    let endpoint = std::env::var("SHIPIT_TEST_AWS").ok();
    let found = endpoint.is_some();
    crate::parts::is_given(found, "nothing plays Amazon (SHIPIT_TEST_AWS)");
    endpoint
}

/// A new bucket there.
async fn bucket(endpoint: &str) -> (Arc<Aws>, Bucket, aws_sdk_s3::Client) {
    let (config, bucket) = (played(endpoint), new_bucket());
    let s3 = aws_sdk_s3::config::Builder::from(&config)
        .force_path_style(true)
        // A server may keep the checksum of what was there before.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let s3 = aws_sdk_s3::Client::from_conf(s3.build());
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
        .location_constraint("eu-central-1".into())
        .build();
    let made = s3
        .create_bucket()
        .bucket(&bucket.name)
        .create_bucket_configuration(place);
    made.send().await.expect("a bucket");
    (Arc::new(Aws::with(config)), bucket, s3)
}

macro_rules! suite {
    ($($story:ident),* $(,)?) => {
        mod local { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("local", async |place| super::$story(place).await).await; })* }
        mod s3 { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("s3", async |place| super::$story(place).await).await; })* }
        mod other_s3 { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("other_s3", async |place| super::$story(place).await).await; })* }
        mod host { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("host", async |place| super::$story(place).await).await; })* }
        mod kubernetes { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("kubernetes", async |place| super::$story(place).await).await; })* }
    };
}
pub(crate) use suite;

suite!(
    what_was_saved_is_loaded_and_serials_count_up,
    a_lock_is_held_by_one_and_its_number_only_goes_up,
    a_waiting_taker_gets_the_lock_when_it_is_free,
    who_lost_the_lock_cannot_save,
    an_abort_reaches_the_holder,
    a_journal_is_read_back_in_order,
    what_is_known_about_a_failure_is_kept,
    a_migrated_state_is_read_and_not_loaded,
    a_damaged_state_is_replaced_under_the_lock,
    journals_of_another_store_are_kept_once,
    of_what_another_store_kept_the_newest_is_taken_and_counted,
    what_is_to_be_reported_is_kept_until_it_is_forgotten,
);

/// What a store that ignores the conditions of a write does to what asks it for a lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_gives_no_lock() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let told = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let heard = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(careless(stream, heard));
        }
    });

    let folder = tempfile::tempdir().expect("a folder");
    let store = store_at(endpoint, folder.path());
    let refused = lock(&store, 0).await.err().expect("refused");
    let StoreError::Remote { reason, help, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        reason.contains("`If-None-Match: *`") && help.contains("conditional"),
        "{refused:?}"
    );

    let told = told.lock().expect("unpoisoned");
    let writes = told.iter().filter(|line| line.starts_with("PUT"));
    assert!(
        writes.clone().all(|line| line.contains("/staging/probe-")),
        "{told:?}"
    );
    let last = told.last().expect("something");
    assert!(
        last.starts_with("DELETE") && last.contains("/staging/probe-"),
        "{told:?}"
    );
}

/// A server that people run, from before it knew conditions.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_that_ignores_conditions_gives_no_lock_and_keeps_nothing() {
    let Some(server) = OtherS3::start(CARELESS) else {
        return;
    };
    let (aws, bucket, client) = bucket(&server.endpoint).await;
    let (name, folder) = (bucket.name.clone(), tempfile::tempdir().expect("a folder"));
    let project = "shop".parse().expect("a name");
    let store = in_bucket::store(aws, bucket, &project, folder.path().into());
    let refused = lock(&store, 0).await.err().expect("refused");
    let StoreError::Remote { reason, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        reason.contains("writes over an object although the request says `If-None-Match: *`"),
        "{reason}"
    );
    let left = client.list_objects_v2().bucket(name).send().await;
    assert_eq!(left.expect("a list").contents().len(), 0, "nothing stays");
}

/// The store in a bucket of whoever answers there.
fn store_at(endpoint: String, failures: &std::path::Path) -> ObjectStore {
    let keys = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .build();
    let bucket = Bucket {
        name: "shop".to_owned(),
        prefix: String::new(),
        endpoint: Some(endpoint),
        path_style: true,
    };
    let project = "shop".parse().expect("a name");
    in_bucket::store(
        Arc::new(Aws::with(config)),
        bucket,
        &project,
        failures.into(),
    )
}

/// A proxy's login page says yes to everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_a_browser_is_no_damaged_state() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(login_page(stream));
        }
    });

    let folder = tempfile::tempdir().expect("a folder");
    let store = store_at(endpoint, folder.path());
    let loaded = store.load(&environment()).await.expect_err("no state");
    let locked = lock(&store, 0).await.err().expect("no lock");
    for error in [loaded, locked] {
        let StoreError::Remote { reason, help, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("no bucket"), "{reason}");
        assert!(reason.contains("<!doctype html>"), "{reason}");
        assert!(help.contains("state.endpoint"), "{help}");
        assert!(!help.contains("delete"), "{help}");
    }
}

async fn login_page(stream: tokio::net::TcpStream) {
    let answer = |_: http::Request<hyper::body::Incoming>| async {
        let page = bytes::Bytes::from_static(b"<!doctype html>\n<title>Log in</title>\n");
        let response = http::Response::builder()
            .header("content-type", "text/html; charset=utf-8")
            .header("etag", "\"1\"");
        let body = http_body_util::Full::new(page);
        Ok::<_, std::convert::Infallible>(response.body(body).expect("a response"))
    };
    let service = hyper::service::service_fn(answer);
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
        .await;
}

/// Takes every write, and has no object.
async fn careless(stream: tokio::net::TcpStream, heard: Arc<std::sync::Mutex<Vec<String>>>) {
    let answer = move |request: http::Request<hyper::body::Incoming>| {
        let heard = Arc::clone(&heard);
        async move {
            use http_body_util::BodyExt as _;
            let (parts, body) = request.into_parts();
            let _ = body.collect().await;
            let line = format!("{} {}", parts.method, parts.uri.path());
            heard.lock().expect("unpoisoned").push(line);
            let (status, text) = match parts.method.as_str() {
                "PUT" => (200, ""),
                "DELETE" => (204, ""),
                _ => (404, "<Error><Code>NoSuchKey</Code></Error>"),
            };
            let body = http_body_util::Full::new(bytes::Bytes::from_static(text.as_bytes()));
            let response = http::Response::builder()
                .status(status)
                .header("etag", "\"1\"");
            Ok::<_, std::convert::Infallible>(response.body(body).expect("a response"))
        }
    };
    let service = hyper::service::service_fn(answer);
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
        .await;
}

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
    // A history that was brought from elsewhere has a higher one.
    store.save(lease.as_ref(), &state(7)).await.expect("saved");
    let older = store.save(lease.as_ref(), &state(2)).await;
    assert!(
        matches!(older, Err(StoreError::Moved { found: 7, .. })),
        "{older:?}"
    );
    store.save(lease.as_ref(), &state(8)).await.expect("saved");
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

/// A state with releases 1 and 2.
fn history(serial: u64) -> State {
    let release = |number: u64| Release {
        number: ReleaseNumber(number),
        source: Source::default(),
        config: ContentHash::of(b""),
        workloads: BTreeMap::new(),
        inputs: BTreeMap::new(),
        names: BTreeMap::new(),
        promoted_from: None,
        created_at: Timestamp::UNIX_EPOCH,
        created_by: actor("run-1"),
        slot: Slot::Blue,
        status: ReleaseStatus::Superseded,
        live_since: None,
        live_serial: None,
        closed: BTreeMap::new(),
        outside_window: None,
        approvals: Vec::new(),
        probe: None,
        declared: None,
        tasks: Vec::new(),
    };
    State {
        lineage: Some("ours".to_owned()),
        releases: vec![release(1), release(2)],
        ..state(serial)
    }
}

async fn a_migrated_state_is_read_and_not_loaded(place: &Place) {
    let store = &place.store;
    let lease = lock(store.as_ref(), 0).await.expect("locked");
    store
        .save(lease.as_ref(), &history(1))
        .await
        .expect("saved");
    let marked = State {
        migrated_to: Some(Migrated {
            to: "elsewhere".to_owned(),
            by: actor("run-1"),
            at: Timestamp::UNIX_EPOCH,
        }),
        ..history(2)
    };
    store.save(lease.as_ref(), &marked).await.expect("saved");
    assert_eq!(
        store.read(&environment()).await.expect("read"),
        Some(marked)
    );
    match store.load(&environment()).await {
        Err(StoreError::Migrated { from, to, .. }) => {
            assert_eq!(
                (from, to.as_str()),
                (store.place(&environment()), "elsewhere")
            );
        }
        other => panic!("{other:?}"),
    }
    // It is brought back.
    store
        .save(lease.as_ref(), &history(3))
        .await
        .expect("saved");
    assert_eq!(
        store.load(&environment()).await.expect("loaded"),
        Some(history(3))
    );
}

async fn a_damaged_state_is_replaced_under_the_lock(place: &Place) {
    let store = &place.store;
    let lease = lock(store.as_ref(), 0).await.expect("locked");
    store
        .save(lease.as_ref(), &history(41))
        .await
        .expect("saved");
    for cut in [Cut::Edited, Cut::Torn] {
        place.damage(cut).await;
        let damaged = store.load(&environment()).await;
        match damaged {
            Err(StoreError::Damaged { help, .. }) => {
                assert!(help.contains("state push FILE --force"), "{help}");
            }
            other => panic!("{cut:?}: {other:?}"),
        }
        let written = store
            .replace(lease.as_ref(), &history(7))
            .await
            .expect("replaced");
        assert!(written.serial > 41, "{}", written.serial);
        assert_eq!(written.releases, history(7).releases);
        let loaded = store.load(&environment()).await.expect("loaded");
        assert_eq!(loaded, Some(written));
    }

    // What is well is replaced as well, but for nobody who lost the lock.
    let written = store
        .replace(lease.as_ref(), &history(1))
        .await
        .expect("replaced");
    store.break_lock(&environment()).await.expect("broken");
    let late = store.replace(lease.as_ref(), &state(500)).await;
    assert!(matches!(late, Err(StoreError::Lost { .. })), "{late:?}");
    assert_eq!(
        store.load(&environment()).await.expect("loaded"),
        Some(written)
    );
}

async fn journals_of_another_store_are_kept_once(place: &Place) {
    let store = &place.store;
    let entry = |step: u32| JournalEntry {
        at: Timestamp::UNIX_EPOCH,
        what: What::Intent {
            step: StepId(step),
            back: Direction::Forward,
        },
    };
    let journal = |run: u32, entries: u32| Journal {
        run: format!("20260101T00000{run}-abc"),
        entries: (1..=entries).map(entry).collect(),
    };
    assert_eq!(store.journals(&environment()).await.expect("an answer"), []);
    let all: Vec<Journal> = (1..=3).map(|run| journal(run, 12)).collect();
    // Somebody was killed in the middle of it.
    let half = [journal(1, 12), journal(2, 5)];
    for part in [&half[..], &all, &all] {
        store
            .keep_journals(&environment(), part)
            .await
            .expect("kept");
    }
    assert_eq!(
        store.journals(&environment()).await.expect("an answer"),
        all
    );
    let last = store.last_journal(&environment()).await.expect("an answer");
    assert_eq!(last.as_ref(), all.last());
}

/// More than any store keeps.
async fn of_what_another_store_kept_the_newest_is_taken_and_counted(place: &Place) {
    let store = &place.store;
    let journal = |run: u32| Journal {
        run: format!("20260101T000{run:03}-abc"),
        entries: vec![JournalEntry {
            at: Timestamp::UNIX_EPOCH,
            what: What::Intent {
                step: StepId(run),
                back: Direction::Forward,
            },
        }],
    };
    let journals: Vec<Journal> = (1..=60).map(journal).collect();
    let taken = store.keep_journals(&environment(), &journals).await;
    let taken = taken.expect("kept");
    assert!((1..60).contains(&taken), "{taken}");
    let there = store.journals(&environment()).await.expect("an answer");
    assert_eq!(there, journals[60 - taken..]);

    let command = |number: i64| CommandRecord {
        id: format!("20260101T000{number:03}-abc"),
        at: Timestamp::from_second(number).expect("a time"),
        actor: actor("20260101T000000-abc"),
        place: RecordedPlace::State,
        slot: None,
        service: None,
        command: vec!["list".to_owned()],
        exit: Some(0),
    };
    let commands: Vec<CommandRecord> = (1..=210).map(command).collect();
    let taken = store.keep_commands(&environment(), &commands).await;
    let taken = taken.expect("kept");
    assert!((1..210).contains(&taken), "{taken}");
    let there = store.commands(&environment()).await.expect("an answer");
    assert_eq!(there, commands[210 - taken..]);
}

async fn what_is_to_be_reported_is_kept_until_it_is_forgotten(place: &Place) {
    let (store, environment) = (&place.store, environment());
    let entry = |number: u32| {
        let notice = Notice {
            id: format!("20260101T000{number:03}000000-abc123-2-ended"),
            at: Timestamp::UNIX_EPOCH,
            project: "shop".parse().expect("a name"),
            environment: environment.clone(),
            event: NoticeEvent::Done,
            command: "apply".to_owned(),
            summary: format!("release {number} is live"),
            release: Some(ReleaseNumber(number.into())),
            commit: None,
            branch: None,
            actor: "kim@laptop".to_owned(),
            run: format!("20260101T000{number:03}000000-abc123"),
            page: None,
            reason: None,
            notes: vec!["a note".to_owned()],
        };
        OutboxEntry::new(notice, ["team".parse().expect("a name")])
    };
    assert_eq!(store.notices(&environment).await.expect("none"), []);
    for number in [2, 1, 3] {
        store
            .keep_notice(&environment, &entry(number))
            .await
            .expect("kept");
    }
    let mut sent = entry(2);
    for delivery in sent.deliveries.values_mut() {
        delivery.status = DeliveryStatus::Sent;
    }
    store
        .keep_notice(&environment, &sent)
        .await
        .expect("replaced");

    let there = store.notices(&environment).await.expect("an answer");
    assert_eq!(there, [entry(1), sent.clone(), entry(3)], "oldest first");
    let id = &there[0].notice.id;
    store
        .forget_notice(&environment, id)
        .await
        .expect("deleted");
    store
        .forget_notice(&environment, id)
        .await
        .expect("it is gone already");
    assert_eq!(
        store.notices(&environment).await.expect("an answer"),
        [sent, entry(3)]
    );
    let journals = store.journals(&environment).await.expect("an answer");
    assert_eq!(journals, [], "they are no journals");
}

async fn what_is_known_about_a_failure_is_kept(place: &Place) {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("summary.txt", "one"),
        file("logs/web.log", "two"),
        file("../out.txt", "three"),
    ]
    .into();
    let number = ReleaseNumber(3);
    for _ in 0..2 {
        let kept = place
            .store
            .keep_failure(&environment(), number, &files)
            .await
            .expect("kept");
        let folder = PathBuf::from(kept.expect("a place"));
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
