//! Groups of machines.

use aws_sdk_eks::types::NodegroupScalingConfig;
use serde_json::json;

use crate::driver::aws::eks::wait::{Refused, Waiting, sent};
use crate::driver::aws::eks::{Eks, Seen, all_tags, number, sorted, text, texts};
use crate::driver::aws::{code, failed};
use crate::model::resource::{Resource, Settings};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

impl Eks<'_> {
    pub(super) async fn see_group(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let client = self.aws.eks().await;
        let answer = client
            .describe_nodegroup()
            .cluster_name(self.cluster)
            .nodegroup_name(name)
            .send()
            .await;
        let found = match answer {
            Ok(answer) => answer.nodegroup,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                return Err(failed(
                    "eks:DescribeNodegroup",
                    format!("reading node group {name}"),
                    &error,
                ));
            }
        };
        let Some(group) = found else { return Ok(None) };

        let scaling = group.scaling_config();
        let settings = Settings::from([
            ("role".to_owned(), json!(group.node_role())),
            ("subnets".to_owned(), sorted(group.subnets())),
            ("instance_types".to_owned(), sorted(group.instance_types())),
            (
                "min".to_owned(),
                json!(scaling.and_then(NodegroupScalingConfig::min_size)),
            ),
            (
                "max".to_owned(),
                json!(scaling.and_then(NodegroupScalingConfig::max_size)),
            ),
        ]);

        Ok(Some(Seen {
            settings,
            status: group
                .status()
                .map_or_else(String::new, |status| status.as_str().to_owned()),
            marks: group.tags().cloned().unwrap_or_default(),
            arn: group.nodegroup_arn().unwrap_or_default().to_owned(),
            issues: Vec::new(),
        }))
    }

    pub(super) async fn create_group(
        &self,
        scope: &Scope,
        wanted: &Resource,
    ) -> Result<(), Refused> {
        let settings = &wanted.settings;
        let types = texts(settings.get("instance_types"));
        let client = self.aws.eks().await;
        let request = client
            .create_nodegroup()
            .cluster_name(self.cluster)
            .nodegroup_name(&wanted.key.name)
            .node_role(text(settings.get("role")))
            .set_subnets(Some(texts(settings.get("subnets"))))
            .set_instance_types((!types.is_empty()).then_some(types))
            .scaling_config(scaling(settings))
            .set_tags(Some(all_tags(scope, settings)));
        sent(
            "eks:CreateNodegroup",
            &format!("making {}", wanted.key),
            request.send().await,
        )
        .map(drop)
    }

    pub(super) async fn update_group(
        &self,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        if !seen.differs(wanted, "min") && !seen.differs(wanted, "max") {
            return Ok(());
        }
        let client = self.aws.eks().await;
        let request = client.update_nodegroup_config().cluster_name(self.cluster);
        let request = request
            .nodegroup_name(&wanted.key.name)
            .scaling_config(scaling(&wanted.settings));
        let what = format!("changing {}", wanted.key);
        let send = || async {
            sent(
                "eks:UpdateNodegroupConfig",
                &what,
                request.clone().send().await,
            )
        };

        waiting.while_busy(&what, send).await?;
        self.until_there(&wanted.key, waiting).await.map(drop)
    }

    pub(super) async fn delete_group(&self, name: &str) -> Result<(), Refused> {
        let client = self.aws.eks().await;
        let request = client
            .delete_nodegroup()
            .cluster_name(self.cluster)
            .nodegroup_name(name);
        sent(
            "eks:DeleteNodegroup",
            &format!("deleting node group {name}"),
            request.send().await,
        )
        .map(drop)
    }
}

fn scaling(settings: &Settings) -> NodegroupScalingConfig {
    let (min, max) = (number(settings.get("min")), number(settings.get("max")));
    NodegroupScalingConfig::builder()
        .min_size(min)
        .max_size(max)
        .desired_size(min.max(1))
        .build()
}
