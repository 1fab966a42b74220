//! The keys that are for all environments.

use crate::config::node::Node;
use crate::config::problem::Problem;

/// The keys that only the project has: in an environment's file they would change nothing.
pub(super) const OF_THE_PROJECT: [&str; 3] = ["project", "branches", "approvers"];

/// Those of them that an environment's file has all the same.
pub(super) fn of_the_project(overlay: &Node) -> Vec<Problem> {
    let given = OF_THE_PROJECT
        .iter()
        .filter_map(|key| Some((key, overlay.get(key)?.0.at)));
    given
        .map(|(key, at)| {
            Problem::new(at, format!("{key}: this is for all environments"))
                .help("write it in shipit.yaml, and take it out here")
        })
        .collect()
}
