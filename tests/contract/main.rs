//! The contract suites: one per port, run against every driver and the fake.

mod builder;
mod engine;
mod registry;
mod store;
mod support;
