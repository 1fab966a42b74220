//! What the engine is told of a container that it makes.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding};

use crate::agent::identity;
use crate::agent::runtime::docker::{AGENT, FOLDER, NAME};
use crate::agent::runtime::{ContainerSpec, Launch, PROCESSES, REPORTS};

pub(super) fn body(launch: &Launch) -> ContainerCreateBody {
    let contained = launch.contained.clone().unwrap_or_default();
    let mut host = host(&contained);
    let files = launch.files.iter();
    let files = files.map(|(inside, from)| format!("{}:{}:ro", from.display(), inside.display()));
    if !launch.files.is_empty() {
        host.binds.get_or_insert_default().extend(files);
    }
    if let Some(reports) = &launch.reports {
        let bind = format!("{}:{REPORTS}", reports.reports().display());
        host.binds.get_or_insert_default().push(bind);
    }
    let mut labels: HashMap<String, String> = contained.labels.into_iter().collect();
    let agent = identity::of(Path::new(&contained.agent));
    labels.insert(AGENT.to_owned(), agent);
    labels.insert(FOLDER.to_owned(), contained.agent);
    labels.insert(NAME.to_owned(), contained.name);

    let exposed = contained.ports.iter();
    let exposed: Vec<String> = exposed.map(|(_, inside)| format!("{inside}/tcp")).collect();
    let variables = launch.env.iter();
    let command = launch.command.clone();
    ContainerCreateBody {
        image: Some(contained.image),
        env: Some(
            variables
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        // What the service says takes the place of all that the image says.
        entrypoint: (!command.is_empty()).then_some(command),
        labels: Some(labels),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// What a container has of this machine, and how much of it.
fn host(contained: &ContainerSpec) -> HostConfig {
    let spec = &contained.spec;
    let ports = contained.ports.iter().map(|(host, inside)| {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(host.to_string()),
        };
        (format!("{inside}/tcp"), Some(vec![binding]))
    });
    let ports: HashMap<_, _> = ports.collect();
    let binds: Vec<String> = spec
        .volumes
        .iter()
        .map(|(inside, from)| format!("{from}:{}", inside.display()))
        .collect();
    let memory = spec.memory.and_then(|bytes| i64::try_from(bytes).ok());

    HostConfig {
        memory,
        // Without swap: a limit is a limit.
        memory_swap: memory,
        nano_cpus: spec
            .cpu
            .map(|thousandths| i64::from(thousandths) * 1_000_000),
        pids_limit: Some(i64::from(spec.processes.unwrap_or(PROCESSES))),
        network_mode: spec.network.clone(),
        port_bindings: (!ports.is_empty()).then_some(ports),
        binds: (!binds.is_empty()).then_some(binds),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "10m".to_owned()),
                ("max-file".to_owned(), "2".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_inside_is_led_to_from_this_machine_alone() {
        let contained = ContainerSpec {
            ports: vec![(40001, 8080), (40002, 9090)],
            ..ContainerSpec::default()
        };
        let bindings = host(&contained).port_bindings.expect("ports");
        for (inside, outside) in [("8080/tcp", "40001"), ("9090/tcp", "40002")] {
            let one = bindings[inside].as_ref().expect("bound");
            let one = one.first().expect("one");
            assert_eq!(one.host_ip.as_deref(), Some("127.0.0.1"));
            assert_eq!(one.host_port.as_deref(), Some(outside));
        }
        assert_eq!(host(&ContainerSpec::default()).port_bindings, None);
    }
}
