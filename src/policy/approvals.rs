//! Whether as many people have signed a plan as its environment wants.

#[cfg(test)]
mod tests;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::model::Period;
use crate::model::approval::{
    AHEAD, ApprovalRule, Approver, Authors, NAMESPACE, PlanApproval, SignedBy, Statement, names,
};
use crate::model::plan::Intent;
use crate::model::sshsig::Sshsig;
use crate::model::verdict::Verdict;

/// The rule's key.
pub const KEY: &str = "approvals";

/// Whether a plan may want approvals at all. What leads back is never held up.
#[must_use]
pub const fn wants_approvals(intent: &Intent) -> bool {
    match intent {
        Intent::Apply
        | Intent::Promote(_)
        | Intent::PromoteFrom(_)
        | Intent::Destroy
        | Intent::DestroyInfrastructure => true,
        Intent::Rollback(_) | Intent::Abort | Intent::Task(_) | Intent::Settle => false,
    }
}

/// What was signed, and what of it is known.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The signatures of the plan file.
    pub approvals: &'a [PlanApproval],
    /// What each of them must be over, but for its time.
    pub of: &'a Statement,
    /// Who wrote what is deployed.
    pub authors: &'a Authors,
    /// The time.
    pub now: Timestamp,
}

/// What a rule says of a plan's approvals, and the people whose approval counts, each once and in
/// the order of their names. Those that do not count are named, and spoil nothing.
#[must_use]
pub fn approved(
    rule: &ApprovalRule,
    approvers: &[Approver],
    given: Given<'_>,
) -> (Verdict, Vec<SignedBy>) {
    let mut counted: Vec<SignedBy> = Vec::new();
    let mut others: Vec<NotCounted> = Vec::new();
    for approval in given.approvals {
        match signer(rule, approvers, given, approval) {
            Ok(by) if counted.iter().any(|other| other.name == by.name) => {}
            Ok(by) => counted.push(by),
            Err(why) => others.push(why),
        }
    }
    // Whoever signed twice, and once so that it counts, has approved it.
    let is_counted = |name: &String| counted.iter().any(|by| by.name == *name);
    others.retain(|other| !other.name.as_ref().is_some_and(is_counted));
    counted.sort_by(|one, other| one.name.cmp(&other.name));

    (verdict(rule, given.authors, &counted, &others), counted)
}

/// An approval that does not count.
struct NotCounted {
    /// Whose it is; none where that is not known.
    name: Option<String>,
    /// Why it does not.
    why: String,
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.why),
            None => f.write_str(&self.why),
        }
    }
}

fn verdict(
    rule: &ApprovalRule,
    authors: &Authors,
    counted: &[SignedBy],
    others: &[NotCounted],
) -> Verdict {
    let mut reason = format!("{} of {}", counted.len(), rule.wants());
    if !counted.is_empty() {
        reason.push_str(": ");
        reason.push_str(&names(counted));
    }
    if !others.is_empty() {
        reason.push_str("; not counted: ");
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        reason.push_str(&others.join(", "));
    }
    if counted.len() < rule.count {
        return Verdict::refused(KEY, reason, "sign it: `shipit approve FILE`");
    }
    match authors {
        Authors::Unknown { reason, help } => {
            let reason = format!("nobody can tell who wrote what is deployed: {reason}");
            Verdict::undecided(KEY, reason, help)
        }
        Authors::NotAsked | Authors::Known(_) => Verdict::passed(KEY, reason),
    }
}

/// Who gave an approval, or why it does not count.
fn signer(
    rule: &ApprovalRule,
    approvers: &[Approver],
    given: Given<'_>,
    approval: &PlanApproval,
) -> Result<SignedBy, NotCounted> {
    let nobodys = |why| NotCounted { name: None, why };
    let signature = Sshsig::read(&approval.signature)
        .map_err(|why| nobodys(format!("one that cannot be read ({why})")))?;
    let (approver, fingerprint) = owner(approvers, &signature).map_err(nobodys)?;
    let not_counted = |why: String| NotCounted {
        name: Some(approver.name.clone()),
        why,
    };

    let message = given.of.at(approval.at).message();
    signature
        .is_by(signature.key(), NAMESPACE, &message)
        .map_err(not_counted)?;
    if !rule.takes(approver) {
        return Err(not_counted(format!("none{}", rule.of())));
    }
    in_time(rule.within, approval.at, given.now).map_err(not_counted)?;
    if let (true, Authors::Known(authors)) = (rule.not_author, given.authors)
        && !approver.emails.is_disjoint(authors)
    {
        return Err(not_counted("wrote a commit of it".to_owned()));
    }
    Ok(SignedBy {
        name: approver.name.clone(),
        key: fingerprint,
        at: approval.at,
        plan: given.of.plan.clone(),
        made: given.of.made.clone(),
        signature: approval.signature.clone(),
    })
}

/// Whose key a signature was made with, and its fingerprint.
///
/// # Errors
/// Nobody's, in words.
fn owner<'a>(
    approvers: &'a [Approver],
    signature: &Sshsig,
) -> Result<(&'a Approver, String), String> {
    let fingerprint = signature.key().fingerprint();
    let owner = approvers
        .iter()
        .find(|approver| approver.keys.contains(signature.key()));
    match owner {
        Some(owner) => Ok((owner, fingerprint)),
        None => Err(format!(
            "a key that is nobody's under approvers: {fingerprint}"
        )),
    }
}

/// That it was signed neither too long ago nor in the future. Both bounds count.
fn in_time(within: Option<Period>, at: Timestamp, now: Timestamp) -> Result<(), String> {
    let age = now.duration_since(at);
    if age < -AHEAD {
        let ahead = shown(-age);
        return Err(format!("in the future by {ahead}: look at the clocks"));
    }
    let most = within.map(|within| SignedDuration::try_from(within.get()));
    if let Some(Ok(most)) = most
        && age > most
    {
        return Err(format!("{} ago, {} at the most", shown(age), shown(most)));
    }
    Ok(())
}

/// A length of time in its largest unit that does not hide it.
fn shown(time: SignedDuration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}
