//! Tasks: a Job for each that runs by itself, named by its attempt, so that whoever comes later
//! finds it; a command in a pod for each that runs in an instance.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::command::{self, pod};
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::logs::{self, Part};
use crate::driver::kubernetes::engine::owner::is_owned_by;
use crate::driver::kubernetes::engine::wait::not_made;
use crate::files::lines::Splitter;
use crate::model::object::{mark, pod_like};
use crate::model::task::{TaskExit, TaskId};
use crate::model::{Manifest, ObjectKey};
use crate::port::Progress;
use crate::port::engine::{
    CommandOutput, EngineError, Permit, TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun,
};

/// How often a Job is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the pod of a Job may take to start.
const START: Duration = Duration::from_mins(5);
/// How long the pods of a Job that is deleted may take to be gone.
const GOING: Duration = Duration::from_mins(1);
/// How long a Job is kept once it has ended: a run that died is gone on with in this time.
const KEPT: u32 = 7 * 24 * 60 * 60;

pub(super) async fn run(
    engine: &KubernetesEngine,
    permit: &Permit,
    run: TaskRun,
    progress: Progress<'_>,
) -> Result<TaskEnd, EngineError> {
    let api = engine.api().await?;
    engine.enter(api, permit).await?;
    match &run.place {
        TaskPlace::Instance => in_instance(engine, permit, &run, progress).await,
        TaskPlace::OneOff(image) => {
            let job = Job::of(engine, api, &run);
            let began = job.begin(permit, &run, image).await?;
            let exit = job.follow(&run, progress).await?;
            let tests = None;
            Ok(TaskEnd { exit, began, tests })
        }
    }
}

pub(super) async fn stop(
    engine: &KubernetesEngine,
    permit: &Permit,
    id: &TaskId,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    engine.enter(api, permit).await?;
    for namespace in engine.settings.namespaces.slots.values() {
        let job = Job::named(api, namespace, id);
        // What has ended is left as it is: it is not run again.
        if job.exit().await?.is_some() {
            continue;
        }
        job.delete()
            .await
            .map_err(|fault| fault.while_(format!("stopping {id}")))?;
    }
    Ok(())
}

/// A command in a pod. It ends with whoever looks on, and nobody finds it again.
async fn in_instance(
    engine: &KubernetesEngine,
    permit: &Permit,
    run: &TaskRun,
    progress: Progress<'_>,
) -> Result<TaskEnd, EngineError> {
    let mut running = command::run(engine, &permit.scope, run.as_command()).await?;
    let (mut out, mut err) = (Splitter::default(), Splitter::default());
    let reading = async {
        loop {
            match running.output.next().await {
                Some(Ok(CommandOutput::Out(bytes))) => tell(&mut out, &bytes, progress),
                Some(Ok(CommandOutput::Err(bytes))) => tell(&mut err, &bytes, progress),
                Some(Ok(CommandOutput::Ended(code))) => return Ok(TaskExit::Code(code)),
                Some(Err(error)) => return Err(error),
                None => return Ok(TaskExit::Unseen),
            }
        }
    };
    let exit = timeout(run.within.get(), reading).await;
    for rest in [out.finish(), err.finish()].into_iter().flatten() {
        progress(&rest);
    }
    let began = TaskBegan::Now;
    let exit = exit.unwrap_or(Ok(TaskExit::TimedOut))?;
    let tests = None;
    Ok(TaskEnd { exit, began, tests })
}

/// Tells the lines that are complete.
fn tell(lines: &mut Splitter, bytes: &[u8], progress: Progress<'_>) {
    for line in lines.push(bytes) {
        progress(&line);
    }
}

/// The Job of a task.
struct Job<'a> {
    api: &'a Api,
    namespace: String,
    id: TaskId,
}

impl<'a> Job<'a> {
    fn of(engine: &KubernetesEngine, api: &'a Api, run: &TaskRun) -> Self {
        let namespace = &engine.settings.namespaces.slots[&run.slot];
        Self::named(api, namespace, &run.id)
    }

    fn named(api: &'a Api, namespace: &str, id: &TaskId) -> Self {
        Self {
            api,
            namespace: namespace.to_owned(),
            id: id.clone(),
        }
    }

    fn key(&self) -> ObjectKey {
        ObjectKey {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            namespace: Some(self.namespace.clone()),
            name: self.id.to_string(),
        }
    }

    fn failed(&self, fault: ApiError) -> EngineError {
        fault.while_(format!("running {}", self.id))
    }

    /// Makes the Job, unless it is there.
    async fn begin(
        &self,
        permit: &Permit,
        run: &TaskRun,
        image: &TaskImage,
    ) -> Result<TaskBegan, EngineError> {
        let current = self.api.get(&self.key()).await;
        if current.map_err(|fault| self.failed(fault))?.is_some() {
            return Ok(match self.exit().await? {
                Some(_) => TaskBegan::Ended,
                None => TaskBegan::Before,
            });
        }
        let model = self.model(run, image).await?;
        permit.hold.confirmed().await?;
        let body = self.body(permit, run, &model);
        match self.api.create(&body).await {
            Ok(_) => Ok(TaskBegan::Now),
            Err(fault) if fault.is(StatusCode::CONFLICT) => Ok(TaskBegan::Before),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    /// The object of the service whose pods the Job's is like.
    async fn model(&self, run: &TaskRun, image: &TaskImage) -> Result<Value, EngineError> {
        let manifests = image.workload.objects(run.slot).iter();
        let mut with_pods =
            manifests.filter(|it| it.body()["spec"]["template"]["spec"].is_object());
        let key = with_pods.next().map(Manifest::key);
        let nothing = || EngineError::Refused {
            reason: format!("{} has no object with pods in {}", run.service, run.slot),
            help: "a task runs in a service with a Deployment, StatefulSet or DaemonSet".to_owned(),
        };
        let key = key.ok_or_else(nothing)?;
        let live = self.api.get(&key).await;
        live.map_err(|fault| self.failed(fault))?
            .ok_or_else(nothing)
    }

    fn body(&self, permit: &Permit, run: &TaskRun, model: &Value) -> Value {
        let scope = &permit.scope;
        let labels = json!({
            mark::PROJECT: scope.project.as_str(),
            mark::ENVIRONMENT: scope.environment.as_str(),
            mark::COMMAND: format!("{}.{}", run.slot, run.service),
            mark::TASK: self.id.as_str(),
        });
        let mut spec = pod_like(&model["spec"]["template"]["spec"], &run.command);
        spec["terminationGracePeriodSeconds"] = json!(10);
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": self.id.as_str(),
                "namespace": self.namespace,
                "labels": {mark::TASK: self.id.as_str()},
                // It goes with its release.
                "ownerReferences": [owner(model)],
            },
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": run.within.get().as_secs().max(1),
                "ttlSecondsAfterFinished": KEPT,
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        })
    }

    /// Tells what its pod writes, and waits for its end.
    async fn follow(&self, run: &TaskRun, progress: Progress<'_>) -> Result<TaskExit, EngineError> {
        let limit = run.within.get().saturating_add(START);
        let following = async {
            match self.pod(progress).await {
                Ok(Some(pod)) => self.log(&pod, progress).await,
                Ok(None) => {}
                Err(error) => {
                    self.give_up().await;
                    return Err(error);
                }
            }
            self.end().await
        };
        match timeout(limit, following).await {
            Ok(exit) => exit,
            Err(_) => Ok(TaskExit::TimedOut),
        }
    }

    /// Its pod, once that runs or has run; none when the Job has ended without one that is left.
    async fn pod(&self, progress: Progress<'_>) -> Result<Option<Value>, EngineError> {
        let begun = Instant::now();
        loop {
            let found = self.pods().await.map_err(|fault| self.failed(fault))?;
            let Some(pod) = found.into_iter().next() else {
                if let Some(reason) = self.not_made().await.map_err(|fault| self.failed(fault))? {
                    return Err(EngineError::Failed {
                        what: format!("running {}", self.id),
                        reason,
                    });
                }
                if begun.elapsed() > START || self.exit().await?.is_some() {
                    return Ok(None);
                }
                sleep(LOOK).await;
                continue;
            };
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let key = ObjectKey {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                namespace: Some(self.namespace.clone()),
                name: name.to_owned(),
            };
            let what = format!("running {}", self.id);
            let running = pod::until_it_runs(self.api, &key, &what, progress);
            return running.await.map(Some);
        }
    }

    /// Why its pod may not be made, by what the controller of Jobs says of it. Where events may not
    /// be listed, nothing is known.
    async fn not_made(&self) -> Result<Option<String>, ApiError> {
        let Some(job) = self.api.get(&self.key()).await? else {
            return Ok(None);
        };
        let kind = self.api.must(("v1", "Event")).await?;
        let mut events = BTreeMap::new();
        let about = Selector::Fields("reason=FailedCreate".to_owned());
        let listed = self
            .api
            .list(&kind, Some(&self.namespace), &about, |event| {
                if let Some(key) = key_of(&event) {
                    events.insert(key, event);
                }
            })
            .await;
        match listed {
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => Ok(None),
            other => other.map(|_| not_made(&self.key(), &job, &events)),
        }
    }

    async fn pods(&self) -> Result<Vec<Value>, ApiError> {
        let kind = self.api.must(("v1", "Pod")).await?;
        let mut pods = Vec::new();
        let labels = Selector::Labels(format!("{}={}", mark::TASK, self.id));
        let namespace = Some(self.namespace.as_str());
        self.api
            .list(&kind, namespace, &labels, |pod| pods.push(pod))
            .await?;
        Ok(pods)
    }

    /// Tells what a pod writes, to its end. What cannot be read is no failure of the task.
    async fn log(&self, pod: &Value, progress: Progress<'_>) {
        let container = pod["spec"]["containers"][0]["name"].as_str();
        let part = Part {
            follow: true,
            ..Part::default()
        };
        let path = logs::path(pod, container.unwrap_or_default(), part);
        match self.api.lines(&path).await {
            Ok(lines) => {
                let mut lines = Box::pin(lines);
                while let Some(line) = lines.next().await {
                    match line {
                        Ok(line) => progress(&line),
                        Err(fault) => {
                            progress(&format!("its log cannot be read on: {fault}"));
                            break;
                        }
                    }
                }
            }
            Err(fault) => progress(&format!("its log cannot be read: {fault}")),
        }
    }

    /// How it ended, once it has. The server ends what takes too long.
    async fn end(&self) -> Result<TaskExit, EngineError> {
        loop {
            if let Some(exit) = self.exit().await? {
                return Ok(exit);
            }
            sleep(LOOK).await;
        }
    }

    /// How it ended; none while it runs.
    async fn exit(&self) -> Result<Option<TaskExit>, EngineError> {
        let job = self.api.get(&self.key()).await;
        let Some(job) = job.map_err(|fault| self.failed(fault))? else {
            return Ok(Some(TaskExit::Unseen));
        };
        let mut pods = self.pods().await.map_err(|fault| self.failed(fault))?;
        pods.retain(|pod| is_pod_of(&job, pod));
        Ok(exit_of(&job, &pods))
    }

    /// Deletes it when none of its pods has started: one that starts later would run what has
    /// failed.
    async fn give_up(&self) {
        let Ok(pods) = self.pods().await else { return };
        if pods.iter().all(|pod| pod["status"]["phase"] == "Pending") {
            let _ = self.delete().await;
        }
    }

    /// Deletes it with its pods, and waits until they are gone.
    async fn delete(&self) -> Result<(), ApiError> {
        self.api.delete(&self.key(), None).await?;
        let begun = Instant::now();
        while begun.elapsed() < GOING && !self.pods().await?.is_empty() {
            sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Whether a pod is this Job's. One of a Job with the same name that was deleted may be there for a
/// moment.
fn is_pod_of(job: &Value, pod: &Value) -> bool {
    is_owned_by(pod, &job["metadata"]["uid"])
}

/// A reference to an object that something goes with.
fn owner(of: &Value) -> Value {
    json!({
        "apiVersion": of["apiVersion"],
        "kind": of["kind"],
        "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"],
    })
}

/// How a Job ended, from what the server has of it and of its pods.
pub(super) fn exit_of(job: &Value, pods: &[Value]) -> Option<TaskExit> {
    let conditions = job["status"]["conditions"].as_array();
    let conditions = conditions.into_iter().flatten();
    let mut is = conditions.filter(|condition| condition["status"] == "True");
    let last = is.find(|it| it["type"] == "Complete" || it["type"] == "Failed");

    let statuses = pods.iter().filter_map(|pod| {
        let first = &pod["spec"]["containers"][0]["name"];
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        statuses.iter().find(|status| status["name"] == *first)
    });
    let mut codes = statuses.filter_map(|it| it["state"]["terminated"]["exitCode"].as_u64());
    let code = codes.next_back().and_then(|code| u8::try_from(code).ok());

    match last {
        Some(it) if it["type"] == "Complete" => Some(TaskExit::Code(0)),
        Some(it) if it["reason"] == "DeadlineExceeded" => Some(TaskExit::TimedOut),
        Some(_) => Some(
            code.filter(|code| *code != 0)
                .map_or(TaskExit::Unseen, TaskExit::Code),
        ),
        None => code.map(TaskExit::Code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ended_as_its_conditions_and_its_container_say() {
        let job = |kind: &str, reason: &str| {
            json!({"status": {"conditions": [
                {"type": "Suspended", "status": "False"},
                {"type": kind, "status": "True", "reason": reason},
            ]}})
        };
        let pod = |state: Value| {
            json!({"spec": {"containers": [{"name": "web"}]},
                   "status": {"containerStatuses": [
                       {"name": "proxy", "state": {"terminated": {"exitCode": 9}}},
                       {"name": "web", "state": state}]}})
        };
        let ended = |code: u64| pod(json!({"terminated": {"exitCode": code}}));
        let runs = pod(json!({"running": {}}));

        assert_eq!(exit_of(&json!({}), &[]), None);
        assert_eq!(exit_of(&json!({}), std::slice::from_ref(&runs)), None);
        let code = TaskExit::Code;
        assert_eq!(exit_of(&json!({}), &[ended(3)]), Some(code(3)));
        assert_eq!(exit_of(&job("Complete", ""), &[]), Some(code(0)));
        let late = job("Failed", "DeadlineExceeded");
        assert_eq!(exit_of(&late, &[runs]), Some(TaskExit::TimedOut));
        let failed = job("Failed", "BackoffLimitExceeded");
        assert_eq!(exit_of(&failed, &[ended(7)]), Some(code(7)));
        assert_eq!(exit_of(&failed, &[]), Some(TaskExit::Unseen));
    }

    #[test]
    fn lines_are_told_when_they_are_complete() {
        let told = std::sync::Mutex::new(Vec::new());
        let say = |line: &str| told.lock().expect("told").push(line.to_owned());
        let mut lines = Splitter::default();
        for bytes in [&b"on"[..], b"e\r\ntwo\nth", b"ree\n"] {
            tell(&mut lines, bytes, &say);
        }
        assert_eq!(*told.lock().expect("told"), ["one", "two", "three"]);
        tell(&mut lines, &vec![b'x'; 1 << 20], &say);
        let kept = lines.finish().map(|line| line.len());
        assert_eq!(kept, Some(8 << 10), "of what has no end its beginning");
    }
}
