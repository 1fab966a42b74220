//! Images, checks, secrets and resources, as a run sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::build::{BuildSpec, Inputs};
use crate::model::check::Check;
use crate::model::garbage::{Collect, Collected};
use crate::model::image::{ImageHome, ImageName};
use crate::model::outcome::ProbeReport;
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, StoredImage};
use crate::model::secret::{SecretRef, SecretValue};
use crate::model::{Address, ContentHash, Digest, Fingerprint, Platform, ServiceName};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::checker::{CheckFailed, CheckTarget, ProbeTarget};
use crate::port::engine::{CheckResult, Permit, Pull, Scope};
use crate::port::provider::ProviderError;
use crate::port::registry::{BaseImages, Bases, Built, RegistryError};
use crate::port::secret::{SecretError, SecretReading};
use crate::port::{Builder, Checker, Progress, Provider, Registry, SecretSource};
use crate::simulate::fault::Call;
use crate::simulate::world::Runner;

/// Stands for the value of every secret.
pub(in crate::simulate) const SECRET: &str = "the value of a secret, in a rehearsal";

#[async_trait]
impl Registry for Runner {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn has(&self, _: &ServiceName, _: &Digest) -> Result<bool, RegistryError> {
        Ok(false)
    }

    async fn push(
        &self,
        service: &ServiceName,
        _: &Built,
        _: &[String],
        _: Progress<'_>,
    ) -> Result<Digest, RegistryError> {
        let call = Call::acts("push").on(Address::Image(service.clone()));
        self.make(call, async { Ok(self.world.pushed(service)) })
            .await
    }

    async fn tag(
        &self,
        service: &ServiceName,
        image: &Digest,
        tags: &[String],
    ) -> Result<(), RegistryError> {
        let call = Call::acts("tag").on(Address::Image(service.clone()));
        let tag = async {
            self.world.tag(service, image, tags);
            Ok(())
        };
        self.make(call, tag).await
    }

    async fn base(&self, _: &str, _: &[Platform]) -> Result<Option<BaseImages>, RegistryError> {
        Ok(None)
    }

    async fn verify(&self, _: ImageHome<'_>, _: &Digest) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn resolve(&self, name: &ImageName) -> Result<Digest, RegistryError> {
        Ok(Digest::of(name.to_string().as_bytes()))
    }

    async fn collect(&self, _: &BTreeSet<Digest>, _: Collect) -> Result<Collected, RegistryError> {
        Ok(Collected::default())
    }

    fn pull(&self, _: ImageHome<'_>) -> Pull {
        Pull::Layout("/images".into())
    }

    async fn bring(
        &self,
        home: ImageHome<'_>,
        image: &Digest,
        _: Progress<'_>,
    ) -> Result<Pull, RegistryError> {
        let call = Call::looks("bring").of_image(image);
        self.make(call, async { Ok(self.pull(home)) }).await
    }
}

#[async_trait]
impl Builder for Runner {
    async fn bases(&self, _: &Path, _: &BuildSpec) -> Result<Vec<String>, BuildError> {
        Ok(Vec::new())
    }

    async fn inputs(&self, _: &Path, _: &BuildSpec, _: &Bases) -> Result<Inputs, BuildError> {
        Ok(Inputs {
            hash: ContentHash::of(b""),
            files: BTreeMap::new(),
            bases: BTreeMap::new(),
        })
    }

    async fn build(
        &self,
        request: &BuildRequest,
        _: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError> {
        let call = Call::acts("build").on(Address::Image(request.service.clone()));
        let build = async {
            if cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            self.world.build(&request.service, &request.expects);
            Ok(Built {
                images: Vec::new(),
                index: None,
            })
        };
        match self.make(call, build).await {
            Err(_) if cancel.is_cancelled() => Err(BuildError::Cancelled),
            other => other,
        }
    }
}

#[async_trait]
impl Checker for Runner {
    async fn check(
        &self,
        _: &Check,
        _: &CheckTarget,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Result<(), CheckFailed> {
        self.make(Call::acts("check"), async { Ok(()) }).await
    }

    async fn answers(&self, _: &ProbeTarget) -> bool {
        let unheard = &self.world.unheard;
        let left = unheard.load(Ordering::Relaxed);
        unheard.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    async fn probe(&self, _: ProbeTarget, stop: CancellationToken) -> ProbeReport {
        let probed: Result<(), CheckFailed> =
            self.make(Call::looks("probe"), async { Ok(()) }).await;
        stop.cancelled().await;
        ProbeReport {
            requests: 1,
            failures: u64::from(probed.is_err()),
            ..ProbeReport::default()
        }
    }
}

#[async_trait]
impl SecretSource for Runner {
    async fn read(&self, _: &str, _: &SecretRef) -> Result<SecretReading, SecretError> {
        Ok(SecretReading {
            value: SecretValue::new(SECRET.to_owned()),
            version: None,
            until: None,
        })
    }

    async fn examine(&self, _: &[&SecretRef]) -> Vec<CheckResult> {
        Vec::new()
    }

    async fn close(&self) {}
}

#[async_trait]
impl Provider for Runner {
    async fn observe(
        &self,
        _: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError> {
        Ok(self.world.resources().observe(wanted))
    }

    async fn ensure(
        &self,
        _: &Permit,
        resource: &Resource,
        _: bool,
        expects: Option<Fingerprint>,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Result<(), ProviderError> {
        let address = Address::Resource(resource.key.clone());
        let ensure = async {
            let mut resources = self.world.resources();
            if resources.fingerprint(&resource.key) != expects {
                let address = Address::Resource(resource.key.clone());
                return Err(ProviderError::Moved { address });
            }
            resources.ensure(resource);
            Ok(())
        };
        self.make(Call::acts("ensure").on(address), ensure).await
    }

    async fn delete(
        &self,
        _: &Permit,
        key: &ResourceKey,
        _: Option<Fingerprint>,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Result<(), ProviderError> {
        let delete = async {
            self.world.resources().delete(key);
            Ok(())
        };
        let call = Call::acts("delete").on(Address::Resource(key.clone()));
        self.make(call, delete).await
    }

    async fn images(&self, key: &ResourceKey) -> Result<Vec<StoredImage>, ProviderError> {
        Ok(self.world.resources().images(key))
    }

    async fn examine(&self, _: &[Resource]) -> Result<Vec<CheckResult>, ProviderError> {
        Ok(Vec::new())
    }
}
