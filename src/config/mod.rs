//! From files to a configuration: every value knows its file, line and column, and all that is
//! wrong is said at once.
//!
//! `node` reads YAML into a tree with places, `de` makes typed values of it, [`schema`] has those
//! types, `validate` holds them against each other, and `problem` is how faults are shown. Start
//! with [`load`].

mod approvals;
mod branches;
mod de;
mod engines;
mod explained;
mod findings;
mod forms;
mod hooks;
mod json_schema;
mod keys;
mod kinds;
mod limits;
mod load;
mod named;
mod node;
mod notify;
mod own_rules;
mod problem;
mod project_keys;
mod rules;
pub mod schema;
pub mod server;
mod services;
mod slips;
mod suggest;
mod tasks;
#[cfg(test)]
mod tests;
mod traffic;
mod unresolved;
mod validate;
mod volumes;

#[cfg(any(test, fuzzing))]
pub(crate) use load::hostile;

pub use json_schema::{environment_schema, schema};
pub use load::{Project, load};
pub use problem::{ConfigError, ConfigProblem};
pub use rules::{Places, Rules, rules_of};
pub use schema::EnvironmentConfig;
