//! EKS: a cluster and what belongs to it, read and written as settings. A file for each kind says
//! how it is seen, made and changed; what they share is here, and [`wait`] has the waiting.
//!
//! What takes minutes at Amazon is waited for here, and said. A run that is killed or stopped
//! leaves it going on; the next one finds it and waits on.

mod access_entry;
mod addon;
mod cluster;
mod fargate_profile;
mod node_group;
mod wait;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_eks::error::{ProvideErrorMetadata, SdkError};
use serde_json::{Value, json};

pub(super) use wait::Waiting;

use crate::driver::aws::eks::wait::Refused;
use crate::driver::aws::marks::{is_reserved, made_by, marks};
use crate::driver::aws::{Aws, code, failed, is_denied, is_unsupported};
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, ResourceKind, Settings};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

/// Tags as a setting: without shipit's own and Amazon's.
fn own_tags(tags: Option<&HashMap<String, String>>) -> Value {
    let tags = tags
        .into_iter()
        .flatten()
        .filter(|(key, _)| !is_reserved(key));
    let sorted: BTreeMap<&String, &String> = tags.collect();
    json!(sorted)
}

fn all_tags(scope: &Scope, settings: &Settings) -> HashMap<String, String> {
    let mut tags: HashMap<String, String> = settings
        .get("tags")
        .and_then(|tags| serde_json::from_value(tags.clone()).ok())
        .unwrap_or_default();
    tags.extend(marks(scope));
    tags
}

fn sorted(items: &[String]) -> Value {
    let mut items = items.to_vec();
    items.sort();
    json!(items)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: Option<&Value>) -> i32 {
    value
        .and_then(Value::as_i64)
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or(0)
}

fn refused(what: impl Into<String>, reason: impl Into<String>, help: &str) -> ProviderError {
    ProviderError::Failed {
        what: what.into(),
        reason: reason.into(),
        help: help.to_owned(),
    }
}

/// One thing of EKS as it is now: its settings, its status in Amazon's words and what it lacks, its
/// tags and its name at Amazon.
struct Seen {
    settings: Settings,
    status: String,
    marks: HashMap<String, String>,
    arn: String,
    issues: Vec<String>,
}

impl Seen {
    fn differs(&self, wanted: &Resource, setting: &str) -> bool {
        wanted
            .settings
            .get(setting)
            .is_some_and(|value| self.settings.get(setting) != Some(value))
    }

    /// Its status, and what it lacks.
    fn words(&self) -> String {
        match &self.issues[..] {
            [] => self.status.clone(),
            issues => format!("{}: {}", self.status, issues.join("; ")),
        }
    }

    fn is_ours(&self, scope: &Scope) -> bool {
        marks(scope)
            .iter()
            .all(|(key, value)| self.marks.get(key) == Some(value))
    }
}

/// One cluster's resources.
pub(super) struct Eks<'a> {
    pub aws: &'a Aws,
    pub cluster: &'a str,
}

impl Eks<'_> {
    pub async fn observe(
        &self,
        scope: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError> {
        let each = wanted
            .iter()
            .map(|resource| self.facts(resource.key.clone()));
        let mut found = futures_util::future::try_join_all(each).await?;
        let is_there = match found
            .iter()
            .find(|facts| facts.key.kind == ResourceKind::Cluster)
        {
            Some(cluster) => cluster.settings.is_some(),
            None => self.see_cluster(self.cluster).await?.is_some(),
        };

        if is_there {
            found.extend(Box::pin(self.orphans(scope, wanted)).await?);
        }
        if found
            .iter()
            .any(|facts| facts.key.kind == ResourceKind::AccessEntry)
        {
            let caller = self.caller().await?;
            for facts in found
                .iter_mut()
                .filter(|facts| facts.key.kind == ResourceKind::AccessEntry)
            {
                facts.is_callers = access_entry::is_same(&facts.key.name, &caller);
            }
        }

        Ok(found)
    }

    /// Whether a resource can be read.
    pub async fn reads(&self, key: &ResourceKey) -> Result<(), ProviderError> {
        self.see(key).await.map(drop)
    }

    /// One resource that is wanted.
    pub async fn facts(&self, key: ResourceKey) -> Result<ResourceFacts, ProviderError> {
        let seen = self.see(&key).await?;
        let mut facts = facts(key, seen);
        if facts.key.kind == ResourceKind::AccessEntry {
            facts.is_callers = access_entry::is_same(&facts.key.name, &self.caller().await?);
        }
        Ok(facts)
    }

    /// Who runs this, as Amazon knows them.
    async fn caller(&self) -> Result<String, ProviderError> {
        let answer = self.aws.sts().await.get_caller_identity().send().await;
        let answer = answer
            .map_err(|error| failed("sts:GetCallerIdentity", "asking who runs this", &error))?;
        Ok(answer.arn().unwrap_or_default().to_owned())
    }

    async fn see(&self, key: &ResourceKey) -> Result<Option<Seen>, ProviderError> {
        match key.kind {
            ResourceKind::Cluster => self.see_cluster(&key.name).await,
            ResourceKind::NodeGroup => self.see_group(&key.name).await,
            ResourceKind::FargateProfile => self.see_profile(&key.name).await,
            ResourceKind::Addon => self.see_addon(&key.name).await,
            ResourceKind::AccessEntry => self.see_entry(&key.name).await,
            ResourceKind::Repository | ResourceKind::PullThrough | ResourceKind::Replication => {
                Ok(None)
            }
        }
    }

    /// What this environment made in the cluster and is not wanted any more.
    async fn orphans(
        &self,
        scope: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError> {
        let has = |kind| wanted.iter().any(|resource| resource.key.kind == kind);
        let (profiles, groups, addons, entries) = tokio::try_join!(
            self.profiles(),
            self.groups(),
            self.addons(has(ResourceKind::Addon)),
            self.entries(has(ResourceKind::AccessEntry)),
        )?;
        let named = |kind, names: Vec<String>| {
            names
                .into_iter()
                .map(move |name| ResourceKey { kind, name })
        };

        let mut keys: Vec<ResourceKey> = named(ResourceKind::FargateProfile, profiles)
            .chain(named(ResourceKind::NodeGroup, groups))
            .chain(named(ResourceKind::Addon, addons))
            .chain(named(ResourceKind::AccessEntry, entries))
            .collect();
        keys.retain(|key| !wanted.iter().any(|resource| resource.key == *key));
        let seen = futures_util::future::try_join_all(keys.iter().map(|key| self.see(key))).await?;
        let orphans = keys.into_iter().zip(seen).filter(|(_, seen)| {
            seen.as_ref()
                .is_some_and(|seen| seen.is_ours(scope) && seen.status != "DELETING")
        });
        Ok(orphans
            .map(|(key, seen)| ResourceFacts {
                wanted: false,
                ..facts(key, seen)
            })
            .collect())
    }

    async fn profiles(&self) -> Result<Vec<String>, ProviderError> {
        let client = self.aws.eks().await;
        let pages = client
            .list_fargate_profiles()
            .cluster_name(self.cluster)
            .into_paginator();
        let names: Result<Vec<String>, _> = pages.items().send().collect().await;
        self.listed("eks:ListFargateProfiles", names)
    }

    async fn groups(&self) -> Result<Vec<String>, ProviderError> {
        let client = self.aws.eks().await;
        let pages = client
            .list_nodegroups()
            .cluster_name(self.cluster)
            .into_paginator();
        let names: Result<Vec<String>, _> = pages.items().send().collect().await;
        self.listed("eks:ListNodegroups", names)
    }

    async fn addons(&self, wanted: bool) -> Result<Vec<String>, ProviderError> {
        let client = self.aws.eks().await;
        let pages = client
            .list_addons()
            .cluster_name(self.cluster)
            .into_paginator();
        let names: Result<Vec<String>, _> = pages.items().send().collect().await;
        self.listed("eks:ListAddons", or_none(names, wanted))
    }

    async fn entries(&self, wanted: bool) -> Result<Vec<String>, ProviderError> {
        let client = self.aws.eks().await;
        let pages = client
            .list_access_entries()
            .cluster_name(self.cluster)
            .into_paginator();
        let names: Result<Vec<String>, _> = pages.items().send().collect().await;
        self.listed("eks:ListAccessEntries", or_none(names, wanted))
    }

    /// The names of a listing; a cluster that went away meanwhile has nothing.
    fn listed<E>(
        &self,
        action: &str,
        names: Result<Vec<String>, SdkError<E>>,
    ) -> Result<Vec<String>, ProviderError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match names {
            Err(error) if code(&error) == "ResourceNotFoundException" => Ok(Vec::new()),
            names => names.map_err(|error| {
                failed(
                    action,
                    format!("listing what cluster {} has", self.cluster),
                    &error,
                )
            }),
        }
    }

    pub async fn ensure(
        &self,
        scope: &Scope,
        wanted: &Resource,
        replace: bool,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let key = &wanted.key;
        let mut seen = self.settled(key, waiting).await?;

        // A run that was killed between the two halves has made the new one already.
        let is_old = |seen: &Seen| {
            wanted
                .settings
                .iter()
                .any(|(name, _)| seen.differs(wanted, name))
        };

        if replace && seen.as_ref().is_some_and(is_old) {
            self.delete(key, waiting).await?;
            seen = None;
        }

        match seen {
            None => {
                (waiting.progress)(&format!("making {key}; Amazon takes its time"));
                let what = format!("making {key}");
                waiting
                    .while_busy(&what, || self.create(scope, wanted))
                    .await?;
                let seen = self.until_there(key, waiting).await?;
                // An entry is made without its policies.
                if key.kind == ResourceKind::AccessEntry {
                    self.update_entry(wanted, &seen, waiting).await?;
                }
                Ok(())
            }
            Some(seen) => self.update(scope, wanted, &seen, waiting).await,
        }
    }

    pub async fn delete(
        &self,
        key: &ResourceKey,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let what = format!("deleting {key}");
        waiting
            .while_busy(&what, || self.begin_deleting(key))
            .await?;
        self.until_gone(key, waiting).await
    }

    async fn begin_deleting(&self, key: &ResourceKey) -> Result<(), Refused> {
        let deleted = match key.kind {
            ResourceKind::FargateProfile => self.delete_profile(&key.name).await,
            ResourceKind::NodeGroup => self.delete_group(&key.name).await,
            ResourceKind::Addon => self.delete_addon(&key.name).await,
            ResourceKind::AccessEntry => self.delete_entry(key).await,
            ResourceKind::Cluster
            | ResourceKind::Repository
            | ResourceKind::PullThrough
            | ResourceKind::Replication => {
                let help = "delete it by hand, if that is what you want";
                let reason = "shipit does not delete what holds everything else";
                let error = refused(format!("deleting {key}"), reason, help);
                Err(Refused {
                    code: String::new(),
                    error,
                })
            }
        };

        match deleted {
            Err(refused) if refused.code == "ResourceNotFoundException" => Ok(()),
            other => other,
        }
    }

    async fn create(&self, scope: &Scope, wanted: &Resource) -> Result<(), Refused> {
        let created = match wanted.key.kind {
            ResourceKind::Cluster => self.create_cluster(scope, wanted).await,
            ResourceKind::NodeGroup => self.create_group(scope, wanted).await,
            ResourceKind::FargateProfile => self.create_profile(scope, wanted).await,
            ResourceKind::Addon => self.create_addon(scope, wanted).await,
            ResourceKind::AccessEntry => self.create_entry(scope, wanted).await,
            ResourceKind::Repository | ResourceKind::PullThrough | ResourceKind::Replication => {
                Ok(())
            }
        };

        match created {
            // A run that was killed has made it; its settings were looked at already.
            Err(refused) if refused.code == "ResourceInUseException" => {
                match self.see(&wanted.key).await {
                    Ok(Some(_)) => Ok(()),
                    _ => Err(refused),
                }
            }
            other => other,
        }
    }

    async fn update(
        &self,
        scope: &Scope,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        match wanted.key.kind {
            ResourceKind::Cluster => self.update_cluster(scope, wanted, seen, waiting).await,
            ResourceKind::NodeGroup => self.update_group(wanted, seen, waiting).await,
            ResourceKind::Addon => self.update_addon(wanted, seen, waiting).await,
            ResourceKind::AccessEntry => self.update_entry(wanted, seen, waiting).await,
            ResourceKind::FargateProfile
            | ResourceKind::Repository
            | ResourceKind::PullThrough
            | ResourceKind::Replication => Ok(()),
        }
    }

    /// Makes the tags what they should be.
    async fn tag(
        &self,
        scope: &Scope,
        wanted: &Resource,
        seen: &Seen,
    ) -> Result<(), ProviderError> {
        let client = self.aws.eks().await;
        let what = format!("tagging {}", wanted.key);
        let tags = all_tags(scope, &wanted.settings);
        let old = seen
            .settings
            .get("tags")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let gone: Vec<String> = old
            .map(|(key, _)| key.clone())
            .filter(|key| !tags.contains_key(key))
            .collect();
        if !gone.is_empty() {
            let sent = client
                .untag_resource()
                .resource_arn(&seen.arn)
                .set_tag_keys(Some(gone))
                .send()
                .await;
            sent.map_err(|error| failed("eks:UntagResource", &what, &error))?;
        }

        let sent = client
            .tag_resource()
            .resource_arn(&seen.arn)
            .set_tags(Some(tags))
            .send()
            .await;
        sent.map(drop)
            .map_err(|error| failed("eks:TagResource", &what, &error))
    }
}

/// Who may not list a kind of resource, and wants none of it, has never made one.
fn or_none<E: ProvideErrorMetadata>(
    names: Result<Vec<String>, SdkError<E>>,
    wanted: bool,
) -> Result<Vec<String>, SdkError<E>> {
    match names {
        Err(error) if !wanted && (is_denied(&error) || is_unsupported(&error)) => Ok(Vec::new()),
        names => names,
    }
}

/// What is being deleted is not there any more.
fn facts(key: ResourceKey, seen: Option<Seen>) -> ResourceFacts {
    let mut facts = ResourceFacts::absent(key);
    if let Some(seen) = seen.filter(|seen| seen.status != "DELETING") {
        if seen.status.ends_with("FAILED") || seen.status == "DEGRADED" {
            facts
                .notes
                .push(format!("it is {} at Amazon", seen.words()));
        }
        facts.made_by = made_by(&seen.marks);
        facts.settings = Some(seen.settings);
    }
    facts
}
