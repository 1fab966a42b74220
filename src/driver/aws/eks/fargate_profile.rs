//! Fargate profiles: which pods run without machines of one's own. None of their settings can be
//! changed.

use aws_sdk_eks::types::FargateProfileSelector;
use serde_json::json;

use crate::driver::aws::eks::wait::{Refused, sent};
use crate::driver::aws::eks::{Eks, Seen, all_tags, sorted, text, texts};
use crate::driver::aws::{code, failed};
use crate::model::resource::{Resource, Settings};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

impl Eks<'_> {
    pub(super) async fn see_profile(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let client = self.aws.eks().await;
        let request = client
            .describe_fargate_profile()
            .cluster_name(self.cluster)
            .fargate_profile_name(name);
        let found = match request.send().await {
            Ok(answer) => answer.fargate_profile,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                let what = format!("reading Fargate profile {name}");
                return Err(failed("eks:DescribeFargateProfile", what, &error));
            }
        };
        let Some(profile) = found else {
            return Ok(None);
        };
        let namespaces = profile
            .selectors()
            .iter()
            .filter_map(FargateProfileSelector::namespace);
        let namespaces: Vec<String> = namespaces.map(str::to_owned).collect();
        let settings = Settings::from([
            ("namespaces".to_owned(), sorted(&namespaces)),
            ("subnets".to_owned(), sorted(profile.subnets())),
            ("role".to_owned(), json!(profile.pod_execution_role_arn())),
        ]);

        Ok(Some(Seen {
            settings,
            status: profile
                .status()
                .map_or_else(String::new, |status| status.as_str().to_owned()),
            marks: profile.tags().cloned().unwrap_or_default(),
            arn: profile.fargate_profile_arn().unwrap_or_default().to_owned(),
            issues: Vec::new(),
        }))
    }

    pub(super) async fn create_profile(
        &self,
        scope: &Scope,
        wanted: &Resource,
    ) -> Result<(), Refused> {
        let settings = &wanted.settings;
        let selector = |namespace: String| {
            FargateProfileSelector::builder()
                .namespace(namespace)
                .build()
        };

        let subnets = texts(settings.get("subnets"));
        let client = self.aws.eks().await;
        let request = client
            .create_fargate_profile()
            .cluster_name(self.cluster)
            .fargate_profile_name(&wanted.key.name)
            .pod_execution_role_arn(text(settings.get("role")))
            .set_selectors(Some(
                texts(settings.get("namespaces"))
                    .into_iter()
                    .map(selector)
                    .collect(),
            ))
            .set_subnets((!subnets.is_empty()).then_some(subnets))
            .set_tags(Some(all_tags(scope, settings)));
        sent(
            "eks:CreateFargateProfile",
            &format!("making {}", wanted.key),
            request.send().await,
        )
        .map(drop)
    }

    pub(super) async fn delete_profile(&self, name: &str) -> Result<(), Refused> {
        let client = self.aws.eks().await;
        let request = client
            .delete_fargate_profile()
            .cluster_name(self.cluster)
            .fargate_profile_name(name);
        let what = format!("deleting Fargate profile {name}");
        sent("eks:DeleteFargateProfile", &what, request.send().await).map(drop)
    }
}
