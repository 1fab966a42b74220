//! What commands have in common: the environment, the form of what is printed, the session.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::arguments::EnvironmentArg;
use crate::ops::Session;
use crate::output::{Exit, Failure, Format, Page, Screen};
use crate::port::SecretSource;

/// What every command gets besides its own arguments.
#[derive(Clone)]
pub struct Cx {
    /// The folder with `shipit.yaml`.
    pub directory: PathBuf,
    /// The environment that was named.
    pub env: Option<String>,
    /// Whether the command line names it, and not a variable.
    pub is_env_typed: bool,
    /// In which form the result is printed.
    pub format: Format,
    /// Where everything is printed.
    pub screen: Screen,
    /// Where the command's secrets come from, to be closed at its end.
    pub(super) opened: Arc<Mutex<Vec<Arc<dyn SecretSource>>>>,
}

impl Cx {
    /// With the environment that an argument names, if one does. It counts more than a variable,
    /// and is never another than `--env`.
    pub(super) fn of(&self, argument: &EnvironmentArg) -> Result<Self, Failure> {
        let named = argument.environment.as_deref();
        named.map_or_else(|| Ok(self.clone()), |named| self.named(named))
    }

    /// With the environment of this name.
    pub(super) fn named(&self, named: &str) -> Result<Self, Failure> {
        match self.env.as_deref() {
            Some(env) if self.is_env_typed && env != named => Err(Failure::say(
                Exit::Usage,
                format!("{named} and --env {env} name two environments"),
                "name it once",
            )),
            _ => Ok(self.with(named)),
        }
    }

    /// With another environment.
    pub(super) fn with(&self, environment: &str) -> Self {
        Self {
            env: Some(environment.to_owned()),
            ..self.clone()
        }
    }

    pub(super) async fn session(&self) -> Result<Session, Failure> {
        self.session_on(None).await
    }

    /// With the branch that a person names, in place of the one that is checked out.
    pub(super) async fn session_on(&self, branch: Option<&str>) -> Result<Session, Failure> {
        let redactor = self.screen.redactor();
        let env = self.env.as_deref();
        let session = Session::open(&self.directory, env, branch, redactor).await?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push(Arc::clone(&session.ports.secrets));
        drop(opened);
        self.screen.detail(&Page::of(format!(
            "shipit {} in {}: {} → {}",
            env!("CARGO_PKG_VERSION"),
            session.root.display(),
            session.project.name,
            session.environment
        )));
        Ok(session)
    }

    /// Gives back what sources of secrets gave for this command alone, whatever came of it.
    pub(super) async fn close(&self) {
        let opened = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *opened)
        };
        for source in opened {
            source.close().await;
        }
    }
}
