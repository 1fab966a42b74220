//! The contract suites: one per port, run against every driver and the fake.

mod builder;
#[allow(dead_code)] // each test binary uses its own part of it
#[path = "../cluster/support.rs"]
mod cluster;
mod dockerfile;
mod engine;
#[allow(clippy::print_stderr)] // a test says what it skips
#[path = "../it/support/parts.rs"]
mod parts;
mod platforms;
mod queue;
mod registry;
#[path = "../it/support/s3.rs"]
mod s3;
mod secret;
mod store;
mod support;
mod upload;
#[allow(dead_code)] // each test binary uses its own part of it
#[path = "../it/support/vault.rs"]
mod vault;
mod writers;
