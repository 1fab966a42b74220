//! Tasks that run by themselves on a cluster: CronJobs of both slots, of which only those of the
//! live one go.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::site::{Site, until};

impl Site {
    fn cron_job(&self, name: &str) -> Value {
        let all = self.cluster.of("batch/v1", "cronjobs");
        self.cluster.get(&format!("{all}/{name}"))
    }

    /// Says of a CronJob which time was its last one, as the cluster's controller does.
    fn last_time(&self, name: &str, at: &str) {
        let all = self.cluster.of("batch/v1", "cronjobs");
        let body = json!({"status": {"lastScheduleTime": at}});
        self.cluster
            .patch(&format!("{all}/{name}/status"), "controller", &body);
    }

    fn schedule(&mut self, at: &str) {
        let task =
            format!("tasks: {{report: {{run: [bin/report], schedule: \"{at}\", timeout: 5m}}}}");
        self.staging.truncate(1);
        self.staging.push(task);
    }
}

/// A day that is far from today.
fn far_away() -> &'static str {
    let month = Timestamp::now().strftime("%-m").to_string();
    if matches!(month.as_str(), "5" | "6" | "7") {
        "0 3 1 12 *"
    } else {
        "0 3 1 6 *"
    }
}

#[test]
fn the_schedule_of_the_live_slot_alone_goes_and_takes_its_last_time_along() {
    let Some(mut site) = Site::new() else { return };
    site.schedule(far_away());
    site.run(&["doctor", "--env", "staging"])
        .says("create cronjobs.batch in")
        .says("patch cronjobs/status.batch in");
    site.apply()
        .code(0)
        .says("schedule report")
        .says("UTC in blue");
    let blue = site.cron_job("web-report-blue");
    let spec = &blue["spec"];
    assert_eq!(spec["suspend"], false, "{blue}");
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    assert_eq!(spec["timeZone"], "Etc/UTC");
    let job = &spec["jobTemplate"]["spec"];
    assert_eq!(job["activeDeadlineSeconds"], 300);
    let pod = &job["template"];
    assert_eq!(
        pod["spec"]["containers"][0]["command"],
        json!(["bin/report"])
    );
    assert!(
        pod["metadata"]["labels"]["shipit.dev/service"].is_null(),
        "no Service sends it anything: {pod}"
    );
    site.plan().code(0).says("No changes");
    site.last_time("web-report-blue", "2026-01-02T03:00:00Z");

    // Beside the live one it waits.
    site.message("v2");
    site.staging[0] = "promotion: {mode: manual, probe: {rate: 0, linger: 10ms}}".to_owned();
    site.apply().code(0);
    assert_eq!(site.cron_job("web-report-green")["spec"]["suspend"], true);
    assert_eq!(site.cron_job("web-report-blue")["spec"]["suspend"], false);
    let promote = ["promote", "green", "--env", "staging", "--auto-approve"];
    site.run(&promote).code(0).says("UTC in green");
    assert_eq!(site.cron_job("web-report-blue")["spec"]["suspend"], true);
    let green = site.cron_job("web-report-green");
    assert_eq!(green["spec"]["suspend"], false);
    assert_eq!(green["status"]["lastScheduleTime"], "2026-01-02T03:00:00Z");
    site.plan().code(0).says("No changes");

    // Back again, though somebody has suspended it by hand.
    let rollback = ["rollback", "--env", "staging", "--auto-approve"];
    site.run(&rollback).code(0);
    assert_eq!(site.cron_job("web-report-blue")["spec"]["suspend"], false);
    assert_eq!(site.cron_job("web-report-green")["spec"]["suspend"], true);
    site.plan();

    // What is not in the release any more goes with its slot.
    site.staging.truncate(1);
    site.staging[0] = "promotion: {mode: auto, probe: {rate: 0, linger: 10ms}}".to_owned();
    site.message("v3");
    site.apply().code(0).says("schedule report");
    assert_eq!(site.active(), "green");
    assert!(site.cron_job("web-report-green").is_null());
    assert_eq!(site.cron_job("web-report-blue")["spec"]["suspend"], true);
    site.message("v4");
    site.apply().code(0);
    assert!(site.cron_job("web-report-blue").is_null());
}

#[test]
fn a_time_that_is_due_makes_a_job_and_its_end_is_shown() {
    let Some(mut site) = Site::new() else { return };
    let ago = Timestamp::now() - SignedDuration::from_mins(1);
    site.schedule(&ago.strftime("%-M %-H * * *").to_string());
    site.apply().code(0);
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    site.last_time("web-report-blue", &format!("{hour_ago:.0}"));
    site.end_job(0);
    until("its end is seen", || {
        site.status()["schedules"][0]["runs"][0]["outcome"]["ended"]["code"] == 0
    });
    site.run(&["status", "--env", "staging"])
        .says("report")
        .says("done");
    site.run(&["logs", "--env", "staging", "--task", "report"])
        .code(0)
        .says("blue | done");
}

#[test]
fn what_is_exec_has_no_cron_job() {
    let Some(mut site) = Site::new() else { return };
    let task = "tasks: {report: {exec: [bin/report], schedule: \"0 3 * * *\"}}";
    site.staging.push(task.to_owned());
    site.run(&["validate"])
        .code(1)
        .says("a CronJob starts pods of its own, and enters no other");
}
