//! Commands as checks.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::driver::check::Fault;
use crate::files::environment;
use crate::model::check::RunCheck;
use crate::port::Progress;
use crate::port::checker::CheckTarget;

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 20;

/// Runs the command in the project's folder. Past its time the command ends with all that it started.
pub(super) async fn run(
    check: &RunCheck,
    target: &CheckTarget,
    progress: Progress<'_>,
) -> Result<(), Fault> {
    let Some((program, arguments)) = check.command.split_first() else {
        return Err(Fault::say("there is no command"));
    };
    let mut command = environment::program(program);
    command
        .args(arguments)
        .current_dir(&target.root)
        .envs(&target.env)
        .envs(urls(target))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command
        .spawn()
        .map_err(|error| Fault::say(format!("`{program}` cannot be started: {error}")))?;
    let group = Group(child.id());
    let output = match tokio::time::timeout(check.timeout.get(), child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| Fault::say(error.to_string()))?,
        Err(_) => return Err(Fault::say(format!("not done within {}", check.timeout))),
    };
    group.leave();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(500).collect())
        .collect();
    if output.status.success() {
        for line in &lines {
            progress(line);
        }
        return Ok(());
    }
    let skip = lines.len().saturating_sub(LAST_LINES);
    let code = output
        .status
        .code()
        .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    Err(Fault {
        reason: format!("ended with {code}"),
        detail: lines.into_iter().skip(skip).collect(),
    })
}

/// `SHIPIT_URL` for the first service, `SHIPIT_URL_<SERVICE>` for each.
fn urls(target: &CheckTarget) -> Vec<(String, String)> {
    let first = target
        .urls
        .first()
        .map(|url| ("SHIPIT_URL".to_owned(), url.url.clone()));
    let each = target.urls.iter().map(|url| {
        let name = url.service.as_str().to_uppercase().replace('-', "_");
        (format!("SHIPIT_URL_{name}"), url.url.clone())
    });
    first.into_iter().chain(each).collect()
}

/// Ends a process group when it is dropped: on a time limit, and when the check is called off.
struct Group(Option<u32>);

impl Group {
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self
            .0
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
