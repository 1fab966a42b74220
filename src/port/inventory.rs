//! What runs already, as its engine or its registry says: for who proposes a configuration of it.

use serde_json::Value;

/// Why what runs could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct InventoryError {
    /// What was being done.
    pub what: String,
    /// Why it was not.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// A container that runs, and the image that it was made from, in the words of Docker's API.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningContainer {
    /// What `docker inspect` says.
    pub inspected: Value,
    /// What `docker image inspect` says; nothing where the image is gone.
    pub image: Value,
}

/// A kind of object that a namespace is looked through for, by its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sought {
    /// `Deployment`.
    Deployment,
    /// `StatefulSet`.
    StatefulSet,
    /// `Service`.
    Service,
    /// `Ingress`.
    Ingress,
}

impl Sought {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::Service,
        Self::Ingress,
    ];
}

/// The objects of a kind, or why they could not be looked at.
pub type Listed = Result<Vec<Value>, String>;

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockedRepository {
    /// Its name.
    pub name: String,
    /// The account that it is of.
    pub account: String,
    /// Whether a tag stays where it is.
    pub immutable_tags: bool,
    /// Whether images are scanned when they are pushed.
    pub scan_on_push: bool,
    /// A tag of its newest image, or that image's digest; none of an empty one.
    pub newest: Option<String>,
}
