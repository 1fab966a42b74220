//! A source of secrets and logins that remember what they read, and a store that writes none of it
//! down. The wiring puts them around the real ones, so that no use case can go past them.

mod logins;
mod secrets;
mod store;

pub use logins::{RememberedClusterLogin, RememberedLogin};
pub(in crate::driver) use logins::{RememberedKeys, remember};
pub use secrets::RememberedSecrets;
pub use store::RedactedStore;
