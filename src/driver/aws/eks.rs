//! EKS: clusters, groups of machines and Fargate profiles, read and written as settings.
//!
//! What takes minutes at Amazon is waited for here, and said. A run that is killed or stopped leaves it going on; the
//! next one finds it and waits on.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_eks::types::{
    FargateProfileSelector, LogSetup, LogType, Logging, NodegroupScalingConfig, VpcConfigRequest,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::driver::aws::{Aws, code, failed, is_unsupported};
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, ResourceKind, Settings};
use crate::port::Progress;
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

/// How long Amazon may take for one thing.
const PATIENCE: Duration = Duration::from_mins(40);
/// How often it is asked how far it is.
const POLL: Duration = Duration::from_secs(10);
/// How often what is refused because something else is under way is tried again.
const BUSY: usize = 60;

/// How somebody waits: what they say, and when they stop.
#[derive(Clone, Copy)]
pub(super) struct Waiting<'a> {
    pub progress: Progress<'a>,
    pub cancel: &'a CancellationToken,
}

impl Waiting<'_> {
    async fn pause(&self) -> Result<(), ProviderError> {
        let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
        tokio::select! {
            () = tokio::time::sleep(POLL * (384 + random) / 512) => Ok(()),
            () = self.cancel.cancelled() => Err(ProviderError::Cancelled),
        }
    }
}

/// The marks by which an environment finds what it made.
fn marks(scope: &Scope) -> [(String, String); 2] {
    [
        ("shipit.dev/project".to_owned(), scope.project.to_string()),
        ("shipit.dev/environment".to_owned(), scope.environment.to_string()),
    ]
}

/// Tags as a setting: without shipit's own and Amazon's.
fn own_tags(tags: Option<&HashMap<String, String>>) -> Value {
    let is_own = |key: &str| !key.starts_with("aws:") && !key.starts_with("shipit.dev/");
    let tags = tags.into_iter().flatten().filter(|(key, _)| is_own(key));
    let sorted: BTreeMap<&String, &String> = tags.collect();
    json!(sorted)
}

fn all_tags(scope: &Scope, settings: &Settings) -> HashMap<String, String> {
    let mut tags: HashMap<String, String> =
        settings.get("tags").and_then(|tags| serde_json::from_value(tags.clone()).ok()).unwrap_or_default();
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
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: Option<&Value>) -> i32 {
    value.and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

fn refused(what: impl Into<String>, reason: impl Into<String>, help: &str) -> ProviderError {
    ProviderError::Failed { what: what.into(), reason: reason.into(), help: help.to_owned() }
}

/// One thing of EKS as it is now: its settings, and its status in Amazon's words.
struct Seen {
    settings: Settings,
    status: String,
    marks: HashMap<String, String>,
}

/// One cluster's resources.
pub(super) struct Eks<'a> {
    pub aws: &'a Aws,
    pub cluster: &'a str,
}

impl Eks<'_> {
    pub async fn look(
        &self,
        scope: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError> {
        let one = |resource: &Resource| {
            let key = resource.key.clone();
            async move { self.facts(key, true).await }
        };
        let mut found = futures_util::future::try_join_all(wanted.iter().map(one)).await?;
        let strays = self.strays(scope, wanted).await?;
        found.extend(
            futures_util::future::try_join_all(strays.into_iter().map(|key| self.facts(key, false))).await?,
        );
        Ok(found)
    }

    /// Whether a resource can be read.
    pub async fn reads(&self, key: &ResourceKey) -> Result<(), ProviderError> {
        self.see(key).await.map(drop)
    }

    async fn facts(&self, key: ResourceKey, wanted: bool) -> Result<ResourceFacts, ProviderError> {
        // What is being deleted is not there any more.
        let seen = self.see(&key).await?.filter(|seen| seen.status != "DELETING");
        let mut facts = ResourceFacts { wanted, ..ResourceFacts::absent(key) };
        if let Some(seen) = seen {
            if seen.status.ends_with("FAILED") {
                facts.unsupported.push(format!("it is {} at Amazon", seen.status));
            }
            facts.settings = Some(seen.settings);
        }
        Ok(facts)
    }

    async fn see(&self, key: &ResourceKey) -> Result<Option<Seen>, ProviderError> {
        match key.kind {
            ResourceKind::Cluster => self.see_cluster(&key.name).await,
            ResourceKind::NodeGroup => self.see_group(&key.name).await,
            ResourceKind::FargateProfile => self.see_profile(&key.name).await,
            ResourceKind::Repository => Ok(None),
        }
    }

    /// Fargate profiles and groups that this environment made and that are not wanted any more.
    async fn strays(&self, scope: &Scope, wanted: &[Resource]) -> Result<Vec<ResourceKey>, ProviderError> {
        if self.see_cluster(self.cluster).await?.is_none() {
            return Ok(Vec::new());
        }
        let client = self.aws.eks().await;
        let what = || format!("listing what cluster {} has", self.cluster);
        let mut keys = Vec::new();
        let mut pages = client.list_fargate_profiles().cluster_name(self.cluster).into_paginator().send();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => keys.extend(
                    page.fargate_profile_names()
                        .iter()
                        .map(|name| ResourceKey { kind: ResourceKind::FargateProfile, name: name.clone() }),
                ),
                Err(error) if code(&error) == "ResourceNotFoundException" => return Ok(Vec::new()),
                Err(error) => return Err(failed("eks:ListFargateProfiles", what(), &error)),
            }
        }
        let mut pages = client.list_nodegroups().cluster_name(self.cluster).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("eks:ListNodegroups", what(), &error))?;
            keys.extend(
                page.nodegroups()
                    .iter()
                    .map(|name| ResourceKey { kind: ResourceKind::NodeGroup, name: name.clone() }),
            );
        }
        keys.retain(|key| !wanted.iter().any(|resource| resource.key == *key));
        let seen = futures_util::future::try_join_all(keys.iter().map(|key| self.see(key))).await?;
        let ours = |seen: &Seen| marks(scope).iter().all(|(key, value)| seen.marks.get(key) == Some(value));
        let strays = keys
            .iter()
            .zip(seen)
            .filter(|(_, seen)| seen.as_ref().is_some_and(|seen| ours(seen) && seen.status != "DELETING"));
        Ok(strays.map(|(key, _)| key.clone()).collect())
    }

    async fn see_cluster(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let answer = self.aws.eks().await.describe_cluster().name(name).send().await;
        let found = match answer {
            Ok(answer) => answer.cluster,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                return Err(failed("eks:DescribeCluster", format!("reading cluster {name}"), &error));
            }
        };
        let Some(cluster) = found else { return Ok(None) };
        let vpc = cluster.resources_vpc_config();
        let logs = cluster.logging().map(Logging::cluster_logging).unwrap_or_default();
        let on = logs.iter().filter(|setup| setup.enabled() == Some(true)).flat_map(LogSetup::types);
        let on: Vec<String> = on.map(|kind| kind.as_str().to_owned()).collect();
        let settings = Settings::from([
            ("version".to_owned(), json!(cluster.version())),
            ("role".to_owned(), json!(cluster.role_arn())),
            (
                "subnets".to_owned(),
                sorted(vpc.map(aws_sdk_eks::types::VpcConfigResponse::subnet_ids).unwrap_or_default()),
            ),
            (
                "security_groups".to_owned(),
                sorted(
                    vpc.map(aws_sdk_eks::types::VpcConfigResponse::security_group_ids).unwrap_or_default(),
                ),
            ),
            (
                "public_access".to_owned(),
                json!(vpc.is_some_and(aws_sdk_eks::types::VpcConfigResponse::endpoint_public_access)),
            ),
            (
                "private_access".to_owned(),
                json!(vpc.is_some_and(aws_sdk_eks::types::VpcConfigResponse::endpoint_private_access)),
            ),
            ("logging".to_owned(), sorted(&on)),
            ("tags".to_owned(), own_tags(cluster.tags())),
        ]);
        let status = cluster.status().map_or_else(String::new, |status| status.as_str().to_owned());
        Ok(Some(Seen { settings, status, marks: cluster.tags().cloned().unwrap_or_default() }))
    }

    async fn see_group(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let client = self.aws.eks().await;
        let answer = client.describe_nodegroup().cluster_name(self.cluster).nodegroup_name(name).send().await;
        let found = match answer {
            Ok(answer) => answer.nodegroup,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                return Err(failed("eks:DescribeNodegroup", format!("reading node group {name}"), &error));
            }
        };
        let Some(group) = found else { return Ok(None) };
        let scaling = group.scaling_config();
        let settings = Settings::from([
            ("role".to_owned(), json!(group.node_role())),
            ("subnets".to_owned(), sorted(group.subnets())),
            ("instance_types".to_owned(), sorted(group.instance_types())),
            ("min".to_owned(), json!(scaling.and_then(NodegroupScalingConfig::min_size))),
            ("max".to_owned(), json!(scaling.and_then(NodegroupScalingConfig::max_size))),
        ]);
        let status = group.status().map_or_else(String::new, |status| status.as_str().to_owned());
        Ok(Some(Seen { settings, status, marks: group.tags().cloned().unwrap_or_default() }))
    }

    async fn see_profile(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let client = self.aws.eks().await;
        let request = client.describe_fargate_profile().cluster_name(self.cluster).fargate_profile_name(name);
        let found = match request.send().await {
            Ok(answer) => answer.fargate_profile,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                return Err(failed(
                    "eks:DescribeFargateProfile",
                    format!("reading Fargate profile {name}"),
                    &error,
                ));
            }
        };
        let Some(profile) = found else { return Ok(None) };
        let namespaces: Vec<String> = profile
            .selectors()
            .iter()
            .filter_map(|selector| selector.namespace().map(str::to_owned))
            .collect();
        let settings = Settings::from([
            ("namespaces".to_owned(), sorted(&namespaces)),
            ("subnets".to_owned(), sorted(profile.subnets())),
            ("role".to_owned(), json!(profile.pod_execution_role_arn())),
        ]);
        let status = profile.status().map_or_else(String::new, |status| status.as_str().to_owned());
        Ok(Some(Seen { settings, status, marks: profile.tags().cloned().unwrap_or_default() }))
    }

    pub async fn provision(
        &self,
        scope: &Scope,
        wanted: &Resource,
        replace: bool,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let key = &wanted.key;
        let seen = self.settled(key, waiting).await?;
        if replace && let Some(seen) = &seen {
            let same = wanted.settings.iter().all(|(name, value)| seen.settings.get(name) == Some(value));
            // A run that was killed between the two halves has made the new one already.
            if !same {
                self.withdraw(key, waiting).await?;
            }
        }
        match self.settled(key, waiting).await? {
            None => {
                (waiting.progress)(&format!("making {key}; Amazon takes its time"));
                self.create(scope, wanted, waiting).await?;
                self.until_there(key, waiting).await
            }
            Some(seen) => self.update(scope, wanted, &seen, waiting).await,
        }
    }

    pub async fn withdraw(&self, key: &ResourceKey, waiting: Waiting<'_>) -> Result<(), ProviderError> {
        let client = self.aws.eks().await;
        let what = format!("deleting {key}");
        for attempt in 0..BUSY {
            let sent = match key.kind {
                ResourceKind::FargateProfile => {
                    let request = client.delete_fargate_profile().cluster_name(self.cluster);
                    let sent = request.fargate_profile_name(&key.name).send().await;
                    sent.map(drop).map_err(|error| {
                        (code(&error).to_owned(), failed("eks:DeleteFargateProfile", &what, &error))
                    })
                }
                ResourceKind::NodeGroup => {
                    let request = client.delete_nodegroup().cluster_name(self.cluster);
                    let sent = request.nodegroup_name(&key.name).send().await;
                    sent.map(drop).map_err(|error| {
                        (code(&error).to_owned(), failed("eks:DeleteNodegroup", &what, &error))
                    })
                }
                ResourceKind::Cluster | ResourceKind::Repository => {
                    let help = "delete it by hand, if that is what you want";
                    return Err(refused(what, "shipit does not delete what holds everything else", help));
                }
            };
            match sent {
                Ok(()) => return self.until_gone(key, waiting).await,
                Err((code, _)) if code == "ResourceNotFoundException" => return Ok(()),
                Err((code, _)) if code == "ResourceInUseException" && attempt + 1 < BUSY => {
                    (waiting.progress)("another change of the cluster is under way; waiting for it");
                    waiting.pause().await?;
                }
                Err((_, error)) => return Err(error),
            }
        }
        Err(ProviderError::Timeout { what, minutes: PATIENCE.as_secs() / 60 })
    }

    /// The resource once nothing is under way with it.
    async fn settled(&self, key: &ResourceKey, waiting: Waiting<'_>) -> Result<Option<Seen>, ProviderError> {
        let begun = tokio::time::Instant::now();
        loop {
            let seen = self.see(key).await?;
            match seen.as_ref().map(|seen| seen.status.as_str()) {
                Some("CREATING" | "UPDATING" | "DELETING" | "PENDING") => {}
                _ => return Ok(seen),
            }
            self.wait(key, &begun, seen.as_ref(), waiting).await?;
        }
    }

    async fn wait(
        &self,
        key: &ResourceKey,
        begun: &tokio::time::Instant,
        seen: Option<&Seen>,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        if begun.elapsed() > PATIENCE {
            return Err(ProviderError::Timeout { what: key.to_string(), minutes: PATIENCE.as_secs() / 60 });
        }
        let status = seen.map_or("not there", |seen| seen.status.as_str());
        (waiting.progress)(&format!("{key} is {status} ({} s)", begun.elapsed().as_secs()));
        waiting.pause().await
    }

    async fn until_there(&self, key: &ResourceKey, waiting: Waiting<'_>) -> Result<(), ProviderError> {
        match self.settled(key, waiting).await? {
            Some(seen) if seen.status == "ACTIVE" => Ok(()),
            seen => {
                let status = seen.map_or_else(|| "not there".to_owned(), |seen| seen.status);
                Err(refused(
                    key.to_string(),
                    format!("it is {status}"),
                    "look at it in Amazon's console: it says why",
                ))
            }
        }
    }

    async fn until_gone(&self, key: &ResourceKey, waiting: Waiting<'_>) -> Result<(), ProviderError> {
        let begun = tokio::time::Instant::now();
        while let Some(seen) = self.see(key).await? {
            if seen.status.ends_with("FAILED") {
                return Err(refused(
                    key.to_string(),
                    format!("it is {}", seen.status),
                    "look at it in Amazon's console",
                ));
            }
            self.wait(key, &begun, Some(&seen), waiting).await?;
        }
        Ok(())
    }

    async fn create(
        &self,
        scope: &Scope,
        wanted: &Resource,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        for attempt in 0..BUSY {
            match self.create_once(scope, wanted).await {
                Ok(()) => return Ok(()),
                // A run that was killed has made it; its settings were looked at already.
                Err((code, _))
                    if code == "ResourceInUseException" && self.see(&wanted.key).await?.is_some() =>
                {
                    return Ok(());
                }
                Err((code, _)) if code == "ResourceInUseException" && attempt + 1 < BUSY => {
                    (waiting.progress)("another change of the cluster is under way; waiting for it");
                    waiting.pause().await?;
                }
                Err((_, error)) => return Err(error),
            }
        }
        Err(ProviderError::Timeout { what: wanted.key.to_string(), minutes: PATIENCE.as_secs() / 60 })
    }

    async fn create_once(&self, scope: &Scope, wanted: &Resource) -> Result<(), (String, ProviderError)> {
        let client = self.aws.eks().await;
        let (name, settings) = (&wanted.key.name, &wanted.settings);
        let get = |setting: &str| settings.get(setting);
        let what = format!("making {}", wanted.key);
        match wanted.key.kind {
            ResourceKind::Cluster => {
                let version = get("version").and_then(Value::as_str).map(str::to_owned);
                let request = client
                    .create_cluster()
                    .name(name)
                    .set_version(version)
                    .role_arn(text(get("role")))
                    .resources_vpc_config(vpc(settings, true))
                    .set_logging(get("logging").map(logging))
                    .set_tags(Some(all_tags(scope, settings)));
                let sent = request.send().await;
                sent.map(drop)
                    .map_err(|error| (code(&error).to_owned(), failed("eks:CreateCluster", what, &error)))
            }
            ResourceKind::NodeGroup => {
                let types = texts(get("instance_types"));
                let request = client
                    .create_nodegroup()
                    .cluster_name(self.cluster)
                    .nodegroup_name(name)
                    .node_role(text(get("role")))
                    .set_subnets(Some(texts(get("subnets"))))
                    .set_instance_types((!types.is_empty()).then_some(types))
                    .scaling_config(scaling(settings))
                    .set_tags(Some(all_tags(scope, settings)));
                let sent = request.send().await;
                sent.map(drop)
                    .map_err(|error| (code(&error).to_owned(), failed("eks:CreateNodegroup", what, &error)))
            }
            ResourceKind::FargateProfile => {
                let selector =
                    |namespace: String| FargateProfileSelector::builder().namespace(namespace).build();
                let subnets = texts(get("subnets"));
                let request = client
                    .create_fargate_profile()
                    .cluster_name(self.cluster)
                    .fargate_profile_name(name)
                    .pod_execution_role_arn(text(get("role")))
                    .set_selectors(Some(texts(get("namespaces")).into_iter().map(selector).collect()))
                    .set_subnets((!subnets.is_empty()).then_some(subnets))
                    .set_tags(Some(all_tags(scope, settings)));
                let sent = request.send().await;
                sent.map(drop).map_err(|error| {
                    (code(&error).to_owned(), failed("eks:CreateFargateProfile", what, &error))
                })
            }
            ResourceKind::Repository => Ok(()),
        }
    }

    async fn update(
        &self,
        scope: &Scope,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let differs = |name: &str| {
            wanted.settings.get(name).is_some_and(|value| seen.settings.get(name) != Some(value))
        };
        match wanted.key.kind {
            ResourceKind::Cluster => {
                let access = ["public_access", "private_access", "security_groups"];
                if access.into_iter().any(differs) {
                    let change = vpc(&wanted.settings, false);
                    self.configure(&wanted.key, waiting, |request| {
                        request.resources_vpc_config(change.clone())
                    })
                    .await?;
                }
                if differs("logging") {
                    let change = wanted.settings.get("logging").map(logging);
                    self.configure(&wanted.key, waiting, |request| request.set_logging(change.clone()))
                        .await?;
                }
                if differs("tags") {
                    self.tag(scope, wanted, seen).await?;
                }
                if differs("version") {
                    self.upgrade(wanted, seen, waiting).await?;
                }
                Ok(())
            }
            ResourceKind::NodeGroup if differs("min") || differs("max") => {
                let client = self.aws.eks().await;
                let request = client.update_nodegroup_config().cluster_name(self.cluster);
                let request =
                    request.nodegroup_name(&wanted.key.name).scaling_config(scaling(&wanted.settings));
                let what = format!("changing {}", wanted.key);
                let sent = request.send().await;
                sent.map_err(|error| failed("eks:UpdateNodegroupConfig", what, &error))?;
                self.until_there(&wanted.key, waiting).await
            }
            _ => Ok(()),
        }
    }

    /// One change of a cluster's configuration: Amazon takes one at a time.
    async fn configure(
        &self,
        key: &ResourceKey,
        waiting: Waiting<'_>,
        change: impl Fn(
            aws_sdk_eks::operation::update_cluster_config::builders::UpdateClusterConfigFluentBuilder,
        ) -> aws_sdk_eks::operation::update_cluster_config::builders::UpdateClusterConfigFluentBuilder,
    ) -> Result<(), ProviderError> {
        let client = self.aws.eks().await;
        let what = format!("changing {key}");
        for _ in 0..BUSY {
            match change(client.update_cluster_config().name(&key.name)).send().await {
                Ok(_) => return self.until_there(key, waiting).await,
                Err(error) if code(&error) == "ResourceInUseException" => waiting.pause().await?,
                Err(error) => return Err(failed("eks:UpdateClusterConfig", what, &error)),
            }
        }
        Err(ProviderError::Timeout { what, minutes: PATIENCE.as_secs() / 60 })
    }

    async fn tag(&self, scope: &Scope, wanted: &Resource, seen: &Seen) -> Result<(), ProviderError> {
        let client = self.aws.eks().await;
        let what = format!("tagging {}", wanted.key);
        let answer = client.describe_cluster().name(&wanted.key.name).send().await;
        let answer = answer.map_err(|error| failed("eks:DescribeCluster", &what, &error))?;
        let arn = answer.cluster().and_then(|cluster| cluster.arn()).unwrap_or_default().to_owned();
        let tags = all_tags(scope, &wanted.settings);
        let old = seen.settings.get("tags").and_then(Value::as_object);
        let gone: Vec<String> = old
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .filter(|key| !tags.contains_key(key))
            .collect();
        if !gone.is_empty() {
            let sent = client.untag_resource().resource_arn(&arn).set_tag_keys(Some(gone)).send().await;
            sent.map_err(|error| failed("eks:UntagResource", &what, &error))?;
        }
        let sent = client.tag_resource().resource_arn(&arn).set_tags(Some(tags)).send().await;
        sent.map(drop).map_err(|error| failed("eks:TagResource", &what, &error))
    }

    /// Upgrades one minor version at a time, as Amazon asks.
    async fn upgrade(
        &self,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let (now, goal) = (text(seen.settings.get("version")), text(wanted.settings.get("version")));
        let what = format!("upgrading {} from {now} to {goal}", wanted.key);
        let help = "write the version as `\"1.36\"`; a cluster cannot go back to an older one";
        let versions = steps(&now, &goal)
            .ok_or_else(|| refused(&what, "there is no way from one to the other", help))?;
        let client = self.aws.eks().await;
        for version in versions {
            (waiting.progress)(&format!("upgrading to {version}"));
            let sent = client.update_cluster_version().name(&wanted.key.name).version(&version).send().await;
            match sent {
                Ok(_) => self.until_there(&wanted.key, waiting).await?,
                Err(error) if is_unsupported(&error) => {
                    let reason = "this endpoint does not have UpdateClusterVersion";
                    return Err(refused(what, reason, "upgrade it by hand, and write the new version"));
                }
                Err(error) => return Err(failed("eks:UpdateClusterVersion", what, &error)),
            }
        }
        Ok(())
    }
}

/// The versions on the way from one to another, one minor at a time; none when there is no way.
fn steps(from: &str, to: &str) -> Option<Vec<String>> {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let ((major, from), (goal, to)) = (parse(from)?, parse(to)?);
    (major == goal && from < to).then(|| (from + 1..=to).map(|minor| format!("{major}.{minor}")).collect())
}

fn vpc(settings: &Settings, whole: bool) -> VpcConfigRequest {
    let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
    let groups = texts(settings.get("security_groups"));
    VpcConfigRequest::builder()
        .set_subnet_ids(whole.then(|| texts(settings.get("subnets"))))
        .set_security_group_ids((!groups.is_empty()).then_some(groups))
        .set_endpoint_public_access(flag("public_access"))
        .set_endpoint_private_access(flag("private_access"))
        .build()
}

fn logging(wanted: &Value) -> Logging {
    const ALL: [&str; 5] = ["api", "audit", "authenticator", "controllerManager", "scheduler"];
    let wanted = texts(Some(wanted));
    let setup = |on: bool| {
        let kinds = ALL.into_iter().filter(|kind| wanted.iter().any(|name| name == kind) == on);
        let kinds: Vec<LogType> = kinds.map(LogType::from).collect();
        (!kinds.is_empty()).then(|| LogSetup::builder().set_types(Some(kinds)).enabled(on).build())
    };
    Logging::builder()
        .set_cluster_logging(Some([setup(true), setup(false)].into_iter().flatten().collect()))
        .build()
}

fn scaling(settings: &Settings) -> NodegroupScalingConfig {
    let (min, max) = (number(settings.get("min")), number(settings.get("max")));
    NodegroupScalingConfig::builder().min_size(min).max_size(max).desired_size(min.max(1)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_goes_one_minor_version_at_a_time_and_never_back() {
        assert_eq!(
            steps("1.33", "1.36"),
            Some(vec!["1.34".to_owned(), "1.35".to_owned(), "1.36".to_owned()])
        );
        assert_eq!(steps("1.36", "1.36"), None);
        assert_eq!(steps("1.36", "1.35"), None);
        assert_eq!(steps("1.36", "latest"), None);
    }

    #[test]
    fn what_is_not_to_be_logged_is_turned_off() {
        let setups = logging(&json!(["api"])).cluster_logging.expect("setups");
        assert_eq!(setups.len(), 2);
        assert_eq!(setups[0].types(), [LogType::Api]);
        assert_eq!((setups[1].enabled(), setups[1].types().len()), (Some(false), 4));
    }
}
