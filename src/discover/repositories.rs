//! The repositories of an ECR registry.

use crate::discover::DiscoverError;
use crate::discover::proposal::{
    EngineProposal, ImageProposal, Proposal, RegistryProposal, ServiceProposal,
};

/// The most repositories that become services.
const MOST: usize = 100;

/// A repository, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRepository {
    /// Its name.
    pub name: String,
    /// Whether a tag stays where it is.
    pub immutable_tags: bool,
    /// Whether images are scanned when they are pushed.
    pub scan_on_push: bool,
    /// A tag of its newest image, or that image's digest; none of an empty one.
    pub newest: Option<String>,
}

/// The proposal of a registry: a service for each repository.
///
/// # Errors
/// There is none.
pub fn of_repositories(
    (region, account): (&str, &str),
    found: &[FoundRepository],
    folder: &str,
) -> Result<Proposal, DiscoverError> {
    let from = format!("the ECR repositories of {account} in {region}");
    if found.is_empty() {
        let help = "look at the region and the account: `aws ecr describe-repositories`";
        return Err(DiscoverError::new(&from, "there is none", help));
    }

    let prefix = prefix(found);
    let engine = EngineProposal::Kubernetes {
        namespace: None,
        context: None,
        ingress: None,
        is_blue_green: false,
    };
    let mut proposal = Proposal::new(prefix.unwrap_or(folder), from.clone(), engine);
    proposal.remark(
        "a registry says what there is, and not what runs: ports and variables are missing",
    );
    proposal.remark("cluster: this is for any; `cluster: {kind: eks}` is Amazon's");
    for repository in found.iter().take(MOST) {
        service(&mut proposal, repository, (region, account, prefix));
    }
    if found.len() > MOST {
        proposal.remark(format!(
            "left out: {} repositories more",
            found.len() - MOST
        ));
    }

    let is_named = |repository: &FoundRepository| {
        let last = last_part(&repository.name);
        proposal.services.keys().any(|name| name.as_str() == last)
    };
    let has_template = prefix.is_some() && found.len() <= MOST && found.iter().all(is_named);
    let same = |of: fn(&FoundRepository) -> bool| {
        let first = found.first().map(of);
        first.filter(|first| found.iter().all(|it| of(it) == *first))
    };
    proposal.registry = Some(RegistryProposal::Ecr {
        region: region.to_owned(),
        account: account.to_owned(),
        repository: prefix
            .filter(|_| has_template)
            .map(|prefix| format!("{prefix}/{{{{ service }}}}")),
        immutable_tags: same(|it| it.immutable_tags),
        scan_on_push: same(|it| it.scan_on_push),
    });
    if !has_template {
        proposal.remark(
            "registry: the names follow no pattern with one service each: `registry.repository` \
             names where images go that are built",
        );
    }
    Ok(proposal)
}

/// What stands before the last part of every name, where that is one thing.
fn prefix(found: &[FoundRepository]) -> Option<&str> {
    let of = |repository: &'_ FoundRepository| {
        let at = repository.name.rfind('/')?;
        Some(at)
    };
    let first = found.first()?;
    let prefix = &first.name[..of(first)?];
    let is_same = |it: &FoundRepository| of(it).is_some_and(|at| &it.name[..at] == prefix);
    found.iter().all(is_same).then_some(prefix)
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

fn service(
    proposal: &mut Proposal,
    repository: &FoundRepository,
    (region, account, prefix): (&str, &str, Option<&str>),
) {
    let name = &repository.name;
    let mut service = ServiceProposal::default();
    let address = format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}");
    service.image = match &repository.newest {
        Some(digest) if digest.starts_with("sha256:") => {
            ImageProposal::Named(format!("{address}@{digest}"))
        }
        Some(tag) => ImageProposal::Named(format!("{address}:{tag}")),
        None => {
            service.remark(format!("{name} is empty: write `build:`"));
            ImageProposal::Unknown
        }
    };
    let called = if prefix.is_some() {
        last_part(name)
    } else {
        name
    };
    proposal.add(called, service);
}
