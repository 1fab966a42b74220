//! Runs in memory: the same plans, carried out by the same executor, on a world that is nowhere but
//! in this process, and in which anything may go wrong at any moment.
//!
//! A [`World`] is what runs share: an engine, a store, a registry. A [`Runner`] is one run's view
//! of it, through the ports; [`Faults`] decide what becomes of each of its calls. A [`Scenario`]
//! says what a world begins with, [`rehearse`] carries one plan out with each fault, and [`broken`]
//! says which rules did not hold. Uses `execute`, `plan`, `rollout`, `port` and `model`.

mod engine;
mod fault;
mod judge;
mod objects;
mod ports;
mod rehearse;
mod run;
#[cfg(test)]
pub(crate) mod samples;
mod scenario;
mod store;
#[cfg(test)]
mod tests;
mod world;

pub use engine::MemoryEngine;
pub use fault::{Call, Fault, Faults, Kind, NoFaults, is_of};
pub use judge::broken;
pub use rehearse::{Rehearsal, rehearse};
pub use run::{Came, Locked, Ran, actor};
pub use scenario::{Draw, Scenario, simulated};
pub use store::MemoryStore;
pub use world::{Effect, Moment, Runner, World};
