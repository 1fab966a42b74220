//! From `server.yaml` to the doors: the only place that names what is behind them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

use super::{DoorError, Doors};
use crate::agent::log::own::OwnLog;
use crate::config::server::{ServerConfig, ServerSecret};
use crate::driver::queue::sqlite::SqliteQueue;
use crate::driver::runner::process::ProcessRunner;
use crate::files;
use crate::jobs::{Happening, happen, place};
use crate::model::secret::{SecretValue, without_line_end};
use crate::port::queue::Rules;
use crate::redact::Redactor;

/// The largest secret, in bytes.
const LARGEST: u64 = 64 << 10;

/// How long another server may have the lock.
const PATIENCE: Duration = Duration::from_secs(3);

/// The rules of `jobs`, for a queue.
pub const RULES: Rules = Rules {
    place,
    supersede: |job, by, now| happen(job, Happening::Superseded { by }, now).ok(),
    claim: |job, fence, now| happen(job, Happening::Claimed { fence }, now).ok(),
};

/// Opens what is behind the doors. The file that is returned says that no other server has the same
/// folder, for as long as it lives.
///
/// # Errors
/// Another has it, a secret cannot be read, or the queue not be opened.
pub fn open(config: ServerConfig, redactor: &Redactor) -> Result<(Doors, File), DoorError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| DoorError::Setup {
            what,
            reason: error.to_string(),
        }
    };
    let folder = config.data.display().to_string();
    files::private_folder(&config.data).map_err(failed(&format!("making {folder}")))?;
    files::private_folder(&config.jobs()).map_err(failed(&format!("making {folder}/jobs")))?;
    // What a server that was killed was just starting has its lock for a moment longer.
    let lock = files::lock_within(&config.data.join("lock"), PATIENCE);
    let lock = lock.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => DoorError::Setup {
            what: format!("using {folder}"),
            reason: "another `shipit serve` has it".to_owned(),
        },
        _ => failed("taking the lock")(error),
    })?;

    let secrets = secrets(&config)?;
    for secret in secrets.values().flatten() {
        redactor.remember(secret);
    }
    let queue = SqliteQueue::open(&config.queue(), RULES)?;
    let runner = ProcessRunner::new(config.jobs());
    let doors = Doors {
        config,
        queue: Arc::new(queue),
        runner: Arc::new(runner),
        secrets,
        counts: super::counts::Counts::default(),
        wake: Notify::new(),
    };
    Ok((doors, lock))
}

type Secrets = BTreeMap<(crate::model::ProjectName, String), Vec<SecretValue>>;

/// The secrets of every receiver; those of one that cannot all be read are an error.
///
/// # Errors
/// One cannot be read, or is empty.
pub fn secrets(config: &ServerConfig) -> Result<Secrets, DoorError> {
    let mut all = BTreeMap::new();
    for (project, configured) in &config.projects {
        for (name, receiver) in &configured.receivers {
            let read = receiver.secrets.iter().map(|secret| {
                value(secret).map_err(|reason| DoorError::Setup {
                    what: format!("the secret of projects.{project}.receivers.{name}"),
                    reason,
                })
            });
            let read: Vec<SecretValue> = read.collect::<Result<_, _>>()?;
            all.insert((project.clone(), name.clone()), read);
        }
    }
    Ok(all)
}

fn value(secret: &ServerSecret) -> Result<SecretValue, String> {
    let text = match (&secret.file, &secret.env) {
        (Some(path), _) => from_file(path)?,
        (None, Some(name)) => {
            std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?
        }
        (None, None) => return Err("it has no source".to_owned()),
    };
    if text.is_empty() {
        return Err("it is empty, and anybody could sign with that".to_owned());
    }
    Ok(SecretValue::new(text))
}

fn from_file(path: &Path) -> Result<String, String> {
    let text = files::read_text(path, LARGEST);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(without_line_end(&text).to_owned())
}

/// Has what the server says of itself go to its standard error, without the secrets that it knows.
pub fn log(config: &ServerConfig, redactor: &Redactor) {
    let log = OwnLog::open(&config.data.join("serve.log"), redactor.clone());
    let log = std::sync::Mutex::new(log);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("SHIPIT_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_ansi(false)
        .with_writer(log)
        .try_init();
}
