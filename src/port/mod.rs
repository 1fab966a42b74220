//! The traits between shipit and the world: what is asked of a registry, an engine, a builder, a state store.
//!
//! Uses `model` only. What implements them lives in `driver`; each port has one contract suite in
//! `tests/contract` that every driver and every fake passes. Start with [`engine`].

pub mod builder;
pub mod checker;
pub mod engine;
pub mod registry;
pub mod scm;
pub mod secret;
pub mod store;

pub use builder::Builder;
pub use checker::Checker;
pub use engine::Engine;
pub use registry::Registry;
pub use scm::Scm;
pub use secret::SecretSource;
pub use store::StateStore;

/// Where a driver says how far it is: one line at a time, for people.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
