//! `server.yaml`: what `shipit serve` listens to, for which projects, and what their repositories
//! may ask for. It is its operator's; nothing that a repository says widens it.
//!
//! Start with [`ServerConfig`] and [`load_server`].

mod check;
mod load;
mod schema;
#[cfg(test)]
mod tests;

pub use load::{LoadedServer, load_server, server_schema};
pub use schema::*;
