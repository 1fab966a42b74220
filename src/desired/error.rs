//! Why a configuration cannot be resolved, and where that is written.

use std::path::{Path, PathBuf};

/// Why a configuration cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DesiredError {
    /// What.
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// Where that is written, as far as it is known.
    pub place: Option<DesiredPlace>,
}

/// Where something that cannot be resolved is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DesiredPlace {
    /// A key of the configuration, with those that it is below: `services.web.env.GREETING`.
    Key(String),
    /// A line of a file of the project, counted from 1.
    File {
        /// Its path below the project's folder.
        path: PathBuf,
        /// The line.
        line: usize,
    },
}

impl DesiredError {
    /// An error whose place is not known.
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
            place: None,
        }
    }

    /// The same of this place.
    #[must_use]
    pub(super) fn at(mut self, place: &DesiredPlace) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// The same of what this key says.
    #[must_use]
    pub(super) fn of_key(mut self, key: impl Into<String>) -> Self {
        self.place = Some(DesiredPlace::Key(key.into()));
        self
    }

    /// The same of a line of a file.
    #[must_use]
    pub(super) fn of_line(mut self, path: &Path, line: usize) -> Self {
        let path = path.to_path_buf();
        self.place = Some(DesiredPlace::File { path, line });
        self
    }

    /// The same, of a line of a file unless it is of another place.
    #[must_use]
    pub(super) fn or_of_line(self, path: &Path, line: usize) -> Self {
        match self.place {
            Some(_) => self,
            None => self.of_line(path, line),
        }
    }

    /// The same, of what this key says unless it is of another place.
    #[must_use]
    pub(super) fn or_of_key(mut self, key: &str) -> Self {
        self.place
            .get_or_insert_with(|| DesiredPlace::Key(key.to_owned()));
        self
    }

    /// The same, said of a key that names what is wrong.
    #[must_use]
    pub fn named_by(mut self, key: &str) -> Self {
        self.what = format!("{key}: {}", self.what);
        self.place
            .get_or_insert_with(|| DesiredPlace::Key(key.to_owned()));
        self
    }
}

/// Everything that keeps a configuration from being resolved: at least one thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct DesiredErrors(pub Vec<DesiredError>);

impl From<DesiredError> for DesiredErrors {
    fn from(error: DesiredError) -> Self {
        Self(vec![error])
    }
}

impl DesiredErrors {
    /// What was found, or everything that was wrong until now.
    ///
    /// # Errors
    /// Something was.
    pub(super) fn unless_any<T>(self, found: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(found)
        } else {
            Err(self)
        }
    }

    /// The same, those without a place of what this key says.
    #[must_use]
    pub(super) fn or_of_key(self, key: &str) -> Self {
        let errors = self.0.into_iter().map(|error| error.or_of_key(key));
        Self(errors.collect())
    }

    /// What a step found; what is wrong with it is kept.
    pub(super) fn keep<T>(&mut self, step: Result<T, impl Into<Self>>) -> Option<T> {
        step.map_err(|errors| self.0.append(&mut errors.into().0))
            .ok()
    }
}
