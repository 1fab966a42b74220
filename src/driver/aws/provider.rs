//! The provider: each resource goes to the service that has it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::driver::aws::eks::{Eks, Waiting};
use crate::driver::aws::{Aws, explained, images, pull_through, replication, repository, scan};
use crate::model::access::is_kept;
use crate::model::resource::{
    Resource, ResourceFacts, ResourceKey, ResourceKind, Settings, StoredImage,
};
use crate::model::{Address, Digest, Fingerprint};
use crate::port::engine::{CheckResult, Permit, Scope};
use crate::port::provider::{Findings, ProviderError};
use crate::port::{Progress, Provider};

/// Amazon's services as one provider.
#[derive(Debug)]
pub struct AwsProvider {
    registry: Arc<Aws>,
    cluster: Option<(Arc<Aws>, String)>,
}

impl AwsProvider {
    /// The registry's region, and the cluster with its region.
    #[must_use]
    pub const fn new(registry: Arc<Aws>, cluster: Option<(Arc<Aws>, String)>) -> Self {
        Self { registry, cluster }
    }

    fn eks(&self) -> Option<Eks<'_>> {
        self.cluster
            .as_ref()
            .map(|(aws, cluster)| Eks { aws, cluster })
    }

    /// One resource, and nothing else.
    async fn one(&self, scope: &Scope, key: &ResourceKey) -> Result<ResourceFacts, ProviderError> {
        match (key.kind, self.eks()) {
            (ResourceKind::Repository, _) => repository::observe(&self.registry, key, false).await,
            (ResourceKind::PullThrough, _) => pull_through::observe(&self.registry, key).await,
            (ResourceKind::Replication, _) => {
                let found = replication::observe(&self.registry, scope, &[key]).await?;
                Ok(found
                    .into_iter()
                    .find(|facts| facts.key == *key)
                    .unwrap_or_else(|| absent(key)))
            }
            (_, Some(eks)) => eks.facts(key.clone()).await,
            (_, None) => Ok(absent(key)),
        }
    }

    /// Holds a resource against what the plan saw. One that is as it should be already is a run's
    /// that was killed.
    async fn expect(
        &self,
        scope: &Scope,
        key: &ResourceKey,
        expects: Option<&Fingerprint>,
        done: impl Fn(&ResourceFacts) -> bool + Send,
    ) -> Result<ResourceFacts, ProviderError> {
        let found = self.one(scope, key).await?;
        if found.fingerprint().as_ref() == expects || done(&found) {
            return Ok(found);
        }
        Err(ProviderError::Moved {
            address: Address::Resource(key.clone()),
        })
    }
}

fn absent(key: &ResourceKey) -> ResourceFacts {
    ResourceFacts::absent(key.clone())
}

/// Who runs this may be another than who drew the plan: nobody takes their own access away.
fn keeps_access(found: &ResourceFacts, then: Option<&Settings>) -> Result<(), ProviderError> {
    if !found.is_callers || is_kept(found.settings.as_ref(), then) {
        return Ok(());
    }
    Err(ProviderError::Failed {
        what: format!("changing {}", found.key),
        reason: "it is your own, and you would lose access to the cluster".to_owned(),
        help: "run this as somebody else who has `AmazonEKSClusterAdminPolicy`".to_owned(),
    })
}

#[async_trait]
impl Provider for AwsProvider {
    async fn observe(
        &self,
        scope: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError> {
        let of = |kind| {
            wanted
                .iter()
                .filter(move |resource| resource.key.kind == kind)
        };

        let repositories = of(ResourceKind::Repository).map(|resource| {
            repository::observe(
                &self.registry,
                &resource.key,
                resource.settings.contains_key("lifecycle"),
            )
        });
        let upstreams = of(ResourceKind::PullThrough)
            .map(|resource| pull_through::observe(&self.registry, &resource.key));
        let places: Vec<&ResourceKey> = of(ResourceKind::Replication)
            .map(|resource| &resource.key)
            .collect();
        let copies = async {
            // An environment without repositories has none to be copied.
            if of(ResourceKind::Repository).next().is_none() && places.is_empty() {
                return Ok(Vec::new());
            }
            replication::observe(&self.registry, scope, &places).await
        };

        let rest: Vec<Resource> = wanted
            .iter()
            .filter(|resource| resource.key.kind.is_of_cluster())
            .cloned()
            .collect();
        let cluster = async {
            match self.eks() {
                Some(eks) => eks.observe(scope, &rest).await,
                None => Ok(Vec::new()),
            }
        };

        let (mut found, upstreams, copies, cluster) = tokio::try_join!(
            try_join_all(repositories),
            try_join_all(upstreams),
            Box::pin(copies),
            Box::pin(cluster)
        )?;
        found.extend(upstreams.into_iter().chain(copies).chain(cluster));
        Ok(found)
    }

    async fn ensure(
        &self,
        permit: &Permit,
        resource: &Resource,
        replace: bool,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), ProviderError> {
        let as_wanted = |found: &ResourceFacts| {
            let settings = found.settings.as_ref();
            let same = |(name, value): (&String, &serde_json::Value)| {
                settings.and_then(|settings| settings.get(name)) == Some(value)
            };
            // The first half of a replacement: what was there is gone.
            (replace && settings.is_none())
                || (settings.is_some() && resource.settings.iter().all(same))
        };

        let (scope, hold) = (&permit.scope, &permit.hold);
        let found = self
            .expect(scope, &resource.key, expects.as_ref(), as_wanted)
            .await?;
        keeps_access(&found, Some(&resource.settings))?;
        hold.confirmed().await?;
        let now = found.settings.as_ref();
        match (resource.key.kind, self.eks()) {
            (ResourceKind::Repository, _) if replace && now.is_some() => {
                Err(ProviderError::Failed {
                    what: format!("replacing {}", resource.key),
                    reason: "its images would be lost".to_owned(),
                    help:
                        "give the new one another name with `registry.repository`, or delete it by \
                       hand"
                            .to_owned(),
                })
            }
            (ResourceKind::Repository, _) => {
                repository::ensure(&self.registry, resource, now, permit).await
            }
            (ResourceKind::PullThrough, _) => {
                pull_through::ensure(&self.registry, resource, now, (replace, hold)).await
            }
            (ResourceKind::Replication, _) => {
                replication::ensure(&self.registry, scope, resource).await
            }
            (_, Some(eks)) => {
                let waiting = Waiting {
                    progress,
                    cancel,
                    hold,
                };
                eks.ensure(scope, resource, replace, waiting).await
            }
            (_, None) => Ok(()),
        }
    }

    async fn delete(
        &self,
        permit: &Permit,
        key: &ResourceKey,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), ProviderError> {
        let (scope, hold) = (&permit.scope, &permit.hold);
        let found = self
            .expect(scope, key, expects.as_ref(), |found| {
                found.settings.is_none()
            })
            .await?;
        keeps_access(&found, None)?;
        hold.confirmed().await?;
        match (key.kind, self.eks()) {
            (ResourceKind::Repository, _) => repository::delete(&self.registry, key).await,
            (ResourceKind::PullThrough, _) => pull_through::delete(&self.registry, key).await,
            (ResourceKind::Replication, _) => replication::delete(&self.registry, scope, key).await,
            (_, Some(eks)) => {
                let waiting = Waiting {
                    progress,
                    cancel,
                    hold,
                };
                eks.delete(key, waiting).await
            }
            (_, None) => Ok(()),
        }
    }

    async fn images(&self, key: &ResourceKey) -> Result<Vec<StoredImage>, ProviderError> {
        match key.kind {
            ResourceKind::Repository => images::images(&self.registry, key).await,
            ResourceKind::PullThrough
            | ResourceKind::Replication
            | ResourceKind::Cluster
            | ResourceKind::NodeGroup
            | ResourceKind::FargateProfile
            | ResourceKind::Addon
            | ResourceKind::AccessEntry => Ok(Vec::new()),
        }
    }

    async fn findings(&self, repository: &str, image: &Digest) -> Result<Findings, ProviderError> {
        scan::findings(&self.registry, repository, image).await
    }

    async fn examine(&self, wanted: &[Resource]) -> Result<Vec<CheckResult>, ProviderError> {
        let mut all = Vec::new();
        let caller = self.registry.sts().await.get_caller_identity().send().await;
        all.push(match caller {
            Ok(caller) => {
                let who = caller.arn().unwrap_or("somebody").to_owned();
                CheckResult {
                    what: format!("Amazon knows this identity: {who}"),
                    fault: None,
                    help: None,
                }
            }
            Err(error) => {
                let (reason, help) = explained("sts:GetCallerIdentity", &error);
                CheckResult {
                    what: "Amazon knows this identity".to_owned(),
                    fault: Some(reason),
                    help: Some(help),
                }
            }
        });

        let reads = wanted.iter().map(|resource| async move {
            let read = match (resource.key.kind, self.eks()) {
                (ResourceKind::Repository, _) => {
                    repository::observe(&self.registry, &resource.key, true)
                        .await
                        .map(drop)
                }
                (ResourceKind::PullThrough, _) => {
                    pull_through::observe(&self.registry, &resource.key)
                        .await
                        .map(drop)
                }
                (ResourceKind::Replication, _) => replication::reads(&self.registry).await,
                (_, Some(eks)) => eks.reads(&resource.key).await,
                (_, None) => Ok(()),
            };
            let (fault, help) = match read {
                Ok(()) => (None, None),
                Err(ProviderError::Failed { reason, help, .. }) => (Some(reason), Some(help)),
                Err(other) => (Some(other.to_string()), None),
            };
            let what = format!("{} can be read", resource.key);
            CheckResult { what, fault, help }
        });

        all.extend(futures_util::future::join_all(reads).await);
        Ok(all)
    }
}
