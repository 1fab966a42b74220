//! The use cases, a file each: what the terminal, a Git hook and a webhook all call.
//!
//! Nothing here prints. Concrete drivers are named in [`wiring`] and nowhere else. Start with
//! [`session`].

pub mod abort;
pub mod actor;
pub mod agent;
pub mod agent_elsewhere;
pub mod alike;
pub mod apply;
pub mod approve;
pub mod behind;
mod certificates;
pub mod command;
pub mod diff;
pub mod discover;
pub mod doctor;
pub mod doors;
pub mod drift;
mod elsewhere;
pub mod error;
pub mod history;
pub mod hooks;
pub mod images;
pub mod import;
pub mod init;
pub mod listeners;
pub mod lock;
pub mod logs;
pub mod notify;
pub mod open;
pub mod plan;
pub mod plan_file;
pub mod policy;
pub mod preflight;
pub mod promote;
mod refused;
pub mod rehearse;
pub mod report_status;
pub mod restart;
pub mod session;
pub mod settle;
mod shared;
pub mod show;
mod sources;
pub mod state;
pub mod status;
mod taken_over;
pub mod templates;
mod unsteady;
pub mod validate;
mod versions;
mod volumes;
pub mod wiring;

pub use error::Error;
pub use session::Session;
