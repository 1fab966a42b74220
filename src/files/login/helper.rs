//! A credential helper: a program that is asked for a registry's login (docker-credential-helpers,
//! "Development").

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::Credentials;
use crate::files::environment;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};

/// How long a helper may take: a person may have to unlock a keychain.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const ANSWER_LIMIT: usize = 256 << 10;
/// How much of the end of an error's text is kept.
const ERROR_LIMIT: usize = 2 << 10;
/// What helpers say when they have no login for a registry.
const UNKNOWN: &str = "credentials not found";

/// A helper's name: `desktop` for `docker-credential-desktop`. It never holds a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperName(String);

impl HelperName {
    /// A name of letters, digits, `.`, `_` and `-`; none for anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = !text.is_empty() && text.len() <= 64 && text.chars().all(is_plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// Where the program is, by PATH. A folder that is not named from the root up is left out: it
    /// would be another one in each folder that shipit is started in.
    pub(super) fn find(&self, path: &OsStr) -> Option<PathBuf> {
        let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
        let mut programs = folders.map(|folder| folder.join(self.to_string()));
        programs.find(|program| {
            std::fs::metadata(program)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
    }
}

impl fmt::Display for HelperName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-credential-{}", self.0)
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper; none when it has no login for this registry. An error says nothing of what it
/// had.
pub(super) async fn ask(
    program: &std::path::Path,
    server: &str,
    patience: Duration,
) -> Result<Option<Credentials>, String> {
    let mut command = environment::program(program);
    command.arg("get");
    let bounds = Bounds {
        within: patience,
        answer: Keep::Whole(ANSWER_LIMIT),
        beside: ERROR_LIMIT,
        // What it starts may keep a login for the next one who asks.
        left_behind: LeftBehind::GoesOn,
    };
    let spoken = captured(command, Some(server.as_bytes().to_vec()), &bounds).await;
    let said = spoken.map_err(|error| match error {
        CaptureError::Late(limit) => format!("it gave no answer within {} s", limit.as_secs()),
        CaptureError::TooMuch(limit) => format!("it said more than {} KiB", limit >> 10),
        other => other.to_string(),
    })?;
    if !said.status.success() {
        return failed(&said.answer, &said.beside);
    }
    read(&said.answer)
}

/// A helper that ended with an error, which by custom is on the way out where a login would be.
fn failed(said: &[u8], error: &[u8]) -> Result<Option<Credentials>, String> {
    let both = [error, said].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    if both.iter().any(|text| text.contains(UNKNOWN)) {
        return Ok(None);
    }
    let mut texts = both.into_iter();
    let text = texts.find(|text| !text.is_empty() && !text.contains("Secret"));
    let text: String = text.unwrap_or_default().chars().take(500).collect();
    Err(format!("it failed: {text}"))
}

/// An answer's login; none for one without a secret, as some give instead of an error.
fn read(said: &[u8]) -> Result<Option<Credentials>, String> {
    let answer: Answer =
        serde_json::from_slice(said).map_err(|_| "its answer cannot be read".to_owned())?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn program(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docker-credential-x");
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        (folder, path)
    }

    async fn said(text: &str, patience: Duration) -> Result<Option<Credentials>, String> {
        let (_folder, path) = program(text);
        ask(&path, "a.example.com", patience).await
    }

    #[tokio::test]
    async fn what_a_helper_says_is_bounded_in_size_and_time() {
        let endless = said("#!/bin/sh\nexec cat /dev/zero\n", PATIENCE).await;
        let error = endless.expect_err("it has no end");
        assert!(error.contains("256 KiB"), "{error}");
        let silent = said("#!/bin/sh\nexec sleep 600\n", Duration::from_millis(50)).await;
        let error = silent.expect_err("it says nothing");
        assert!(error.contains("no answer"), "{error}");
    }

    #[tokio::test]
    async fn a_helper_that_is_late_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let text = format!("#!/bin/sh\nsleep 600 &\necho $! >{}\nwait\n", pid.display());
        let silent = said(&text, Duration::from_millis(500)).await;
        silent.expect_err("it says nothing");
        let pid = fs::read_to_string(pid).expect("it began");
        let pid = pid.trim().parse().expect("a number");
        while crate::files::process::started(pid).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_helper_that_has_no_login_is_no_error() {
        let text = "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n";
        assert_eq!(said(text, PATIENCE).await, Ok(None));
    }

    #[tokio::test]
    async fn what_a_helper_gave_is_not_in_an_error() {
        let text = "#!/bin/sh\necho 'Secret: hunter2'\n";
        let error = said(text, PATIENCE).await.expect_err("no JSON");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_helper_is_found_in_folders_from_the_root_up_alone() {
        let (folder, path) = program("#!/bin/sh\n");
        let name = HelperName::new("x").expect("a name");
        assert_eq!(name.find(folder.path().as_os_str()), Some(path));
        let relative =
            std::path::Path::new("..").join(folder.path().strip_prefix("/").expect("it"));
        for none in [OsStr::new(""), OsStr::new("."), relative.as_os_str()] {
            assert_eq!(name.find(none), None, "{none:?}");
        }
    }
}
