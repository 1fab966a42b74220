//! What the keys of a task must hold together.

use crate::config::findings::Findings;
use crate::config::schema::{ClusterConfig, EnvironmentConfig, Runtime, TaskConfig};
use crate::config::suggest::suggest;
use crate::model::promotion::Strategy;
use crate::model::task::{TaskClass, TaskMoment, TaskSlot};
use crate::model::{Period, ServiceName, glob};

/// Checks all tasks of an environment.
pub(super) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
    for (name, task) in &environment.tasks {
        let name = name.as_str();
        service(findings, environment, name, task);
        program(findings, name, task);
        moment(findings, environment, name, task);
        schedule(findings, environment, name, task);
        inside(findings, environment, name, task);
        class(findings, name, task);
        preview(findings, environment, name, task);
        reports(findings, environment, name, task);
        network(findings, environment, name, task);
        if task.timeout == Period::ZERO {
            let at = ["tasks", name, "timeout"];
            findings.add(&at, "no time at all", "write how long, as `10m`");
        }
    }
}

fn service(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    if environment.service_of(task).is_some() {
        return;
    }
    let services: Vec<&str> = environment
        .services
        .keys()
        .map(ServiceName::as_str)
        .collect();
    match &task.service {
        Some(named) => findings.add(
            &["tasks", name, "service"],
            format!("there is no service {named}"),
            suggest(named.as_str(), &services, "services"),
        ),
        None => findings.add(
            &["tasks", name],
            "there is more than one service, so the task must say whose image it runs in",
            "add `service: NAME`",
        ),
    }
}

/// Exactly one command, and one that can be run.
fn program(findings: &mut Findings<'_>, name: &str, task: &TaskConfig) {
    let (key, words) = match (&task.run, &task.exec) {
        (Some(_), Some(_)) => {
            let message = "`run` and `exec` are both given";
            return findings.add(&["tasks", name, "exec"], message, "keep one of them");
        }
        (None, None) => {
            return findings.add(
                &["tasks", name],
                "nothing says what it runs",
                "add `run: [bin/migrate]`, or `exec` for a command in an instance that runs",
            );
        }
        (Some(words), None) => ("run", words),
        (None, Some(words)) => ("exec", words),
    };
    if words.0.first().is_none_or(String::is_empty) {
        let help = format!("write `{key}: bin/migrate`");
        findings.add(&["tasks", name, key], "there is no command", help);
    }
    if task.inside.is_some() && key == "run" {
        let message = "what is `run` is in no instance";
        let help = "take `in` out, or write `exec`";
        findings.add(&["tasks", name, "in"], message, help);
    }
}

/// Whether there is such a moment where the release is deployed like this.
fn moment(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    let is_in_place = environment.strategy != Strategy::BlueGreen;
    let is_before = task.moment() == TaskMoment::BeforeSwitch;
    if !(is_before && is_in_place && task.run.is_some()) {
        return;
    }
    if environment.cluster.kubernetes().is_some() {
        findings.add(
            &["tasks", name],
            "where a release replaces the live one in place, nothing of it is on the cluster \
             before, so that no Job can run in it",
            "write `strategy: blue_green`, or `when: after_switch`",
        );
    }
}

/// Whether what has a schedule can run by itself, and what has none says no times.
fn schedule(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    if task.schedule.is_none() {
        let message = "only a task with a `schedule` has times";
        return findings.refuse(&["tasks", name], &["timezone"], message);
    }
    if let Some(moment) = task.when.filter(|moment| *moment != TaskMoment::Never) {
        findings.add(
            &["tasks", name, "when"],
            format!(
                "a task with a `schedule` runs at its times, and is no step of a plan: `{}` is one",
                moment.as_str()
            ),
            "take `when` out, or make it a task of its own",
        );
    }
    if task.class != TaskClass::Expand {
        let message = "what runs again and again cannot take away what a rollback needs";
        findings.add(&["tasks", name, "class"], message, "take `class` out");
    }
    if !task.reports.is_empty() {
        findings.add(
            &["tasks", name, "reports"],
            "nobody is there to collect the reports of a scheduled task",
            "take `reports` out: its exit code and its last lines are kept",
        );
    }
    if task.exec.is_some() && environment.cluster.kubernetes().is_some() {
        findings.add(
            &["tasks", name, "exec"],
            "a CronJob starts pods of its own, and enters no other",
            "write `run`: it has the release's image, environment and secrets",
        );
    }
}

/// Whether there is an instance to be in.
fn inside(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    if task.exec.is_none() {
        return;
    }
    let at = ["tasks", name, "in"];
    let moment = task.moment();
    let is_before = moment == TaskMoment::BeforeSwitch;
    if task.inside == Some(TaskSlot::New) && !is_before {
        let message = format!(
            "`{}` is not before the switch: there is no instance but the live ones",
            moment.as_str()
        );
        return findings.add(&at, message, "take `in` out, or write `in: live`");
    }
    let is_new = is_before && task.inside != Some(TaskSlot::Live);
    if !is_new {
        return;
    }

    let service = environment.service_of(task);
    let service = service.and_then(|name| environment.services.get_key_value(name));
    if environment.strategy != Strategy::BlueGreen {
        findings.add(
            &["tasks", name],
            format!(
                "with the strategy `{}` a new instance is live at once: there is none before the \
                 switch",
                environment.strategy.as_str()
            ),
            "write `in: live`, `when: after_switch`, or `run`",
        );
    } else if let Some((service, it)) = service
        && it.is_exclusive(environment.strategy)
    {
        findings.add(
            &["tasks", name],
            format!(
                "{service} has `strategy: recreate`: no instance of the new release runs before \
                 the switch"
            ),
            "write `run`, or `when: after_switch`",
        );
    }
}

/// Whether a class fits the moment.
fn class(findings: &mut Findings<'_>, name: &str, task: &TaskConfig) {
    let at = ["tasks", name, "when"];
    match (task.class, task.moment()) {
        (TaskClass::Contract, TaskMoment::AfterKeepPrevious | TaskMoment::Never)
        | (TaskClass::Expand, _)
        | (
            TaskClass::Breaking,
            TaskMoment::BeforeSwitch
            | TaskMoment::Preview
            | TaskMoment::AfterSwitch
            | TaskMoment::Never,
        ) => {}
        (TaskClass::Contract, moment) => findings.add(
            &at,
            format!(
                "a `contract` task takes away what the previous release needs, and `{}` is while \
                 that is kept",
                moment.as_str()
            ),
            "take `when` out: it runs once `promotion.keep_previous` is over",
        ),
        (TaskClass::Breaking, moment) => findings.add(
            &at,
            format!(
                "`{}` is no part of a switch: there is no rollback left to break",
                moment.as_str()
            ),
            "write `class: contract`, or `when: before_switch`",
        ),
    }
}

/// Whether there is a preview, and the task is not part of it.
fn preview(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    if task.moment() != TaskMoment::Preview {
        return;
    }
    let at = ["tasks", name, "when"];
    if task.exec.is_some() {
        let message = "what is `exec` waits for the release's instances anyway";
        return findings.add(&at, message, "write `when: before_switch`");
    }
    if environment.strategy != Strategy::BlueGreen {
        let strategy = environment.strategy.as_str();
        findings.add(
            &at,
            format!("with the strategy `{strategy}` there is no preview slot"),
            "write `strategy: blue_green`, or `when: after_switch`",
        );
    }
}

/// The most globs of a task.
const MOST_GLOBS: usize = 16;

/// Whether what it writes can be collected, and the globs are some.
fn reports(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    if task.reports.is_empty() {
        return;
    }
    let at = ["tasks", name, "reports"];
    let ClusterConfig::Host(host) = &environment.cluster else {
        return findings.add(
            &at,
            "the files of a Job go with its pod: they cannot be collected on a cluster",
            "take `reports` out, and have the task send them to your CI server; its exit code \
             and its last lines are kept",
        );
    };
    let is_contained = !matches!(host.runtime, Runtime::Process | Runtime::Systemd);
    if task.exec.is_some() && is_contained {
        findings.add(
            &at,
            "what is `exec` writes into the files of a container that goes on: they are not \
             collected",
            "write `run` and `when: preview`: it has a container of its own",
        );
    }

    let at = ["tasks", name, "reports", "junit"];
    if task.reports.junit.len() > MOST_GLOBS {
        let message = format!("more than {MOST_GLOBS} globs");
        findings.add(&at, message, "`**/*.xml` stands for all files");
    }
    for glob in &task.reports.junit {
        let is_inside = !glob.starts_with('/') && glob.split('/').all(|part| part != "..");
        if !is_inside {
            findings.add(
                &at,
                format!("`{glob}` is not in the folder of the task's reports"),
                "write a path in the folder that `SHIPIT_REPORTS` names, as `*.xml`",
            );
        } else if let Some(reason) = glob::fault(glob) {
            let message = format!("`{glob}` is no glob: {reason}");
            findings.add(&at, message, "write as `*.xml` or `**/TEST-*.xml`");
        }
    }
}

/// Only a container of Docker's has a network of its own.
fn network(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    task: &TaskConfig,
) {
    let is_docker = match &environment.cluster {
        ClusterConfig::Host(host) => host.runtime == Runtime::Docker,
        ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..) => false,
    };
    if !is_docker || task.exec.is_some() {
        let message = "only a task that is `run` with the runtime `docker` has this";
        findings.refuse(&["tasks", name], &["network"], message);
    }
}
