//! What a test needs of the machine. Missing is a failure in `./test`, a loud skip elsewhere.

use std::process::Command;

fn is_there(found: bool, lack: &str) -> bool {
    assert!(
        found || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
        "{lack}"
    );
    if !found {
        eprintln!("SKIPPED: {lack}");
    }
    found
}

/// Whether something else that a test needs was given.
#[allow(dead_code)] // not every test binary asks for one
pub fn is_given(found: bool, lack: &str) -> bool {
    is_there(found, lack)
}

/// Whether a program is there.
#[allow(dead_code)] // not every test binary asks for one
pub fn has(program: &str) -> bool {
    is_there(
        Command::new(program).arg("--version").output().is_ok(),
        &format!("{program} is not there"),
    )
}

/// Whether this is root, which containers of shipit's own need for what is tested with them.
pub fn is_root() -> bool {
    is_there(rustix::process::geteuid().is_root(), "containers need root")
}

/// Whether a Docker Engine answers.
pub fn docker_answers() -> bool {
    let answers = Command::new("docker")
        .arg("info")
        .output()
        .is_ok_and(|output| output.status.success());
    is_there(answers, "Docker does not answer")
}
