//! How much an image may become. The agent's operator says so, by variables; what is deployed
//! cannot.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::agent::rootfs::Reason;
use crate::agent::rootfs::unpack::UnpackError;
use crate::files::archive::{self, Budget, Exceeded};
use crate::model::{ByteSize, Digest, Period};

/// The most bytes of an unpacked image: `20GiB`. 8 GiB without it.
const SIZE: &str = "SHIPIT_IMAGE_SIZE";

/// The most files, folders and links of an image's layers: `3000000`. A million without it.
const FILES: &str = "SHIPIT_IMAGE_FILES";

/// How long unpacking an image may take: `1h`. 15 minutes without it.
const WITHIN: &str = "SHIPIT_IMAGE_WITHIN";

/// What may come out of a layer of any size.
const ANY: u64 = 256 << 20;

/// How many times its size a layer may become beyond that: files of any real kind become two to ten
/// times theirs, and zeros a thousand times.
const EXPANSION: u64 = 100;

/// The limits of this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) struct Limits {
    of_all: archive::Limits,
    /// Whether a layer may not become a hundred times its size; not asked where the operator has
    /// said a size.
    suspicious: bool,
}

impl Limits {
    /// As the agent's variables say.
    pub fn of_agent() -> Result<Self, Reason> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Reason> {
        let named = |name: &str| variable(name).filter(|text| !text.is_empty());
        let wrong = |name: &str, error: &dyn std::fmt::Display| {
            format!("the agent's variable {name}: {error}")
        };

        let size = named(SIZE).map(|text| {
            text.parse::<ByteSize>()
                .map_err(|error| wrong(SIZE, &error))
        });
        let size = size.transpose()?;
        let entries = named(FILES).map(|text| text.parse().map_err(|error| wrong(FILES, &error)));
        let within = named(WITHIN).map(|text| {
            text.parse::<Period>()
                .map_err(|error| wrong(WITHIN, &error))
        });
        Ok(Self {
            of_all: archive::Limits {
                bytes: size.unwrap_or(ByteSize::from_mib(8 << 10)).bytes(),
                entries: entries.transpose()?.unwrap_or(1_000_000),
                within: within
                    .transpose()?
                    .map_or(Duration::from_mins(15), Period::get),
            },
            suspicious: size.is_none(),
        })
    }

    /// What one image may become, until this is set.
    pub fn budget(&self, unwanted: Arc<AtomicBool>) -> Budget {
        Budget::wanted(self.of_all, unwanted)
    }

    /// The most bytes that an image may become.
    pub const fn bytes(&self) -> u64 {
        self.of_all.bytes
    }

    /// What a layer of this size may become.
    pub fn expands_to(&self, packed: u64) -> u64 {
        if self.suspicious {
            packed.saturating_mul(EXPANSION).saturating_add(ANY)
        } else {
            u64::MAX
        }
    }
}

/// Why a layer was not unpacked, with what the operator can do about it.
pub(super) fn explain(layer: &Digest, error: &UnpackError) -> Reason {
    let variable = match error {
        UnpackError::Exceeded(Exceeded::Bytes(_) | Exceeded::Expansion(_)) => SIZE,
        UnpackError::Exceeded(Exceeded::Entries(_) | Exceeded::Paths(_)) => FILES,
        UnpackError::Exceeded(Exceeded::Time(_)) => WITHIN,
        _ => return format!("layer {}: {error}", layer.short()),
    };
    format!(
        "layer {}: {error}. If it is meant to be so, set {variable} for the agent and start it \
         again",
        layer.short()
    )
}

/// Why an image was not sealed.
pub(super) fn explain_sealing(image: &Path, error: &io::Error) -> Reason {
    let why = format!("sealing {}: {error}", image.display());
    match Exceeded::of(error) {
        Some(Exceeded::Time(_)) => {
            format!("{why}. If it is meant to be so, set {WITHIN} for the agent and start it again")
        }
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_says_what_an_image_may_become() {
        let none = Limits::read(|_| None).expect("defaults");
        assert_eq!(none.of_all.bytes, 8 << 30);
        assert_eq!(none.expands_to(2 << 20), (256 + 200) << 20);

        let said = |name: &str| {
            let text = match name {
                SIZE => "20GiB",
                FILES => "5",
                _ => "1h",
            };
            Some(text.to_owned())
        };
        let said = Limits::read(said).expect("limits");
        assert_eq!(said.of_all.bytes, 20 << 30);
        assert_eq!(said.of_all.entries, 5);
        assert_eq!(said.of_all.within, Duration::from_hours(1));
        assert_eq!(said.expands_to(1), u64::MAX);
    }

    #[test]
    fn a_limit_that_is_none_is_refused_by_its_name() {
        for name in [SIZE, FILES, WITHIN] {
            let wrong = Limits::read(|asked| (asked == name).then(|| "much".to_owned()));
            let reason = wrong.expect_err(name);
            assert!(reason.contains(name), "{reason}");
        }
    }
}
