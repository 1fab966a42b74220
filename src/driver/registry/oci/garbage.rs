//! Which images of a repository nobody needs. Pure: from what its tags name to what may go.
//!
//! A registry lists tags and nothing else, so an image is what a tag names. shipit's own are those
//! with a tag `src-HASH`. One that has another name besides, which is not `BRANCH-COMMIT`, was
//! given it by an environment or by a person, and stays. Which commit an image is of, it says
//! itself; it may be another's too, whose inputs were the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::driver::registry::oci::list_tag;
use crate::model::Digest;
use crate::model::garbage::{BASE, CREATED, REVISION, YOUNG};
use crate::model::source::SHORT;

/// What a tag, or something that is needed, names: as much of its manifest as is asked for here.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub tags: BTreeSet<String>,
    /// When it was made; none when nothing says so. Without a commit an image has the clock's first
    /// second.
    pub created: Option<Timestamp>,
    /// What it is an index of.
    pub inside: Vec<Digest>,
    /// What it is built on.
    base: Option<Digest>,
    /// The commit that it says it was made of.
    revision: Option<String>,
    /// Its configuration and its layers, with their sizes.
    blobs: Vec<(Digest, u64)>,
    /// How many bytes its manifest has.
    size: u64,
}

impl Named {
    /// By a manifest of so many bytes.
    pub fn of(manifest: &Value, size: u64) -> Self {
        let digest = |value: &Value| value.as_str()?.parse::<Digest>().ok();
        let list = |name: &str| manifest[name].as_array().into_iter().flatten();
        let annotation = |name: &str| &manifest["annotations"][name];
        let created = annotation(CREATED).as_str();
        let created = created.and_then(|created| created.parse::<Timestamp>().ok());
        let blobs = list("layers").chain([&manifest["config"]]);

        Self {
            tags: BTreeSet::new(),
            created: created.filter(|created| created.as_second() > 0),
            inside: list("manifests")
                .filter_map(|entry| digest(&entry["digest"]))
                .collect(),
            base: digest(annotation(BASE)),
            revision: annotation(REVISION).as_str().map(str::to_owned),
            blobs: blobs
                .filter_map(|blob| {
                    Some((digest(&blob["digest"])?, blob["size"].as_u64().unwrap_or(0)))
                })
                .collect(),
            size,
        }
    }

    /// Whether shipit made it and nobody has given it a name since.
    fn is_nobodys(&self) -> bool {
        self.tags.iter().any(|tag| is_inputs(tag))
            && !self.tags.iter().any(|tag| self.is_named(tag))
    }

    /// Whether this tag is a name that somebody gave it, and not its own commit's, which may be of
    /// digits alone.
    pub fn is_named(&self, tag: &str) -> bool {
        let is_its_commit = |commit: &str| {
            let revision = self.revision.as_ref();
            commit.len() == SHORT && revision.is_some_and(|revision| revision.starts_with(commit))
        };
        is_name(tag) && !commit_of(tag).is_some_and(is_its_commit)
    }

    /// What it is an index of, and what it is built on.
    pub fn refers_to(&self) -> impl Iterator<Item = Digest> {
        self.inside.iter().chain(&self.base).cloned()
    }

    /// Whether it only lists, or signs, what is attached to another (distribution-spec, "Referrers
    /// Tag Schema").
    pub fn is_list(&self) -> bool {
        !self.tags.is_empty() && self.tags.iter().all(|tag| tag.starts_with("sha256-"))
    }

    /// Whether it lists what is attached to this one.
    pub fn lists(&self, digest: &Digest) -> bool {
        let prefix = list_tag(digest);
        self.is_list() && self.tags.iter().all(|tag| tag.starts_with(&prefix))
    }

    /// Its blobs with their sizes, itself among them.
    pub fn blobs(&self, digest: &Digest) -> Vec<(Digest, u64)> {
        let own = [(digest.clone(), self.size)];
        self.blobs.iter().cloned().chain(own).collect()
    }
}

fn is_inputs(tag: &str) -> bool {
    tag.strip_prefix("src-")
        .is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// Whether a tag is neither the inputs' nor a commit's. A date looks like a commit of digits alone,
/// and is a name.
pub(super) fn is_name(tag: &str) -> bool {
    let is_commit = |text: &str| {
        text.len() == SHORT
            && text.bytes().all(|c| c.is_ascii_hexdigit())
            && !text.bytes().all(|c| c.is_ascii_digit())
    };
    !is_inputs(tag) && !commit_of(tag).is_some_and(is_commit)
}

/// What is in a commit's place in a tag as `Source::tag` writes it.
fn commit_of(tag: &str) -> Option<&str> {
    let (_, commit) = tag.strip_suffix("-dirty").unwrap_or(tag).rsplit_once('-')?;
    Some(commit)
}

/// The images that nobody needs: neither named, needed, young, among the newest, nor part of one
/// that stays.
pub(super) fn unneeded(
    images: &BTreeMap<Digest, Named>,
    needed: &BTreeSet<Digest>,
    newest: usize,
    now: Timestamp,
) -> BTreeSet<Digest> {
    let own = images.iter().filter(|(_, image)| image.is_nobodys());
    let mut own: Vec<_> = own
        .filter_map(|(digest, image)| Some((image.created?, digest)))
        .collect();
    own.sort_by_key(|(created, _)| Reverse(*created));
    // One from the future has no age, and is young.
    let is_old = |created: Timestamp| {
        Duration::try_from(now.duration_since(created)).is_ok_and(|age| age > YOUNG)
    };
    let old = own
        .into_iter()
        .skip(newest)
        .filter(|(created, digest)| !needed.contains(*digest) && is_old(*created));
    let mut gone: BTreeSet<Digest> = old.map(|(_, digest)| digest.clone()).collect();

    loop {
        let left = images.iter().filter(|(digest, _)| !gone.contains(*digest));
        let parts: BTreeSet<Digest> = left.flat_map(|(_, image)| image.refers_to()).collect();
        let before = gone.len();
        gone.retain(|digest| !parts.contains(digest));
        if gone.len() == before {
            return gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-06-01T12:00:00Z";

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn own(name: &str, created: &str) -> (Digest, Named) {
        let tags = [
            format!("src-{}", digest(name).hex()),
            "main-3f2c1ab".to_owned(),
        ];
        let manifest = json!({"annotations": {CREATED: created}});
        (
            digest(name),
            Named {
                tags: tags.into(),
                ..Named::of(&manifest, 10)
            },
        )
    }

    fn gone(images: &BTreeMap<Digest, Named>, needed: &[&str], newest: usize) -> BTreeSet<Digest> {
        let needed = needed.iter().map(|name| digest(name)).collect();
        unneeded(images, &needed, newest, NOW.parse().expect("a time"))
    }

    #[test]
    fn what_is_needed_young_or_among_the_newest_stays() {
        let images = BTreeMap::from([
            own("old", "2026-01-01T00:00:00Z"),
            own("older", "2025-01-01T00:00:00Z"),
            own("oldest", "2024-01-01T00:00:00Z"),
            own("young", "2026-06-01T11:30:00Z"),
            own("undated", "1970-01-01T00:00:00Z"),
        ]);
        let all = ["old", "older", "oldest"].map(digest);
        assert_eq!(gone(&images, &[], 0), BTreeSet::from(all));
        assert_eq!(
            gone(&images, &["older"], 2),
            BTreeSet::from([digest("oldest")])
        );
    }

    #[test]
    fn what_somebody_has_named_stays() {
        for name in [
            "staging",
            "v1.2",
            "latest",
            "release-20240101",
            "release-2024010",
            "keep-it",
            "main-dirty",
        ] {
            let (digest, mut image) = own("old", "2024-01-01T00:00:00Z");
            image.tags.insert(name.to_owned());
            assert!(
                gone(&BTreeMap::from([(digest, image)]), &[], 0).is_empty(),
                "{name}"
            );
        }
        let (digest, mut image) = own("old", "2024-01-01T00:00:00Z");
        image.tags.insert("main-3f2c1ab-dirty".to_owned());
        assert_eq!(
            gone(&BTreeMap::from([(digest.clone(), image.clone())]), &[], 0).len(),
            1,
            "a commit's, with other files"
        );
        image.tags.insert("main-2024010".to_owned());
        image.revision = Some("2024010f2c1ab".to_owned());
        assert_eq!(
            gone(&BTreeMap::from([(digest.clone(), image.clone())]), &[], 0).len(),
            1,
            "its own commit's, which is of digits alone"
        );
        image.tags = ["main-3f2c1ab".to_owned()].into();
        assert!(
            gone(&BTreeMap::from([(digest, image)]), &[], 0).is_empty(),
            "not shipit's"
        );
    }

    #[test]
    fn what_an_image_that_stays_is_made_of_stays_with_it() {
        let (top, mut image) = own("top", "2025-01-01T00:00:00Z");
        image.base = Some(digest("middle"));
        let (middle, mut between) = own("middle", "2024-01-01T00:00:00Z");
        between.base = Some(digest("base"));
        let index = json!({"manifests": [{"digest": digest("part")}]});
        let index = Named {
            tags: ["all".to_owned()].into(),
            ..Named::of(&index, 1)
        };
        let images = BTreeMap::from([
            (top, image),
            (middle, between),
            own("base", "2023-01-01T00:00:00Z"),
            own("part", "2023-01-01T00:00:00Z"),
            (digest("index"), index),
        ]);
        assert!(gone(&images, &["top"], 0).is_empty());
        assert_eq!(
            gone(&images, &[], 0),
            BTreeSet::from(["top", "middle", "base"].map(digest))
        );
    }
}
