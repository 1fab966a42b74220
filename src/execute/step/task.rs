//! Tasks: run once for a release, with their output shown and kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::execute::step::outcome::{Done, StepError};
use crate::execute::step::{facts, secrets};
use crate::execute::{Run, log};
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::plan::Step;
use crate::model::release::Label;
use crate::model::task::{OnFailure, ReleaseTask, TaskExit, TaskId, TaskProgram, TaskRecord};
use crate::model::test_report::TestReport;
use crate::model::{Slot, TaskName};
use crate::port::engine::{TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun};
use crate::redact::LineStream;

/// How long a task that is told to stop may take to be gone.
const STOPPING: Duration = Duration::from_secs(30);
/// How many attempts of earlier runs are passed over.
const MOST_ATTEMPTS: u32 = 100;
/// How many bytes of a task's output the journal keeps: the last ones.
const JOURNAL: usize = 64 << 10;
/// How many of its last lines are kept with the release, and how many bytes of them.
const RECORD_LINES: usize = 20;
const RECORD: usize = 2 << 10;

pub(super) async fn task(
    run: &Arc<Run>,
    step: &Step,
    (slot, name): (Slot, &TaskName),
    of: &ReleaseTask,
) -> Result<Done, StepError> {
    let mut of = known(run, of)?;
    let say = run.teller(step);
    let kept = Kept::new(run.job.ports.redactor.stream());
    let tell = |line: &str| {
        kept.push(line);
        say(line);
    };

    let mut request = TaskRun {
        id: TaskId::of(&run.permit().lineage, name, &of),
        slot,
        service: of.task.service.clone(),
        place: place(run, slot, &of, &tell).await?,
        command: of.task.program.command().to_vec(),
        within: of.task.timeout,
        junit: of.task.reports.junit.clone(),
    };
    let end = loop {
        let end = attempt(run, request.clone(), &tell).await?;
        if !is_of_the_past(&end) || of.attempt >= MOST_ATTEMPTS {
            break end;
        }
        say(&format!(
            "an earlier run has begun it, and it has failed: {}; it is begun anew",
            end.exit
        ));
        of.attempt += 1;
        request.id = TaskId::of(&run.permit().lineage, name, &of);
    };

    let lines = kept.finish();
    let tests = tests(run, step, &of, &end);
    let record = TaskRecord {
        tests: tests.as_ref().map(TestReport::summary),
        ..record((name, &of), &end, &lines)
    };
    run.keep_task(record.clone());
    log::task(run, step, record.clone(), lines).await?;
    result(run, record, end.began, tests.as_ref())
}

/// One attempt, to its end.
async fn attempt(
    run: &Run,
    request: TaskRun,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<TaskEnd, StepError> {
    let engine = &run.acting().await?.engine;
    let id = request.id.clone();
    tokio::select! {
        biased;
        end = engine.run_task(run.permit(), request, tell) => Ok(end?),
        () = run.soft.cancelled() => {
            stop(run, &id).await;
            Err(StepError::Stopped)
        }
    }
}

/// Whether it is an attempt that had failed before this run asked for it, of which the history
/// knows nothing: its run was killed, or its history is lost. What nobody saw end is not begun
/// twice on a guess.
const fn is_of_the_past(end: &TaskEnd) -> bool {
    let has_failed = match end.exit {
        TaskExit::Code(code) => code != 0,
        TaskExit::TimedOut => true,
        TaskExit::Unseen => false,
    };
    matches!(end.began, TaskBegan::Ended) && has_failed
}

/// The attempt with its image filled in.
fn known(run: &Run, of: &ReleaseTask) -> Result<ReleaseTask, StepError> {
    let workload = of.workload.as_ref().map(|workload| {
        let unbuilt = || {
            let service = &workload.service;
            StepError::Plan(format!("no step of this plan built the image of {service}"))
        };
        run.known(workload).ok_or_else(unbuilt)
    });
    Ok(ReleaseTask {
        workload: workload.transpose()?,
        ..of.clone()
    })
}

async fn place(
    run: &Run,
    slot: Slot,
    of: &ReleaseTask,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<TaskPlace, StepError> {
    let workload = match (&of.task.program, &of.workload) {
        (TaskProgram::Exec { .. }, _) => return Ok(TaskPlace::Instance),
        (TaskProgram::Run(_), Some(workload)) => workload.clone(),
        (TaskProgram::Run(_), None) => {
            let reason = "the plan runs a task in an image, and does not say in which";
            return Err(StepError::Plan(reason.to_owned()));
        }
    };
    let image = workload.image.value().ok_or_else(|| {
        StepError::Plan(format!("the image of {} is not known", workload.service))
    })?;

    let registry = &run.job.ports.registry;
    let pull = registry.bring(workload.home(), image, say).await?;
    // A release that stands there has been given its values: what cannot be read here, the engine
    // holds.
    let target = run.plan().target.as_ref();
    let direction = match target.filter(|target| target.release == of.release) {
        Some(_) => Direction::Forward,
        None => Direction::Back,
    };
    let secrets = secrets::of_workload(run, direction, &workload).await?;
    Ok(TaskPlace::OneOff(Box::new(TaskImage {
        label: label(run, slot, of).await?,
        workload,
        pull,
        secrets,
    })))
}

/// The release that a task is of: the plan's own, or the one that stands in the slot.
async fn label(run: &Run, slot: Slot, of: &ReleaseTask) -> Result<Label, StepError> {
    let target = run.target_label();
    if let Some(label) = target.filter(|label| label.number == of.release) {
        return Ok(label);
    }
    let facts = facts(run).await?;
    let there = facts.slots.get(&slot).map(|there| there.label.clone());
    there
        .filter(|label| label.number == of.release)
        .ok_or_else(|| StepError::Plan(format!("release {} is not in {slot}", of.release)))
}

/// Ends a task whose run is told to stop. One that cannot be ended is found by the next run.
async fn stop(run: &Run, id: &TaskId) {
    let Ok(ports) = run.acting().await else {
        return;
    };
    let stopping = ports.engine.stop_task(run.permit(), id);
    let reason = match timeout(STOPPING, stopping).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not end".to_owned(),
    };
    run.say(Event::Note {
        text: format!("{id} could not be stopped: {reason}; the next run goes on with it"),
    });
}

/// What its tests say, without values of secrets; it is told, too.
fn tests(run: &Run, step: &Step, of: &ReleaseTask, end: &TaskEnd) -> Option<TestReport> {
    if of.task.reports.is_empty() {
        return None;
    }
    let Some(report) = end.tests.clone() else {
        let text = match end.exit {
            TaskExit::Unseen => "nobody was there to collect the reports of the task",
            TaskExit::Code(_) | TaskExit::TimedOut => {
                "the agent is of an earlier version, and collects no reports of tasks"
            }
        };
        run.say(Event::Note {
            text: text.to_owned(),
        });
        return None;
    };
    let redactor = &run.job.ports.redactor;
    let report = report.map(&|text| redactor.text(text));
    run.say(Event::Tested {
        step: step.id,
        address: step.address.clone(),
        report: Box::new(report.clone()),
    });
    Some(report)
}

fn record((name, of): (&TaskName, &ReleaseTask), end: &TaskEnd, lines: &[String]) -> TaskRecord {
    TaskRecord {
        name: name.clone(),
        release: of.release,
        class: of.task.class,
        on_failure: of.task.on_failure,
        exit: end.exit,
        at: Timestamp::now(),
        log: last(lines),
        tests: None,
    }
}

/// The last lines, as many as are kept with a release.
fn last(lines: &[String]) -> Vec<String> {
    let mut room = RECORD;
    let mut kept: Vec<String> = Vec::new();
    for line in lines.iter().rev().take(RECORD_LINES) {
        if line.len() > room {
            break;
        }
        room -= line.len();
        kept.push(line.clone());
    }
    kept.reverse();
    kept
}

/// How many failing tests are told with a failure.
const TOLD: usize = 10;

fn result(
    run: &Run,
    record: TaskRecord,
    began: TaskBegan,
    tests: Option<&TestReport>,
) -> Result<Done, StepError> {
    let before = match began {
        TaskBegan::Now => "",
        TaskBegan::Before | TaskBegan::Ended => ", begun by an earlier run",
    };
    let (name, how) = (&record.name, record.how());
    match (record.exit.is_ok(), record.on_failure) {
        (true, _) => {
            let said = record
                .tests
                .map_or_else(String::new, |it| format!(": {it}"));
            Ok(Done::say(format!("done{before}{said}")))
        }
        (false, OnFailure::Note) => {
            let text = format!("the task {name} has failed, which is noted only: {how}");
            run.say(Event::Note { text });
            Ok(Done::say(format!("failed, noted{before}: {how}")))
        }
        (false, OnFailure::Stop) => {
            let mut log = record.log;
            let failures = tests.into_iter().flat_map(TestReport::failures).take(TOLD);
            log.extend(failures.filter_map(|case| {
                let (message, _) = case.result.failure()?;
                Some(format!("failed: {}: {message}", case.full_name()))
            }));
            Err(StepError::Task { how, log })
        }
    }
}

/// The last of a task's output, without values of secrets.
struct Kept(Mutex<(LineStream, VecDeque<String>, usize)>);

impl Kept {
    fn new(stream: LineStream) -> Self {
        Self(Mutex::new((stream, VecDeque::new(), 0)))
    }

    fn push(&self, line: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = kept.0.push(line.to_owned());
        Self::take(&mut kept, shown);
    }

    fn take(kept: &mut (LineStream, VecDeque<String>, usize), lines: Vec<String>) {
        let (_, all, bytes) = kept;
        for mut line in lines {
            line.truncate(line.floor_char_boundary(JOURNAL));
            *bytes += line.len() + 1;
            all.push_back(line);
        }
        while *bytes > JOURNAL {
            let Some(first) = all.pop_front() else {
                break;
            };
            *bytes -= first.len() + 1;
        }
    }

    fn finish(&self) -> Vec<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = kept.0.finish();
        Self::take(&mut kept, shown);
        kept.1.drain(..).collect()
    }
}
