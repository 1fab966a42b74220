//! What an image says about how it is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use rustix::process::Signal;

use crate::agent::launch::{UnlistedGroup, account};
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
    /// The signal that asks it to end, by its name or number, where it says one (`STOPSIGNAL`).
    #[serde(default)]
    pub stop_signal: Option<String>,
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
            stop_signal: config.stop_signal().clone(),
        }
    }

    /// The signal that asks it to end: SIGTERM where it says none, or one that is none.
    pub fn stop_signal(&self) -> Signal {
        let said = self.stop_signal.as_deref().and_then(signal);
        said.unwrap_or(Signal::TERM)
    }

    /// Whether an image has the user that it says it runs as: who is found to be missing when an
    /// instance starts is found too late.
    pub(super) fn has_its_user(&self, files: &Path) -> Result<(), Reason> {
        let found = account(files, self.user.as_deref(), UnlistedGroup::Own);
        found.map(drop).map_err(|error| {
        format!(
            "it cannot run: {error}. `USER` in its Dockerfile, or `build: {{user: …}}`, names a \
             user that it has, or a number"
        )
    })
    }
}

/// The signals that images ask for, by their names.
const SIGNALS: [(&str, Signal); 9] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("WINCH", Signal::WINCH),
];

/// A signal as Docker reads it: `SIGQUIT`, `quit` or `3`.
fn signal(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse() {
        return Signal::from_named_raw(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let mut known = SIGNALS.iter();
    known.find_map(|(known, signal)| (*known == name).then_some(*signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_by_which_signal_it_ends() {
        for (said, wanted) in [
            (Some("SIGQUIT"), Signal::QUIT),
            (Some("winch"), Signal::WINCH),
            (Some("2"), Signal::INT),
            (Some("SIGRTMIN+3"), Signal::TERM),
            (Some("0"), Signal::TERM),
            (Some(""), Signal::TERM),
            (None, Signal::TERM),
        ] {
            let meta = ImageMeta {
                stop_signal: said.map(str::to_owned),
                ..ImageMeta::default()
            };
            assert_eq!(meta.stop_signal(), wanted, "{said:?}");
        }
    }
}
