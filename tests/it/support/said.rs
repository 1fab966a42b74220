//! What a command said, and what it is expected to have said.

use std::process::Output;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn from(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, after checking the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The same, after checking that stdout or stderr has this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let has = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            has,
            "`{text}` is not in\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The same, after checking that neither stdout nor stderr has this.
    #[allow(dead_code)] // not every test binary has something that must not be said
    #[track_caller]
    pub fn says_not(self, text: &str) -> Self {
        let has = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            !has,
            "`{text}` is in\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }
}
