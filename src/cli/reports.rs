//! The files that a command writes for a CI server.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::Cx;
use crate::files;
use crate::model::event::Event;
use crate::output::reports::{Kind, Report, SUMMARY, StepResult, annotations};
use crate::output::{Exit, Failure, Page};

/// Which files are written.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Write what was found to a file, as `junit`, `gitlab`, `codequality`, `sarif` or `markdown`;
    /// once for each file.
    #[arg(long, value_name = "KIND=FILE", help_heading = "Reports")]
    pub report: Vec<ReportFile>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct ReportFile {
    kind: Kind,
    path: PathBuf,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known: Vec<&str> = Kind::ALL.iter().map(|(word, _)| *word).collect();
        let wrong = || format!("write KIND=FILE, where KIND is one of {}", known.join(", "));
        let (word, path) = text.split_once('=').ok_or_else(wrong)?;
        let kind = Kind::ALL.iter().find(|(known, _)| *known == word);
        let (_, kind) = kind.ok_or_else(wrong)?;
        if path.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            kind: *kind,
            path: path.into(),
        })
    }
}

/// What is found, while a command is at it.
#[derive(Debug, Clone, Default)]
pub struct Reporter(Arc<Mutex<Report>>);

impl Reporter {
    /// One for a command. The files are none of the project's.
    pub fn new(args: &ReportArgs, title: &str) -> Self {
        for file in &args.report {
            files::outputs::name(&file.path);
        }
        let report = Report {
            title: title.to_owned(),
            ..Report::default()
        };
        Self(Arc::new(Mutex::new(report)))
    }

    /// Notes something.
    pub fn note(&self, note: impl FnOnce(&mut Report)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes what happened in a run.
    pub fn event(&self, event: &Event) {
        self.note(|report| match event {
            Event::StepBegan { address, title, .. } => report.steps.push(StepResult {
                address: address.to_string(),
                title: title.clone(),
                millis: None,
                failure: Some("it did not come to its end".to_owned()),
            }),
            Event::StepDone {
                address, millis, ..
            } => {
                let address = address.to_string();
                if let Some(step) = open(report, &address) {
                    step.millis = Some(*millis);
                    step.failure = None;
                }
            }
            Event::StepFailed {
                address,
                reason,
                detail,
                ..
            } => {
                let address = address.to_string();
                let why = std::iter::once(reason).chain(detail);
                let why: Vec<&str> = why.map(String::as_str).collect();
                if let Some(step) = open(report, &address) {
                    step.failure = Some(why.join("\n"));
                    step.millis = Some(step.millis.unwrap_or_default());
                }
            }
            Event::Tested {
                address,
                report: tests,
                ..
            } => report.tests.push((address.to_string(), (**tests).clone())),
            Event::Ended { outcome } => report.outcome = Some(outcome.clone()),
            _ => {}
        });
    }

    /// Writes the files, whatever came of the command, and says how it ends.
    pub fn finish(
        &self,
        cx: &Cx,
        args: &ReportArgs,
        ended: Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let mut report = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Err(failure) = &ended {
            report.failed(failure);
        }
        let redactor = cx.screen.redactor();
        let mut written = Ok(());
        for file in &args.report {
            let text = redactor.text(&report.text(file.kind));
            let result = files::outputs::write(&file.path, text.as_bytes());
            written = written.and(result.map_err(|error| unwritten(&file.path, &error)));
        }
        written = written.and(summarize(cx, &report));
        annotate(cx, &report);
        match (ended, written) {
            // Why the command failed is more than that it could not be told to a file.
            (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
            (Ok(exit), Ok(())) => Ok(exit),
        }
    }
}

/// The step at an address that has not come to its end.
fn open<'a>(report: &'a mut Report, address: &str) -> Option<&'a mut StepResult> {
    let mut steps = report.steps.iter_mut().rev();
    steps.find(|step| step.address == address && step.millis.is_none())
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Adds to the summary of a step, where a build server has a file for it.
fn summarize(cx: &Cx, report: &Report) -> Result<(), Failure> {
    let Some(path) = variable("GITHUB_STEP_SUMMARY") else {
        return Ok(());
    };
    let path = Path::new(&path);
    let there = std::fs::metadata(path).map_or(0, |file| file.len());
    let room = SUMMARY.saturating_sub(usize::try_from(there).unwrap_or(SUMMARY));
    let text = report.markdown(room);
    let text = cx.screen.redactor().text(&text);
    if text.len() > room {
        return Ok(());
    }
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| unwritten(path, &error))
}

/// Shows what is wrong beside the lines that it is about.
fn annotate(cx: &Cx, report: &Report) {
    if variable("GITHUB_ACTIONS").as_deref() != Some("true") {
        return;
    }
    let project = std::path::absolute(&cx.directory).ok();
    let top = variable("GITHUB_WORKSPACE");
    let inside = project.zip(top).and_then(|(project, top)| {
        let inside = project.strip_prefix(top).ok()?.to_path_buf();
        Some(inside.display().to_string()).filter(|inside| !inside.is_empty())
    });
    let prefix = inside
        .map(|inside| format!("{inside}/"))
        .unwrap_or_default();
    let page: Page = annotations(report, &prefix)
        .into_iter()
        .map(Into::into)
        .collect();
    cx.screen.alert(&page);
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("writing {}: {error}", path.display());
    Failure::say(Exit::Failed, what, "name another file")
}
