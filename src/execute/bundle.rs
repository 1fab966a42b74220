//! What is known about a failure, recorded before anything is reverted: afterwards the pods are
//! gone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::execute::Run;
use crate::model::event::Event;
use crate::model::plan::{Action, Step};
use crate::model::{Address, ObjectKey, Slot};
use crate::port::engine::Diagnosis;

/// How long gathering may hold up the rollback.
const DEADLINE: Duration = Duration::from_secs(15);
/// The most that is kept of one file.
const LARGEST: usize = 1 << 20;

/// Gathers what the engine knows about what a step was about, and keeps it beside the history.
pub(super) async fn gather(run: &Run, step: &Step, reason: &str) {
    let plan = run.plan();
    let target = plan.target.as_ref().map(|target| target.release);
    let active = plan.active.as_ref().map(|active| active.release);
    let (Some(subject), Some(release)) = (subject(step), target.or(active)) else {
        return;
    };

    let (engine, scope) = (&run.job.ports.engine, &run.job.permit.scope);
    let asked = async {
        match subject {
            Subject::Slot(slot) => engine.diagnose(scope, slot, Some(release)).await,
            Subject::Object(key) => engine.diagnose_object(scope, key).await,
        }
    };
    let diagnosis = match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(Some(diagnosis))) => diagnosis,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return note(run, format!("what failed could not be looked at: {error}")),
        Err(_) => {
            return note(
                run,
                format!("what failed could not be looked at within {DEADLINE:?}"),
            );
        }
    };

    let diagnosis = scrubbed(run, diagnosis, reason);
    let Ok(ports) = run.acting().await else {
        return;
    };

    let kept = ports
        .store
        .keep_failure(&plan.environment, release, &diagnosis.files)
        .await;
    match kept {
        Ok(Some(place)) => {
            note(run, format!("likely cause: {}", diagnosis.cause));
            note(run, format!("logs, events and objects are kept in {place}"));
        }
        Ok(None) => note(run, format!("likely cause: {}", diagnosis.cause)),
        Err(error) => note(
            run,
            format!("what is known about it could not be kept: {error}"),
        ),
    }
}

fn note(run: &Run, text: String) {
    run.say(Event::Note { text });
}

/// What explains by its state why a step failed.
enum Subject<'a> {
    Slot(Slot),
    Object(&'a ObjectKey),
}

fn subject(step: &Step) -> Option<Subject<'_>> {
    match (&step.action, &step.address) {
        (Action::WaitUntilReady { .. } | Action::Check { .. }, Address::Slot(slot))
        | (Action::Deploy { running: true, .. }, Address::Workload(slot, _)) => {
            Some(Subject::Slot(*slot))
        }
        (Action::Apply { .. }, Address::Object(key)) => Some(Subject::Object(key)),
        _ => None,
    }
}

/// Without any secret's value that this run has read, and without what is too long to read.
fn scrubbed(run: &Run, diagnosis: Diagnosis, reason: &str) -> Diagnosis {
    let redactor = &run.job.ports.redactor;
    let mut files: BTreeMap<String, String> = diagnosis
        .files
        .into_iter()
        .map(|(name, text)| (name, last_of(redactor.text(&text))))
        .collect();
    let summary = files.entry("summary.txt".to_owned()).or_default();
    for part in ["what shipit said: ", &redactor.text(reason), "\n"] {
        summary.push_str(part);
    }
    Diagnosis {
        cause: redactor.text(&diagnosis.cause),
        files,
    }
}

/// As much of a text as is kept: its end.
fn last_of(text: String) -> String {
    if text.len() <= LARGEST {
        return text;
    }
    let at = text.ceil_char_boundary(text.len() - LARGEST);
    format!("(the beginning is left out)\n{}", &text[at..])
}
