//! Where deliveries and jobs are kept.

pub mod memory;
pub mod sqlite;
mod statements;
mod writer;
