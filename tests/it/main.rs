//! The integration tests: one binary, a file per scenario.

mod proto;
