//! Where images are kept.

pub mod layout;
