//! What a simulated run sees through its ports.

mod engine;
mod hooks;
mod store;
mod supply;

#[cfg(test)]
pub(in crate::simulate) use supply::SECRET;
