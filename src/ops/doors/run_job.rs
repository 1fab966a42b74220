//! The process of a job: it checks out what is asked for, looks at what the files ask for, runs the
//! command, and writes down how that ended.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admission::{admit, kept, literal};
use super::reported;
use crate::config::{self, Project};
use crate::discover::is_said_of_secrets;
use crate::driver::runner::attempt::{Attempt, JobLog};
use crate::driver::runner::checkout::{CheckedOut, Checkout};
use crate::driver::runner::lane::LaneHold;
use crate::driver::runner::supervise::{Stopping, Supervised, Written, supervise};
use crate::files::marked::Mark;
use crate::files::{self, environment, process};
use crate::model::event::Event;
use crate::model::job::{JobEnd, JobKind};
use crate::model::job_report::{JobCommit, JobMark};
use crate::model::pipeline::{Pipeline, PipelineStep};
use crate::model::secret::SecretValue;
use crate::output::{Exit, events, outcome};
use crate::port::runner::{JobSpec, RunnerError};
use crate::redact::Redactor;

/// The largest secret in a file, in bytes.
const LARGEST_SECRET: u64 = 1 << 20;

/// The shortest value of a variable of the server's that is hidden for its name alone, in bytes: a
/// shorter one is rather a word or a number, which stands in many lines.
const LEAST_OF_SERVER: usize = 8;
/// What the step of fetching and looking at the files is known by.
const CHECKOUT: &str = "checkout";

/// The longest reason, in characters.
const LONGEST_REASON: usize = 300;

/// Runs an attempt to its end in this process.
///
/// # Errors
/// Its files cannot be read or written; then nobody knows how it ended.
pub async fn run(
    folder: PathBuf,
    attempt: u32,
    interrupted: CancellationToken,
) -> std::io::Result<()> {
    let Some(mut attempt) = Attempt::begin(folder, attempt)? else {
        return Ok(());
    };
    let mut spec = attempt.spec().clone();
    if spec.mark.is_empty() {
        Mark::random().word().clone_into(&mut spec.mark);
    }
    let began = format!(
        "job {}, attempt {}: {} {}",
        spec.number,
        spec.attempt,
        spec.kind.word(),
        spec.lane
    );
    attempt
        .log()
        .line(&format!("{began} at {}, for {}", spec.reference, spec.by));

    let end = match LaneHold::take(&spec.place, Mark::of(&spec.mark)) {
        Ok(lane) => {
            let end = carried_out(&mut attempt, &spec, &interrupted).await;
            if let Err(error) = lane.leave() {
                attempt.log().line(&error.to_string());
            }
            end
        }
        Err(error) => not_begun(&error),
    };
    let log = attempt.log();
    if !end.reason.is_empty() {
        log.line(&format!("it ended with {}: {}", end.exit, end.reason));
    }
    attempt.finish(&end)
}

/// How the attempt ended.
async fn carried_out(
    attempt: &mut Attempt,
    spec: &JobSpec,
    interrupted: &CancellationToken,
) -> JobEnd {
    attempt.report(&JobMark::began(CHECKOUT, "check out", Timestamp::now()));
    let brought = tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(ended(Exit::Interrupted, "it was stopped before it \
            began")),
        brought = bring(attempt.told(), spec) => brought,
    };
    let Brought {
        folder: checkout,
        commit,
        redactor,
    } = match brought {
        Ok(brought) => brought,
        Err(end) => {
            attempt.report(&JobMark::failed(CHECKOUT, &end.reason, Timestamp::now()));
            return end;
        }
    };
    let commit = commit.commit;
    attempt.report(&JobMark::done(CHECKOUT, &commit, Timestamp::now()));
    let until = Until {
        deadline: Instant::now() + spec.within,
        interrupted,
    };
    let ran = steps(attempt, spec, (&checkout, &commit), (until, &redactor)).await;
    let ran = match ran {
        // What was to stop before the command was there begins none.
        _ if interrupted.is_cancelled() => Ok(ended(
            Exit::Interrupted,
            "it was stopped before the deployment",
        )),
        Ok(()) => command(attempt, spec, &checkout, until).await,
        Err(reason) => Ok(ended(Exit::Failed, reason)),
    };
    let end = match ran {
        Ok(end) => end,
        Err(error) => ended(
            Exit::Failed,
            format!("the command cannot be started: {error}"),
        ),
    };
    JobEnd {
        commit: Some(commit),
        ..end
    }
}

fn ended(exit: Exit, reason: impl Into<String>) -> JobEnd {
    let reason: String = reason.into();
    JobEnd {
        exit: exit.code(),
        reason: reason.chars().take(LONGEST_REASON).collect(),
        commit: None,
    }
}

/// How an attempt ends whose lane is not free.
fn not_begun(error: &std::io::Error) -> JobEnd {
    let exit = match error.kind() {
        std::io::ErrorKind::TimedOut => Exit::Locked,
        _ => Exit::Failed,
    };
    ended(exit, format!("the environment's checkout: {error}"))
}

/// Until when the commands of an attempt may run.
#[derive(Clone, Copy)]
struct Until<'a> {
    deadline: Instant,
    interrupted: &'a CancellationToken,
}

impl Until<'_> {
    fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// What is deployed.
struct Brought {
    /// The project's folder in the checkout.
    folder: PathBuf,
    commit: JobCommit,
    /// Hides the values that the commands before the deployment can have come by.
    redactor: Redactor,
}

/// The values of the environment's secrets that are on this machine, and of the server's variables
/// whose names say that they are secrets: any program that is started here may print them. Those of
/// other places are known to nobody before the deployment asks for them.
fn known(project: &Project, spec: &JobSpec) -> Redactor {
    let redactor = Redactor::default();
    let of_server = variables(spec, "sh".as_ref());
    for (name, value) in of_server.as_std().get_envs() {
        let value = value.and_then(OsStr::to_str).unwrap_or_default();
        let is_secret = name.to_str().is_some_and(is_said_of_secrets);
        if is_secret && value.len() >= LEAST_OF_SERVER {
            redactor.remember(&SecretValue::new(value.to_owned()));
        }
    }

    let configuration = project.environments.get(&spec.lane.environment);
    for secret in configuration.iter().flat_map(|it| it.secrets.values()) {
        let of_env = secret
            .env
            .as_ref()
            .and_then(|name| std::env::var(name).ok());
        let of_file = secret.file.as_ref().and_then(|path| {
            let text = files::read_text(&project.root.join(path), LARGEST_SECRET);
            text.ok()
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        });
        for value in of_env.into_iter().chain(of_file) {
            redactor.remember(&SecretValue::new(value));
        }
    }
    redactor
}

/// Checks out what the ref points at, once what its files ask for is allowed.
async fn bring(
    (log, report): (&mut JobLog, &mut JobLog),
    spec: &JobSpec,
) -> Result<Brought, JobEnd> {
    let failed = |error: RunnerError| ended(Exit::Failed, error.to_string());
    let checkout = Checkout::of(spec);
    let commit = match checkout.bring(&spec.reference).await.map_err(failed)? {
        CheckedOut::At(commit) => commit,
        CheckedOut::NoRef => {
            let reason = format!("{} is not in the repository any more", spec.reference);
            return Err(ended(Exit::Stale, reason));
        }
    };
    log.line(&format!("checked out {commit}"));
    let commit = checkout.described(&commit).await;
    report.mark(&JobMark::CheckedOut(commit.clone()));

    checkout
        .clean_configuration(&spec.folder)
        .await
        .map_err(failed)?;
    let folder = checkout.folder().join(&spec.folder);
    let project = config::load(&folder).map_err(|error| {
        for fault in &error.faults {
            log.line(&fault.to_string());
        }
        ended(Exit::Failed, error.to_string())
    })?;
    if project.name != spec.lane.project {
        let reason = format!(
            "shipit.yaml is of the project {}, not {}",
            project.name, spec.lane.project
        );
        return Err(ended(Exit::Refused, reason));
    }
    allowed(log, spec, &project)?;
    checkout
        .clean(&below(&spec.folder, kept(&project)))
        .await
        .map_err(failed)?;
    Ok(Brought {
        folder,
        commit,
        redactor: known(&project, spec),
    })
}

fn below(folder: &Path, patterns: Vec<String>) -> Vec<String> {
    let folder = PathBuf::from(literal(&folder.to_string_lossy()));
    let joined = |path: String| folder.join(path).to_string_lossy().into_owned();
    patterns.into_iter().map(joined).collect()
}

fn allowed(log: &mut JobLog, spec: &JobSpec, project: &Project) -> Result<(), JobEnd> {
    let refused = admit(project, &spec.may);
    for reason in &refused {
        log.line(&format!("refused: {reason}"));
    }
    match refused.as_slice() {
        [] => Ok(()),
        [one] => Err(ended(Exit::Refused, one.as_str())),
        many => Err(ended(
            Exit::Refused,
            format!("{} (and {} more: see the log)", many[0], many.len() - 1),
        )),
    }
}

/// Runs the steps of the pipeline, if there is one. An error is why the deployment does not begin.
async fn steps(
    attempt: &mut Attempt,
    spec: &JobSpec,
    (folder, commit): (&Path, &str),
    (until, redactor): (Until<'_>, &Redactor),
) -> Result<(), String> {
    let Some(pipeline) = &spec.pipeline else {
        return Ok(());
    };
    for (index, step) in pipeline.steps.iter().enumerate() {
        let key = format!("pipeline {index}");
        attempt.report(&JobMark::began(&key, &step.step, Timestamp::now()));
        let ran = commands(
            attempt,
            (spec, pipeline),
            step,
            (folder, commit),
            (until, redactor),
        )
        .await;
        attempt.report(&match &ran {
            Ok(()) => JobMark::done(&key, "", Timestamp::now()),
            Err(reason) => JobMark::failed(&key, reason, Timestamp::now()),
        });
        ran?;
    }
    Ok(())
}

/// Runs the commands of a step, one after the other. An error is why the deployment does not begin.
async fn commands(
    attempt: &mut Attempt,
    (spec, pipeline): (&JobSpec, &Pipeline),
    step: &PipelineStep,
    (folder, commit): (&Path, &str),
    (until, redactor): (Until<'_>, &Redactor),
) -> Result<(), String> {
    attempt.log().line(&format!("step {}", step.step));
    for text in &step.commands {
        attempt.log().line(&format!("  $ {text}"));
        let mut command = variables(spec, "sh".as_ref());
        command
            .args(["-ec", text])
            .current_dir(folder)
            .envs(&pipeline.parameters)
            .env("SHIPIT_PROJECT", spec.lane.project.as_str())
            .env("SHIPIT_ENVIRONMENT", spec.lane.environment.as_str())
            .env("SHIPIT_REF", &spec.reference)
            .env("SHIPIT_COMMIT", commit);
        let lock = attempt.share_lock().map_err(|error| error.to_string())?;
        let log = attempt.log();
        let mut stream = redactor.stream();
        let mut tell = |lines: Vec<String>| {
            for line in lines {
                log.line(&format!("  {line}"));
            }
        };
        let mark = Mark::of(&spec.mark);
        let stopping = Stopping::All(&mark, until.interrupted);
        let said = supervise(command, lock, until.left(), stopping, |line| {
            let (Written::Out(text) | Written::Err(text)) = line;
            tell(stream.push(text.clone()));
        });
        let failed = |why: String| format!("step {}: `{text}` {why}", step.step);
        let said = said.await;
        tell(stream.finish());
        match said.map_err(|error| failed(format!("cannot be started: {error}")))? {
            Supervised::Ended(status) if status.success() => {}
            Supervised::Ended(status) => return Err(failed(format!("ended with {status}"))),
            Supervised::Late(_) => return Err(failed("was not done in time".to_owned())),
        }
    }
    Ok(())
}

/// A program with what it may see of the server's environment.
fn variables(spec: &JobSpec, program: &OsStr) -> Command {
    let variables: Vec<&str> = spec.variables.iter().map(String::as_str).collect();
    let mut command = environment::tool(program, &variables);
    command
        .env("SHIPIT_JOB", spec.number.to_string())
        .env("SHIPIT_JOB_BY", spec.by.to_string());
    command
}

/// Runs the command to its end.
async fn command(
    attempt: &mut Attempt,
    spec: &JobSpec,
    folder: &Path,
    until: Until<'_>,
) -> std::io::Result<JobEnd> {
    let mut command = variables(spec, process::program().as_ref());
    command
        .arg("-C")
        .arg(folder)
        .args(["--env", spec.lane.environment.as_str()])
        .current_dir(folder);
    match spec.kind {
        JobKind::Apply => {
            let timeout = format!("{}s", spec.lock_timeout.as_secs());
            command.args(["apply", "--auto-approve", "--fetch", "--output", "json"]);
            command.args(["--lock-timeout", &timeout]);
        }
        JobKind::Plan => {
            command.args(["plan", "--fetch", "--output", "human"]);
        }
    }

    let lock = attempt.share_lock()?;
    // What a plan does has no steps of its own.
    let is_plan = spec.kind == JobKind::Plan;
    let key = spec.kind.word();
    if is_plan {
        attempt.report(&JobMark::began(key, key, Timestamp::now()));
    }
    let (log, report) = attempt.told();
    let mut told = Told {
        log,
        report,
        reason: String::new(),
    };
    // It is of this process' group, which is told to stop, and ends its own programs by itself.
    let stopping = Stopping::Itself;
    let supervised = supervise(command, lock, until.left(), stopping, |line| {
        told.line(line);
    });
    let supervised = supervised.await?;
    let reason = told.reason;
    let end = ended_with(spec, supervised, reason);
    if is_plan {
        attempt.report(&match end.exit {
            0 => JobMark::done(key, "", Timestamp::now()),
            _ => JobMark::failed(key, &end.reason, Timestamp::now()),
        });
    }
    Ok(end)
}

/// What the end of the command means.
fn ended_with(spec: &JobSpec, supervised: Supervised, reason: String) -> JobEnd {
    match supervised {
        Supervised::Ended(status) => match status.code() {
            Some(0) => ended(Exit::Done, ""),
            Some(code) => JobEnd {
                exit: u8::try_from(code).unwrap_or(1),
                ..ended(Exit::Failed, reason)
            },
            None => ended(Exit::Failed, format!("its command was killed ({status})")),
        },
        Supervised::Late(_) => {
            let limit = humantime::format_duration(Duration::from_secs(spec.within.as_secs()));
            ended(
                Exit::Failed,
                format!("it was not done within {limit}, and was stopped"),
            )
        }
    }
}

/// What the command says, for the log and the report; and why it failed.
struct Told<'a> {
    log: &'a mut JobLog,
    report: &'a mut JobLog,
    reason: String,
}

impl Told<'_> {
    fn line(&mut self, line: Written) {
        match line {
            Written::Err(text) => self.log.line(&text),
            Written::Out(text) => match serde_json::from_str::<Value>(&text) {
                Ok(document) => self.document(document),
                Err(_) => self.log.line(&text),
            },
        }
    }

    fn document(&mut self, document: Value) {
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        match document["kind"].as_str() {
            Some("event") => {
                if let Ok(event) = serde_json::from_value::<Event>(document) {
                    self.event(&event);
                }
            }
            Some("error") => {
                let (message, help) = (text("message"), text("help"));
                self.log.line(&message);
                for line in help.lines() {
                    self.log.line(&format!("  {line}"));
                }
                self.reason = message;
            }
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) {
        if let Some(mark) = reported::mark(event, Timestamp::now()) {
            self.report.mark(&mark);
        }
        let page = match event {
            Event::Ended { outcome } => outcome::human(outcome),
            other => events::words(other),
        };
        let text = page.plain();
        for line in text.lines() {
            self.log.line(line);
        }
        if let Event::Ended { .. } = event {
            let first = text.lines().next().unwrap_or_default();
            first.clone_into(&mut self.reason);
        }
    }
}
