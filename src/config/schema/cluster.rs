//! Where releases run.

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{
    AnyKubernetes, EksCluster, EnvironmentConfig, HostCluster, KubernetesCluster,
};

by_kind! {
    /// Where releases run.
    pub enum ClusterConfig by default Host(HostCluster) {
        /// This machine, through the agent.
        "host" => Host(host: HostCluster),
        /// A Kubernetes cluster.
        "kubernetes" => Kubernetes(any: AnyKubernetes, kubernetes: KubernetesCluster),
        /// Amazon EKS.
        "eks" => Eks(any: AnyKubernetes, eks: EksCluster),
    }
}

impl ClusterConfig {
    /// This machine; none when releases run in a cluster.
    #[must_use]
    pub const fn host(&self) -> Option<&HostCluster> {
        match self {
            Self::Host(host) => Some(host),
            Self::Kubernetes(..) | Self::Eks(..) => None,
        }
    }

    /// What a Kubernetes cluster has, whoever runs it.
    #[must_use]
    pub const fn kubernetes(&self) -> Option<&AnyKubernetes> {
        match self {
            Self::Host(_) => None,
            Self::Kubernetes(any, _) | Self::Eks(any, _) => Some(any),
        }
    }

    /// What only Amazon's cluster has.
    #[must_use]
    pub const fn eks(&self) -> Option<&EksCluster> {
        match self {
            Self::Host(_) | Self::Kubernetes(..) => None,
            Self::Eks(_, eks) => Some(eks),
        }
    }

    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        match &environment.cluster {
            Self::Host(host) => host.check(findings),
            Self::Kubernetes(any, _) => any.check(findings),
            Self::Eks(any, eks) => {
                any.check(findings);
                eks.check(findings);
            }
        }
    }
}
