//! Promotions from one environment to another.

use crate::model::EnvironmentName;
use crate::model::branch::BranchRule;
use crate::policy::{Refusal, matches};

/// Whether releases may be promoted from one environment to another: the branch of the one must be
/// accepted by the branch of the other.
///
/// # Errors
/// The rule that forbids it.
pub fn may_promote_from(
    rules: &[BranchRule],
    from: &EnvironmentName,
    to: &EnvironmentName,
) -> Result<(), Refusal> {
    let of = |environment: &EnvironmentName| {
        rules
            .iter()
            .filter(|rule| rule.environment.as_ref() == Some(environment))
            .collect::<Vec<_>>()
    };
    let (sources, targets) = (of(from), of(to));
    let accepts_something = targets.iter().any(|rule| !rule.accepts.is_empty());
    if targets.is_empty() || !accepts_something {
        return Ok(());
    }

    let accepted = targets.iter().flat_map(|rule| &rule.accepts).any(|name| {
        name == from.as_str() || sources.iter().any(|source| matches(&source.pattern, name))
    });
    if accepted {
        return Ok(());
    }

    let accepts: Vec<&str> = targets
        .iter()
        .flat_map(|rule| rule.accepts.iter().map(String::as_str))
        .collect();
    Err(Refusal {
        what: format!(
            "{to} takes releases only from {}, and not from {from}",
            accepts.join(", ")
        ),
        help: format!(
            "promote to {} first, or change `accepts` in shipit.yaml",
            accepts.join(" or ")
        ),
    })
}
