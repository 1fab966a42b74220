//! What nginx gets, by the slot that has live traffic.

use std::path::PathBuf;

use crate::config::schema::Nginx;
use crate::desired::DesiredError;
use crate::desired::cluster::Sources;
use crate::desired::template::{ProxyView, Templates};
use crate::model::route::{Listeners, Proxy};
use crate::model::{LiveTraffic, ServiceName, Slot};

/// What nginx gets unless the project has a template of its own.
const NGINX: &str = include_str!("nginx.conf.j2");

/// The file for each slot, and for none.
pub(super) fn proxy(
    nginx: &Nginx,
    templates: &Templates,
    sources: &Sources,
    (service, listeners): (&ServiceName, &Listeners),
) -> Result<Proxy, DesiredError> {
    let text = match &nginx.template {
        None => NGINX,
        Some(path) => {
            let clean: PathBuf = path.components().collect();
            sources
                .files
                .get(&clean)
                .map(String::as_str)
                .ok_or_else(|| {
                    DesiredError::new(
                        format!("traffic.nginx.template: there is no {}", path.display()),
                        "name a file of the project",
                    )
                    .of_key("traffic.nginx.template")
                })?
        }
    };
    let config: PathBuf = templates
        .render("traffic.nginx.config", service, &nginx.config)?
        .into();
    if !config.is_absolute() {
        return Err(DesiredError::new(
            format!(
                "traffic.nginx.config: {} is no absolute path",
                config.display()
            ),
            "write /etc/nginx/conf.d/{{ service }}.conf",
        )
        .of_key("traffic.nginx.config"));
    }

    let render = |to: LiveTraffic| {
        let view = ProxyView {
            service,
            listeners,
            slot: to.slot(),
            server_names: &nginx.server_names,
        };
        templates.render_proxy("traffic.nginx.template", &view, text)
    };
    let to = Slot::ALL
        .into_iter()
        .map(|slot| Ok((slot, render(LiveTraffic::All(slot))?)))
        .collect::<Result<_, DesiredError>>()?;
    Ok(Proxy {
        config,
        command: nginx.command.clone(),
        to,
        off: render(LiveTraffic::Off)?,
    })
}
