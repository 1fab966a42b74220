//! Files that the instances of a service find, and files of variables.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::short::{self, Short};

/// What is in a file of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FileConfig {
    /// A file of the project, as it is.
    Plain(PathBuf),
    /// With what holds for it.
    Detailed(DetailedFile),
}

/// What is in a file of an instance: exactly one of `file` and `secret`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetailedFile {
    /// A file of the project, relative to its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A secret of the environment, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether the file is a template, which sees what those of `env` see.
    pub template: bool,
    /// A variable that says where the file is: with the runtimes `process` and `systemd` it is not
    /// at its path, but beneath the folder that `SHIPIT_FILES` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

impl FileConfig {
    /// With all that holds for it.
    #[must_use]
    pub fn detailed(&self) -> DetailedFile {
        match self {
            Self::Plain(file) => DetailedFile {
                file: Some(file.clone()),
                ..DetailedFile::default()
            },
            Self::Detailed(detailed) => detailed.clone(),
        }
    }
}

impl Short for FileConfig {
    type Long = DetailedFile;

    const EXPECTED: &'static str = "a file of the project, or a map with `file` or `secret`";

    fn long(long: DetailedFile) -> Self {
        Self::Detailed(long)
    }

    fn text(text: String) -> Self {
        Self::Plain(text.into())
    }
}

impl<'de> Deserialize<'de> for FileConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

/// One path or a list of them; of two that set the same variable the later one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "EnvFilesSchema")]
pub struct EnvFiles(pub Vec<PathBuf>);

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum EnvFilesSchema {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

struct EnvFilesVisitor;

impl<'de> Visitor<'de> for EnvFilesVisitor {
    type Value = EnvFiles;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a list of paths")
    }

    fn visit_str<E>(self, file: &str) -> Result<EnvFiles, E> {
        Ok(EnvFiles(vec![file.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut files: A) -> Result<EnvFiles, A::Error> {
        let mut all = Vec::new();
        while let Some(file) = files.next_element()? {
            all.push(file);
        }
        Ok(EnvFiles(all))
    }
}

impl<'de> Deserialize<'de> for EnvFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EnvFilesVisitor)
    }
}
