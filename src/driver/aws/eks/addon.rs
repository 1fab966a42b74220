//! Addons: what Amazon installs in a cluster and keeps there.

use std::time::Duration;

use aws_sdk_eks::types::{AddonHealth, ResolveConflicts};
use serde_json::{Value, json};

use crate::driver::aws::eks::wait::{Refused, Waiting, sent};
use crate::driver::aws::eks::{Eks, Seen, all_tags};
use crate::driver::aws::{code, failed};
use crate::model::resource::{Resource, Settings};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

/// How long an addon may take: it waits for machines, and says what it lacks.
pub(super) const PATIENCE: Duration = Duration::from_mins(20);
/// The tag of an addon whose objects stay in the cluster when it is deleted.
const PRESERVE: &str = "shipit.dev/preserve";

/// A configuration as a value, for it to be compared by what it says.
fn parsed(text: Option<&str>) -> Value {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let value = text.map_or(Value::Null, |text| {
        serde_json::from_str(text).unwrap_or_else(|_| json!(text))
    });
    if value == json!({}) {
        Value::Null
    } else {
        value
    }
}

fn issues(health: Option<&AddonHealth>) -> Vec<String> {
    let issues = health.map(AddonHealth::issues).unwrap_or_default().iter();
    let words = issues.map(|issue| {
        let code = issue.code().map_or("", |code| code.as_str());
        let of = issue.resource_ids().join(", ");
        let of = if of.is_empty() {
            String::new()
        } else {
            format!(" ({of})")
        };
        format!("{code}: {}{of}", issue.message().unwrap_or_default())
    });
    words.collect()
}

impl Eks<'_> {
    pub(super) async fn see_addon(&self, name: &str) -> Result<Option<Seen>, ProviderError> {
        let client = self.aws.eks().await;
        let found = match client
            .describe_addon()
            .cluster_name(self.cluster)
            .addon_name(name)
            .send()
            .await
        {
            Ok(answer) => answer.addon,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => {
                return Err(failed(
                    "eks:DescribeAddon",
                    format!("reading addon {name}"),
                    &error,
                ));
            }
        };

        let Some(addon) = found else { return Ok(None) };
        let marks = addon.tags().cloned().unwrap_or_default();
        let settings = Settings::from([
            ("version".to_owned(), json!(addon.addon_version())),
            (
                "configuration".to_owned(),
                parsed(addon.configuration_values()),
            ),
            ("role".to_owned(), json!(addon.service_account_role_arn())),
            ("preserve".to_owned(), json!(marks.contains_key(PRESERVE))),
        ]);

        Ok(Some(Seen {
            settings,
            status: addon
                .status()
                .map_or_else(String::new, |status| status.as_str().to_owned()),
            marks,
            arn: addon.addon_arn().unwrap_or_default().to_owned(),
            issues: issues(addon.health()),
        }))
    }

    pub(super) async fn create_addon(
        &self,
        scope: &Scope,
        wanted: &Resource,
    ) -> Result<(), Refused> {
        let get = |name: &str| {
            wanted
                .settings
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };

        let mut tags = all_tags(scope, &wanted.settings);
        if preserves(&wanted.settings) {
            tags.insert(PRESERVE.to_owned(), "true".to_owned());
        }
        let client = self.aws.eks().await;
        let request = client
            .create_addon()
            .cluster_name(self.cluster)
            .addon_name(&wanted.key.name)
            .set_addon_version(get("version"))
            .set_service_account_role_arn(get("role"))
            .set_configuration_values(configuration(&wanted.settings))
            // What somebody else has put there in its place is said, and not overwritten.
            .resolve_conflicts(ResolveConflicts::None)
            .set_tags(Some(tags));
        sent(
            "eks:CreateAddon",
            &format!("making {}", wanted.key),
            request.send().await,
        )
        .map(drop)
    }

    pub(super) async fn update_addon(
        &self,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let client = self.aws.eks().await;
        let what = format!("changing {}", wanted.key);

        if seen.differs(wanted, "preserve") {
            let answer = if preserves(&wanted.settings) {
                let request = client
                    .tag_resource()
                    .resource_arn(&seen.arn)
                    .tags(PRESERVE, "true");
                sent("eks:TagResource", &what, request.send().await).map(drop)
            } else {
                let request = client
                    .untag_resource()
                    .resource_arn(&seen.arn)
                    .tag_keys(PRESERVE);
                sent("eks:UntagResource", &what, request.send().await).map(drop)
            };
            answer.map_err(|refused| refused.error)?;
        }

        if ["version", "configuration", "role"]
            .into_iter()
            .any(|name| seen.differs(wanted, name))
        {
            // What is not named stays as it is; Amazon would set it back.
            let mut all = seen.settings.clone();
            all.extend(wanted.settings.clone());
            let get = |name: &str| all.get(name).and_then(Value::as_str).map(str::to_owned);
            let empty = || {
                seen.differs(wanted, "configuration")
                    .then(|| "{}".to_owned())
            };
            let values = configuration(&all).or_else(empty);
            let request = client
                .update_addon()
                .cluster_name(self.cluster)
                .addon_name(&wanted.key.name)
                .set_addon_version(get("version"))
                .set_service_account_role_arn(get("role"))
                .set_configuration_values(values)
                .resolve_conflicts(ResolveConflicts::Preserve);
            let send = || async { sent("eks:UpdateAddon", &what, request.clone().send().await) };
            waiting.while_busy(&what, send).await?;
        }

        self.until_there(&wanted.key, waiting).await.map(drop)
    }

    pub(super) async fn delete_addon(&self, name: &str) -> Result<(), Refused> {
        let seen = self.see_addon(name).await;
        let seen = seen.map_err(|error| Refused {
            code: String::new(),
            error,
        })?;
        let preserve = seen.is_some_and(|seen| preserves(&seen.settings));
        let client = self.aws.eks().await;
        let request = client
            .delete_addon()
            .cluster_name(self.cluster)
            .addon_name(name)
            .preserve(preserve);
        sent(
            "eks:DeleteAddon",
            &format!("deleting addon {name}"),
            request.send().await,
        )
        .map(drop)
    }
}

fn preserves(settings: &Settings) -> bool {
    settings.get("preserve") == Some(&Value::Bool(true))
}

fn configuration(settings: &Settings) -> Option<String> {
    match settings.get("configuration") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    }
}
