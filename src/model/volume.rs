//! What workloads of a host have mounted: folders of the machine, and volumes of Docker's.

use std::path::Path;

/// A folder or a volume that a workload has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// A folder of the machine, or a volume's name.
    pub from: String,
    /// Whether several instances may have it at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl Mount {
    /// Whether no two instances have both at once: they are the same files, and one of the two
    /// wants them for itself.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        !(self.shared && other.shared) && one_holds_the_other(&self.from, &other.from)
    }
}

/// The first of these mounts that keeps others from running at the same time.
#[must_use]
pub fn contended<'a>(mounts: &'a [Mount], others: &[Mount]) -> Option<&'a Mount> {
    let excludes = |mount: &&Mount| others.iter().any(|other| mount.excludes(other));
    mounts.iter().find(excludes)
}

/// Whether two volumes are the same, or one folder lies in the other, however they are written.
#[must_use]
pub fn one_holds_the_other(one: &str, other: &str) -> bool {
    if !one.starts_with('/') || !other.starts_with('/') {
        return one == other;
    }
    let (one, other) = (Path::new(one), Path::new(other));
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shared_excludes_the_same_files_however_they_are_written() {
        let own = |from: &str| Mount {
            from: from.to_owned(),
            shared: false,
        };
        let shared = |from: &str| Mount {
            shared: true,
            ..own(from)
        };
        for (one, other, excludes) in [
            (own("data"), own("data"), true),
            (own("data"), own("data2"), false),
            (own("data"), own("/data"), false),
            (own("/srv/a"), own("/srv//a/"), true),
            (own("/srv/a"), own("/srv/a/b"), true),
            (own("/srv/a"), own("/srv/ab"), false),
            (shared("data"), own("data"), true),
            (shared("/srv"), own("/srv/a"), true),
            (shared("data"), shared("data"), false),
        ] {
            assert_eq!(one.excludes(&other), excludes, "{one:?} and {other:?}");
            assert_eq!(other.excludes(&one), excludes, "{other:?} and {one:?}");
            let found = contended(std::slice::from_ref(&one), &[other]);
            assert_eq!(found.is_some(), excludes);
        }
    }
}
