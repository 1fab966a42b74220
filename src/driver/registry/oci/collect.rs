//! Finding what nobody needs in the services' repositories, and taking it away, with what was
//! attached to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::LINK;
use jiff::Timestamp;
use oci_spec::distribution::Reference;
use reqwest::{Method, StatusCode, Url};

use crate::driver::registry::oci::auth::Access;
use crate::driver::registry::oci::document::{parse, read};
use crate::driver::registry::oci::fault::RegistryFault;
use crate::driver::registry::oci::garbage::{Named, is_name, unneeded};
use crate::driver::registry::oci::guard::place;
use crate::driver::registry::oci::remote::{RegistryConnection, Remote};
use crate::driver::registry::oci::wire::{Wire, bounded, send, taken};
use crate::driver::registry::oci::{Oci, referrers};
use crate::model::Digest;
use crate::model::garbage::{Collect, Collected, Unneeded};
use crate::port::registry::RegistryError;

/// The most tags of one repository that are looked at.
const MOST: usize = 10_000;
/// How many manifests are asked for at once.
const AT_ONCE: usize = 8;
/// The most that goes with one image.
const MOST_PARTS: usize = 200;
/// The most bytes that the manifests of one repository may have.
const MOST_BYTES: usize = 128 << 20;
/// What to do where there is too much.
const RULE: &str = "give the repository a retention rule in the registry itself";
/// The largest list of tags that is read.
const LIST_LIMIT: usize = 8 << 20;

/// One repository, and what it has.
struct Repository {
    remote: Arc<Remote>,
    access: Access,
    /// Any name in it.
    at: Reference,
    images: BTreeMap<Digest, Named>,
    gone: BTreeSet<Digest>,
}

pub(super) async fn collect(
    oci: &Oci,
    needed: &BTreeSet<Digest>,
    newest: usize,
    how: Collect,
) -> Result<Collected, RegistryError> {
    let mut repositories = Vec::new();
    for name in oci.place.repositories.values().collect::<BTreeSet<_>>() {
        let at = Reference::with_tag(
            oci.place.endpoint.clone(),
            name.clone(),
            "latest".to_owned(),
        );
        repositories.push(look(oci, at, needed, newest, how).await?);
    }

    let mut going = Vec::new();
    for repository in &repositories {
        for digest in &repository.gone {
            going.push((repository, digest, repository.parts(digest, needed).await?));
        }
    }

    let (blobs, bytes) = freed(&repositories, &going);
    let found = Collected {
        images: told(&repositories),
        blobs,
        bytes,
        refused: None,
    };
    if how == Collect::Report {
        return Ok(found);
    }

    for (repository, digest, parts) in &going {
        let refused = repository.take_away(digest, parts).await?;
        if refused.is_some() {
            return Ok(Collected { refused, ..found });
        }
    }
    Ok(found)
}

/// What goes with an image, by digest.
type Parts = BTreeMap<Digest, Named>;

/// How many blobs nothing uses that is left in any of the repositories (a registry keeps a blob
/// once), and their bytes.
fn freed(repositories: &[Repository], going: &[(&Repository, &Digest, Parts)]) -> (usize, u64) {
    let goes = |digest: &Digest| {
        going
            .iter()
            .any(|(_, gone, parts)| *gone == digest || parts.contains_key(digest))
    };
    let all = repositories
        .iter()
        .flat_map(|repository| &repository.images);
    let left = all
        .filter(|(digest, _)| !goes(digest))
        .flat_map(|(digest, image)| image.blobs(digest));
    let left: BTreeSet<Digest> = left.map(|(blob, _)| blob).collect();
    let mut free: BTreeMap<Digest, u64> = BTreeMap::new();
    for (repository, digest, parts) in going {
        free.extend(
            repository
                .images
                .get(*digest)
                .iter()
                .flat_map(|image| image.blobs(digest)),
        );
        free.extend(parts.iter().flat_map(|(digest, part)| part.blobs(digest)));
    }

    free.retain(|blob, _| !left.contains(blob));
    (free.len(), free.values().sum())
}

fn told(repositories: &[Repository]) -> Vec<Unneeded> {
    let all = repositories.iter().flat_map(|repository| {
        repository.gone.iter().filter_map(|digest| {
            let image = repository.images.get(digest)?;
            Some(Unneeded {
                digest: digest.clone(),
                repository: Some(repository.at.repository().to_owned()),
                tags: image.tags.iter().cloned().collect(),
                created: image.created,
            })
        })
    });
    all.collect()
}

/// What a repository has, and what of it nobody needs.
async fn look(
    oci: &Oci,
    at: Reference,
    needed: &BTreeSet<Digest>,
    newest: usize,
    how: Collect,
) -> Result<Repository, RegistryError> {
    let access = if how == Collect::Report {
        Access::Pull
    } else {
        Access::Push
    };
    let mut repository = Repository {
        remote: Arc::clone(&oci.remote),
        access,
        at,
        images: BTreeMap::new(),
        gone: BTreeSet::new(),
    };
    repository.look_at_tags().await?;
    repository.look_at_untagged(needed).await?;

    repository.gone = unneeded(&repository.images, needed, newest, Timestamp::now());
    if how == Collect::Delete && !repository.gone.is_empty() {
        repository.look_at_new_names().await?;
    }
    Ok(repository)
}

impl Repository {
    async fn look_at_tags(&mut self) -> Result<(), RegistryError> {
        let tags = self.tags().await?;
        for (tag, found) in self.read(tags).await? {
            let Some((digest, image)) = found else {
                continue;
            };
            let image = self.images.entry(digest).or_insert(image);
            image.tags.insert(tag);
        }
        Ok(())
    }

    /// An image that has lost its tags may still be a part of something, or have parts.
    async fn look_at_untagged(&mut self, needed: &BTreeSet<Digest>) -> Result<(), RegistryError> {
        let untagged = needed
            .iter()
            .filter(|digest| !self.images.contains_key(*digest));
        let untagged = untagged.map(ToString::to_string).collect();
        let found = self.read(untagged).await?;
        self.images
            .extend(found.into_iter().filter_map(|(_, found)| found));
        Ok(())
    }

    /// Somebody may have named an image while this was looking: it stays.
    async fn look_at_new_names(&mut self) -> Result<(), RegistryError> {
        let mut names = self.tags().await?;
        names.retain(|tag| is_name(tag));
        for (tag, found) in self.read(names).await? {
            if let Some((digest, image)) = found
                && image.is_named(&tag)
            {
                self.gone.remove(&digest);
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Reference {
        let (registry, repository) = (
            self.at.registry().to_owned(),
            self.at.repository().to_owned(),
        );
        match name.parse::<Digest>() {
            Ok(_) => Reference::with_digest(registry, repository, name.to_owned()),
            Err(_) => Reference::with_tag(registry, repository, name.to_owned()),
        }
    }

    /// Every tag, page by page; none when there is no such repository yet.
    async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let (mut tags, mut next) = (Vec::new(), None);
        loop {
            let open = self.open().await?;
            let ask = || page(&open.wire, &self.at, next.clone());
            let what = || format!("listing the tags of {}", self.at.repository());
            let (more, rest) = open.again(what, ask).await?;
            tags.extend(more);
            if tags.len() > MOST {
                return Err(RegistryError::Remote {
                    what: what(),
                    reason: format!("it has more than {MOST}"),
                    help: RULE.to_owned(),
                });
            }

            match rest {
                Some(rest) if next.as_ref() != Some(&rest) => next = Some(rest),
                _ => return Ok(tags),
            }
        }
    }

    /// What these names stand for; none for one that is not there any more.
    async fn read(
        &self,
        names: Vec<String>,
    ) -> Result<Vec<(String, Option<(Digest, Named)>)>, RegistryError> {
        let read = AtomicUsize::new(0);
        let found = futures_util::stream::iter(names).map(async |name: String| {
            let found = self.one(&name, &read).await?;
            Ok((name, found))
        });
        found.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// What a name stands for, as long as all that was read stays within its bound.
    async fn one(
        &self,
        name: &str,
        so_far: &AtomicUsize,
    ) -> Result<Option<(Digest, Named)>, RegistryError> {
        let (image, open) = (self.name(name), self.open().await?);
        let what = || format!("reading {image}");
        let Some(bytes) = open.again(what, || open.wire.manifest(&image)).await? else {
            return Ok(None);
        };
        let size = bytes.len();
        if so_far.fetch_add(size, Ordering::Relaxed) + size > MOST_BYTES {
            return Err(RegistryError::Remote {
                what: what(),
                reason: format!("the manifests here have more than {} MiB", MOST_BYTES >> 20),
                help: RULE.to_owned(),
            });
        }

        let found = Named::of(&read(&image, &bytes)?, size as u64);
        Ok(Some((Digest::of(&bytes), found)))
    }

    /// The registry, with a login that holds: all of it may take a while.
    async fn open(&self) -> Result<RegistryConnection, RegistryError> {
        self.remote.open(&self.at, self.access).await
    }

    /// What goes with an image: the documents attached to it and to them, the tags that list these,
    /// and the parts of an index.
    async fn parts(
        &self,
        image: &Digest,
        needed: &BTreeSet<Digest>,
    ) -> Result<Parts, RegistryError> {
        let left = self
            .images
            .iter()
            .filter(|(digest, named)| !self.gone.contains(*digest) && !named.is_list());
        let stays: BTreeSet<Digest> = left
            .flat_map(|(digest, named)| named.refers_to().chain([digest.clone()]))
            .collect();
        let (mut parts, mut next) = (Parts::new(), vec![image.clone()]);
        while let Some(digest) = next.pop() {
            let mut found = self.referrers(&digest).await?;
            let lists = self.images.iter().filter(|(_, named)| named.lists(&digest));
            found.extend(lists.map(|(list, _)| list.to_string()));
            found.extend(
                self.images
                    .get(&digest)
                    .into_iter()
                    .flat_map(|image| &image.inside)
                    .map(ToString::to_string),
            );
            for (digest, part) in self
                .read(found)
                .await?
                .into_iter()
                .filter_map(|(_, found)| found)
            {
                let known = digest == *image || parts.contains_key(&digest);
                if !known
                    && !stays.contains(&digest)
                    && !needed.contains(&digest)
                    && parts.len() < MOST_PARTS
                {
                    next.push(digest.clone());
                    parts.insert(digest, part);
                }
            }
        }

        Ok(parts)
    }

    async fn referrers(&self, digest: &Digest) -> Result<Vec<String>, RegistryError> {
        let image = self.name(digest.as_str());
        let listed = referrers(&self.remote, &image).await?;
        Ok(listed
            .into_iter()
            .map(|entry| entry.digest.to_string())
            .collect())
    }

    /// Takes an image away with what goes with it, in such an order that what is left after a kill
    /// is found again; gives the reason when the registry does not let it.
    async fn take_away(
        &self,
        image: &Digest,
        parts: &Parts,
    ) -> Result<Option<String>, RegistryError> {
        let inside: BTreeSet<Digest> = self
            .images
            .get(image)
            .into_iter()
            .flat_map(|image| image.inside.clone())
            .collect();
        let (inside, attached): (Vec<_>, Vec<_>) =
            parts.keys().partition(|part| inside.contains(*part));
        let is_list = |part: &&Digest| self.images.get(*part).is_some_and(Named::is_list);
        let (lists, documents): (Vec<_>, Vec<_>) = attached.into_iter().partition(is_list);
        for digest in documents
            .into_iter()
            .chain(lists)
            .chain([image])
            .chain(inside)
        {
            let name = self.name(digest.as_str());
            let open = self.open().await?;
            let what = || format!("taking {name} away");
            let refused = open.again(what, || delete(&open.wire, &name)).await?;
            if refused.is_some() {
                return Ok(refused);
            }
        }

        Ok(None)
    }
}

/// One page of a repository's tags, and where the next one is (distribution-spec, "Listing Tags").
async fn page(
    wire: &Wire,
    at: &Reference,
    next: Option<Url>,
) -> Result<(Vec<String>, Option<Url>), RegistryFault> {
    let request = match next {
        Some(url) => wire.at(Method::GET, url)?.timeout(super::remote::SILENCE),
        None => wire.about(Method::GET, at, "tags/list?n=1000")?,
    };
    let answer = send(request).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok((Vec::new(), None));
    }

    let answer = taken(answer).await?;
    let next = answer
        .headers()
        .get(LINK)
        .and_then(|link| link.to_str().ok());
    let next = next
        .and_then(following)
        .and_then(|link| answer.url().join(link).ok());
    let host = place(answer.url());
    let list = parse(&bounded(answer, LIST_LIMIT).await?);
    let list = list.map_err(|reason| RegistryFault::Malformed { host, reason })?;
    let tags = list["tags"].as_array().into_iter().flatten();
    Ok((
        tags.filter_map(|tag| tag.as_str().filter(|tag| is_tag(tag)))
            .map(str::to_owned)
            .collect(),
        next,
    ))
}

/// Whether a tag is one, and no way to somewhere else (distribution-spec, "Pulling manifests").
fn is_tag(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(is_letter)
        && text.chars().all(|c| is_letter(c) || ".-".contains(c))
}

/// Where the next page is (RFC 8288).
fn following(link: &str) -> Option<&str> {
    let (target, rest) = link.trim_start().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(target)
}

/// Takes a manifest away; gives the reason when the registry does not let anybody, or not this
/// login.
async fn delete(wire: &Wire, image: &Reference) -> Result<Option<String>, RegistryFault> {
    let name = image.digest().unwrap_or_default();
    let answer = send(wire.about(Method::DELETE, image, &format!("manifests/{name}"))?).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }

    let registry = image.registry();
    match taken(answer).await {
        Ok(_) => Ok(None),
        Err(RegistryFault::Unauthorized { .. } | RegistryFault::Refused { status: 403, .. }) => Ok(
            Some(format!("{registry} does not let this login delete images")),
        ),
        Err(RegistryFault::Refused {
            status, message, ..
        }) if [405, 501].contains(&status) || message.contains("UNSUPPORTED") => Ok(Some(format!(
            "{registry} lets nobody delete images: a retention rule of its own can"
        ))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_leads_nowhere_else() {
        for tag in ["latest", "_x", "v1.2-rc.1", &"a".repeat(128)] {
            assert!(is_tag(tag), "{tag}");
        }
        for none in [
            "",
            "../x",
            "a/b",
            ".x",
            "-x",
            "a?b",
            "a b",
            "ä",
            &"a".repeat(129),
        ] {
            assert!(!is_tag(none), "{none}");
        }
    }

    #[test]
    fn the_next_page_is_where_the_link_says() {
        assert_eq!(
            following("</v2/a/tags/list?n=2&last=b>; rel=\"next\""),
            Some("/v2/a/tags/list?n=2&last=b")
        );
        for none in ["", "</x>; rel=\"prev\"", "/x; rel=\"next\""] {
            assert_eq!(following(none), None, "{none}");
        }
    }
}
