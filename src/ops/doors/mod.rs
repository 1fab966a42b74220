//! The front doors: what comes through them, what becomes of it, and how it is looked at.
//!
//! `shipit serve`, the web and the socket call these. Start with [`receive`](intake::receive) for
//! what comes, and with [`work::round`] for what is done about it.

pub mod admission;
pub mod clients;
pub mod counts;
pub mod intake;
pub mod jobs;
pub mod lanes;
pub mod lists;
pub mod poll;
pub mod pushed;
pub mod remote;
pub mod reported;
pub mod run_job;
pub mod setup;
pub mod spool;
pub mod wiring;
pub mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::config::server::ServerConfig;
use crate::jobs::Route;
use crate::model::ProjectName;
use crate::model::client::{Client, Proof, Verb};
use crate::model::job::{Lane, Requester, Via};
use crate::model::secret::SecretValue;
use crate::policy::rights::refusal;
use crate::port::queue::QueueError;
use crate::port::runner::RunnerError;
use crate::port::{Queue, Runner};

/// Why the doors could not do it.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// There is no such project, environment, receiver or job.
    #[error("{0}")]
    Unknown(String),
    /// It was asked for in a way that cannot be.
    #[error("{0}")]
    Impossible(String),
    /// Whoever asks may not.
    #[error("{0}")]
    Forbidden(String),
    /// The queue did not do it.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The runner did not do it.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// It could not be set up.
    #[error("{what}: {reason}")]
    Setup {
        /// What.
        what: String,
        /// Why not.
        reason: String,
    },
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// A user of this machine who is let in, by name: it may everything.
    Machine(&'a str),
    /// A client of another machine.
    Client(&'a Client),
}

impl Asker<'_> {
    /// As a job's history names it.
    fn requester(&self) -> Requester {
        let (name, via) = match self {
            Self::Machine(name) => (*name, Via::Command),
            Self::Client(client) => match client.proof {
                Proof::Certificate => (client.name.as_str(), Via::Client),
                Proof::Token => (client.name.as_str(), Via::Token),
            },
        };
        Requester {
            name: name.to_owned(),
            via,
        }
    }

    /// Whether it may.
    #[must_use]
    pub fn allows(&self, verb: Verb, lane: &Lane) -> bool {
        self.may(verb, lane).is_ok()
    }

    /// That it may, or why it may not.
    fn may(&self, verb: Verb, lane: &Lane) -> Result<(), DoorError> {
        let refused = match self {
            Self::Machine(_) => None,
            Self::Client(client) => refusal(client, verb, lane, Timestamp::now()),
        };
        refused.map_or(Ok(()), |reason| Err(DoorError::Forbidden(reason)))
    }
}

/// The doors of a machine, and what is behind them.
pub struct Doors {
    /// What `server.yaml` says.
    pub config: ServerConfig,
    /// Deliveries and jobs.
    pub queue: Arc<dyn Queue>,
    /// What carries jobs out.
    pub runner: Arc<dyn Runner>,
    /// What receivers prove themselves with.
    secrets: BTreeMap<(ProjectName, String), Vec<SecretValue>>,
    /// What is counted.
    pub counts: counts::Counts,
    /// Told when there is something to do.
    pub wake: Notify,
}

impl Doors {
    /// What a project's environments are deployed on.
    fn routes(&self, project: &ProjectName) -> Vec<Route> {
        let environments = self
            .config
            .projects
            .get(project)
            .map(|found| &found.environments);
        let rules = environments.into_iter().flatten();
        let route = |(name, rule): (
            &crate::model::EnvironmentName,
            &crate::config::server::EnvironmentRule,
        )| Route {
            environment: name.clone(),
            branch: rule.on.branch.clone(),
            tag: rule.on.tag.clone(),
            image: rule
                .on
                .image
                .as_ref()
                .map(|image| (image.repository.clone(), image.tags.clone())),
            then: rule.then,
        };
        rules.map(route).collect()
    }
}
