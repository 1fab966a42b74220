//! What a program reads: every document has a version and a kind in front of its own fields, and
//! nothing that is printed for programs is without.

use serde_json::{Map, Value};

/// The version of all documents. A field that is added does not change it; one that goes, or means
/// something else, does.
pub const VERSION: u32 = 1;

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Whether an agent runs, and what it has.
    Agent,
    /// The systemd units of an agent.
    AgentUnits,
    /// The run that was asked to stop.
    Abort,
    /// An approval of a plan.
    Approval,
    /// Whether a branch may go where it is going.
    BranchCheck,
    /// What a run needs, and whether it is there.
    Checks,
    /// Who may ask the server from another machine.
    Clients,
    /// Whether two environments are alike.
    Comparison,
    /// What came through the doors.
    Deliveries,
    /// One delivery.
    Delivery,
    /// What should run.
    Desired,
    /// How what runs differs from what should run.
    Diff,
    /// What moved in an environment since shipit acted there.
    Drift,
    /// Why a command failed.
    Error,
    /// Something that happened during a run; one a line.
    Event,
    /// The steps of a plan, and which of them waits for which.
    Graph,
    /// The releases.
    History,
    /// Images that nobody uses.
    Images,
    /// Objects that others have made.
    Import,
    /// The files that were written for a new project.
    Init,
    /// A job of the server's.
    Job,
    /// The server's jobs.
    Jobs,
    /// The lock that was taken.
    Lock,
    /// A line that an instance or an agent wrote; one a line.
    Log,
    /// What those were told who are told of runs.
    Notified,
    /// A plan.
    Plan,
    /// What each fault in a plan would come to.
    Rehearsal,
    /// The status of a commit that was set.
    CommitStatus,
    /// What was restarted.
    Restart,
    /// What has come due and was done, and what is due later.
    Settled,
    /// The state of an environment.
    State,
    /// What shipit holds in an environment.
    StateList,
    /// What was migrated from one store to another.
    StateMigration,
    /// What shipit has forgotten.
    StateRemoval,
    /// What runs where.
    Status,
    /// A token that was issued.
    Token,
    /// Where a release answers.
    Urls,
    /// Whether the configuration is valid, and what is wrong with it.
    Validation,
}

/// A document: the version, the kind, and the fields of `body`. The version that a body has by
/// itself, which is a file's, is left out.
pub(super) fn enveloped(kind: Kind, body: &impl serde::Serialize) -> Value {
    let mut document = Map::new();
    document.insert("version".to_owned(), VERSION.into());
    let kind = serde_json::to_value(kind).unwrap_or_default();
    document.insert("kind".to_owned(), kind);
    match serde_json::to_value(body).unwrap_or_default() {
        Value::Object(fields) => {
            let own = fields.into_iter().filter(|(name, _)| name != "format");
            document.extend(own);
        }
        other => {
            document.insert("items".to_owned(), other);
        }
    }
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_says_first_what_it_is() {
        let document = enveloped(Kind::BranchCheck, &json!({"format": 2, "rule": null}));
        let text = document.to_string();
        assert_eq!(text, r#"{"version":1,"kind":"branch_check","rule":null}"#);
        let list = enveloped(Kind::History, &[1, 2]);
        assert_eq!(list["items"], json!([1, 2]));
    }
}
