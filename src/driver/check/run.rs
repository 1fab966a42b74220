//! Commands as checks.

use crate::driver::check::CheckFailure;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::files::{environment, interpreter};
use crate::model::Period;
use crate::model::check::RunCheck;
use crate::model::own_rule::ProgramRule;
use crate::model::port::PortName;
use crate::port::Progress;
use crate::port::checker::CheckTarget;

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 20;

/// How many bytes of an output are kept.
const MOST: usize = 1 << 20;

/// Runs the command in the project's folder. Past its time the command ends with all that it
/// started.
pub(super) async fn run(
    check: &RunCheck,
    target: &CheckTarget,
    progress: Progress<'_>,
) -> Result<(), CheckFailure> {
    start(&check.command, check.timeout, None, target, progress).await
}

/// The same for a program that is asked about what comes through its standard input.
pub(super) async fn ask(
    rule: &ProgramRule,
    input: Vec<u8>,
    target: &CheckTarget,
) -> Result<(), CheckFailure> {
    start(&rule.command, rule.timeout, Some(input), target, &|_| {}).await
}

async fn start(
    words: &[String],
    timeout: Period,
    input: Option<Vec<u8>>,
    target: &CheckTarget,
    progress: Progress<'_>,
) -> Result<(), CheckFailure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(CheckFailure::say("there is no command"));
    };
    let mut command = environment::program(program);
    command
        .args(arguments)
        .current_dir(&target.root)
        .envs(&target.env)
        .envs(urls(target));
    let bounds = Bounds {
        within: timeout.get(),
        answer: Keep::Last(MOST),
        beside: MOST,
        // A check may start what the next one asks.
        left_behind: LeftBehind::GoesOn,
    };
    let said = captured(command, input, &bounds).await;
    let said = said.map_err(|error| {
        CheckFailure::say(match error {
            CaptureError::Start(error) => {
                let reason = interpreter::explained(program, &target.root, &error);
                format!("`{program}` cannot be started: {reason}")
            }
            CaptureError::Late(_) => format!("not done within {timeout}"),
            other => other.to_string(),
        })
    })?;

    let (status, text) = (said.status, [said.answer, said.beside].concat());
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(500).collect())
        .collect();
    if status.success() {
        for line in &lines {
            progress(line);
        }
        return Ok(());
    }
    let skip = lines.len().saturating_sub(LAST_LINES);
    let code = status
        .code()
        .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    Err(CheckFailure {
        reason: interpreter::with_windows_lines(format!("ended with {code}"), words, &target.root),
        detail: lines.into_iter().skip(skip).collect(),
    })
}

/// `SHIPIT_URL` for the first service, `SHIPIT_URL_<SERVICE>` for each, and
/// `SHIPIT_URL_<SERVICE>_<PORT>` for each listener of its further ports.
fn urls(target: &CheckTarget) -> Vec<(String, String)> {
    let first = target
        .urls
        .first()
        .map(|url| ("SHIPIT_URL".to_owned(), url.url.clone()));
    let each = target.urls.iter().map(|url| {
        let port = url.port.iter().map(PortName::as_str);
        let words: Vec<&str> = std::iter::once(url.service.as_str()).chain(port).collect();
        let name = words.join("_").to_uppercase().replace('-', "_");
        (format!("SHIPIT_URL_{name}"), url.url.clone())
    });
    first.into_iter().chain(each).collect()
}
