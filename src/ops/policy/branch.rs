//! The rules of an environment as a branch has them.

use crate::config::{Rules, rules_of};
use crate::model::EnvironmentName;
use crate::ops::policy::changes::RULES;
use crate::port::Scm;
use crate::port::scm::{BranchFile, ScmError};

/// The rules of an environment on a branch.
pub(super) enum BranchRules {
    /// Those.
    Found(Box<Rules>),
    /// The branch has no project.
    None,
    /// They cannot be read.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
        /// Whether approvals are written there, in words that nobody understands.
        has_approvals: bool,
    },
}

/// Reads them.
pub(super) async fn rules_on(
    scm: &dyn Scm,
    environment: &EnvironmentName,
    branch: &str,
) -> Result<BranchRules, ScmError> {
    let base = match scm.file_on(branch, RULES).await? {
        BranchFile::Text(base) => base,
        BranchFile::NoFile => return Ok(BranchRules::None),
        BranchFile::Unknown { reason, help } => return Ok(unknown(reason, help)),
    };
    let mut over = None;
    for extension in ["yaml", "yml"] {
        let name = format!("environments/{environment}.{extension}");
        match scm.file_on(branch, &name).await? {
            BranchFile::Text(text) => over = Some((name, text)),
            BranchFile::NoFile => continue,
            // The branch is here, and so is the file: it is no text, or too long.
            BranchFile::Unknown { reason, help } => {
                return Ok(BranchRules::Unknown {
                    reason,
                    help,
                    has_approvals: true,
                });
            }
        }
        break;
    }

    let texts = std::iter::once(&base).chain(over.as_ref().map(|(_, text)| text));
    let has_approvals = texts.into_iter().any(|text| text.contains("approvals"));
    let over = over
        .as_ref()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    Ok(match rules_of((RULES, &base), over) {
        Ok(rules) => BranchRules::Found(Box::new(rules)),
        Err(error) => {
            let first = error.faults.first().map(ToString::to_string);
            BranchRules::Unknown {
                reason: first.unwrap_or_default(),
                help: format!("put it right on {branch}"),
                has_approvals,
            }
        }
    })
}

/// Of what is not here, or is no file.
const fn unknown(reason: String, help: String) -> BranchRules {
    BranchRules::Unknown {
        reason,
        help,
        has_approvals: false,
    }
}
