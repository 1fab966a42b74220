//! Three services in a few versions: what simulations in tests begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::build::{BuildSpec, Inputs};
use crate::model::check::{Check, TcpCheck};
use crate::model::desired::{Desired, DesiredService, ImageSource};
use crate::model::health::Health;
use crate::model::limits::Limits;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::promotion::{Mode, Probe, Promotion, ServiceStrategy, Strategy as Rollout};
use crate::model::route::{Listeners, Route};
use crate::model::secret::SecretRef;
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::task::{
    OnFailure, Once, Reports, Task, TaskClass, TaskMoment, TaskProgram, TaskSlot,
};
use crate::model::workload::{EnvValue, Known, Process, Workload, WorkloadKind};
use crate::model::{Address, ContentHash, Period, ServiceName, TaskName};
use crate::plan;
use crate::plan::tests::pack;
use crate::simulate::Scenario;

fn inputs(version: u8) -> Inputs {
    Inputs {
        hash: ContentHash::of(&[version]),
        files: BTreeMap::new(),
        bases: BTreeMap::new(),
    }
}

fn service(name: &str, version: u8) -> (ServiceName, DesiredService) {
    let name: ServiceName = name.parse().expect("a name");
    let port = 8000 + u16::from(name.as_str().as_bytes()[0]);
    let at = |port: u16| ([127, 0, 0, 1], port).into();
    let workload = Workload {
        service: name.clone(),
        image: Known::After(Address::Image(name.clone())),
        repository: None,
        port: Some(port),
        replicas: 1,
        health: Health::default(),
        strategy: None,
        kind: WorkloadKind::Process(Box::new(Process {
            env: BTreeMap::from([
                ("V".to_owned(), EnvValue::Plain(version.to_string())),
                ("KEY".to_owned(), secret()),
            ]),
            ..Process::default()
        })),
    };
    let route = Route::of_listeners(
        name.clone(),
        Listeners::plain(at(port), at(port + 1000), Limits::default()),
    );
    let service = DesiredService {
        image: ImageSource::Build(BuildSpec::Pack(pack())),
        workload,
        route: Some(route),
    };
    (name, service)
}

fn task(program: TaskProgram, when: TaskMoment) -> Task {
    Task {
        service: "web".parse().expect("a name"),
        program,
        when,
        schedule: None,
        once: Once::Release,
        timeout: Period::from_secs(60),
        on_failure: OnFailure::Stop,
        class: TaskClass::Expand,
        reports: Reports::default(),
        network: None,
    }
}

/// A migration, an index that is filled, and a mail.
fn tasks(strategy: Rollout) -> BTreeMap<TaskName, Task> {
    let words = |word: &str| vec![word.to_owned()];
    let exec = |word: &str, inside| TaskProgram::Exec {
        command: words(word),
        inside,
    };
    let inside = if strategy.has_preview() {
        TaskSlot::New
    } else {
        TaskSlot::Live
    };
    let tasks = [
        (
            "migrate",
            task(TaskProgram::Run(words("migrate")), TaskMoment::BeforeSwitch),
        ),
        ("fill", task(exec("fill", inside), TaskMoment::BeforeSwitch)),
        (
            "mail",
            task(exec("mail", TaskSlot::Live), TaskMoment::AfterSwitch),
        ),
    ];
    let named = tasks.into_iter();
    named
        .map(|(name, task)| (name.parse().expect("a name"), task))
        .collect()
}

/// Three services in this version, one of which never runs twice at once, with a check on each side
/// of the switch.
pub(crate) fn desired(version: u8, strategy: Rollout) -> Desired {
    let check = Check::Tcp(TcpCheck {
        service: None,
        port: None,
        timeout: Period::from_secs(1),
    });
    Desired {
        resources: Vec::new(),
        unrotated: BTreeSet::new(),
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
        source: Source::default(),
        promoted_from: None,
        strategy,
        promotion: Promotion {
            mode: Mode::Auto,
            before: vec![check.clone()],
            after: vec![check],
            probe: Probe {
                linger: Period::from_millis(0),
                ..Probe::default()
            },
            ..Promotion::default()
        },
        ready_within: Period::from_secs(60),
        objects: Vec::new(),
        services: [
            service("web", version),
            service("jobs", version),
            queue(version),
        ]
        .into(),
        tasks: tasks(strategy),
    }
}

/// A secret whose value must be nowhere.
fn secret() -> EnvValue {
    EnvValue::Secret {
        name: "key".to_owned(),
        from: SecretRef::Env("KEY".to_owned()),
    }
}

/// A service that never runs twice at once.
fn queue(version: u8) -> (ServiceName, DesiredService) {
    let (name, mut queue) = service("queue", version);
    queue.workload.strategy = Some(ServiceStrategy::Recreate);
    (name, queue)
}

/// A scenario in which this version is to be deployed where nothing is.
pub(crate) fn scenario(version: u8, strategy: Rollout) -> Scenario {
    let desired = desired(version, strategy);
    let image = |name: &ServiceName| {
        let facts = ImageFacts {
            inputs: inputs(version),
            found: None,
            changed_files: None,
            ignored_files: Vec::new(),
            rebuild: false,
        };
        (name.clone(), facts)
    };
    let wanted = desired.clone();
    Scenario {
        observed: Observed {
            images: desired.services.keys().map(image).collect(),
            ..Observed::default()
        },
        state: State::empty(desired.project.clone(), desired.environment.clone()),
        journal: None,
        draw: Arc::new(move |observed, state| Ok(plan::apply(&wanted, observed, state))),
        desired,
    }
}
