//! From files to a configuration: every value knows its file, line and column, and all that is wrong is said at
//! once.
//!
//! `node` reads YAML into a tree with places, `de` makes typed values of it, [`types`] are those values,
//! `validate` holds them against each other, and `problem` is how faults are shown. Start with [`load`].

mod de;
mod engines;
mod keys;
mod load;
mod node;
mod problem;
mod schema;
mod suggest;
#[cfg(test)]
mod tests;
mod traffic;
pub mod types;
mod validate;

pub use load::{Project, load};
pub use problem::{ConfigError, Fault};
pub use schema::{environment_schema, schema};
pub use types::Environment;
