//! The engine's contract, held by the fake, by the agent in this process, and by the agent behind
//! its socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use shipit::agent::engine::Agent;
use shipit::driver::host::{HostEngine, Starting, connect};
use shipit::driver::kubernetes::client::ClusterConnection;
use shipit::driver::kubernetes::engine::{Conflict, KubernetesEngine, Settings};
use shipit::model::facts::Facts;
use shipit::model::image::ImageHome;
use shipit::model::limits::Limits;
use shipit::model::object::Namespaces;
use shipit::model::plan::DeployMode;
use shipit::model::port::Protocol;
use shipit::model::route::{Listeners, ObjectsRoute, Route};
use shipit::model::secret::{SecretRef, SecretValue};
use shipit::model::task::TaskExit;
use shipit::model::workload::{
    Container, ContainerKind, EnvValue, Process, SlotObjects, Workload, WorkloadKind,
};
use shipit::model::{Digest, LiveTraffic, Manifest, Period, Role, ServiceName, Slot};
use shipit::port::Registry as _;
use shipit::port::engine::{
    Engine, EngineError, Permit, Placement, Pull, TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun,
};
use shipit::proto::Directory;
use shipit::redact::Redactor;
use shipit::simulate::MemoryEngine;

use crate::cluster::Cluster;
use crate::support::{
    actor, busybox, image, label, permit, placement, process, scope, web, workload,
};

/// What a story needs of an engine: the engine, and two images that it can start.
struct Stage {
    engine: Box<dyn Engine>,
    pull: Pull,
    images: [Digest; 2],
    /// Whether instances run in containers.
    contained: Option<ContainerKind>,
    agent: Option<Child>,
    here: Option<Arc<Agent>>,
    cluster: Option<Cluster>,
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

async fn stage(kind: &str) -> Option<Stage> {
    // An agent in this process starts services by way of shipit, which this program is not.
    shipit::files::process::set_program(env!("CARGO_BIN_EXE_shipit").into());
    let folder = tempfile::Builder::new()
        .prefix("c")
        .tempdir()
        .expect("a folder");
    let (layout, first) = image(folder.path(), "v1").await;
    let (_, second) = image(folder.path(), "v2").await;
    let directory = Directory::find(Some(folder.path().join("a")));
    directory.prepare().expect("made");
    let (mut agent, mut here) = (None, None);
    let (mut images, mut contained) = ([first, second], None);
    let mut cluster = None;
    let mut pull = layout.pull(ImageHome::Project(&web()));
    let engine: Box<dyn Engine> = match kind {
        "kubernetes" => {
            // It has a runtime of its own, which must not be made within this one.
            let path = folder.path().to_owned();
            let opened = tokio::task::spawn_blocking(move || Cluster::open(&path))
                .await
                .expect("opened");
            let opened = opened?;
            let engine = kubernetes(&opened);
            pull = Pull::Repository(format!("{}/shop/web", opened.admin.registry));
            cluster = Some(opened);
            Box::new(engine)
        }
        "fake" => Box::new(MemoryEngine::default()),
        "docker" => {
            if !crate::parts::docker_answers() {
                return None;
            }
            contained = Some(ContainerKind::Docker);
            images = [
                busybox(folder.path(), "v1").await,
                busybox(folder.path(), "v2").await,
            ];
            let started = Agent::start(directory, Vec::new(), Redactor::default())
                .await
                .expect("an agent");
            here = Some(Arc::clone(&started));
            Box::new(started)
        }
        "container" | "rootless" => {
            if kind == "container" && !crate::parts::is_root() {
                return None;
            }
            contained = Some(ContainerKind::Own);
            images = [
                busybox(folder.path(), "v1").await,
                busybox(folder.path(), "v2").await,
            ];
            // The process beside a container is this program's own: the agent has to be one, too.
            agent = Some(start(&directory).await);
            Box::new(HostEngine::new(Some(folder.path().join("a"))))
        }
        "agent" | "systemd" => {
            contained = (kind == "systemd").then_some(ContainerKind::Systemd);
            let started = Agent::start(directory, Vec::new(), Redactor::default())
                .await
                .expect("an agent");
            here = Some(Arc::clone(&started));
            Box::new(started)
        }
        _ => {
            agent = Some(start(&directory).await);
            Box::new(HostEngine::new(Some(folder.path().join("a"))))
        }
    };
    Some(Stage {
        engine,
        pull,
        images,
        contained,
        agent,
        here,
        cluster,
        folder,
    })
}

fn kubernetes(cluster: &Cluster) -> KubernetesEngine {
    let home = cluster.namespace.clone();
    KubernetesEngine::new(Settings {
        connection: ClusterConnection {
            kubeconfig: Some(cluster.kubeconfig.clone()),
            ..ClusterConnection::default()
        },
        namespaces: Namespaces {
            slots: Slot::ALL.map(|slot| (slot, home.clone())).into(),
            home,
        },
        conflict: Conflict::Stop,
        rules: BTreeMap::new(),
        within: Period::from_secs(60),
    })
}

/// Tells a story, and stops what it started.
async fn tell(kind: &str, story: impl AsyncFnOnce(&Stage)) {
    let Some(mut stage) = stage(kind).await else {
        return;
    };
    story(&stage).await;
    if let Some(agent) = &stage.here {
        agent.stop_services().await;
    }
    let cluster = stage.cluster.take();
    tokio::task::spawn_blocking(move || drop(cluster))
        .await
        .expect("deleted");
}

pub(crate) async fn start(directory: &Directory) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
    command
        .args(["agent", "run", "--agent-directory"])
        .arg(directory.path())
        .stderr(Stdio::null());
    let child = command.spawn().expect("it starts");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while connect(directory, Starting::Never).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the agent answers");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    child
}

/// Whether this is the machine that systemd runs (`tests/systemd/up`). From any other the story is
/// told there.
fn is_here(story: &str) -> bool {
    if std::env::var_os("SHIPIT_TEST_INSIDE").is_some() {
        return true;
    }
    let Some(folder) = std::env::var_os("SHIPIT_TEST_SYSTEMD") else {
        assert!(
            std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "SHIPIT_TEST_SYSTEMD names no machine"
        );
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: SHIPIT_TEST_SYSTEMD names no machine");
        }
        return false;
    };
    let name =
        std::fs::read_to_string(std::path::Path::new(&folder).join("name")).expect("its name");
    let output = Command::new("docker")
        .args(["exec", "--env", "SHIPIT_TEST_INSIDE=1", name.trim()])
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            &format!("engine::systemd::{story}"),
            "--nocapture",
        ])
        .output()
        .expect("docker starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let both = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{both}"
    );
    false
}

/// Whether this process is the user that has no rights. From root the story is told as that user:
/// no other is let in by its agent, root included.
fn is_nobody(story: &str) -> bool {
    if std::env::var_os("SHIPIT_TEST_AS_NOBODY").is_some() {
        let own = std::fs::metadata("/proc/self").expect("this process");
        let uid = std::os::unix::fs::MetadataExt::uid(&own);
        assert_eq!(uid, 65534, "it is somebody else");
        return true;
    }
    if !crate::parts::is_root() {
        return false;
    }
    let program = std::env::current_exe().expect("this program");
    let nobody = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .env("SHIPIT_TEST_AS_NOBODY", "1")
            .env("HOME", "/nonexistent")
            .current_dir("/");
        command
    };
    let may = nobody().args(["test", "-x"]).arg(&program).status();
    if !may.expect("setpriv starts").success() {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: nobody may not start {}", program.display());
        }
        return false;
    }
    let output = nobody()
        .arg(&program)
        .args([
            "--exact",
            &format!("engine::rootless::{story}"),
            "--nocapture",
        ])
        .output()
        .expect("setpriv starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let both = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{both}"
    );
    false
}

macro_rules! suite {
    ($($story:ident),* $(,)?) => {
        mod container { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("container", async |stage| super::$story(stage).await).await; })* }
        mod docker { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("docker", async |stage| super::$story(stage).await).await; })* }
        mod fake { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("fake", async |stage| super::$story(stage).await).await; })* }
        mod agent { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("agent", async |stage| super::$story(stage).await).await; })* }
        mod kubernetes { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("kubernetes", async |stage| super::$story(stage).await).await; })* }
        mod systemd { $(#[tokio::test(flavor = "multi_thread")] async fn $story() {
            if super::is_here(stringify!($story)) { super::tell("systemd", async |stage| super::$story(stage).await).await; }
        })* }
        mod rootless { $(#[tokio::test(flavor = "multi_thread")] async fn $story() {
            if super::is_nobody(stringify!($story)) { super::tell("rootless", async |stage| super::$story(stage).await).await; }
        })* }
        mod socket { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::tell("socket", async |stage| super::$story(stage).await).await; })* }
    };
}

suite!(
    an_unknown_environment_is_empty,
    a_release_is_placed_becomes_ready_and_gets_traffic,
    what_is_so_already_succeeds_and_changes_nothing,
    an_unready_slot_gets_no_traffic,
    what_is_stopped_in_its_slot_starts_again_there,
    what_the_plan_did_not_see_is_not_touched,
    a_run_that_was_overtaken_has_no_effect,
    another_lineage_is_refused,
    live_traffic_is_protected,
    the_same_workload_under_another_number_is_not_restarted,
    another_value_of_a_secret_is_told_by_its_hash,
    a_kept_slot_is_stopped_in_its_time,
    services_take_over_each_others_addresses_in_one_step,
    a_task_runs_once_and_its_end_is_found_again,
    a_task_needs_what_it_runs_in,
);

impl Stage {
    /// A workload, with its objects where the engine wants them.
    fn workload(&self, image: usize, env: &str) -> Workload {
        let plain = workload(&self.images[image], env);
        if self.contained == Some(ContainerKind::Systemd) {
            let unit = Container {
                by: ContainerKind::Systemd,
                ..Container::default()
            };
            let process = Process {
                container: Some(unit),
                ..process(env)
            };
            return Workload {
                kind: WorkloadKind::Process(Box::new(process)),
                ..plain
            };
        }
        if let Some(by) = self.contained {
            // A program that hears no SIGTERM as the first of its container.
            let container = Some(Container {
                by,
                ..Container::default()
            });
            // One with a port of its own is told which.
            let shell = [
                "/bin/busybox",
                "sh",
                "-c",
                "exec /bin/busybox httpd -f -p 127.0.0.1:$PORT -h /app",
            ];
            let command = if by == ContainerKind::Own {
                shell.map(str::to_owned).to_vec()
            } else {
                Vec::new()
            };
            let process = Process {
                container,
                command,
                stop_grace: Period::from_millis(100),
                ..process(env)
            };
            return Workload {
                kind: WorkloadKind::Process(Box::new(process)),
                ..plain
            };
        }
        let Some(cluster) = &self.cluster else {
            return plain;
        };
        let slots = Slot::ALL.map(|slot| (slot, vec![deployment(cluster, slot, env)]));
        let kind = WorkloadKind::Objects(SlotObjects {
            slots: slots.into(),
            secrets: BTreeMap::new(),
        });
        Workload { kind, ..plain }
    }

    fn route(&self) -> Route {
        self.cluster.as_ref().map_or_else(route, entry_point)
    }

    async fn facts(&self) -> Facts {
        self.engine.observe(&scope()).await.expect("facts")
    }

    async fn place(
        &self,
        permit: &Permit,
        slot: Slot,
        number: u64,
        image: usize,
    ) -> Result<(), EngineError> {
        let placement = placement(slot, number, self.workload(image, "x"), &self.pull);
        self.engine.deploy(permit, placement, &|_| {}).await
    }

    async fn ready(&self, slot: Slot) -> Result<(), EngineError> {
        self.engine
            .ready(&scope(), slot, Period::from_secs(20), &|_| {})
            .await
    }

    /// Release 1 in blue, with live traffic.
    async fn live(&self) -> Permit {
        let permit = permit("l", 1);
        self.place(&permit, Slot::Blue, 1, 0).await.expect("placed");
        self.ready(Slot::Blue).await.expect("ready");
        self.engine
            .switch(&permit, LiveTraffic::Off, LiveTraffic::All(Slot::Blue))
            .await
            .expect("switched");
        permit
    }
}

fn labels(slot: Slot) -> serde_json::Value {
    json!({"shipit.dev/project": "shop", "shipit.dev/environment": "staging", "shipit.dev/service": "web",
        "shipit.dev/slot": slot.as_str()})
}

fn manifest(body: serde_json::Value) -> Manifest {
    Manifest::try_from(body).expect("a manifest")
}

fn deployment(cluster: &Cluster, slot: Slot, env: &str) -> Manifest {
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    manifest(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("web-{slot}"), "namespace": cluster.namespace, "labels": labels(slot)},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels(slot)}, "template": {
            "metadata": {"labels": labels(slot)},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "web", "image": "image://web", "securityContext": security,
                    "env": [{"name": "NAME", "value": env}]}],
            },
        }},
    }))
}

fn entry_point(cluster: &Cluster) -> Route {
    let service = |name: String, labels: serde_json::Value, selector: serde_json::Value| {
        manifest(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": cluster.namespace, "labels": labels},
            "spec": {"selector": selector, "ports": [{"port": 8080, "protocol": "TCP", "targetPort": 8080}]}}))
    };
    let own = |slot: Slot| service(format!("web-{slot}"), labels(slot), labels(slot));
    let live = |to: LiveTraffic| {
        let mut all = labels(to.slot().unwrap_or(Slot::Blue));
        let mut selector = all.clone();
        all["shipit.dev/active"] = to.as_str().into();
        all.as_object_mut()
            .expect("labels")
            .remove("shipit.dev/slot");
        selector["shipit.dev/slot"] = to.as_str().into();
        service("web".to_owned(), all, selector)
    };
    let objects = ObjectsRoute {
        fixed: Slot::ALL.map(own).into(),
        off: live(LiveTraffic::Off),
        to: Slot::ALL
            .map(|slot| (slot, live(LiveTraffic::All(slot))))
            .into(),
        targets: Slot::ALL
            .map(|slot| (slot, format!("{}/web-{slot}", cluster.namespace)))
            .into(),
        port: 8080,
        protocol: Protocol::Http,
        address_url: None,
        live_url: None,
        slot_urls: BTreeMap::new(),
    };
    Route::of_objects(web(), objects)
}

fn route() -> Route {
    // Port 0: these stories ask for no answer over the network.
    let port = |last: u8| ([127, 0, 0, last], 0).into();
    listening(web(), port(1), port(2))
}

fn listening(service: ServiceName, live: SocketAddr, preview: SocketAddr) -> Route {
    Route::of_listeners(service, Listeners::plain(live, preview, Limits::default()))
}

async fn an_unknown_environment_is_empty(stage: &Stage) {
    assert_eq!(stage.facts().await, Facts::default());
    assert!(
        stage
            .engine
            .urls(&scope(), Role::Active)
            .await
            .expect("urls")
            .is_empty()
    );
}

async fn a_release_is_placed_becomes_ready_and_gets_traffic(stage: &Stage) {
    let permit = stage.live().await;
    let facts = stage.facts().await;
    assert_eq!(facts.traffic, LiveTraffic::All(Slot::Blue));
    assert_eq!(facts.slots[&Slot::Blue].label, label(1));
    assert!(facts.slots[&Slot::Blue].is_ready());
    assert_eq!((facts.lineage.as_deref(), facts.fence), (Some("l"), 1));
    assert_eq!(facts.changed_by, Some(permit.actor));
}

async fn what_is_so_already_succeeds_and_changes_nothing(stage: &Stage) {
    let permit = stage.live().await;
    let before = stage.facts().await;
    stage
        .place(&permit, Slot::Blue, 1, 0)
        .await
        .expect("it is there");
    stage
        .engine
        .switch(&permit, LiveTraffic::Off, LiveTraffic::All(Slot::Blue))
        .await
        .expect("it is so");
    stage
        .engine
        .switch(
            &permit,
            LiveTraffic::All(Slot::Green),
            LiveTraffic::All(Slot::Blue),
        )
        .await
        .expect("it is so");
    stage
        .engine
        .undeploy(&permit, Slot::Green, &web(), None)
        .await
        .expect("it is not there");
    stage
        .engine
        .stop_listening(&permit, &web())
        .await
        .expect("it is not there");
    let after = stage.facts().await;
    assert_eq!(after.slots, before.slots);
    assert_eq!(
        (after.traffic, after.switched_at),
        (before.traffic, before.switched_at)
    );
}

async fn an_unready_slot_gets_no_traffic(stage: &Stage) {
    let permit = stage.live().await;
    let to_green = stage
        .engine
        .switch(
            &permit,
            LiveTraffic::All(Slot::Blue),
            LiveTraffic::All(Slot::Green),
        )
        .await;
    assert!(
        matches!(
            to_green,
            Err(EngineError::NotReady {
                slot: Slot::Green,
                ..
            })
        ),
        "{to_green:?}"
    );
    assert!(matches!(
        stage.ready(Slot::Green).await,
        Err(EngineError::NotReady { .. })
    ));
    assert_eq!(stage.facts().await.traffic, LiveTraffic::All(Slot::Blue));
}

async fn what_is_stopped_in_its_slot_starts_again_there(stage: &Stage) {
    let permit = stage.live().await;
    let service = web();
    let stop = async |expects| {
        let stopped = stage
            .engine
            .stop(&permit, Slot::Blue, &service, expects, &|_| {});
        stopped.await
    };
    let unseen = stop(None).await;
    assert!(
        matches!(unseen, Err(EngineError::Moved { .. })),
        "{unseen:?}"
    );

    let seen = stage.facts().await.workload_fingerprint(Slot::Blue, &web());
    stop(seen).await.expect("stopped where traffic is");
    let there = stage.facts().await.slots[&Slot::Blue].workloads[&web()].clone();
    assert!(!there.running && there.instances.is_empty(), "{there:?}");
    stop(None).await.expect("stopped already");
    stage
        .ready(Slot::Blue)
        .await
        .expect("nothing is meant to run");

    // What is there and stopped is not ready for traffic.
    let mut waits = placement(Slot::Green, 2, stage.workload(1, "x"), &stage.pull);
    waits.running = false;
    let waits = stage.engine.deploy(&permit, waits, &|_| {}).await;
    waits.expect("placed, and not started");
    let switched = stage
        .engine
        .switch(
            &permit,
            LiveTraffic::All(Slot::Blue),
            LiveTraffic::All(Slot::Green),
        )
        .await;
    assert!(
        matches!(switched, Err(EngineError::NotReady { .. })),
        "{switched:?}"
    );

    let mut again = placement(Slot::Blue, 1, stage.workload(0, "x"), &stage.pull);
    again.expects = stage.facts().await.workload_fingerprint(Slot::Blue, &web());
    let again = stage.engine.deploy(&permit, again, &|_| {}).await;
    again.expect("started again");
    stage.ready(Slot::Blue).await.expect("ready");
    assert!(stage.facts().await.slots[&Slot::Blue].is_ready());
}

async fn what_the_plan_did_not_see_is_not_touched(stage: &Stage) {
    let permit = stage.live().await;
    stage
        .place(&permit, Slot::Green, 2, 1)
        .await
        .expect("placed");
    let again = stage.place(&permit, Slot::Green, 3, 0).await;
    assert!(
        matches!(again, Err(EngineError::Moved { by: Some(_), .. })),
        "{again:?}"
    );
    let removed = stage
        .engine
        .undeploy(&permit, Slot::Green, &web(), None)
        .await;
    assert!(
        matches!(removed, Err(EngineError::Moved { .. })),
        "{removed:?}"
    );
    let switched = stage
        .engine
        .switch(&permit, LiveTraffic::Off, LiveTraffic::All(Slot::Green))
        .await;
    assert!(
        matches!(switched, Err(EngineError::Moved { .. })),
        "{switched:?}"
    );
    assert_eq!(stage.facts().await.slots[&Slot::Green].label, label(2));
}

async fn a_run_that_was_overtaken_has_no_effect(stage: &Stage) {
    stage.live().await;
    let newer = permit("l", 5);
    stage
        .place(&newer, Slot::Green, 2, 1)
        .await
        .expect("placed");
    let overtaken = stage
        .engine
        .switch(
            &permit("l", 4),
            LiveTraffic::All(Slot::Blue),
            LiveTraffic::All(Slot::Green),
        )
        .await;
    assert!(
        matches!(
            overtaken,
            Err(EngineError::Fenced {
                fence: 4,
                seen: 5,
                ..
            })
        ),
        "{overtaken:?}"
    );
    assert_eq!(stage.facts().await.traffic, LiveTraffic::All(Slot::Blue));
    // A lock that is kept elsewhere may have given the same number: who acts first has it.
    let second = Permit {
        actor: actor("run-2"),
        ..permit("l", 5)
    };
    let second = stage
        .engine
        .switch(
            &second,
            LiveTraffic::All(Slot::Blue),
            LiveTraffic::All(Slot::Green),
        )
        .await;
    assert!(
        matches!(
            second,
            Err(EngineError::Fenced {
                fence: 5,
                seen: 5,
                ..
            })
        ),
        "{second:?}"
    );
    assert_eq!(stage.facts().await.traffic, LiveTraffic::All(Slot::Blue));
}

async fn another_lineage_is_refused(stage: &Stage) {
    stage.live().await;
    let foreign = stage.place(&permit("other", 9), Slot::Green, 2, 1).await;
    assert!(
        matches!(foreign, Err(EngineError::Foreign { .. })),
        "{foreign:?}"
    );
    assert!(!stage.facts().await.slots.contains_key(&Slot::Green));
}

async fn live_traffic_is_protected(stage: &Stage) {
    let permit = stage.live().await;
    stage
        .engine
        .listen(&permit, &stage.route(), None)
        .await
        .expect("routed");
    let facts = stage.facts().await;
    let fingerprint = facts.workload_fingerprint(Slot::Blue, &web());
    let removed = stage
        .engine
        .undeploy(&permit, Slot::Blue, &web(), fingerprint.clone())
        .await;
    assert!(
        matches!(removed, Err(EngineError::Refused { .. })),
        "{removed:?}"
    );
    let mut fresh = placement(Slot::Blue, 2, stage.workload(1, "y"), &stage.pull);
    fresh.expects = fingerprint;
    let placed = stage.engine.deploy(&permit, fresh, &|_| {}).await;
    assert!(
        matches!(placed, Err(EngineError::Refused { .. })),
        "{placed:?}"
    );
    let kept = stage
        .engine
        .retain(&permit, Slot::Blue, Timestamp::now())
        .await;
    assert!(matches!(kept, Err(EngineError::Refused { .. })), "{kept:?}");
    assert_eq!(stage.facts().await.slots, facts.slots);
}

async fn the_same_workload_under_another_number_is_not_restarted(stage: &Stage) {
    let permit = stage.live().await;
    let before = stage.facts().await.slots[&Slot::Blue].workloads[&web()]
        .instances
        .clone();
    let mut again = placement(Slot::Blue, 2, stage.workload(0, "x"), &stage.pull);
    again.mode = DeployMode::Rolling;
    stage
        .engine
        .deploy(&permit, again, &|_| {})
        .await
        .expect("placed");
    let there = stage.facts().await.slots[&Slot::Blue].clone();
    assert_eq!(there.label, label(2));
    assert_eq!(there.workloads[&web()].instances, before);
}

async fn another_value_of_a_secret_is_told_by_its_hash(stage: &Stage) {
    let permit = permit("l", 1);
    let given = |value: &str| {
        let value = SecretValue::new(value.to_owned());
        BTreeMap::from([("token".to_owned(), value)])
    };
    let place = async |value: &str| {
        let mut workload = stage.workload(0, "x");
        let (name, from) = ("token".to_owned(), SecretRef::Env("TOKEN".to_owned()));
        match &mut workload.kind {
            WorkloadKind::Process(process) => {
                let secret = EnvValue::Secret { name, from };
                process.env.insert("TOKEN".to_owned(), secret);
            }
            WorkloadKind::Objects(objects) => {
                objects.secrets.insert(name, from);
            }
        }
        let there = stage.facts().await.slots.get(&Slot::Blue).cloned();
        let expects = there.map(|there| there.workloads[&web()].fingerprint());
        let placement = Placement {
            mode: DeployMode::Rolling,
            secrets: given(value),
            expects,
            ..placement(Slot::Blue, 1, workload, &stage.pull)
        };
        let placed = stage.engine.deploy(&permit, placement, &|_| {}).await;
        placed.expect("placed");
        stage.facts().await.slots[&Slot::Blue].workloads[&web()]
            .secrets
            .clone()
    };
    let hashes = async |value: &str| {
        let hashes = stage.engine.secret_hashes(&scope(), &given(value)).await;
        hashes.expect("hashes")
    };

    let one = place("a value of some length").await;
    assert_eq!(one, hashes("a value of some length").await);
    assert!(!one["token"].contains("value"), "{one:?}");
    let other = hashes("another value of that").await;
    assert_ne!(one, other);
    assert_eq!(place("another value of that").await, other);
}

async fn a_kept_slot_is_stopped_in_its_time(stage: &Stage) {
    let permit = stage.live().await;
    stage
        .place(&permit, Slot::Green, 2, 1)
        .await
        .expect("placed");
    stage.ready(Slot::Green).await.expect("ready");
    stage
        .engine
        .switch(
            &permit,
            LiveTraffic::All(Slot::Blue),
            LiveTraffic::All(Slot::Green),
        )
        .await
        .expect("switched");
    let until = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    stage
        .engine
        .retain(&permit, Slot::Blue, until)
        .await
        .expect("kept");
    let there = stage.facts().await.slots[&Slot::Blue].clone();
    assert_eq!(there.stops_at, Some(until));
    assert!(there.is_running(), "it retained until then");
    stage
        .engine
        .switch(
            &permit,
            LiveTraffic::All(Slot::Green),
            LiveTraffic::All(Slot::Blue),
        )
        .await
        .expect("switched back");
    assert_eq!(
        stage.facts().await.slots[&Slot::Blue].stops_at,
        None,
        "traffic calls the stop off"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_started_again_has_the_same_processes() {
    let folder = tempfile::Builder::new()
        .prefix("c")
        .tempdir()
        .expect("a folder");
    let (layout, image) = image(folder.path(), "v1").await;
    let directory = Directory::find(Some(folder.path().join("a")));
    directory.prepare().expect("made");
    let permit = permit("l", 1);
    let pid = |facts: Facts| facts.slots[&Slot::Blue].workloads[&web()].instances[0].pid;
    let agent: Arc<Agent> = Agent::start(directory.clone(), Vec::new(), Redactor::default())
        .await
        .expect("an agent");
    let placed = placement(
        Slot::Blue,
        1,
        workload(&image, "x"),
        &layout.pull(ImageHome::Project(&web())),
    );
    agent
        .deploy(&permit, placed, &|_| {})
        .await
        .expect("placed");
    agent
        .ready(&scope(), Slot::Blue, Period::from_secs(20), &|_| {})
        .await
        .expect("ready");
    agent
        .switch(&permit, LiveTraffic::Off, LiveTraffic::All(Slot::Blue))
        .await
        .expect("switched");
    let before = pid(agent.observe(&scope()).await.expect("facts"));
    drop(agent);
    let agent = Agent::start(directory, Vec::new(), Redactor::default())
        .await
        .expect("another agent");
    agent
        .ready(&scope(), Slot::Blue, Period::from_secs(20), &|_| {})
        .await
        .expect("ready");
    let facts = agent.observe(&scope()).await.expect("facts");
    assert_eq!(facts.traffic, LiveTraffic::All(Slot::Blue));
    assert_eq!((pid(facts), before.is_some()), (before, true));
    agent.stop_services().await;
}

async fn services_take_over_each_others_addresses_in_one_step(stage: &Stage) {
    let permit = stage.live().await;
    let api = "api".parse().expect("a name");
    let ports = [(); 4].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [one, other, preview, next] = ports.map(|port| port.local_addr().expect("an address"));
    let routes = |web_at, api_at| {
        [
            listening(web(), web_at, preview),
            listening("api".parse().expect("a name"), api_at, next),
        ]
    };
    let change = async |routes: &[Route], expects| {
        stage.engine.listen_together(&permit, routes, expects).await
    };
    let seen = |facts: &Facts| facts.routes_fingerprint([&web(), &api]);

    let before = seen(&stage.facts().await);
    let set_up = change(&routes(one, other), before.clone()).await;
    if stage.cluster.is_some() {
        assert!(matches!(set_up, Err(EngineError::Refused { .. })));
        return;
    }
    set_up.expect("nobody has these");

    let swapped = routes(other, one);
    let outdated = change(&swapped, before).await;
    assert!(
        matches!(outdated, Err(EngineError::Moved { .. })),
        "{outdated:?}"
    );
    let now = seen(&stage.facts().await);
    change(&swapped, now).await.expect("they swap");
    change(&swapped, None).await.expect("it is so");
    let found: Vec<Route> = stage.facts().await.routes.into_values().rev().collect();
    assert_eq!(found, swapped);
}

/// A task in blue, as a script.
fn task(stage: &Stage, slot: Slot, release: u64, script: &str, is_inside: bool) -> TaskRun {
    let words: &[&str] = match stage.contained {
        Some(ContainerKind::Docker | ContainerKind::Own) => &["/bin/busybox", "sh", "-c"],
        _ => &["/bin/sh", "-c"],
    };
    let words = words.iter().copied().chain([script]);
    let workload = stage.workload(0, "x");
    TaskRun {
        id: format!("task-a-{release}").parse().expect("an id"),
        slot,
        service: web(),
        place: if is_inside {
            TaskPlace::Instance
        } else {
            TaskPlace::OneOff(Box::new(TaskImage {
                label: label(release),
                workload,
                pull: stage.pull.clone(),
                secrets: BTreeMap::new(),
            }))
        },
        command: words.map(str::to_owned).collect(),
        within: Period::from_secs(60),
        junit: Vec::new(),
    }
}

/// Runs a task, and gives how it ended with what it wrote.
async fn ran(stage: &Stage, permit: &Permit, run: TaskRun) -> (TaskEnd, Vec<String>) {
    let told = std::sync::Mutex::new(Vec::new());
    let say = |line: &str| told.lock().expect("told").push(line.to_owned());
    let end = stage.engine.run_task(permit, run, &say).await;
    (end.expect("it ended"), told.into_inner().expect("told"))
}

async fn a_task_runs_once_and_its_end_is_found_again(stage: &Stage) {
    // A control plane without nodes runs no pod to its end.
    if stage.cluster.is_some() {
        return;
    }
    let permit = stage.live().await;
    for (release, is_inside) in [(1, false), (2, true)] {
        let run = || task(stage, Slot::Blue, release, "exit 3", is_inside);
        let (end, _) = ran(stage, &permit, run()).await;
        let (exit, began) = (TaskExit::Code(3), TaskBegan::Now);
        assert_eq!((end.exit, end.began), (exit, began), "inside: {is_inside}");

        let (end, _) = ran(stage, &permit, run()).await;
        let began = TaskBegan::Ended;
        assert_eq!((end.exit, end.began), (exit, began), "inside: {is_inside}");
        let stopped = stage.engine.stop_task(&permit, &run().id).await;
        stopped.expect("what has ended is left as it is");
    }

    // Another attempt is another task.
    let (end, _) = ran(stage, &permit, task(stage, Slot::Blue, 3, "exit 0", false)).await;
    let (exit, began) = (TaskExit::Code(0), TaskBegan::Now);
    assert_eq!((end.exit, end.began), (exit, began));
}

async fn a_task_needs_what_it_runs_in(stage: &Stage) {
    let permit = stage.live().await;
    let run = task(stage, Slot::Green, 1, "exit 0", true);
    let refused = stage.engine.run_task(&permit, run, &|_| {}).await;
    assert!(
        matches!(refused, Err(EngineError::Refused { .. })),
        "{refused:?}"
    );

    // One that was overtaken begins nothing.
    let newer = Permit {
        fence: permit.fence + 1,
        ..permit.clone()
    };
    stage
        .place(&newer, Slot::Green, 2, 1)
        .await
        .expect("placed");
    let run = task(stage, Slot::Blue, 1, "exit 0", true);
    let overtaken = stage.engine.run_task(&permit, run, &|_| {}).await;
    assert!(
        matches!(overtaken, Err(EngineError::Fenced { .. })),
        "{overtaken:?}"
    );
}
