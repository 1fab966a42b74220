//! The versions of secrets that a plan needs or leaves behind: whether their sources still have
//! them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::model::ReleaseNumber;
use crate::model::facts::Facts;
use crate::model::plan::{Action, Plan};
use crate::model::secret::SecretRef;
use crate::model::workload::Workload;
use crate::ops::Session;
use crate::port::SecretSource;
use crate::port::secret::SecretErrorKind;

/// How long a source may take to tell of a version that is left behind: nobody waits longer for
/// advice.
const ADVICE: Duration = Duration::from_secs(5);

/// What to tell of versions that are gone, or will be. A source that does not answer has its note
/// elsewhere. A plan that deploys nothing asks nobody.
pub(super) async fn notes(session: &Session, plan: &Plan, facts: &Facts) -> Vec<String> {
    let mut deployed = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Deploy { workload, .. } => Some(workload),
        _ => None,
    });
    let (Some(target), Some(first)) = (&plan.target, deployed.next()) else {
        return Vec::new();
    };

    let needed = versions(std::iter::once(first).chain(deployed));
    let live = facts.live().map(|(_, live)| live);
    let live = live.filter(|live| live.label.number != target.release);
    let running = live.into_iter().flat_map(|live| live.workloads.values());
    let left = left_behind(versions(running.map(|found| &found.spec)), &needed);

    let needed_fates = join_all(
        needed
            .iter()
            .map(|secret| fate(session.ports.secrets.as_ref(), *secret)),
    );
    let left_fates = join_all(left.iter().map(|secret| advice(session, secret)));
    let (needed_fates, left_fates) = tokio::join!(needed_fates, left_fates);

    let mut notes = Vec::new();
    for (secret, fate) in needed.iter().zip(needed_fates) {
        notes.extend(missing(target.release, secret, fate));
    }
    for (secret, fate) in left.iter().zip(left_fates) {
        notes.extend(live.and_then(|live| lost(live.label.number, secret, fate)));
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

/// A secret of a workload in a version: its name, and where it is read.
type Versioned<'a> = (&'a str, &'a SecretRef);

/// The secrets that workloads have in a version that is named, each once. Two services may have one
/// secret in different versions.
fn versions<'a>(workloads: impl Iterator<Item = &'a Workload>) -> Vec<Versioned<'a>> {
    let mut found: Vec<Versioned<'a>> = Vec::new();
    for secret in workloads.flat_map(Workload::secrets) {
        if secret.1.version().is_some() && !found.contains(&secret) {
            found.push(secret);
        }
    }
    found.sort_by_key(|(name, _)| *name);
    found
}

/// What of these is not needed any more.
fn left_behind<'a>(running: Vec<Versioned<'a>>, needed: &[Versioned<'_>]) -> Vec<Versioned<'a>> {
    let left = running.into_iter();
    left.filter(|secret| !needed.contains(secret)).collect()
}

async fn fate(secrets: &dyn SecretSource, (name, from): Versioned<'_>) -> Fate {
    match secrets.read(name, from).await {
        Ok(read) => read.until.map_or(Fate::Kept, Fate::Until),
        Err(error) if error.kind == SecretErrorKind::Gone => Fate::Gone(error.reason),
        Err(_) => Fate::Kept,
    }
}

/// Only the wait has a limit: a login that is given up in the middle may have used what is good for
/// one login.
async fn advice(session: &Session, (name, from): &Versioned<'_>) -> Fate {
    let secrets = Arc::clone(&session.ports.secrets);
    let (name, from) = ((*name).to_owned(), (*from).clone());
    let asked = tokio::spawn(async move { fate(secrets.as_ref(), (&name, &from)).await });
    match tokio::time::timeout(ADVICE, asked).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) | Err(_) => Fate::Kept,
    }
}

/// What to tell of a version that a release is to be deployed with.
fn missing(release: ReleaseNumber, (name, _): &Versioned<'_>, fate: Fate) -> Option<String> {
    match fate {
        Fate::Kept | Fate::Until(_) => None,
        Fate::Gone(reason) => Some(format!(
            "release {release} cannot be deployed: of the secret `{name}`, {reason}"
        )),
    }
}

/// What to tell of a version that only the release that is live now has.
fn lost(release: ReleaseNumber, (name, from): &Versioned<'_>, fate: Fate) -> Option<String> {
    match fate {
        Fate::Kept => None,
        Fate::Gone(reason) => Some(format!(
            "release {release} cannot be deployed again: of its secret `{name}`, {reason}"
        )),
        Fate::Until(until) => {
            let version = from.version().map(|version| version.to_string());
            let version = version.unwrap_or_default();
            Some(format!(
                "release {release} cannot be deployed again after {until:.0}: its source deletes \
                 {version} of the secret `{name}` then"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::VaultSecret;
    use crate::model::workload::SlotObjects;
    use crate::model::workload::{Known, WorkloadKind};

    fn token(version: Option<u64>) -> SecretRef {
        SecretRef::Vault(VaultSecret {
            path: "secret/shop".to_owned(),
            key: "token".to_owned(),
            version,
            mount: None,
            kv: None,
        })
    }

    fn workload(service: &str, version: Option<u64>) -> Workload {
        let objects = SlotObjects {
            secrets: [("token".to_owned(), token(version))].into(),
            ..SlotObjects::default()
        };
        Workload {
            service: service.parse().expect("a name"),
            image: Known::Value(crate::model::Digest::of(b"image")),
            repository: None,
            port: None,
            replicas: 1,
            health: crate::model::health::Health::default(),
            strategy: None,
            kind: WorkloadKind::Objects(objects),
        }
    }

    #[test]
    fn two_services_may_have_one_secret_in_different_versions() {
        let running = [
            workload("api", Some(1)),
            workload("web", Some(2)),
            workload("jobs", Some(2)),
            workload("mail", None),
        ];
        let (one, two, three) = (token(Some(1)), token(Some(2)), token(Some(3)));
        let found = versions(running.iter());
        assert_eq!(found, [("token", &one), ("token", &two)]);

        let needed = [("token", &two), ("token", &three)];
        assert_eq!(left_behind(found, &needed), [("token", &one)]);
    }
}
