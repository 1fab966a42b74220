//! What was found: the engine's facts and the registry's images, side by side.

use std::collections::BTreeMap;

use crate::model::build::Inputs;
use crate::model::facts::Facts;
use crate::model::object::ObjectFacts;
use crate::model::resource::ResourceFacts;
use crate::model::secret::SecretVersion;
use crate::model::{Digest, ReleaseNumber, ServiceName};

/// Everything that a plan is made from, besides what is desired and the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// What the engine says.
    pub facts: Facts,
    /// For each service that would be built: its inputs, and the image that they made before.
    pub images: BTreeMap<ServiceName, ImageFacts>,
    /// For each service whose image is named by a tag: what the tag is now.
    pub named: BTreeMap<ServiceName, Digest>,
    /// The environment's objects, and those that are there and should not be.
    pub objects: Vec<ObjectFacts>,
    /// The provider's resources that are wanted, and those that left the configuration.
    pub resources: Vec<ResourceFacts>,
    /// The secrets that the services need, by name, where one value or version can be told from
    /// another.
    pub secrets: BTreeMap<String, SecretFacts>,
    /// The release that a run of this state's own, which did not come to its end, has left in a
    /// slot.
    pub left: Option<ReleaseNumber>,
}

/// Which version and value a secret has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFacts {
    /// It was read.
    Known {
        /// Its version; none where its source has none.
        version: Option<SecretVersion>,
        /// What stands for its value: a keyed hash of the engine's. None where the engine was given
        /// no value of it yet, or does not tell.
        hash: Option<String>,
    },
    /// It is not known.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A service's build inputs and what the registry has for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// What the build depends on now.
    pub inputs: Inputs,
    /// The image that these inputs made before.
    pub found: Option<Digest>,
    /// How many files differ from the inputs of the live release, when those are known.
    pub changed_files: Option<usize>,
    /// The inputs that Git ignores, where it sees no difference.
    pub ignored_files: Vec<String>,
    /// Whether it is there, and to be built again all the same.
    pub rebuild: bool,
}
