//! The versions of secrets that a plan needs or leaves behind: whether their sources still have them.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::model::facts::Facts;
use crate::model::plan::{Action, Plan};
use crate::model::secret::SecretRef;
use crate::model::workload::Workload;
use crate::ops::Session;
use crate::port::secret::SecretErrorKind;

/// What to tell of versions that are gone, or will be. A source that does not answer has its note
/// elsewhere.
pub(super) async fn notes(session: &Session, plan: &Plan, facts: &Facts) -> Vec<String> {
    let Some(target) = &plan.target else {
        return Vec::new();
    };
    let deployed = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Deploy { workload, .. } => Some(workload),
        _ => None,
    });
    let needed = versions(deployed);
    let mut notes = Vec::new();
    for (name, gone) in join_all(asked(session, &needed)).await {
        if let Fate::Gone(reason) = gone {
            let release = target.release;
            notes.push(format!(
                "release {release} cannot be deployed: of the secret `{name}`, {reason}"
            ));
        }
    }

    let Some((_, live)) = facts.live() else {
        return notes;
    };
    let release = live.label.number;
    let mut left = versions(live.workloads.values().map(|there| &there.spec));
    left.retain(|name, from| needed.get(name) != Some(from) && release != target.release);
    for (name, fate) in join_all(asked(session, &left)).await {
        let version = left[name].version();
        let version = version.map(|it| it.to_string()).unwrap_or_default();
        notes.extend(match fate {
            Fate::Kept => None,
            Fate::Gone(reason) => Some(format!(
                "release {release} cannot be deployed again: of its secret `{name}`, {reason}"
            )),
            Fate::Until(until) => Some(format!(
                "release {release} cannot be deployed again after {until:.0}: its source deletes {version} of the \
                 secret `{name}` then"
            )),
        });
    }
    notes
}

/// What becomes of a version.
enum Fate {
    /// Nothing that is known.
    Kept,
    /// It is deleted then.
    Until(jiff::Timestamp),
    /// It is not there, in words.
    Gone(String),
}

/// The secrets that workloads have in a version that is named.
fn versions<'a>(workloads: impl Iterator<Item = &'a Workload>) -> BTreeMap<String, SecretRef> {
    let all = workloads.flat_map(Workload::secrets);
    let named = all.filter(|(_, from)| from.version().is_some());
    named
        .map(|(name, from)| (name.to_owned(), from.clone()))
        .collect()
}

fn asked<'a>(
    session: &'a Session,
    versions: &'a BTreeMap<String, SecretRef>,
) -> impl Iterator<Item = impl Future<Output = (&'a str, Fate)>> {
    versions.iter().map(move |(name, from)| async move {
        let fate = match session.ports.secrets.read(name, from).await {
            Ok(read) => read.until.map_or(Fate::Kept, Fate::Until),
            Err(error) if error.kind == SecretErrorKind::Gone => Fate::Gone(error.reason),
            Err(_) => Fate::Kept,
        };
        (name.as_str(), fate)
    })
}
