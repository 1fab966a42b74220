//! Tasks that run by themselves: a CronJob for each, with a pod like the service's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::desired::DesiredError;
use crate::desired::cluster::{Site, mark};
use crate::model::object::{mark as label, pod_like};
use crate::model::schedule::{LATEST, ScheduledTask};
use crate::model::{Fingerprint, Manifest, ServiceName, Slot, TaskName};

/// How many of a name's letters are kept: a CronJob's has 52 at the most, and what it starts has
/// more behind it.
const LONGEST: usize = 44;

/// The CronJobs of a service in a slot. `objects` are the service's own, named and marked. They
/// stand suspended while the slot has no live traffic; whoever applies them knows.
pub(super) fn cron_jobs(
    site: &Site<'_>,
    (service, slot): (&ServiceName, Slot),
    objects: &[Manifest],
    schedules: &BTreeMap<TaskName, ScheduledTask>,
) -> Result<Vec<Manifest>, DesiredError> {
    let all = schedules.iter().map(|(name, task)| {
        let mut models = objects.iter().map(Manifest::body);
        let model = models.find(|body| body["spec"]["template"]["spec"].is_object());
        let model = model.ok_or_else(|| {
            DesiredError::new(
                format!(
                    "tasks.{name}: {service} has no object with pods, whose image it could run in"
                ),
                "a task runs in a service with a Deployment, StatefulSet or DaemonSet",
            )
        })?;
        cron_job(site, (service, slot), model, (name, task))
    });
    all.collect()
}

fn cron_job(
    site: &Site<'_>,
    (service, slot): (&ServiceName, Slot),
    model: &Value,
    (name, task): (&TaskName, &ScheduledTask),
) -> Result<Manifest, DesiredError> {
    let labels = json!({
        label::PROJECT: site.project.as_str(),
        label::ENVIRONMENT: site.environment.as_str(),
        label::COMMAND: format!("{slot}.{service}"),
        label::TASK: name.as_str(),
    });
    let mut pod = pod_like(&model["spec"]["template"]["spec"], task.program.command());
    pod["terminationGracePeriodSeconds"] = json!(10);

    let mut spec = json!({
        "schedule": task.schedule.at,
        "suspend": true,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": LATEST.as_secs(),
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {
            "metadata": {"labels": labels},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": task.timeout.get().as_secs().max(1),
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    });
    let zone = task
        .schedule
        .timezone
        .as_ref()
        .map_or("Etc/UTC", |zone| zone.as_str());
    spec["timeZone"] = json!(zone);

    let body = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {
            "name": name_of(site, service, slot, name),
            "namespace": model["metadata"]["namespace"],
        },
        "spec": spec,
    });
    let mut manifest = Manifest::try_from(body).map_err(|error| {
        DesiredError::new(
            format!("tasks.{name}: {error}"),
            "give the task a shorter name",
        )
    })?;
    mark::common(site, &mut manifest);
    manifest.label("app.kubernetes.io/name", service.as_str());
    manifest.label(label::SERVICE, service.as_str());
    manifest.label(label::SLOT, slot.as_str());
    manifest.label(label::TASK, name.as_str());
    Ok(manifest)
}

/// `SERVICE-TASK`, with the slot where both are in one namespace; with a hash in place of what is
/// too long.
fn name_of(site: &Site<'_>, service: &ServiceName, slot: Slot, task: &TaskName) -> String {
    let whole = format!("{service}-{task}");
    let short = if whole.len() <= LONGEST {
        whole
    } else {
        let hash = Fingerprint::of_json(&whole).to_string();
        let hash: String = hash
            .chars()
            .rev()
            .filter(char::is_ascii_hexdigit)
            .take(8)
            .collect();
        let beginning = whole[..LONGEST - 9].trim_end_matches('-');
        format!("{beginning}-{hash}")
    };
    if site.apart() {
        short
    } else {
        format!("{short}-{slot}")
    }
}
