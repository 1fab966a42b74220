//! One call of the program.

use std::path::Path;
use std::time::Duration;

use super::{Answer, NO_GIT};
use crate::files::environment;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::port::scm::ScmError;

/// The most that one call may print, in bytes: the names of all files of a large repository are
/// much less.
const MOST: usize = 256 << 20;

/// How much of the end of what it says beside that is kept.
const BESIDE: usize = 64 << 10;

/// The variable that says how SSH asks for a passphrase.
const ASKS: &str = "SSH_ASKPASS_REQUIRE";

/// The program in a folder.
pub(super) fn program(folder: &Path, arguments: &[&str]) -> tokio::process::Command {
    let mut command = environment::program("git");
    command
        .arg("-c")
        .arg("core.fsmonitor=false")
        // A hint would be taken for the reason of an error.
        .arg("-c")
        .arg("advice.graftFileDeprecated=false")
        // What it says of a signature would be taken for what it was asked.
        .arg("-c")
        .arg("log.showSignature=false")
        // A commit may bring the files of a repository, with settings that start programs.
        .arg("-c")
        .arg("safe.bareRepository=explicit")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        // A ref may say that one commit stands for another.
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    // In a process group of its own SSH would be stopped when it asks at the terminal.
    if std::env::var_os(ASKS).is_none() {
        command.env(ASKS, "force");
    }
    command
}

/// Runs Git to its end; one that asks or hangs is ended.
pub(super) async fn run(
    command: tokio::process::Command,
    what: &str,
    limit: Duration,
) -> Result<Answer, ScmError> {
    run_on(None, command, what, limit).await
}

/// The same for a call that reads something.
pub(super) async fn run_on(
    input: Option<Vec<u8>>,
    command: tokio::process::Command,
    what: &str,
    limit: Duration,
) -> Result<Answer, ScmError> {
    let failed = |reason: String| ScmError {
        what: what.to_owned(),
        reason,
        help: None,
    };
    let bounds = Bounds {
        within: limit,
        answer: Keep::Whole(MOST),
        beside: BESIDE,
        // What it starts may keep a login for the next call.
        left_behind: LeftBehind::GoesOn,
    };
    let said = captured(command, input, &bounds).await;
    let said = said.map_err(|error| match error {
        CaptureError::Start(error) if error.kind() == std::io::ErrorKind::NotFound => {
            failed(NO_GIT.to_owned())
        }
        CaptureError::Start(error) => failed(error.to_string()),
        CaptureError::Late(limit) => failed(format!("no answer within {} s", limit.as_secs())),
        other => failed(other.to_string()),
    })?;

    Ok(Answer {
        code: said.status.code(),
        stdout: said.answer,
        stderr: String::from_utf8_lossy(&said.beside).trim().to_owned(),
    })
}
