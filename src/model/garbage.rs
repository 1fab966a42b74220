//! Images that nobody needs: what a collection finds, and what it took away.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::Digest;

/// What is younger than this stays: somebody may be about to use it.
pub const YOUNG: Duration = Duration::from_hours(1);
/// The annotation that names the image on which another was built (image-spec, `annotations.md`).
pub const BASE: &str = "org.opencontainers.image.base.digest";
/// The annotation that names the commit which an image was made of, with `-dirty` when the tree
/// was.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// The annotation that says when an image was made.
pub const CREATED: &str = "org.opencontainers.image.created";

/// An image that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unneeded {
    /// The image.
    pub digest: Digest,
    /// The repository that it is in; in a layout the service, when a tag still says whose it is.
    pub repository: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was made, which is when its commit was.
    pub created: Option<Timestamp>,
}

/// What a collection found, and what it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// The images that nobody needs.
    pub images: Vec<Unneeded>,
    /// How many blobs no image uses that is left.
    pub blobs: usize,
    /// How many bytes these have.
    pub bytes: u64,
    /// Why none of them is deleted: the registry does not let them, or what else is needed is not
    /// known here.
    pub refused: Option<String>,
}

/// Whether what nobody needs is only told, or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// Told.
    Report,
    /// Taken away.
    Delete,
}
