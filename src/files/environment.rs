//! What the programs that a project starts see of this process' environment.
//!
//! A [`program`] of the project's or its user's sees all of it, as builds and checks count on their
//! build server's variables, but not the variables that secrets are read from. A [`tool`] of which
//! it is known what it reads sees that, and what every program needs.

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

/// What every program may need: where programs and the user's own files are, language and time, the
/// way into the network and whom to trust there. One that ends in `*` is all that begin so.
const COMMON: [&str; 27] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LOCALE_ARCHIVE",
    "TZ",
    "TERM",
    "TMPDIR",
    "XDG_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "LD_LIBRARY_PATH",
    "GODEBUG",
    "GOMAXPROCS",
    "GOMEMLIMIT",
];

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

/// A tool that sees what every program needs and these variables of its own, the secrets' left out
/// in any case. `*` at the end of one stands for any end.
#[must_use]
pub fn tool(name: impl AsRef<OsStr>, own: &[&str]) -> Command {
    let mut command = std::process::Command::new(name);
    command.env_clear();
    let withheld = WITHHELD.read().unwrap_or_else(PoisonError::into_inner);
    for (name, value) in std::env::vars_os() {
        let may = name.to_str().is_some_and(|name| {
            let mut known = COMMON.iter().chain(own);
            known.any(|pattern| is_of(pattern, name)) && !withheld.contains(name)
        });
        if may {
            command.env(name, value);
        }
    }
    Command::from(command)
}

fn is_of(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_sees_what_it_needs_and_nothing_else() {
        // Cargo sets all of them for a test.
        let (own, other, withheld) = (
            "CARGO_PKG_VERSION_MAJOR",
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_PRE",
        );
        withhold([withheld.to_owned()]);
        let output = tool("env", &["CARGO_PKG_VERSION_*"]).output().await;

        let seen = String::from_utf8(output.expect("it runs").stdout).expect("text");
        let names: Vec<&str> = seen
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        assert!(names.contains(&"PATH") && names.contains(&own), "{names:?}");
        assert!(
            !names.contains(&other) && !names.contains(&withheld),
            "{names:?}"
        );
    }

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
