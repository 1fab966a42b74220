//! Why a use case did not succeed, by kind. `cli` turns each into an exit code and advice.

use crate::config::{ConfigError, ConfigProblem, Project};
use crate::desired::{DesiredError, DesiredErrors, DesiredPlace};
use crate::discover::DiscoverError;
use crate::model::EnvironmentName;
use crate::model::verdict::Verdict;
use crate::observe::ObserveError;
use crate::plan::{PlanError, PlanFault};
use crate::policy::Refusal;
use crate::port::engine::EngineError;
use crate::port::forge::ForgeError;
use crate::port::inventory::InventoryError;
use crate::port::registry::RegistryError;
use crate::port::scm::ScmError;
use crate::port::store::StoreError;

/// Why a use case did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster would not take what the configuration says: by a line for each thing.
    #[error(transparent)]
    WouldBeRefused(ConfigError),
    /// The configuration cannot be resolved for this environment and source.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// Something could not be looked at.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// There is no plan for what was asked.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is no plan for what was asked, by a state that is behind.
    #[error("{error}; {note}")]
    Behind {
        /// Why there is none.
        error: PlanError,
        /// How the state is behind.
        note: String,
    },
    /// A plan must not be carried out.
    #[error("the plan cannot be carried out: \
             {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faulty(Vec<PlanFault>),
    /// A plan was made for another state of the world.
    #[error("the plan is stale: {reason}")]
    Stale {
        /// What differs.
        reason: String,
    },
    /// A plan file is none that can be applied here.
    #[error("the plan file cannot be applied: {reason}")]
    PlanFile {
        /// Why.
        reason: String,
    },
    /// A rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Rules forbid it, or it cannot be told whether they do.
    #[error("{}", ruled(.0))]
    Rules(Vec<Verdict>),
    /// The engine did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry did not do it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A forge did not do it.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// Source control did not answer.
    #[error(transparent)]
    Scm(#[from] ScmError),
    /// It was asked for in a way that cannot be.
    #[error("{what}")]
    Usage {
        /// What.
        what: String,
        /// What to do instead.
        help: String,
    },
    /// This machine lacks something that the run would need.
    #[error("{what}")]
    Machine {
        /// What, and why.
        what: String,
        /// What to do.
        help: String,
    },
    /// What runs already is nothing that a configuration could be proposed of.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// What runs already could not be listed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// A hook around the making of a plan has failed.
    #[error("{what}")]
    Hook {
        /// Which, and why.
        what: String,
        /// The last lines that it wrote.
        detail: Vec<String>,
    },
    /// A person asked to stop before a plan was carried out.
    #[error("interrupted before a plan was carried out")]
    Interrupted,
    /// Nobody said yes.
    #[error("{what}")]
    NotApproved {
        /// What was not approved.
        what: String,
        /// How to approve it.
        help: String,
    },
}

fn ruled(verdicts: &[Verdict]) -> String {
    match verdicts {
        [one] => one.reason.clone(),
        many => format!("{} rules are against it", many.len()),
    }
}

/// What keeps a configuration from being resolved, at its places, as `validate` says it.
pub(super) fn unresolved(
    project: &Project,
    environment: &EnvironmentName,
    errors: &DesiredErrors,
) -> Error {
    ConfigError::of(problems(project, environment, errors)).into()
}

/// The same one by one; what has no place of its own is the environment's.
pub(super) fn problems(
    project: &Project,
    environment: &EnvironmentName,
    errors: &DesiredErrors,
) -> Vec<ConfigProblem> {
    let problem = |error: &DesiredError| {
        let (what, help) = (&error.what, &error.help);
        match &error.place {
            Some(DesiredPlace::File { path, line }) => {
                project.problem_of_line(path, *line, what, help)
            }
            Some(DesiredPlace::Key(key)) => project.problem_of_key(environment, key, what, help),
            None => project.problem_of_key(environment, "", what, help),
        }
    };
    errors.0.iter().map(problem).collect()
}
