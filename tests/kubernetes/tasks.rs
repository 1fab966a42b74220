//! Tasks as Jobs: made once, found again, and gone with their release or with whoever stops them.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::site::{Site, until};

impl Site {
    /// The Jobs of tasks.
    fn jobs(&self) -> Vec<Value> {
        let list = self.cluster.get(&self.cluster.of("batch/v1", "jobs"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Ends the pod of the only Job with this exit code, as a node would.
    pub fn end_job(&self, code: u8) {
        let pods = format!(
            "{}?labelSelector=shipit.dev/task",
            self.cluster.of("v1", "pods")
        );
        let pod = || {
            let list = self.cluster.get(&pods);
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let runs = |pod: &Value| pod["status"]["phase"] == "Running";
            items.into_iter().find(runs)
        };
        until("its pod runs", || pod().is_some());
        let pod = pod().expect("a pod");
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let container = &pod["spec"]["containers"][0]["name"];
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let status = json!({"status": {"phase": phase, "containerStatuses": [{
            "name": container, "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code}},
        }]}});
        let path = format!("{}/{name}/status", self.cluster.of("v1", "pods"));
        self.cluster.patch(&path, "node", &status);
    }

    /// How many pods of the new slot's Deployment are asked for.
    fn pods_asked_for(&self, name: &str) -> Value {
        self.cluster.get(&self.cluster.deployment(name))["spec"]["replicas"].clone()
    }
}

/// A site with `v1` live, whose next release has a migration.
fn with_a_migration() -> Option<Site> {
    let mut site = Site::live()?;
    site.staging
        .push("tasks: {migrate: {run: [bin/migrate]}}".to_owned());
    site.message("v2");
    Some(site)
}

#[test]
fn a_job_is_made_once_and_found_again_by_the_next_run() {
    let Some(site) = with_a_migration() else {
        return;
    };
    site.run(&["doctor", "--env", "staging"])
        .says("create jobs.batch in");
    let mut run = site.start_apply();
    until("the Job is there", || !site.jobs().is_empty());
    let job = &site.jobs()[0];
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["command"], json!(["bin/migrate"]));
    assert_eq!(job["spec"]["backoffLimit"], 0);
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "Deployment");
    assert_eq!(
        site.pods_asked_for("web-green"),
        0,
        "nothing starts before it has ended"
    );
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");

    let run = site.start_apply();
    site.end_job(0);
    let said = crate::said::Said::from(&run.wait_with_output().expect("it ends"));
    said.code(0).says("begun by an earlier run");
    assert_eq!(
        (site.active(), site.live_release()),
        ("green".to_owned(), 2)
    );
    let names: Vec<Value> = site
        .jobs()
        .iter()
        .map(|it| it["metadata"]["uid"].clone())
        .collect();
    assert_eq!(names, [job["metadata"]["uid"].clone()], "the same Job");
    site.plan().code(0).says("No changes");
}

#[test]
fn a_job_that_fails_leaves_live_traffic_where_it_is_and_goes_with_its_release() {
    let Some(site) = with_a_migration() else {
        return;
    };
    let run = site.start_apply();
    site.end_job(3);
    let said = crate::said::Said::from(&run.wait_with_output().expect("it ends"));
    said.code(1)
        .says("task.green/migrate")
        .says("exit code 3")
        .says("Live traffic was not touched");
    assert_eq!((site.active(), site.live_release()), ("blue".to_owned(), 1));
    until("the Job has gone with its release", || {
        site.jobs().is_empty()
    });
}

#[test]
fn a_job_is_deleted_when_its_run_is_interrupted() {
    let Some(site) = with_a_migration() else {
        return;
    };
    let run = site.start_apply();
    until("the Job is there", || !site.jobs().is_empty());
    let pid = i32::try_from(run.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), Signal::INT).expect("it runs");
    let said = crate::said::Said::from(&run.wait_with_output().expect("it ends"));
    said.code(130);
    assert!(site.jobs().is_empty(), "it was waited for");
}
