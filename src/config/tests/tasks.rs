//! Tasks: what is written short, and what is refused with its place.

use super::{GOOD, faults, project};
use crate::config::schema::CommandWords;
use crate::model::Period;
use crate::model::task::{OnFailure, TaskClass, TaskMoment};

const CLUSTER: &str = "cluster: {kind: kubernetes}\nregistry: {kind: oci, endpoint: \
                       r.example.com}\ntraffic: {kind: service}\n";

#[test]
fn a_task_says_no_more_than_it_has_to() {
    let overlay = "tasks:\n  migrate: {run: bin/migrate --all}\n  drop: {run: [bin/drop, a b], \
                   class: contract}\n";
    let project = project(GOOD, overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let words = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        Some(CommandWords(words.collect()))
    };

    let migrate = &staging.tasks["migrate"];
    assert_eq!(migrate.run, words(&["bin/migrate", "--all"]));
    assert_eq!(migrate.moment(), TaskMoment::BeforeSwitch);
    assert_eq!(
        (migrate.timeout, migrate.on_failure, migrate.class),
        (Period::from_secs(600), OnFailure::Stop, TaskClass::Expand)
    );
    let service = staging.service_of(migrate).map(ToString::to_string);
    assert_eq!(service.as_deref(), Some("web"));

    let drop = &staging.tasks["drop"];
    assert_eq!(drop.run, words(&["bin/drop", "a b"]));
    assert_eq!(drop.moment(), TaskMoment::AfterKeepPrevious);
}

#[test]
fn what_cannot_run_is_refused_at_its_place() {
    let cases = [
        (
            "tasks: {a: {service: wep, run: x}}",
            "tasks.a.service: there is no service wep | did you mean `web`?",
        ),
        (
            "services: {api: {image: nginx}}\ntasks: {a: {run: x}}",
            "tasks.a: there is more than one service",
        ),
        ("tasks: {a: {}}", "tasks.a: nothing says what it runs"),
        (
            "tasks: {a: {run: x, exec: y}}",
            "tasks.a.exec: `run` and `exec` are both given",
        ),
        ("tasks: {a: {run: []}}", "tasks.a.run: there is no command"),
        (
            "tasks: {a: {run: x, in: live}}",
            "tasks.a.in: what is `run` is in no instance",
        ),
        (
            "tasks: {a: {exec: x, in: new, when: after_switch}}",
            "tasks.a.in: `after_switch` is not before the switch",
        ),
        (
            "strategy: rolling\ntasks: {a: {exec: x}}",
            "tasks.a: with the strategy `rolling` a new instance is live at once",
        ),
        (
            "services: {web: {strategy: recreate}}\ntasks: {a: {exec: x}}",
            "tasks.a: web has `strategy: recreate`: no instance of the new release runs before",
        ),
        (
            "tasks: {a: {run: x, class: contract, when: before_switch}}",
            "tasks.a.when: a `contract` task takes away what the previous release needs",
        ),
        (
            "tasks: {a: {run: x, class: breaking, when: before_remove}}",
            "tasks.a.when: `before_remove` is no part of a switch",
        ),
        (
            "tasks: {a: {run: x, timeout: 0s}}",
            "tasks.a.timeout: no time at all",
        ),
        (
            "tasks: {a: {exec: x, when: preview}}",
            "tasks.a.when: what is `exec` waits for the release's instances anyway",
        ),
        (
            "strategy: rolling\ntasks: {a: {run: x, when: preview}}",
            "tasks.a.when: with the strategy `rolling` there is no preview slot",
        ),
        (
            "tasks: {a: {run: x, class: contract, when: preview}}",
            "tasks.a.when: a `contract` task takes away what the previous release needs",
        ),
        (
            "tasks: {a: {run: x, reports: {junit: [../a.xml]}}}",
            "tasks.a.reports.junit: `../a.xml` is not in the folder of the task's reports",
        ),
        (
            "tasks: {a: {run: x, reports: {junit: ['[a.xml']}}}",
            "tasks.a.reports.junit: `[a.xml` is no glob: ",
        ),
        (
            "cluster: {runtime: docker}\ntasks: {a: {exec: x, reports: {junit: [a.xml]}}}",
            "tasks.a.reports: what is `exec` writes into the files of a container that goes on",
        ),
        (
            "tasks: {a: {run: x, network: host}}",
            "tasks.a.network: only a task that is `run` with the runtime `docker` has this",
        ),
        (
            "tasks: {A_b: {run: x}}",
            "task name `A_b` is not a DNS label",
        ),
        (
            "tasks: {a: {run: {b: c}}}",
            "a command: a text, or a list of its words",
        ),
    ];
    for (overlay, expected) in cases {
        let said = faults(GOOD, overlay).join("\n");
        assert!(said.contains(expected), "{overlay}: {said}");
        assert!(said.contains("staging.yaml:"), "{overlay}: {said}");
    }

    let on_cluster = format!("{CLUSTER}tasks: {{a: {{run: x, reports: {{junit: [a.xml]}}}}}}");
    let said = faults(GOOD, &on_cluster).join("\n");
    assert!(
        said.contains("tasks.a.reports: the files of a Job go with its pod"),
        "{said}"
    );

    let in_place = format!("{CLUSTER}strategy: rolling\ntasks: {{a: {{run: x}}}}");
    let said = faults(GOOD, &in_place).join("\n");
    assert!(
        said.contains("tasks.a: where a release replaces the live one in place"),
        "{said}"
    );
}

#[test]
fn where_an_instance_is_there_a_command_may_be_in_it() {
    for overlay in [
        "tasks: {a: {exec: x}}",
        "tasks: {a: {exec: x, in: live}}",
        "tasks: {a: {exec: x, when: after_switch}}",
        "strategy: rolling\ntasks: {a: {exec: x, in: live}, b: {run: x}}",
        "services: {web: {strategy: recreate}}\ntasks: {a: {run: x}}",
        "tasks: {a: {run: x, when: preview, reports: {junit: ['**/*.xml']}}}",
        "tasks: {a: {exec: x, reports: {junit: ['*.xml']}}}",
        "cluster: {runtime: docker}\ntasks: {a: {run: x, network: host}}",
        "tasks: {a: {run: x, when: never}, b: {run: x, when: before_remove}}",
    ] {
        if let Err(error) = project(GOOD, overlay) {
            panic!("{overlay}: {error:?}");
        }
    }
}

#[test]
fn a_schedule_runs_by_itself_and_is_no_step_of_a_plan() {
    let overlay = "tasks: {report: {run: x, schedule: \"0 3 * * *\", timezone: Europe/Berlin}}\n";
    let project = project(GOOD, overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let report = &staging.tasks["report"];
    assert_eq!(report.moment(), TaskMoment::Never);
    let schedule = report.schedule().expect("a schedule");
    assert_eq!(schedule.to_string(), "0 3 * * * Europe/Berlin");
}
