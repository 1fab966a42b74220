//! What should be true for one environment and one source.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::build::BuildSpec;
use crate::model::image::ImageName;
use crate::model::promotion::{Promotion, Strategy};
use crate::model::release::PromotedFrom;
use crate::model::resource::Resource;
use crate::model::route::Route;
use crate::model::source::Source;
use crate::model::task::Task;
use crate::model::workload::Workload;
use crate::model::{EnvironmentName, Manifest, Period, ProjectName, ServiceName, TaskName};

/// The resources that should exist, and the rules by which they may come to live traffic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Desired {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// What is built.
    pub source: Source,
    /// The environment and release whose images are promoted instead of built.
    pub promoted_from: Option<PromotedFrom>,
    /// How a new release replaces the old one.
    pub strategy: Strategy,
    /// How a release comes to live traffic.
    pub promotion: Promotion,
    /// How long the new release has to become ready.
    pub ready_within: Period,
    /// Infrastructure, in the order in which it can be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// The secrets of which another version or value makes no release by itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unrotated: BTreeSet<String>,
    /// Objects of the environment that belong to no slot, in the order in which they can be made.
    pub objects: Vec<Manifest>,
    /// The services.
    pub services: BTreeMap<ServiceName, DesiredService>,
    /// What runs once for each release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskName, Task>,
}

/// Where a service's image comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// It is built.
    Build(BuildSpec),
    /// Somebody else has made it: it is in a registry by this name.
    Named(ImageName),
    /// It is the one that is live in another environment, which is still to be looked up.
    LiveIn(EnvironmentName),
    /// It is live in another environment.
    Promoted(PromotedImage),
}

/// The image of a service in another environment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PromotedImage {
    /// Where it is live.
    pub from: PromotedFrom,
    /// By which name it was found there; none when it was built.
    pub name: Option<ImageName>,
}

impl ImageSource {
    /// How it is built, when it is.
    #[must_use]
    pub const fn build(&self) -> Option<&BuildSpec> {
        match self {
            Self::Build(spec) => Some(spec),
            Self::Named(_) | Self::LiveIn(_) | Self::Promoted(_) => None,
        }
    }

    /// By which name it is found, when somebody else has made it.
    #[must_use]
    pub const fn name(&self) -> Option<&ImageName> {
        match self {
            Self::Named(name) => Some(name),
            Self::Promoted(promoted) => promoted.name.as_ref(),
            Self::Build(_) | Self::LiveIn(_) => None,
        }
    }
}

/// One service as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredService {
    /// Where its image comes from.
    pub image: ImageSource,
    /// What should run; its image is known after `image.SERVICE`, or after it was looked up, unless
    /// it was promoted.
    pub workload: Workload,
    /// Its listeners, for a service with a port.
    pub route: Option<Route>,
}
