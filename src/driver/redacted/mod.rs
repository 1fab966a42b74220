//! A source of secrets that remembers what it read, and a store that writes none of it down. The wiring puts them around
//! the real ones, so that no use case can go past them.

mod secrets;
mod store;

pub use secrets::RememberedSecrets;
pub use store::RedactedStore;
