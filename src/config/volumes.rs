//! Volumes that two environments name: on one machine both would write the same files.

use std::collections::BTreeMap;

use crate::config::findings::Findings;
use crate::config::node::Node;
use crate::config::problem::Problem;
use crate::config::schema::{ClusterConfig, EnvironmentConfig, HostCluster, Runtime};
use crate::model::EnvironmentName;
use crate::model::volume::one_holds_the_other;

/// A volume for one instance at a time, and who mounts it.
struct Mount<'a> {
    environment: &'a EnvironmentName,
    host: &'a HostCluster,
    service: &'a str,
    inside: String,
    from: &'a str,
}

/// The volumes of the same engine that several environments name, though they are not shared. It is
/// no fault: which environments are on one machine is not written here.
pub(super) fn of_several(
    environments: &BTreeMap<EnvironmentName, EnvironmentConfig>,
    trees: &BTreeMap<EnvironmentName, Node>,
) -> Vec<Problem> {
    let mounts: Vec<Mount<'_>> = environments.iter().flat_map(mounts).collect();
    let mut notes = Vec::new();
    for (at, mount) in mounts.iter().enumerate() {
        let before = mounts[..at].iter();
        let Some(other) = before.clone().find(|other| meet(other, mount)) else {
            continue;
        };
        let mut findings = Findings::of(&trees[mount.environment]);
        let (from, environment) = (mount.from, mount.environment);
        findings.add(
            &["services", mount.service, "volumes", &mount.inside],
            format!(
                "{} of {environment} would have {from}, and {} of {} has {} already: on one \
                 machine both write the same files",
                mount.service, other.service, other.environment, other.from
            ),
            format!(
                "name another volume in environments/{environment}.yaml, or write \
                 `{{from: {from}, shared: true}}` if several instances may have it at once; on \
                 different machines nothing is wrong"
            ),
        );
        notes.extend(findings.done());
    }
    notes
}

fn mounts<'a>(
    (environment, configuration): (&'a EnvironmentName, &'a EnvironmentConfig),
) -> Vec<Mount<'a>> {
    let ClusterConfig::Host(host) = &configuration.cluster else {
        return Vec::new();
    };
    if !matches!(host.runtime, Runtime::Container | Runtime::Docker) {
        return Vec::new();
    }
    let services = configuration.services.iter();
    let mounts = services.flat_map(|(service, definition)| {
        let volumes = definition.volumes.iter();
        let own = volumes.filter(|(_, volume)| !volume.is_shared());
        own.map(|(inside, volume)| Mount {
            environment,
            host,
            service: service.as_str(),
            inside: inside.to_string_lossy().into_owned(),
            from: volume.from(),
        })
    });
    mounts.collect()
}

/// Whether two mounts are of different environments and of the same files. A folder is the
/// machine's, whatever runtime mounts it; a volume with a name is Docker's.
fn meet(one: &Mount<'_>, other: &Mount<'_>) -> bool {
    let is_folder = one.from.starts_with('/');
    let is_one_engine = is_folder || one.host.runtime == other.host.runtime;
    one.environment != other.environment
        && one.host.at == other.host.at
        && is_one_engine
        && one_holds_the_other(one.from, other.from)
}
