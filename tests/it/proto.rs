//! The checked-in code of the contracts is what `proto/` says.

use std::path::Path;

fn current(proto: &str, file: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = root.join("src/proto").join(file);
    let descriptors =
        protox::compile([proto], [root.join("proto")]).expect("the contract compiles");
    let out = tempfile::tempdir().expect("a folder");
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("code can be generated");
    let fresh = std::fs::read_to_string(out.path().join(file)).expect("generated");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&checked_in, &fresh).expect("the file can be written");
    }
    let current = std::fs::read_to_string(&checked_in).unwrap_or_default();
    assert!(
        current == fresh,
        "proto/ has changed: UPDATE=1 cargo test --test it proto"
    );
}

#[test]
fn the_generated_code_of_the_agent_is_current() {
    current("shipit/agent/v1/agent.proto", "shipit.agent.v1.rs");
}

#[test]
fn the_generated_code_of_the_server_is_current() {
    current("shipit/server/v1/server.proto", "shipit.server.v1.rs");
}
