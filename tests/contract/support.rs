//! What the suites share: names, permits, workloads, and an image whose service answers.

use std::collections::BTreeMap;
use std::path::Path;

use shipit::driver::builder::pack::Pack;
use shipit::driver::registry::layout::Layout;
use shipit::model::build::{Base, BuildSpec, PackSpec};
use shipit::model::health::Health;
use shipit::model::plan::DeployMode;
use shipit::model::release::{Actor, Label};
use shipit::model::source::Source;
use shipit::model::workload::{EnvValue, Known, Process, Workload, WorkloadKind};
use shipit::model::{ContentHash, Digest, Period, ReleaseNumber, ServiceName, Slot};
use shipit::port::builder::BuildRequest;
use shipit::port::engine::{Permit, Placement, Pull, Scope};
use shipit::port::hold::Hold;
use shipit::port::{Builder as _, Registry as _};
use tokio_util::sync::CancellationToken;

pub fn scope() -> Scope {
    Scope {
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
    }
}

pub fn web() -> ServiceName {
    "web".parse().expect("a name")
}

pub fn actor(run: &str) -> Actor {
    Actor {
        user: "kim".to_owned(),
        host: "here".to_owned(),
        run: run.to_owned(),
        ci: None,
    }
}

pub fn permit(lineage: &str, fence: u64) -> Permit {
    Permit {
        scope: scope(),
        lineage: lineage.to_owned(),
        fence,
        actor: actor("run-1"),
        hold: Hold::none(),
    }
}

pub fn label(number: u64) -> Label {
    let config = ContentHash::of(&number.to_be_bytes());
    Label {
        number: ReleaseNumber(number),
        dirty: false,
        commit: None,
        branch: None,
        config,
        inputs: BTreeMap::new(),
    }
}

pub fn workload(image: &Digest, env: &str) -> Workload {
    Workload {
        service: web(),
        image: Known::Value(image.clone()),
        repository: None,
        port: Some(8080),
        replicas: 1,
        health: Health {
            interval: Period::from_millis(50),
            failures: 2,
            ..Health::default()
        },
        strategy: None,
        kind: WorkloadKind::Process(Box::new(process(env))),
    }
}

/// A process that is told this text as `NAME`.
pub fn process(env: &str) -> Process {
    Process {
        env: BTreeMap::from([("NAME".to_owned(), EnvValue::Plain(env.to_owned()))]),
        stop_grace: Period::from_secs(5),
        ..Process::default()
    }
}

pub fn placement(slot: Slot, number: u64, workload: Workload, pull: &Pull) -> Placement {
    Placement {
        slot,
        label: label(number),
        workload,
        mode: DeployMode::Fresh,
        running: true,
        pull: pull.clone(),
        secrets: BTreeMap::new(),
        expects: None,
    }
}

pub fn pack(entrypoint: &str) -> PackSpec {
    PackSpec {
        context: "app".into(),
        inputs: Vec::new(),
        leave_out: Vec::new(),
        platforms: Vec::new(),
        run: Vec::new(),
        copy: BTreeMap::from([("message.txt".into(), "/app/message.txt".into())]),
        base: Base::Scratch,
        entrypoint: vec![entrypoint.to_owned()],
        user: None,
        workdir: Some("/app".into()),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        port: Some(8080),
        within: shipit::model::build::an_hour(),
    }
}

pub async fn request(root: &Path, spec: PackSpec) -> BuildRequest {
    let spec = BuildSpec::Pack(spec);
    let inputs = Pack
        .inputs(root, &spec, &BTreeMap::new())
        .await
        .expect("inputs");
    BuildRequest {
        title: "shop web".to_owned(),
        service: web(),
        root: root.to_path_buf(),
        spec,
        bases: BTreeMap::new(),
        secrets: BTreeMap::new(),
        source: Source {
            commit: Some("3f2c1ab".repeat(5)),
            committed_at: Some(1_700_000_000),
            ..Source::default()
        },
        expects: inputs.hash,
    }
}

/// An image in a layout whose service is the tests' own.
pub async fn image(root: &Path, message: &str) -> (Layout, Digest) {
    std::fs::create_dir_all(root.join("app")).expect("a folder");
    std::fs::write(root.join("app/message.txt"), message).expect("a file");
    let program = Path::new(env!("CARGO_BIN_EXE_shipit"))
        .parent()
        .expect("a folder")
        .join("examples/storefront");
    let request = request(root, pack(&program.display().to_string())).await;
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built");
    let layout = Layout::new(root.join("registry"));
    let digest = layout
        .push(&web(), &built, &["t".to_owned()], &|_| {})
        .await
        .expect("pushed");
    (layout, digest)
}

/// An image in the same layout that needs nothing but itself: a web server that is one static
/// program.
pub async fn busybox(root: &Path, message: &str) -> Digest {
    std::fs::create_dir_all(root.join("app")).expect("a folder");
    std::fs::write(root.join("app/message.txt"), message).expect("a file");
    std::fs::copy("/bin/busybox", root.join("app/busybox")).expect("busybox-static is there");
    let mut spec = pack("/bin/busybox");
    spec.copy.insert("busybox".into(), "/bin/busybox".into());
    spec.entrypoint = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/app"]
        .map(str::to_owned)
        .to_vec();
    let request = request(root, spec).await;
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built");
    let layout = Layout::new(root.join("registry"));
    layout
        .push(&web(), &built, &["b".to_owned()], &|_| {})
        .await
        .expect("pushed")
}
