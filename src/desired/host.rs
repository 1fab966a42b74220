//! What a service is on a host: where its listeners are, and what its instances run in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::EnvironmentConfig;
use crate::config::schema::{HostTraffic, Publish, Runtime, ServiceConfig, TrafficConfig};
use crate::desired::cluster::Sources;
use crate::desired::template::Templates;
use crate::desired::{DesiredError, nginx};
use crate::model::route::{Listeners, Login, Publication, Route};
use crate::model::workload::{Container, ContainerKind};
use crate::model::{ByteSize, ServiceName};

/// The route of a service; none for a worker.
pub(super) fn route(
    configuration: &EnvironmentConfig,
    templates: &Templates,
    sources: &Sources,
    (name, service): (&ServiceName, &ServiceConfig),
) -> Result<Option<Route>, DesiredError> {
    let Some(listeners) = configuration.listeners(name, service) else {
        return Ok(None);
    };

    let plain = |traffic: &HostTraffic| {
        let mut listeners = listeners.clone();
        let published = traffic.publish.as_ref();
        listeners.publish = published
            .map(|publish| publication(templates, name, publish))
            .transpose()?;
        Ok::<Listeners, DesiredError>(listeners)
    };

    let listeners = match &configuration.traffic {
        TrafficConfig::Embedded(traffic, _) => plain(traffic)?,
        TrafficConfig::Nginx(traffic, nginx) => {
            let mut listeners = plain(traffic)?;
            let proxy = nginx::proxy(&nginx.nginx, templates, sources, (name, &listeners))?;
            listeners.proxy = Some(Box::new(proxy));
            listeners
        }
        TrafficConfig::Service(_) | TrafficConfig::Ingress(..) | TrafficConfig::Gateway(..) => {
            return Ok(None);
        }
    };
    Ok(Some(Route::of_listeners(name.clone(), listeners)))
}

fn publication(
    templates: &Templates,
    name: &ServiceName,
    publish: &Publish,
) -> Result<Publication, DesiredError> {
    let login = publish.user.clone().zip(publish.password_file.clone());
    Ok(Publication {
        endpoints: publish.etcd.clone(),
        key: templates.render("traffic.publish.key", name, &publish.key)?,
        login: login.map(|(user, password_file)| Login {
            user,
            password_file,
        }),
        ca: publish.ca.clone(),
    })
}

/// The folders whose volume several instances may have at once.
fn shared(service: &ServiceConfig) -> BTreeSet<PathBuf> {
    let shared = service.volumes.iter().filter(|(_, it)| it.is_shared());
    shared.map(|(inside, _)| inside.clone()).collect()
}

/// The container or unit that an instance runs in, on a host that has the runtime for it.
pub(super) fn container(
    configuration: &EnvironmentConfig,
    name: &ServiceName,
    service: &ServiceConfig,
) -> Result<Option<Container>, DesiredError> {
    let Some(host) = configuration.cluster.host() else {
        return Ok(None);
    };

    let by = match host.runtime {
        Runtime::Docker => ContainerKind::Docker,
        Runtime::Container => ContainerKind::Own,
        Runtime::Systemd => ContainerKind::Systemd,
        Runtime::Process | Runtime::Auto => return Ok(None),
    };
    let wrong = |key: &str, help: &str| {
        DesiredError::new(
            format!("services.{name}.resources.{key} is no amount"),
            help,
        )
        .of_key(format!("services.{name}.resources.{key}"))
    };
    let limits = &service.resources;
    let cpu = limits.cpu_limit.as_ref().map(|text| {
        let whole = |text: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|cores| (0.001..10_000.0).contains(cores))
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within its bounds
        let thousandths = |cores: f64| (cores * 1000.0).round() as u32;
        let cpu = text
            .0
            .strip_suffix('m')
            .map_or_else(|| whole(&text.0).map(thousandths), |text| text.parse().ok());
        cpu.ok_or_else(|| wrong("cpu_limit", "write `500m` for half a processor, or `2`"))
    });

    let memory = limits.memory_limit.as_ref().map(|text| {
        // As Kubernetes writes it, `64Mi`, or as everybody else does, `64MiB`.
        let text = if text.0.ends_with('i') {
            format!("{}B", text.0)
        } else {
            text.0.clone()
        };
        text.parse()
            .map(ByteSize::bytes)
            .map_err(|_| wrong("memory_limit", "write `64Mi` or `1Gi`"))
    });

    Ok(Some(Container {
        by,
        cpu: cpu.transpose()?,
        memory: memory.transpose()?,
        processes: limits.processes_limit.map(std::num::NonZeroU32::get),
        network: host.network.clone(),
        volumes: service
            .volumes
            .iter()
            .map(|(inside, volume)| (inside.clone(), volume.from().to_owned()))
            .collect(),
        shared: shared(service),
        users: host.user_namespace,
    }))
}
