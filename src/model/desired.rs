//! What should be true for one environment and one source.

use std::collections::BTreeMap;

use crate::model::build::BuildSpec;
use crate::model::promotion::{Promotion, Strategy};
use crate::model::release::PromotedFrom;
use crate::model::resource::Resource;
use crate::model::route::Route;
use crate::model::source::Source;
use crate::model::workload::Workload;
use crate::model::{EnvironmentName, Manifest, Period, ProjectName, ServiceName};

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
    /// Objects of the environment that belong to no slot, in the order in which they can be made.
    pub objects: Vec<Manifest>,
    /// The services.
    pub services: BTreeMap<ServiceName, DesiredService>,
}

/// One service as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredService {
    /// How its image is made.
    pub build: BuildSpec,
    /// What should run; its image is known after `image.SERVICE` unless it was promoted.
    pub workload: Workload,
    /// Its listeners, for a service with a port.
    pub route: Option<Route>,
}
