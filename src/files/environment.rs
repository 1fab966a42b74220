//! What the programs that a project starts see of this process' environment: all of it, as builds
//! and checks count on their build server's variables, but not the variables that secrets are read
//! from.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::{PoisonError, RwLock};

use tokio::process::Command;

/// As the environment itself, this is the whole process'.
static WITHHELD: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Keeps these variables from every program that is started from now on.
pub fn withhold(names: impl IntoIterator<Item = String>) {
    let mut withheld = WITHHELD.write().unwrap_or_else(PoisonError::into_inner);
    withheld.extend(names);
}

/// The variables that are kept from programs, for who starts one elsewhere.
#[must_use]
pub fn withheld() -> Vec<String> {
    let withheld = WITHHELD.read().unwrap_or_else(PoisonError::into_inner);
    withheld.iter().cloned().collect()
}

/// A program that is started for a project, with what it may see.
#[must_use]
pub fn program(program: impl AsRef<OsStr>) -> Command {
    Command::from(blocking_program(program))
}

/// [`program`], for who does not wait for it.
#[must_use]
pub fn blocking_program(program: impl AsRef<OsStr>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    let withheld = WITHHELD.read().unwrap_or_else(PoisonError::into_inner);
    for name in withheld.iter() {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_sees_the_environment_without_what_is_withheld() {
        // Cargo sets both for a test.
        let (kept, kept_from) = ("CARGO_PKG_NAME", "CARGO_PKG_DESCRIPTION");
        assert!(std::env::var(kept_from).is_ok(), "cargo runs this test");

        withhold([kept_from.to_owned()]);
        let output = program("env").output().await.expect("it runs");

        let seen = String::from_utf8_lossy(&output.stdout);
        let has = |name: &str| {
            seen.lines()
                .any(|line| line.starts_with(&format!("{name}=")))
        };
        assert!(has(kept) && !has(kept_from), "{seen}");
    }
}
