//! Where bytes of strangers come in, for a fuzzer (`fuzz/`): a function for each parser, which may
//! refuse what it is given, and never falls over. The tests give the same functions what they make
//! up. Only built with `--cfg fuzzing`.

use crate::{agent, config, driver, ops};

/// A layer of an image: a tar, which writes nowhere but into the image.
pub fn layer(bytes: &[u8]) {
    agent::hostile_layer(bytes);
}

/// A manifest or an index of a registry.
pub fn manifest(bytes: &[u8]) {
    driver::registry::oci::hostile_manifest(bytes);
}

/// What a registry and its token server say of a login.
pub fn token(bytes: &[u8]) {
    driver::registry::oci::hostile_token(bytes);
}

/// A file with a plan.
pub fn plan_file(bytes: &[u8]) {
    let _ = ops::plan_file::PlanFile::read(bytes);
}

/// A state in a folder.
pub fn state(bytes: &[u8]) {
    driver::state::local::hostile_state(bytes);
}

/// A journal in a folder.
pub fn journal(bytes: &[u8]) {
    driver::state::local::hostile_journal(bytes);
}

/// `shipit.yaml`.
pub fn configuration(bytes: &[u8]) {
    config::hostile(bytes);
}

/// What a client sends to the router.
pub fn head(bytes: &[u8]) {
    agent::router::hostile(bytes);
}

/// An object as a cluster's server sends it.
pub fn object(bytes: &[u8]) {
    driver::kubernetes::engine::hostile_object(bytes);
}
