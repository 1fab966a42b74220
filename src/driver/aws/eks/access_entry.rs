//! Access entries: who of Amazon's identities may do what inside of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_eks::types::{AccessScope, AccessScopeType};
use serde_json::json;

use crate::driver::aws::eks::wait::{Refused, Waiting, sent};
use crate::driver::aws::eks::{Eks, Seen, all_tags, sorted, texts};
use crate::driver::aws::{code, failed};
use crate::model::resource::{Resource, ResourceKey, Settings};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

/// Where Amazon's policies for inside of a cluster are named.
const POLICIES: &str = ":eks::aws:cluster-access-policy/";

/// A policy's short name.
fn short(arn: &str) -> &str {
    arn.split_once(POLICIES).map_or(arn, |(_, name)| name)
}

/// A policy's whole name, in the partition of who gets it.
fn whole(policy: &str, principal: &str) -> String {
    if policy.starts_with("arn:") {
        return policy.to_owned();
    }
    let partition = principal.split(':').nth(1).unwrap_or("aws");
    format!("arn:{partition}{POLICIES}{policy}")
}

/// The policies of an entry, each with the namespaces in which it holds; all of them without.
fn policies(settings: &Settings) -> BTreeMap<String, Vec<String>> {
    let policies = settings.get("policies").cloned();
    policies
        .and_then(|policies| serde_json::from_value(policies).ok())
        .unwrap_or_default()
}

/// Whether an entry's principal is the one that a caller's session belongs to. A session's name has
/// no path, and a role's name is unique in its account.
pub(super) fn is_same(principal: &str, caller: &str) -> bool {
    let parts = |arn: &str| -> Option<(String, String)> {
        let mut fields = arn.splitn(6, ':');
        let account = fields.nth(4)?.to_owned();
        Some((account, fields.next()?.to_owned()))
    };
    let (Some((account, name)), Some((callers, who))) = (parts(principal), parts(caller)) else {
        return principal == caller;
    };
    let role = who
        .strip_prefix("assumed-role/")
        .and_then(|who| who.split('/').next());
    match role {
        Some(role) => {
            account == callers && name.starts_with("role/") && name.rsplit('/').next() == Some(role)
        }
        None => principal == caller,
    }
}

impl Eks<'_> {
    pub(super) async fn see_entry(&self, principal: &str) -> Result<Option<Seen>, ProviderError> {
        let client = self.aws.eks().await;
        let what = || format!("reading the access entry of {principal}");
        let asked = client
            .describe_access_entry()
            .cluster_name(self.cluster)
            .principal_arn(principal);
        let found = match asked.send().await {
            Ok(answer) => answer.access_entry,
            Err(error) if code(&error) == "ResourceNotFoundException" => None,
            Err(error) => return Err(failed("eks:DescribeAccessEntry", what(), &error)),
        };
        let Some(entry) = found else { return Ok(None) };

        let pages = client
            .list_associated_access_policies()
            .cluster_name(self.cluster);
        let mut pages = pages.principal_arn(principal).into_paginator().send();
        let mut policies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| failed("eks:ListAssociatedAccessPolicies", what(), &error))?;
            for policy in page.associated_access_policies() {
                let scope = policy
                    .access_scope()
                    .map(AccessScope::namespaces)
                    .unwrap_or_default();
                let name = short(policy.policy_arn().unwrap_or_default());
                policies.insert(name.to_owned(), scope.iter().cloned().collect());
            }
        }

        let settings = Settings::from([
            ("groups".to_owned(), sorted(entry.kubernetes_groups())),
            ("policies".to_owned(), json!(policies)),
        ]);
        Ok(Some(Seen {
            settings,
            status: "ACTIVE".to_owned(),
            marks: entry.tags().cloned().unwrap_or_default(),
            arn: entry.access_entry_arn().unwrap_or_default().to_owned(),
            issues: Vec::new(),
        }))
    }

    pub(super) async fn create_entry(
        &self,
        scope: &Scope,
        wanted: &Resource,
    ) -> Result<(), Refused> {
        let client = self.aws.eks().await;
        let groups = texts(wanted.settings.get("groups"));
        let request = client
            .create_access_entry()
            .cluster_name(self.cluster)
            .principal_arn(&wanted.key.name)
            .set_kubernetes_groups((!groups.is_empty()).then_some(groups))
            .set_tags(Some(all_tags(scope, &Settings::new())));
        let what = format!("making {}", wanted.key);
        let mut answer = sent("eks:CreateAccessEntry", &what, request.send().await).map(drop);
        if let Err(Refused {
            error: ProviderError::Failed { help, .. },
            code,
        }) = &mut answer
            && code == "InvalidRequestException"
        {
            "if the cluster takes no access entries: `aws eks update-cluster-config \
             --access-config authenticationMode=API_AND_CONFIG_MAP`"
                .clone_into(help);
        }
        answer
    }

    /// What is added comes first: nobody is without access in between.
    pub(super) async fn update_entry(
        &self,
        wanted: &Resource,
        seen: &Seen,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let client = self.aws.eks().await;
        let what = format!("changing {}", wanted.key);
        let principal = &wanted.key.name;

        if seen.differs(wanted, "groups") {
            let request = client
                .update_access_entry()
                .cluster_name(self.cluster)
                .principal_arn(principal);
            let request = request.set_kubernetes_groups(Some(texts(wanted.settings.get("groups"))));
            let send =
                || async { sent("eks:UpdateAccessEntry", &what, request.clone().send().await) };
            waiting.while_busy(&what, send).await?;
        }

        if !seen.differs(wanted, "policies") {
            return Ok(());
        }

        let (now, goal) = (policies(&seen.settings), policies(&wanted.settings));
        let changed = goal
            .iter()
            .filter(|(policy, of)| now.get(*policy) != Some(*of));
        for (policy, namespaces) in changed {
            self.associate(&client, &wanted.key, policy, namespaces, waiting)
                .await?;
        }
        for policy in now.keys().filter(|policy| !goal.contains_key(*policy)) {
            self.disassociate(&client, &wanted.key, policy, waiting)
                .await?;
        }
        Ok(())
    }

    /// Gives a policy to an entry, in some namespaces or in all of the cluster.
    async fn associate(
        &self,
        client: &aws_sdk_eks::Client,
        key: &ResourceKey,
        policy: &str,
        namespaces: &[String],
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let what = format!("changing {key}");
        let kind = if namespaces.is_empty() {
            AccessScopeType::Cluster
        } else {
            AccessScopeType::Namespace
        };
        let within = (!namespaces.is_empty()).then(|| namespaces.to_vec());

        let request = client
            .associate_access_policy()
            .cluster_name(self.cluster)
            .principal_arn(&key.name)
            .policy_arn(whole(policy, &key.name))
            .access_scope(
                AccessScope::builder()
                    .r#type(kind)
                    .set_namespaces(within)
                    .build(),
            );

        let send = || async {
            sent(
                "eks:AssociateAccessPolicy",
                &what,
                request.clone().send().await,
            )
        };
        waiting.while_busy(&what, send).await.map(drop)
    }

    async fn disassociate(
        &self,
        client: &aws_sdk_eks::Client,
        key: &ResourceKey,
        policy: &str,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let what = format!("changing {key}");
        let request = client
            .disassociate_access_policy()
            .cluster_name(self.cluster);
        let request = request
            .principal_arn(&key.name)
            .policy_arn(whole(policy, &key.name));
        let send = || async {
            sent(
                "eks:DisassociateAccessPolicy",
                &what,
                request.clone().send().await,
            )
        };
        waiting.while_busy(&what, send).await.map(drop)
    }

    pub(super) async fn delete_entry(&self, key: &ResourceKey) -> Result<(), Refused> {
        let client = self.aws.eks().await;
        let request = client
            .delete_access_entry()
            .cluster_name(self.cluster)
            .principal_arn(&key.name);
        sent(
            "eks:DeleteAccessEntry",
            &format!("deleting {key}"),
            request.send().await,
        )
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_role_s_whatever_the_path() {
        let session = "arn:aws:sts::123456789012:assumed-role/deployer/run-7";
        assert!(is_same("arn:aws:iam::123456789012:role/deployer", session));
        assert!(is_same(
            "arn:aws:iam::123456789012:role/teams/shop/deployer",
            session
        ));
        assert!(!is_same(
            "arn:aws:iam::123456789012:role/deployer2",
            session
        ));
        assert!(!is_same("arn:aws:iam::999999999999:role/deployer", session));
        assert!(!is_same("arn:aws:iam::123456789012:user/deployer", session));
        let user = "arn:aws:iam::123456789012:user/ann";
        assert!(is_same(user, user));
    }

    #[test]
    fn amazon_s_policies_have_short_names() {
        let whole_name = whole("AmazonEKSViewPolicy", "arn:aws-cn:iam::1:role/a");
        assert_eq!(
            whole_name,
            "arn:aws-cn:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
        );
        assert_eq!(short(&whole_name), "AmazonEKSViewPolicy");
    }
}
