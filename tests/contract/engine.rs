//! The engine's contract, held by the fake, by the agent in this process, and by the agent behind its socket.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use shipit::agent::core::Agent;
use shipit::driver::host::fake::FakeEngine;
use shipit::driver::host::{HostEngine, Starting, connect};
use shipit::model::facts::Facts;
use shipit::model::plan::PlaceMode;
use shipit::model::route::{Limits, Route};
use shipit::model::{Digest, Period, Role, Slot};
use shipit::port::Registry as _;
use shipit::port::engine::{Engine, EngineError, Permit, Pull};
use shipit::proto::Directory;

use crate::support::{image, label, permit, placement, scope, web, workload};

/// What a story needs of an engine: the engine, and two images that it can start.
struct Stage {
    engine: Box<dyn Engine>,
    pull: Pull,
    images: [Digest; 2],
    agent: Option<Child>,
    here: Option<Arc<Agent>>,
    folder: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = Command::new(env!("CARGO_BIN_EXE_shipit"))
                .args(["agent", "stop", "--services", "--agent-directory"])
                .arg(self.folder.path().join("a"))
                .stdout(Stdio::null())
                .status();
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

async fn stage(kind: &str) -> Stage {
    let folder = tempfile::Builder::new().prefix("c").tempdir().expect("a folder");
    let (layout, first) = image(folder.path(), "v1").await;
    let (_, second) = image(folder.path(), "v2").await;
    let directory = Directory::find(Some(folder.path().join("a")));
    directory.prepare().expect("made");
    let (mut agent, mut here) = (None, None);
    let engine: Box<dyn Engine> = match kind {
        "fake" => Box::new(FakeEngine::default()),
        "agent" => {
            let started = Agent::start(directory, Vec::new()).await.expect("an agent");
            here = Some(Arc::clone(&started));
            Box::new(started)
        }
        _ => {
            agent = Some(start(&directory).await);
            Box::new(HostEngine::new(Some(folder.path().join("a"))))
        }
    };
    Stage { engine, pull: layout.pull(&web()), images: [first, second], agent, here, folder }
}

/// Tells a story, and stops what it started.
async fn tell(kind: &str, story: impl AsyncFnOnce(&Stage)) {
    let stage = stage(kind).await;
    story(&stage).await;
    if let Some(agent) = &stage.here {
        agent.stop_services().await;
    }
}

async fn start(directory: &Directory) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
    command.args(["agent", "run", "--agent-directory"]).arg(directory.path()).stderr(Stdio::null());
    let child = command.spawn().expect("it starts");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while connect(directory, Starting::Never).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the agent answers");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    child
}

macro_rules! suite {
    ($($story:ident),* $(,)?) => {
        mod fake { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("fake", async |stage| super::$story(stage).await).await; })* }
        mod agent { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("agent", async |stage| super::$story(stage).await).await; })* }
        mod socket { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("socket", async |stage| super::$story(stage).await).await; })* }
    };
}

suite!(
    an_unknown_environment_is_empty,
    a_release_is_placed_becomes_ready_and_gets_traffic,
    what_is_so_already_succeeds_and_changes_nothing,
    an_unready_slot_gets_no_traffic,
    what_the_plan_did_not_see_is_not_touched,
    a_run_that_was_overtaken_has_no_effect,
    another_lineage_is_refused,
    live_traffic_is_protected,
    the_same_workload_under_another_number_is_not_restarted,
    a_kept_slot_is_stopped_in_its_time,
);

impl Stage {
    async fn facts(&self) -> Facts {
        self.engine.observe(&scope()).await.expect("facts")
    }

    async fn place(&self, permit: &Permit, slot: Slot, number: u64, image: usize) -> Result<(), EngineError> {
        let placement = placement(slot, number, workload(&self.images[image], "x"), &self.pull);
        self.engine.place(permit, placement, &|_| {}).await
    }

    async fn ready(&self, slot: Slot) -> Result<(), EngineError> {
        self.engine.ready(&scope(), slot, Period::from_secs(20), &|_| {}).await
    }

    /// Release 1 in blue, with live traffic.
    async fn live(&self) -> Permit {
        let permit = permit("l", 1);
        self.place(&permit, Slot::Blue, 1, 0).await.expect("placed");
        self.ready(Slot::Blue).await.expect("ready");
        self.engine.switch(&permit, None, Some(Slot::Blue)).await.expect("switched");
        permit
    }
}

fn route() -> Route {
    // Port 0: these stories ask for no answer over the network.
    let port = |last: u8| ([127, 0, 0, last], 0).into();
    Route { service: web(), live: port(1), preview: port(2), limits: Limits::default(), objects: None }
}

async fn an_unknown_environment_is_empty(stage: &Stage) {
    assert_eq!(stage.facts().await, Facts::default());
    assert!(stage.engine.urls(&scope(), Role::Active).await.expect("urls").is_empty());
}

async fn a_release_is_placed_becomes_ready_and_gets_traffic(stage: &Stage) {
    let permit = stage.live().await;
    let facts = stage.facts().await;
    assert_eq!(facts.active, Some(Slot::Blue));
    assert_eq!(facts.slots[&Slot::Blue].label, label(1));
    assert!(facts.slots[&Slot::Blue].is_ready());
    assert_eq!((facts.lineage.as_deref(), facts.fence), (Some("l"), 1));
    assert_eq!(facts.changed_by, Some(permit.actor));
}

async fn what_is_so_already_succeeds_and_changes_nothing(stage: &Stage) {
    let permit = stage.live().await;
    let before = stage.facts().await;
    stage.place(&permit, Slot::Blue, 1, 0).await.expect("it is there");
    stage.engine.switch(&permit, None, Some(Slot::Blue)).await.expect("it is so");
    stage.engine.switch(&permit, Some(Slot::Green), Some(Slot::Blue)).await.expect("it is so");
    stage.engine.remove(&permit, Slot::Green, &web(), None).await.expect("it is not there");
    stage.engine.unroute(&permit, &web()).await.expect("it is not there");
    let after = stage.facts().await;
    assert_eq!(after.slots, before.slots);
    assert_eq!((after.active, after.switched_at), (before.active, before.switched_at));
}

async fn an_unready_slot_gets_no_traffic(stage: &Stage) {
    let permit = stage.live().await;
    let to_green = stage.engine.switch(&permit, Some(Slot::Blue), Some(Slot::Green)).await;
    assert!(matches!(to_green, Err(EngineError::NotReady { slot: Slot::Green, .. })), "{to_green:?}");
    assert!(matches!(stage.ready(Slot::Green).await, Err(EngineError::NotReady { .. })));
    assert_eq!(stage.facts().await.active, Some(Slot::Blue));
}

async fn what_the_plan_did_not_see_is_not_touched(stage: &Stage) {
    let permit = stage.live().await;
    stage.place(&permit, Slot::Green, 2, 1).await.expect("placed");
    let again = stage.place(&permit, Slot::Green, 3, 0).await;
    assert!(matches!(again, Err(EngineError::Moved { by: Some(_), .. })), "{again:?}");
    let removed = stage.engine.remove(&permit, Slot::Green, &web(), None).await;
    assert!(matches!(removed, Err(EngineError::Moved { .. })), "{removed:?}");
    let switched = stage.engine.switch(&permit, None, Some(Slot::Green)).await;
    assert!(matches!(switched, Err(EngineError::Moved { .. })), "{switched:?}");
    assert_eq!(stage.facts().await.slots[&Slot::Green].label, label(2));
}

async fn a_run_that_was_overtaken_has_no_effect(stage: &Stage) {
    stage.live().await;
    let newer = permit("l", 5);
    stage.place(&newer, Slot::Green, 2, 1).await.expect("placed");
    let overtaken = stage.engine.switch(&permit("l", 4), Some(Slot::Blue), Some(Slot::Green)).await;
    assert!(matches!(overtaken, Err(EngineError::Fenced { fence: 4, seen: 5, .. })), "{overtaken:?}");
    assert_eq!(stage.facts().await.active, Some(Slot::Blue));
}

async fn another_lineage_is_refused(stage: &Stage) {
    stage.live().await;
    let foreign = stage.place(&permit("other", 9), Slot::Green, 2, 1).await;
    assert!(matches!(foreign, Err(EngineError::Foreign { .. })), "{foreign:?}");
    assert!(!stage.facts().await.slots.contains_key(&Slot::Green));
}

async fn live_traffic_is_protected(stage: &Stage) {
    let permit = stage.live().await;
    stage.engine.route(&permit, &route(), None).await.expect("routed");
    let facts = stage.facts().await;
    let fingerprint = facts.workload_fingerprint(Slot::Blue, &web());
    let removed = stage.engine.remove(&permit, Slot::Blue, &web(), fingerprint.clone()).await;
    assert!(matches!(removed, Err(EngineError::Refused { .. })), "{removed:?}");
    let mut fresh = placement(Slot::Blue, 2, workload(&stage.images[1], "y"), &stage.pull);
    fresh.expects = fingerprint;
    let placed = stage.engine.place(&permit, fresh, &|_| {}).await;
    assert!(matches!(placed, Err(EngineError::Refused { .. })), "{placed:?}");
    let kept = stage.engine.keep(&permit, Slot::Blue, Timestamp::now()).await;
    assert!(matches!(kept, Err(EngineError::Refused { .. })), "{kept:?}");
    assert_eq!(stage.facts().await.slots, facts.slots);
}

async fn the_same_workload_under_another_number_is_not_restarted(stage: &Stage) {
    let permit = stage.live().await;
    let before = stage.facts().await.slots[&Slot::Blue].workloads[&web()].instances.clone();
    let mut again = placement(Slot::Blue, 2, workload(&stage.images[0], "x"), &stage.pull);
    again.mode = PlaceMode::Rolling;
    stage.engine.place(&permit, again, &|_| {}).await.expect("placed");
    let there = stage.facts().await.slots[&Slot::Blue].clone();
    assert_eq!(there.label, label(2));
    assert_eq!(there.workloads[&web()].instances, before);
}

async fn a_kept_slot_is_stopped_in_its_time(stage: &Stage) {
    let permit = stage.live().await;
    stage.place(&permit, Slot::Green, 2, 1).await.expect("placed");
    stage.ready(Slot::Green).await.expect("ready");
    stage.engine.switch(&permit, Some(Slot::Blue), Some(Slot::Green)).await.expect("switched");
    let until = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    stage.engine.keep(&permit, Slot::Blue, until).await.expect("kept");
    let there = stage.facts().await.slots[&Slot::Blue].clone();
    assert_eq!(there.stops_at, Some(until));
    assert!(there.is_running(), "it stays warm until then");
    stage.engine.switch(&permit, Some(Slot::Green), Some(Slot::Blue)).await.expect("switched back");
    assert_eq!(stage.facts().await.slots[&Slot::Blue].stops_at, None, "traffic calls the stop off");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_started_again_has_the_same_processes() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().expect("a folder");
    let (layout, image) = image(folder.path(), "v1").await;
    let directory = Directory::find(Some(folder.path().join("a")));
    directory.prepare().expect("made");
    let permit = permit("l", 1);
    let pid = |facts: Facts| facts.slots[&Slot::Blue].workloads[&web()].instances[0].pid;
    let agent: Arc<Agent> = Agent::start(directory.clone(), Vec::new()).await.expect("an agent");
    let placed = placement(Slot::Blue, 1, workload(&image, "x"), &layout.pull(&web()));
    agent.place(&permit, placed, &|_| {}).await.expect("placed");
    agent.ready(&scope(), Slot::Blue, Period::from_secs(20), &|_| {}).await.expect("ready");
    agent.switch(&permit, None, Some(Slot::Blue)).await.expect("switched");
    let before = pid(agent.observe(&scope()).await.expect("facts"));
    drop(agent);
    let agent = Agent::start(directory, Vec::new()).await.expect("another agent");
    agent.ready(&scope(), Slot::Blue, Period::from_secs(20), &|_| {}).await.expect("ready");
    let facts = agent.observe(&scope()).await.expect("facts");
    assert_eq!(facts.active, Some(Slot::Blue));
    assert_eq!((pid(facts), before.is_some()), (before, true));
    agent.stop_services().await;
}
