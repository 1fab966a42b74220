//! The cluster itself: its version, its network, what it logs.

use aws_sdk_eks::operation::update_cluster_config::builders::UpdateClusterConfigFluentBuilder;
use aws_sdk_eks::types::{
    AuthenticationMode, CreateAccessConfigRequest, LogSetup, LogType, Logging, VpcConfigRequest,
    VpcConfigResponse,
};
use serde_json::{Value, json};

use crate::driver::aws::eks::wait::{Refused, Waiting, sent};
use crate::driver::aws::eks::{Eks, Seen, all_tags, own_tags, refused, sorted, text, texts};
use crate::driver::aws::{code, failed};
use crate::model::resource::{Resource, ResourceKey, Settings};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

/// The kinds of logs that a cluster writes.
fn logs_on(logging: Option<&Logging>) -> Vec<String> {
    let logs = logging.map(Logging::cluster_logging).unwrap_or_default();
    let on = logs
        .iter()
        .filter(|setup| setup.enabled() == Some(true))
        .flat_map(LogSetup::types);
    on.map(|kind| kind.as_str().to_owned()).collect()
}

impl Eks<'_> {
    pub(super) async fn see_cluster(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let answer = self
            .aws
            .eks()
            .await
            .describe_cluster()
            .name(name)
            .send()
            .await;
        let found = match answer {
            Ok(answer) => answer.cluster,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                return Err(failed(
                    "eks:DescribeCluster",
                    format!("reading cluster {name}"),
                    &error,
                ));
            }
        };
        let Some(cluster) = found else {
            return Ok(None);
        };

        let vpc = cluster.resources_vpc_config();
        let on = logs_on(cluster.logging());
        let subnets = vpc.map(VpcConfigResponse::subnet_ids).unwrap_or_default();
        let groups = vpc
            .map(VpcConfigResponse::security_group_ids)
            .unwrap_or_default();
        let public = vpc.is_some_and(VpcConfigResponse::endpoint_public_access);
        let private = vpc.is_some_and(VpcConfigResponse::endpoint_private_access);

        let settings = Settings::from([
            ("version".to_owned(), json!(cluster.version())),
            ("role".to_owned(), json!(cluster.role_arn())),
            ("subnets".to_owned(), sorted(subnets)),
            ("security_groups".to_owned(), sorted(groups)),
            ("public_access".to_owned(), json!(public)),
            ("private_access".to_owned(), json!(private)),
            ("logging".to_owned(), sorted(&on)),
            ("tags".to_owned(), own_tags(cluster.tags())),
        ]);

        Ok(Some(Seen {
            settings,
            status: cluster
                .status()
                .map_or_else(String::new, |status| status.as_str().to_owned()),
            marks: cluster.tags().cloned().unwrap_or_default(),
            arn: cluster.arn().unwrap_or_default().to_owned(),
            issues: Vec::new(),
        }))
    }

    pub(super) async fn create_cluster(
        &self,
        scope: &Scope,
        wanted: &Resource,
    ) -> Result<(), Refused> {
        let settings = &wanted.settings;
        let version = settings
            .get("version")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let access = CreateAccessConfigRequest::builder()
            .authentication_mode(AuthenticationMode::ApiAndConfigMap)
            .bootstrap_cluster_creator_admin_permissions(true)
            .build();
        let client = self.aws.eks().await;
        let request = client
            .create_cluster()
            .name(&wanted.key.name)
            .set_version(version)
            .role_arn(text(settings.get("role")))
            .resources_vpc_config(vpc(settings, true))
            .set_logging(settings.get("logging").map(logging))
            // Who makes the cluster may do everything in it, by an access entry.
            .access_config(access)
            .set_tags(Some(all_tags(scope, settings)));
        sent(
            "eks:CreateCluster",
            &format!("making {}", wanted.key),
            request.send().await,
        )
        .map(drop)
    }

    pub(super) async fn update_cluster(
        &self,
        scope: &Scope,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let differs = |name: &str| seen.differs(wanted, name);
        if ["public_access", "private_access", "security_groups"]
            .into_iter()
            .any(differs)
        {
            let change = vpc(&wanted.settings, false);
            self.configure(&wanted.key, waiting, |request| {
                request.resources_vpc_config(change.clone())
            })
            .await?;
        }

        if differs("logging") {
            let change = wanted.settings.get("logging").map(logging);
            self.configure(&wanted.key, waiting, |request| {
                request.set_logging(change.clone())
            })
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

    /// One change of a cluster's configuration: Amazon takes one at a time.
    async fn configure(
        &self,
        key: &ResourceKey,
        waiting: Waiting<'_>,
        change: impl Fn(UpdateClusterConfigFluentBuilder) -> UpdateClusterConfigFluentBuilder,
    ) -> Result<(), ProviderError> {
        let what = format!("changing {key}");
        let request = change(self.aws.eks().await.update_cluster_config().name(&key.name));
        let send = || async {
            sent(
                "eks:UpdateClusterConfig",
                &what,
                request.clone().send().await,
            )
        };
        waiting.while_busy(&what, send).await?;
        self.until_there(key, waiting).await.map(drop)
    }

    /// Upgrades one minor version at a time, as Amazon asks.
    async fn upgrade(
        &self,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let (now, goal) = (
            text(seen.settings.get("version")),
            text(wanted.settings.get("version")),
        );
        let what = format!("upgrading {} from {now} to {goal}", wanted.key);
        let help = "write the version as `\"1.36\"`; a cluster cannot go back to an older one";
        let versions = steps(&now, &goal)
            .ok_or_else(|| refused(&what, "there is no way from one to the other", help))?;
        let client = self.aws.eks().await;
        for version in versions {
            (waiting.progress)(&format!("upgrading to {version}"));
            let request = client
                .update_cluster_version()
                .name(&wanted.key.name)
                .version(&version);
            let send = || async {
                sent(
                    "eks:UpdateClusterVersion",
                    &what,
                    request.clone().send().await,
                )
            };
            waiting.while_busy(&what, send).await?;
            self.until_there(&wanted.key, waiting).await?;
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
    (major == goal && from < to).then(|| {
        (from + 1..=to)
            .map(|minor| format!("{major}.{minor}"))
            .collect()
    })
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
    const ALL: [&str; 5] = [
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    ];
    let wanted = texts(Some(wanted));
    let setup = |on: bool| {
        let kinds = ALL
            .into_iter()
            .filter(|kind| wanted.iter().any(|name| name == kind) == on);
        let kinds: Vec<LogType> = kinds.map(LogType::from).collect();
        (!kinds.is_empty()).then(|| {
            LogSetup::builder()
                .set_types(Some(kinds))
                .enabled(on)
                .build()
        })
    };

    Logging::builder()
        .set_cluster_logging(Some(
            [setup(true), setup(false)].into_iter().flatten().collect(),
        ))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_goes_one_minor_version_at_a_time_and_never_back() {
        assert_eq!(
            steps("1.33", "1.36"),
            Some(vec![
                "1.34".to_owned(),
                "1.35".to_owned(),
                "1.36".to_owned()
            ])
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
        assert_eq!(
            (setups[1].enabled(), setups[1].types().len()),
            (Some(false), 4)
        );
    }
}
