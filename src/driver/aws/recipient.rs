//! Who may be given what Amazon gives: its registry's password, and its clusters' token.
//!
//! Both are for Amazon's own servers, and a configuration may name another address. `amazonaws.com`
//! alone proves nothing: anybody can rent a machine or a function below it. So it is the address of
//! a registry, or of a cluster, as Amazon gives them out and nobody else can.

/// Where a login of Amazon's goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// To Amazon's own addresses alone.
    Amazon,
    /// To the address that the configuration names, whoever that is: it says so itself.
    Anybody,
}

/// What Amazon's domains end with.
const DOMAINS: [&str; 9] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "on.aws",
    "on.amazonwebservices.com.cn",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
];

/// Whether this is a registry of Amazon's: `123456789012.dkr.ecr.eu-central-1.amazonaws.com`, or
/// the same by way of a private link or of both kinds of network.
#[must_use]
pub fn is_registry(endpoint: &str) -> bool {
    let Some(labels) = below(endpoint) else {
        return false;
    };
    match labels.as_slice() {
        [account, "dkr", "ecr" | "ecr-fips", _region] => is_account(account),
        [account, "dkr-ecr" | "dkr-ecr-fips", _region] => is_account(account),
        [link, "dkr", "ecr", _region, "vpce"] => link.starts_with("vpce-"),
        _ => false,
    }
}

/// Whether this is a cluster of Amazon's: `https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com`.
#[must_use]
pub fn is_cluster(url: &str) -> bool {
    let Some(host) = url.strip_prefix("https://") else {
        return false;
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    let Some(labels) = below(host.strip_suffix(":443").unwrap_or(host)) else {
        return false;
    };
    matches!(
        labels.as_slice(),
        [_, _, _region, "eks"] | [_, _, "eks-cluster", _region]
    )
}

fn is_account(label: &str) -> bool {
    label.len() == 12 && label.bytes().all(|digit| digit.is_ascii_digit())
}

/// The labels in front of one of Amazon's domains; none for a host that is not below one, or for
/// what is no host.
fn below(host: &str) -> Option<Vec<&str>> {
    let domain = DOMAINS.iter().find(|domain| {
        let rest = host.strip_suffix(*domain);
        rest.is_some_and(|rest| rest.ends_with('.'))
    })?;
    let labels: Vec<&str> = host[..host.len() - domain.len() - 1].split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    labels.iter().all(is_label).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_registries_are_known() {
        for endpoint in [
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "123456789012.dkr-ecr.eu-west-1.on.aws",
            "vpce-0123-ab.dkr.ecr.eu-west-1.vpce.amazonaws.com",
        ] {
            assert!(is_registry(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn what_anybody_can_have_is_no_registry_of_amazons() {
        for endpoint in [
            "registry.example.com",
            "localhost:5000",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.example.com",
            "123456789012.dkr.ecr.eu-central-1.evilamazonaws.com",
            "123456789012.dkr.ecr.example.com/.amazonaws.com",
            "123456789012.dkr.ecr.x@example.com.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com:8443",
            "bucket.s3.amazonaws.com",
            "ec2-1-2-3-4.compute-1.amazonaws.com",
            "abc.execute-api.eu-west-1.amazonaws.com",
            "abc.lambda-url.eu-west-1.on.aws",
            "my.dkr.ecr.elb.amazonaws.com",
            "vpce-1.vpce-svc-2.eu-west-1.vpce.amazonaws.com",
            "amazonaws.com",
            "",
        ] {
            assert!(!is_registry(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn amazons_clusters_are_known_and_no_others() {
        for url in [
            "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com",
            "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com:443/",
            "https://0123ABCD.sk1.cn-north-1.eks.amazonaws.com.cn",
            "https://0123ABCD.gr7.eks-cluster.us-west-2.api.aws",
        ] {
            assert!(is_cluster(url), "{url}");
        }
        for url in [
            "http://0123ABCD.gr7.eu-central-1.eks.amazonaws.com",
            "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com.example.com",
            "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com@example.com",
            "https://example.com/.gr7.eu-central-1.eks.amazonaws.com",
            "https://127.0.0.1:6443",
            "https://abc.execute-api.eu-west-1.amazonaws.com",
        ] {
            assert!(!is_cluster(url), "{url}");
        }
    }
}
