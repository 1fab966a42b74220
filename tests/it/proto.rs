//! The checked-in code of the agent's contract is what `proto/` says.

use std::path::Path;

#[test]
fn the_generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = root.join("src/proto/shipit.agent.v1.rs");
    let descriptors = protox::compile(["shipit/agent/v1/agent.proto"], [root.join("proto")])
        .expect("the contract compiles");
    let out = tempfile::tempdir().expect("a folder");
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("code can be generated");
    let fresh = std::fs::read_to_string(out.path().join("shipit.agent.v1.rs")).expect("generated");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&checked_in, &fresh).expect("the file can be written");
    }
    let current = std::fs::read_to_string(&checked_in).unwrap_or_default();
    assert!(
        current == fresh,
        "proto/ has changed: UPDATE=1 cargo test --test it proto"
    );
}
