//! From an error of a use case to an exit code and advice: the one place where that is decided.

use crate::observe::ObserveError;
use crate::ops::Error;
use crate::output::{Exit, Failure, verdicts};
use crate::plan::PlanError;
use crate::port::engine::EngineError;
use crate::port::provider::ProviderError;
use crate::port::store::StoreError;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Config(error) => Self::new(Exit::Failed, error),
            Error::WouldBeRefused(error) => Self::new(Exit::Refused, error),
            Error::Engine(error) | Error::Observe(ObserveError::Engine(error)) => engine(&error),
            Error::Store(error) => store(&error),
            Error::Rules(verdicts) => verdicts::failure(&verdicts),
            other => {
                let (exit, help) = advice(&other);
                Self::say(exit, other.to_string(), help)
            }
        }
    }
}

fn advice(error: &Error) -> (Exit, String) {
    match error {
        Error::Desired(error) => (Exit::Usage, error.help.clone()),
        // Said before, one by one.
        Error::Rules(_) | Error::WouldBeRefused(_) => (Exit::Refused, String::new()),
        Error::Refused(refusal) => (Exit::Refused, refusal.help.clone()),
        Error::Usage { help, .. } => (Exit::Usage, help.clone()),
        Error::Forge(error) => (Exit::Failed, error.help.clone()),
        Error::Discover(error) => (Exit::Failed, error.help.clone()),
        Error::Inventory(error) => (Exit::Failed, error.help.clone()),
        Error::NotApproved { help, .. } | Error::Machine { help, .. } => {
            (Exit::Failed, help.clone())
        }
        Error::Hook { detail, .. } => {
            let lines: Vec<&str> = detail.iter().map(String::as_str).collect();
            let help = [&lines[..], &["nothing was changed"]].concat();
            (Exit::Failed, help.join("\n"))
        }
        Error::Interrupted => (
            Exit::Interrupted,
            "run the command again when it is time".to_owned(),
        ),
        Error::Stale { .. } => (
            Exit::Stale,
            "make a new plan with `shipit plan --out FILE`".to_owned(),
        ),
        Error::PlanFile { .. } => (
            Exit::Failed,
            "nothing was changed; make a new one with `shipit plan --out FILE`".to_owned(),
        ),
        Error::Faulty(_) => (
            Exit::Failed,
            "make a new plan with `shipit plan`".to_owned(),
        ),
        Error::Plan(error) | Error::Behind { error, .. } => (Exit::Failed, plan(error)),
        Error::Registry(error)
        | Error::Observe(
            ObserveError::Registry(error) | ObserveError::Image { source: error, .. },
        ) => (Exit::Failed, error.help().to_owned()),
        Error::Observe(ObserveError::Provider(error)) => match error {
            ProviderError::Failed { help, .. } => (Exit::Failed, help.clone()),
            ProviderError::Moved { .. } => (
                Exit::Stale,
                "look at a new plan with `shipit plan`".to_owned(),
            ),
            _ => (
                Exit::Failed,
                "run the command again: it goes on where it was".to_owned(),
            ),
        },
        Error::Observe(_) => (
            Exit::Failed,
            "look at `build:` in shipit.yaml: context, inputs and copy".to_owned(),
        ),
        Error::Scm(error) => {
            let general = || "look at the Git repository in the project's folder".to_owned();
            (Exit::Failed, error.help.clone().unwrap_or_else(general))
        }
        Error::Config(_) | Error::Engine(_) | Error::Store(_) => (Exit::Failed, String::new()),
    }
}

fn plan(error: &PlanError) -> String {
    match error {
        PlanError::EmptySlot { .. } => {
            "`shipit apply` deploys a release; `shipit status` shows the slots".to_owned()
        }
        PlanError::UnreadySlot { slot, .. } => {
            format!("`shipit logs --slot {slot}` shows what it writes")
        }
        PlanError::NoPreview { .. } => "`shipit apply` replaces the release in place".to_owned(),
        PlanError::NoPrevious { .. }
        | PlanError::NoSuchRelease { .. }
        | PlanError::NeverLive { .. } => "`shipit history` shows the releases".to_owned(),
        PlanError::NothingLive { .. } => "`shipit apply` deploys a release".to_owned(),
        PlanError::NoSuchTask { .. } => "name one of `tasks:` of the configuration".to_owned(),
        PlanError::TaskCannotRun { .. } => {
            "`shipit apply` deploys what the configuration says".to_owned()
        }
        PlanError::NothingWaiting { .. } => "`shipit status` shows what runs where".to_owned(),
    }
}

fn engine(error: &EngineError) -> Failure {
    let (exit, help) = match error {
        EngineError::Unreachable { help, .. } | EngineError::Refused { help, .. } => {
            (Exit::Failed, help.clone())
        }
        EngineError::Moved { by, .. } => {
            let by = by
                .as_ref()
                .map(|actor| format!("it was changed by {actor}; "))
                .unwrap_or_default();
            (
                Exit::Stale,
                format!("{by}look at a new plan with `shipit plan`"),
            )
        }
        EngineError::Fenced { .. } | EngineError::LockLost => (
            Exit::Locked,
            "wait for the other run, then run the command again".to_owned(),
        ),
        EngineError::Foreign { scope, .. } => (
            Exit::Failed,
            format!(
                "use the state folder that {scope} was made with, or delete it there with `shipit \
                 destroy`"
            ),
        ),
        EngineError::NotReady { slot, .. } => (
            Exit::Failed,
            format!("`shipit logs --slot {slot}` shows what it writes"),
        ),
        EngineError::Failed { .. } => (
            Exit::Failed,
            "run the command again: it goes on where it was".to_owned(),
        ),
    };
    Failure::say(exit, error.to_string(), help)
}

fn store(error: &StoreError) -> Failure {
    let (exit, help) = match error {
        StoreError::Locked { .. } => (
            Exit::Locked,
            "wait for it with --lock-timeout 5m, stop it with `shipit abort`, or take the lock \
             with `shipit unlock`"
                .to_owned(),
        ),
        StoreError::Lost { .. } => (Exit::Locked, "look at `shipit status`, then run the command \
            again".to_owned()),
        StoreError::Moved { .. } => (Exit::Stale, "run the command again".to_owned()),
        StoreError::Migrated { .. } => (
            Exit::Failed,
            "the `state:` of this checkout names the place of before: bring the checkout up to \
             date; `shipit state migrate --from` brings a state back"
                .to_owned(),
        ),
        StoreError::Damaged { help, .. } | StoreError::Remote { help, .. } => {
            (Exit::Failed, help.clone())
        }
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut => (
            Exit::Failed,
            "nothing was changed: end that process, or wait for it, then run the command again"
                .to_owned(),
        ),
        StoreError::Absent { .. } => (
            Exit::Failed,
            "look at `state:`, and on a cluster at `cluster.namespace`".to_owned(),
        ),
        StoreError::Io { .. } => (
            Exit::Failed,
            "look at the disk and the folder's permissions, then run the command again: it goes on \
             where it was"
                .to_owned(),
        ),
    };
    Failure::say(exit, error.to_string(), help)
}
