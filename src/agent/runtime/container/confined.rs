//! The last moment of a container's first process, and of each command that is run beside it: its
//! environment is set, the filter of system calls is installed, and it becomes the service's
//! program.
//!
//! The environment is handed over in memory. A container's folder, which stays as long as the
//! container, never has it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use oci_spec::runtime::Spec;
use rustix::process::{Signal, WaitOptions, set_parent_process_death_signal, wait};

use crate::agent::runtime::container::seccomp;
use crate::files::interpreter;

/// Where programs are looked for when the service does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// More than any kernel takes as arguments and environment together is not read.
const MOST: u64 = 8 << 20;

/// What becomes the service's program.
#[derive(Clone)]
pub struct Confined {
    /// Its variables, secrets included: never shown.
    env: BTreeMap<String, String>,
}

impl Confined {
    /// With the environment that the agent wrote to this process' standard input.
    ///
    /// # Errors
    /// In words, when it cannot be read; its content is never part of them.
    pub fn from_stdin() -> Result<Self, String> {
        let mut text = Vec::new();
        std::io::stdin()
            .take(MOST)
            .read_to_end(&mut text)
            .map_err(|error| format!("reading the environment: {error}"))?;

        let env = serde_json::from_slice(&text)
            .map_err(|_| "reading the environment: it is not what an agent writes".to_owned())?;
        Ok(Self { env })
    }

    /// With this environment.
    #[must_use]
    pub const fn with(env: BTreeMap<String, String>) -> Self {
        Self { env }
    }

    fn path(&self) -> &str {
        self.env.get("PATH").map_or(PATH, String::as_str)
    }

    /// A program with these variables, and none of this process' own.
    pub fn command(&self, name: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(name);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", self.path())
            .envs(&self.env);
        command
    }

    /// The program's file; a bare name is looked for on the path, as `execvp(3)` does.
    fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Path::new(name).exists().then(|| name.into());
        }
        let found = self
            .path()
            .split(':')
            .map(|folder| Path::new(folder).join(name));
        found.into_iter().find(|file| file.exists())
    }
}

impl Executor for Confined {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (name, arguments) = arguments(spec)
            .and_then(|all| all.split_first())
            .ok_or(ExecutorError::InvalidArg)?;
        let mut command = self.command(name, arguments);

        seccomp::install().map_err(|error| {
            ExecutorError::Other(format!("the filter of system calls: {error}"))
        })?;
        // It only returns when it failed.
        let error = command.exec();
        let reason = interpreter::explained(name, Path::new("."), &error);
        let said = format!("`{name}` cannot be started: {reason}");
        // Its log is what is still read of it.
        let _ = writeln!(std::io::stderr(), "shipit: {said}");
        Err(ExecutorError::Other(said))
    }

    /// Before the container starts: a program that is not there is known while somebody still
    /// listens.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let Some(name) = arguments(spec).and_then(|all| all.first()) else {
            return wrong("there is no command".to_owned());
        };
        let Some(file) = self.program(name) else {
            return wrong(format!("executable `{name}` not found in {}", self.path()));
        };
        let found = std::fs::metadata(&file);
        match found {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Ok(()),
            Ok(_) => wrong(format!("`{}` may not be executed", file.display())),
            Err(error) => wrong(format!("`{}`: {error}", file.display())),
        }
    }
}

/// What a container's first process is that only holds it for others: it takes leave of those that
/// nobody waits for, and ends with the process beside it.
#[derive(Clone)]
pub struct Idle;

/// How long it rests when there is nobody to take leave of.
const REST: Duration = Duration::from_millis(500);

impl Executor for Idle {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let failed = |error: String| ExecutorError::Other(error);
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| failed(error.to_string()))?;
        seccomp::install().map_err(failed)?;
        loop {
            if wait(WaitOptions::empty()).is_err() {
                std::thread::sleep(REST);
            }
        }
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }
}

fn arguments(spec: &Spec) -> Option<&Vec<String>> {
    spec.process().as_ref()?.args().as_ref()
}

fn wrong(what: String) -> Result<(), ExecutorValidationError> {
    Err(ExecutorValidationError::ArgValidationError(what))
}
