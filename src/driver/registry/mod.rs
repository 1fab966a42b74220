//! Where images are kept.

pub mod layout;
pub mod oci;
