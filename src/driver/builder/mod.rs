//! What makes images.

pub mod pack;
