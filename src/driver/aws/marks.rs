//! The tags by which an environment finds what it made.

use std::collections::HashMap;

use crate::model::resource::MadeBy;
use crate::port::engine::Scope;

const PROJECT: &str = "shipit.dev/project";
const ENVIRONMENT: &str = "shipit.dev/environment";

/// The marks of an environment.
pub(super) fn marks(scope: &Scope) -> [(String, String); 2] {
    [
        (PROJECT.to_owned(), scope.project.to_string()),
        (ENVIRONMENT.to_owned(), scope.environment.to_string()),
    ]
}

/// Whose marks are among some tags.
pub(super) fn made_by(tags: &HashMap<String, String>) -> Option<MadeBy> {
    Some(MadeBy {
        project: tags.get(PROJECT)?.clone(),
        environment: tags.get(ENVIRONMENT)?.clone(),
    })
}

/// Whether a tag is Amazon's or shipit's, and none of the configuration's.
pub(super) fn is_reserved(key: &str) -> bool {
    key.starts_with("aws:") || key.starts_with("shipit.dev/")
}
