//! A program that prints a secret: a password manager's own command, `sops`.
//!
//! It is started by its argument vector and without a shell, with no input, and sees the
//! environment as every program of the project does. What it prints is the value and is never
//! repeated; of what it writes beside it an error has the last, without the value.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::driver::secret::{Fault, LIMIT, text};
use crate::files::process::Group;
use crate::files::{environment, interpreter};
use crate::model::Period;
use crate::model::secret::{ProgramSecret, SecretValue};
use crate::redact::Redactor;

/// How much of what a program writes beside its answer is read.
const BESIDE: u64 = 16 << 10;

/// How many characters of that an error has: the last of them.
const SHOWN: usize = 1000;

/// How long the streams of a program that has ended are waited for: what it left in the background
/// may hold them open for ever.
const LINGER: Duration = Duration::from_secs(1);

/// What a program prints, without the last line end.
pub(super) async fn read(root: &Path, secret: &ProgramSecret) -> Result<String, Fault> {
    let command = Command {
        vector: &secret.command,
        folder: root,
        within: secret.timeout,
        install: "install it, or name another program under `run`",
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
        let name = self.name();
        if !said.status.success() {
            let code = said.status.code();
            let how = code.map_or_else(
                || "was ended by a signal".to_owned(),
                |code| format!("ended with exit code {code}"),
            );
            let reason = match said.beside() {
                lines if lines.is_empty() => format!("`{name}` {how}"),
                lines => format!("`{name}` {how}: {lines}"),
            };
            let explained = code.and_then(self.explain).map(str::to_owned);
            let help = explained.unwrap_or_else(|| self.by_hand());
            return Err(Fault::new(reason, help));
        }
        if said.answer.len() as u64 > self.limit {
            let reason = format!("`{name}` printed more than {} KiB", self.limit >> 10);
            return Err(Fault::new(reason, "have it print the secret alone"));
        }
        Ok(said.answer)
    }

    fn by_hand(&self) -> String {
        let words = self.vector.join(" ");
        format!("run `{words}` by hand: it may want a login, or a variable")
    }

    /// Runs it to its end. Past its time it ends with all that it started.
    async fn run(&self) -> Result<Said, Fault> {
        let name = self.name();
        let mut child = environment::program(name)
            .args(self.vector.get(1..).unwrap_or_default())
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let group = Group::of(&child);

        let answer = tokio::spawn(beginning(child.stdout.take(), self.limit + 1));
        let beside = tokio::spawn(beginning(child.stderr.take(), BESIDE));
        let ended = tokio::time::timeout(self.within.get(), child.wait()).await;
        let late = |_| {
            let reason = format!("`{name}` was not done within {}", self.within);
            Fault::new(reason, self.by_hand())
        };
        let status = ended
            .map_err(late)?
            .map_err(|error| self.not_started(&error))?;

        let rest = |stream: tokio::task::JoinHandle<Vec<u8>>| async {
            let read = tokio::time::timeout(LINGER, stream).await;
            read.ok().and_then(Result::ok)
        };
        let (answer, beside) = tokio::join!(rest(answer), rest(beside));
        // What it left in the background ends, too.
        drop(group);
        let Some(answer) = answer else {
            let reason = format!("`{name}` has ended, and something that it started has not");
            return Err(Fault::new(reason, self.by_hand()));
        };
        Ok(Said {
            status,
            answer,
            beside: beside.unwrap_or_default(),
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

/// What a program that has ended wrote.
struct Said {
    status: ExitStatus,
    answer: Vec<u8>,
    beside: Vec<u8>,
}

impl Said {
    /// The last of what it wrote beside its answer, in one line and without anything of the answer.
    fn beside(&self) -> String {
        let mut beside = String::from_utf8_lossy(&self.beside).into_owned();
        // A line that was cut may end in a part of the value.
        if self.beside.len() as u64 == BESIDE {
            let whole = beside.rfind('\n').unwrap_or_default();
            beside.truncate(whole);
        }

        let redactor = Redactor::default();
        let answer = String::from_utf8_lossy(&self.answer);
        for value in std::iter::once(answer.trim()).chain(answer.lines().map(str::trim)) {
            redactor.remember(&SecretValue::new(value.to_owned()));
        }
        let beside = redactor.text(&beside);
        let words: Vec<&str> = beside.split_whitespace().collect();
        let line = words.join(" ");
        let skip = line.chars().count().saturating_sub(SHOWN);
        line.chars().skip(skip).collect()
    }
}

/// The first bytes of a stream; the rest is read and thrown away, so that nobody waits to be read.
async fn beginning(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Some(mut stream) = stream else {
        return bytes;
    };
    let _ = (&mut stream).take(limit).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    bytes
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
        let script = "printf 'hunter-2-of-a-program\\n'; echo 'not signed in: hunter-2-of-a-program' >&2; exit 3";
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
        let endless = run("exec cat /dev/zero", Period::from_millis(300)).await;
        let fault = endless.expect_err("it has no end");
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
