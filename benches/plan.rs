//! How long a plan takes that finds nothing to do: 1, 100 and 1,000 services, the host engine
//! faked, so that what is measured is shipit's own work: resolving, comparing, planning, verifying.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use shipit::config;
use shipit::desired::cluster::Sources;
use shipit::desired::resolve;
use shipit::model::build::Inputs;
use shipit::model::facts::Facts;
use shipit::model::observed::{ImageFacts, Observed};
use shipit::model::release::Actor;
use shipit::model::source::Source;
use shipit::model::state::State;
use shipit::model::{ContentHash, Digest, EnvironmentName, ServiceName};
use shipit::plan;
use shipit::rollout::End;
use shipit::rollout::record::{Ended, record};

fn configuration(services: usize) -> String {
    let mut yaml = "version: 1\nproject: many\nservices:\n".to_owned();
    for number in 0..services {
        let port = 10_000 + number * 2;
        let _ = write!(
            yaml,
            "  s{number}:\n    build: {{kind: pack, copy: {{a: /a}}, entrypoint: [/a]}}\n    port: {port}\n    env: {{A: \"1\"}}\n"
        );
    }
    yaml
}

fn images(names: impl Iterator<Item = ServiceName>) -> BTreeMap<ServiceName, ImageFacts> {
    let facts = |name: &ServiceName| {
        let hash = ContentHash::of(name.as_str().as_bytes());
        let found = Some(Digest::of(name.as_str().as_bytes()));
        ImageFacts {
            inputs: Inputs {
                hash,
                files: BTreeMap::new(),
                bases: BTreeMap::new(),
            },
            found,
            changed_files: None,
            ignored_files: Vec::new(),
            rebuild: false,
        }
    };
    names.map(|name| (name.clone(), facts(&name))).collect()
}

fn no_op_plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("no-op plan");
    for services in [1, 100, 1_000] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("environments")).expect("a folder");
        std::fs::write(folder.path().join("shipit.yaml"), configuration(services)).expect("a file");
        std::fs::write(folder.path().join("environments/staging.yaml"), "").expect("a file");
        let environment: EnvironmentName = "staging".parse().expect("a name");
        let project = config::load(folder.path()).expect("valid");
        let source = Source::default();
        let desired =
            resolve(&project, &environment, &source, &Sources::default()).expect("resolved");
        let images = images(desired.services.keys().cloned());
        let empty = State::empty(project.name.clone(), environment.clone());
        let first = plan::apply(
            &desired,
            &Observed {
                images: images.clone(),
                ..Observed::default()
            },
            &empty,
        );
        let facts = plan::simulate(
            &first,
            &first.steps,
            &Facts::default(),
            Timestamp::UNIX_EPOCH,
        );
        let workloads = first.target.as_ref().expect("a target").workloads.clone();
        let actor = Actor {
            user: String::new(),
            host: String::new(),
            run: String::new(),
            ci: None,
        };
        let now = Timestamp::UNIX_EPOCH;
        let ended = Ended {
            outside_window: None,
            approvals: &[],
            plan: &first,
            end: &End::Done,
            workloads: &workloads,
            probe: None,
            tasks: &[],
            actor: &actor,
            now,
        };
        let state = record(&empty, &ended);
        let observed = Observed {
            facts,
            images,
            ..Observed::default()
        };
        group.bench_function(BenchmarkId::new("services", services), |bencher| {
            bencher.iter(|| {
                let project = config::load(folder.path()).expect("valid");
                let desired = resolve(&project, &environment, &source, &Sources::default())
                    .expect("resolved");
                let plan = plan::apply(&desired, &observed, &state);
                assert!(plan.is_empty() && plan::verify(&plan).is_empty());
                black_box(plan)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = no_op_plan
}
criterion_main!(benches);
