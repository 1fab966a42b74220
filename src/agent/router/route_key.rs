//! What a route is known by.

use std::fmt;

use crate::model::ServiceName;
use crate::port::engine::Scope;

/// One service of one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The environment.
    pub scope: Scope,
    /// The service.
    pub service: ServiceName,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.service, self.scope)
    }
}
