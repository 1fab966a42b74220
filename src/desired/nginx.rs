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

#[cfg(test)]
mod tests {
    use minijinja::{Environment, UndefinedBehavior, context};

    use super::NGINX;

    fn rendered(environment: &str, service: &str) -> String {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        let limits = context! {
            client_requests => 10, header_timeout => "10s", response_timeout => "60s", body => "1m",
        };
        let view = context! {
            project => "shop", environment, service, slot => "blue", limits,
            listen => "127.0.0.1:8080", upstream => "127.0.0.1:9001",
            server_names => [""; 0], trusted_proxies => ["127.0.0.1"], identity_headers => [""; 0],
        };
        engine.render_str(NGINX, view).expect("it renders")
    }

    fn upstream(text: &str) -> &str {
        let line = text.lines().find(|line| line.starts_with("upstream "));
        line.expect("an upstream")
    }

    #[test]
    fn a_long_name_is_in_no_pattern() {
        let text = rendered("production", &"s".repeat(40));
        assert!(!text.contains("(?<"), "nginx takes 32 characters: {text}");
    }

    #[test]
    fn two_services_share_no_name() {
        for (one, other) in [
            (("staging", "a-b"), ("staging-a", "b")),
            (("a-b", "c"), ("a", "b-c")),
            (("a", "b--c"), ("a--b", "c")),
        ] {
            let [one, other] = [one, other].map(|(env, service)| rendered(env, service));
            assert_ne!(upstream(&one), upstream(&other));
        }
    }
}
