//! A program that prints a secret: a password manager's own command, `sops`.
//!
//! It is started by its argument vector and without a shell, with no input, and sees no variable
//! that a secret is read from. What it prints is the value and is never repeated; of what it writes
//! beside it an error has the last, without the value.

use std::io::ErrorKind;
use std::path::Path;

use crate::driver::secret::{Fault, LIMIT, text};
use crate::files::program::{Bounds, CaptureError, Captured, Keep, LeftBehind, captured};
use crate::files::{environment, interpreter};
use crate::model::Period;
use crate::model::secret::{ProgramSecret, SecretValue};
use crate::redact::Redactor;

/// How much of the end of what a program writes beside its answer is kept.
const BESIDE: usize = 16 << 10;

/// How many characters of that an error has: the last of them.
const SHOWN: usize = 1000;

/// What a program prints, without the last line end.
pub(super) async fn read(root: &Path, secret: &ProgramSecret) -> Result<String, Fault> {
    let command = Command {
        vector: &secret.command,
        folder: root,
        within: secret.timeout,
        install: "install it, or name another program under `run`",
        variables: None,
        limit: LIMIT,
        explain: |_| None,
    };
    let name = command.name();
    let value = text(&format!("what `{name}` printed"), command.output().await?)?;
    if value.is_empty() {
        return Err(Fault::new(
            format!("`{name}` printed nothing"),
            format!("run `{}` by hand and see", secret.command.join(" ")),
        ));
    }
    Ok(value)
}

/// A program to start.
pub(super) struct Command<'a> {
    /// The program and its arguments.
    pub vector: &'a [String],
    /// Where it runs.
    pub folder: &'a Path,
    /// How long it may take.
    pub within: Period,
    /// What to do when it is not there.
    pub install: &'a str,
    /// The variables of its own that it sees, besides those that every tool needs; without this
    /// all but the secrets'. Patterns as [`environment::tool`] has them.
    pub variables: Option<&'a [&'a str]>,
    /// The most that it may print, in bytes.
    pub limit: u64,
    /// What to do about an exit code of its own; none for one that says nothing.
    pub explain: fn(i32) -> Option<&'static str>,
}

impl Command<'_> {
    fn name(&self) -> &str {
        self.vector.first().map_or("", String::as_str)
    }

    /// What it prints, when it ends well.
    pub async fn output(&self) -> Result<Vec<u8>, Fault> {
        let said = self.run().await?;
        if said.status.success() {
            return Ok(said.answer);
        }

        let (name, code) = (self.name(), said.status.code());
        let how = code.map_or_else(
            || "was ended by a signal".to_owned(),
            |code| format!("ended with exit code {code}"),
        );
        let reason = match beside(&said) {
            lines if lines.is_empty() => format!("`{name}` {how}"),
            lines => format!("`{name}` {how}: {lines}"),
        };
        let explained = code.and_then(self.explain).map(str::to_owned);
        let help = explained.unwrap_or_else(|| self.by_hand());
        Err(Fault::new(reason, help))
    }

    fn by_hand(&self) -> String {
        let words = self.vector.join(" ");
        format!("run `{words}` by hand: it may want a login, or a variable")
    }

    /// Runs it to its end. Past its time it ends with all that it started.
    async fn run(&self) -> Result<Captured, Fault> {
        let name = self.name();
        let mut command = match self.variables {
            Some(own) => environment::tool(name, own),
            None => environment::program(name),
        };
        command
            .args(self.vector.get(1..).unwrap_or_default())
            .current_dir(self.folder);
        let bounds = Bounds {
            within: self.within.get(),
            answer: Keep::Whole(usize::try_from(self.limit).unwrap_or(usize::MAX)),
            beside: BESIDE,
            left_behind: LeftBehind::Ends,
        };

        let captured = captured(command, None, &bounds).await;
        captured.map_err(|error| match error {
            CaptureError::Start(error) => self.not_started(&error),
            CaptureError::Late(_) => {
                let reason = format!("`{name}` was not done within {}", self.within);
                Fault::new(reason, self.by_hand())
            }
            CaptureError::TooMuch(limit) => {
                let reason = format!("`{name}` printed more than {} KiB", limit >> 10);
                Fault::new(reason, "have it print the secret alone")
            }
            CaptureError::Held => {
                let reason = format!("`{name}` has ended, and something that it started has not");
                Fault::new(reason, self.by_hand())
            }
        })
    }

    fn not_started(&self, error: &std::io::Error) -> Fault {
        let name = self.name();
        let seen = interpreter::obstacle(Path::new(name), self.folder, error);
        match (error.kind(), seen) {
            (_, Some(reason)) => Fault::new(
                format!("`{name}` cannot be started: {reason}"),
                self.by_hand(),
            ),
            (ErrorKind::NotFound, None) if name.contains('/') => Fault::new(
                format!("there is no program `{name}`"),
                "a path is looked for from the project's folder",
            ),
            (ErrorKind::NotFound, None) => Fault::new(
                format!("there is no program `{name}` in PATH"),
                self.install.to_owned(),
            ),
            (_, None) => Fault::new(
                format!("`{name}` cannot be started: {error}"),
                self.by_hand(),
            ),
        }
    }
}

/// The last of what a program wrote beside its answer, in one line and without anything of the
/// answer.
fn beside(said: &Captured) -> String {
    let mut beside = String::from_utf8_lossy(&said.beside).into_owned();
    // A line that was cut may begin with a part of the value.
    if said.beside.len() == BESIDE {
        let whole = beside.find('\n').map_or(beside.len(), |end| end + 1);
        beside.drain(..whole);
    }

    let redactor = Redactor::default();
    let answer = String::from_utf8_lossy(&said.answer);
    for value in std::iter::once(answer.trim()).chain(answer.lines().map(str::trim)) {
        redactor.remember(&SecretValue::new(value.to_owned()));
    }
    let beside = redactor.text(&beside);
    let words: Vec<&str> = beside.split_whitespace().collect();
    let line = words.join(" ");
    let skip = line.chars().count().saturating_sub(SHOWN);
    line.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str, timeout: Period) -> Result<String, Fault> {
        let folder = tempfile::tempdir().expect("a folder");
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        read(folder.path(), &ProgramSecret { command, timeout }).await
    }

    const SOON: Period = Period::from_secs(20);

    #[tokio::test]
    async fn what_a_program_prints_is_the_value_without_one_line_end() {
        for (script, value) in [
            ("printf 'one\\n\\n'", "one\n"),
            ("printf 'two\\r\\n'", "two"),
            ("cat; printf three", "three"),
        ] {
            let found = run(script, SOON).await.expect(script);
            assert_eq!(found, value, "{script}");
        }
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_without_what_it_printed() {
        let script = "printf 'hunter-2-of-a-program\\n'; echo 'not signed in: \
                      hunter-2-of-a-program' >&2; exit 3";
        let fault = run(script, SOON).await.expect_err("it fails");
        assert_eq!(
            fault.reason,
            "`sh` ended with exit code 3: not signed in: ***"
        );
        let shown = format!("{fault:?}");
        assert!(!shown.contains("hunter-2-of-a-program\\n"), "{shown}");
    }

    #[tokio::test]
    async fn a_program_is_bounded_in_size_and_time() {
        let endless = run("exec cat /dev/zero", SOON).await;
        let fault = endless.expect_err("it has no end");
        assert_eq!(fault.reason, "`sh` printed more than 64 KiB");
        let silent = run("exec sleep 600", Period::from_millis(300)).await;
        let fault = silent.expect_err("it says nothing");
        assert_eq!(fault.reason, "`sh` was not done within 300ms");
        let large = run("head -c 70000 /dev/zero | tr '\\0' x", SOON).await;
        let fault = large.expect_err("it is too large");
        assert_eq!(fault.reason, "`sh` printed more than 64 KiB");
        let noisy = run("head -c 9000000 /dev/zero >&2; printf well", SOON).await;
        assert_eq!(noisy.expect("the answer counts"), "well");
        let none = run("true", SOON).await.expect_err("it is empty");
        assert_eq!(none.reason, "`sh` printed nothing");
    }

    #[tokio::test]
    async fn a_program_that_is_late_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "sleep 600 & echo $! >pid; wait";
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let timeout = Period::from_millis(500);
        let late = read(folder.path(), &ProgramSecret { command, timeout }).await;
        late.expect_err("it waits");

        let pid = std::fs::read_to_string(folder.path().join("pid")).expect("it began");
        let pid: u32 = pid.trim().parse().expect("a number");
        while crate::files::process::started(pid).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let command = vec!["no-such-program-7f3a".to_owned()];
        let secret = ProgramSecret {
            command,
            timeout: SOON,
        };
        let missing = read(Path::new("/"), &secret).await;
        let fault = missing.expect_err("nobody has it");
        assert_eq!(
            fault.reason,
            "there is no program `no-such-program-7f3a` in PATH"
        );
    }
}
