//! What an image says about how it is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use crate::agent::launch::account;
use crate::agent::rootfs::Reason;

/// What the image says about how it is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageMeta {
    /// Entrypoint and arguments.
    pub command: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub workdir: PathBuf,
    /// As whom.
    pub user: Option<String>,
}

impl ImageMeta {
    /// As an image's configuration says.
    pub(super) fn of(config: &ImageConfiguration) -> Self {
        let Some(config) = config.config() else {
            return Self {
                workdir: "/".into(),
                ..Self::default()
            };
        };

        let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        let command = [words(config.entrypoint()), words(config.cmd())].concat();
        let env = words(config.env())
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let workdir = config
            .working_dir()
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/")
            .into();
        Self {
            command,
            env,
            workdir,
            user: config.user().clone(),
        }
    }

    /// Whether an image has the user that it says it runs as: who is found to be missing when an
    /// instance starts is found too late.
    pub(super) fn has_its_user(&self, files: &Path) -> Result<(), Reason> {
        let found = account(files, self.user.as_deref());
        found.map(drop).map_err(|error| {
        format!(
            "it cannot run: {error}. `USER` in its Dockerfile, or `build: {{user: …}}`, names a \
             user that it has, or a number"
        )
    })
    }
}
