//! The traits between shipit and the world: what is asked of a registry, an engine, a builder, a
//! state store.
//!
//! Uses `model` and `redact` only. What implements them lives in `driver`; each port has one
//! contract suite in `tests/contract` that every driver and every fake passes. Start with
//! [`engine`].

use std::sync::Arc;

pub mod builder;
pub mod checker;
pub mod engine;
pub mod forge;
pub mod hold;
pub mod hooks;
pub mod host_probe;
pub mod inventory;
pub mod notifier;
pub mod pause;
pub mod provider;
pub mod queue;
pub mod registry;
pub mod runner;
pub mod scm;
pub mod secret;
pub mod store;

pub use builder::Builder;
pub use checker::Checker;
pub use engine::Engine;
pub use forge::Forge;
pub use hooks::HookCaller;
pub use host_probe::HostProbe;
pub use notifier::Notifier;
pub use provider::Provider;
pub use queue::Queue;
pub use registry::Registry;
pub use runner::Runner;
pub use scm::Scm;
pub use secret::SecretSource;
pub use store::StateStore;

use crate::redact::Redactor;

/// Where a driver says how far it is: one line at a time, for people.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Everything that a run needs of the world.
#[derive(Clone)]
pub struct Ports {
    /// Where releases run.
    pub engine: Arc<dyn Engine>,
    /// Who has the infrastructure.
    pub provider: Arc<dyn Provider>,
    /// Where images are kept.
    pub registry: Arc<dyn Registry>,
    /// What makes images.
    pub builder: Arc<dyn Builder>,
    /// Where history, journal and lock are kept.
    pub store: Arc<dyn StateStore>,
    /// What asks services from outside.
    pub checker: Arc<dyn Checker>,
    /// What calls the project's hooks.
    pub hooks: Arc<dyn HookCaller>,
    /// What this machine can start.
    pub host: Arc<dyn HostProbe>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// What knows the secrets that were read: nothing that is told may have one in it.
    pub redactor: Redactor,
}
