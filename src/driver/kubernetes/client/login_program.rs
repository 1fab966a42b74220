//! The program of a kubeconfig that gives a login (`exec`). The library waits for it without a
//! limit and shows how it ended as a debugger would: it gets this program in its place, which has a
//! limit of time and says in words what went wrong.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{ExecConfig, ExecInteractiveMode};

use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::files::{environment, interpreter, process};

/// How long it may take where nobody can be asked anything.
const WITHIN: Duration = Duration::from_secs(30);

/// What it may do.
const BOUNDS: Bounds = Bounds {
    within: WITHIN,
    answer: Keep::Whole(1 << 20),
    beside: 4 << 10,
    // A daemon that keeps a login.
    left_behind: LeftBehind::GoesOn,
};

/// The command of this program that stands in its place.
const COMMAND: &str = "login-program";

/// Has it started within its bounds. One that may ask somebody at a terminal is left as it is.
pub(super) fn bound(exec: &mut ExecConfig) {
    let may_ask = exec.interactive_mode != Some(ExecInteractiveMode::Never);
    if may_ask && std::io::stdin().is_terminal() {
        return;
    }
    let Some(command) = exec.command.take() else {
        return;
    };
    let own = [COMMAND.to_owned(), "--".to_owned(), command];
    let arguments = exec.args.take().unwrap_or_default();
    exec.command = Some(process::program().display().to_string());
    exec.args = Some(own.into_iter().chain(arguments).collect());
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
}

/// What it says of its end; none for another error.
pub(super) fn said(error: &kube::Error) -> Option<String> {
    let kube::Error::Auth(AuthError::AuthExecRun { out, .. }) = error else {
        return None;
    };
    let text = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    Some(if text.is_empty() {
        "the kubeconfig's program for the login failed, and says nothing".to_owned()
    } else {
        text
    })
}

/// Starts a kubeconfig's program and waits for what it gives.
///
/// # Errors
/// In words: it could not be started, took too long, or failed.
pub async fn run(command: &[OsString]) -> Result<Vec<u8>, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("the kubeconfig names no program for the login".to_owned());
    };
    let name = program.to_string_lossy();
    let mut starting = environment::program(program);
    starting.args(arguments);
    let ended = captured(starting, None, &BOUNDS).await;
    let ended = ended.map_err(|error| match error {
        CaptureError::Start(error) => {
            let reason = interpreter::explained(&name, Path::new("."), &error);
            format!("the kubeconfig's program for the login, `{name}`, cannot be started: {reason}")
        }
        other => format!("the kubeconfig's program for the login, `{name}`: {other}"),
    })?;
    if ended.status.success() {
        return Ok(ended.answer);
    }

    let beside = String::from_utf8_lossy(&ended.beside);
    let code = ended.status.code();
    let end = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    let what = format!("the kubeconfig's program for the login, `{name}`, ended with {end}");
    Err(match beside.trim() {
        "" => what,
        said => format!("{what}: {said}"),
    })
}
