//! shipit takes a commit to live traffic.
//!
//! The map of the house. Each arrow is one function from plain data to plain data:
//!
//! ```text
//! config ──▶ desired ──▶ observe ──▶ plan ──▶ execute ──▶ output
//! ```
//!
//! `model` has the words, `port` the traits, `driver` what implements them; `ops` has one file per
//! use case and `cli` one per command. `agent` is the long-running side of the host engine, `serve`
//! that of the front doors: `receiver` reads what comes, `jobs` says what becomes of it. `discover`
//! proposes a configuration of what runs already.

pub mod agent;
pub mod cli;
pub mod config;
pub mod desired;
pub mod discover;
pub mod driver;
pub mod execute;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod jobs;
pub mod model;
pub mod observe;
pub mod ops;
pub mod output;
pub mod plan;
pub mod policy;
pub mod port;
pub mod proto;
pub mod receiver;
pub mod redact;
pub mod rollout;
pub mod serve;
pub mod simulate;
