//! Templates: minijinja, in which an undefined name is an error, but for one that is only asked for.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::schema::Text;
use crate::desired::DesiredError;
use crate::desired::render::{RenderFault, Request, render};
use crate::model::object::{IMAGE, RELEASE};
use crate::model::route::Listeners;
use crate::model::source::Source;
use crate::model::{EnvironmentName, Period, ProjectName, ServiceName, Slot, identity};

/// What the templates of a service see.
const SEEN: &str = "templates see project, environment, service, commit, branch (where the \
                    checkout is on one) and vars; slot, release and image are told to the service \
                    as SHIPIT_SLOT and SHIPIT_RELEASE";

/// What a text sees that may differ by slot.
const SEEN_BY_SLOT: &str = "templates see project, environment, slot, service, image, release, \
                            commit, branch (where the checkout is on one) and vars, and \
                            secret('NAME')";

/// What a proxy's template sees.
const SEEN_BY_PROXY: &str = "it sees project, environment, service, slot, listen, upstream, vars, \
                             server_names, trusted_proxies, identity_headers and limits";

/// What the file of a proxy is made from.
pub(super) struct ProxyView<'a> {
    /// Whose traffic it takes.
    pub service: &'a ServiceName,
    pub listeners: &'a Listeners,
    /// The slot that has it.
    pub slot: Option<Slot>,
    /// The hosts that it answers for; all when there is none.
    pub server_names: &'a [String],
}

/// What templates see, and what renders them.
pub(super) struct Templates {
    project: String,
    environment: String,
    commit: Option<String>,
    branch: Option<String>,
    vars: BTreeMap<String, String>,
}

impl Templates {
    pub fn new(
        project: &ProjectName,
        environment: &EnvironmentName,
        source: &Source,
        vars: &BTreeMap<String, Text>,
    ) -> Self {
        Self {
            project: project.to_string(),
            environment: environment.to_string(),
            commit: source.commit.clone(),
            branch: source.branch.clone(),
            vars: vars
                .iter()
                .map(|(name, text)| (name.clone(), text.0.clone()))
                .collect(),
        }
    }

    /// Renders a text that stands at this place of the configuration, and may differ by slot.
    pub fn render_in(
        &self,
        at: &str,
        service: Option<&ServiceName>,
        slot: Slot,
        text: &str,
    ) -> Result<String, DesiredError> {
        self.of_slot(at, service, slot, text)
            .map_err(|(error, _)| error.of_key(at))
    }

    /// Renders a file of the project that may differ by slot: a manifest.
    pub fn render_file_in(
        &self,
        file: &Path,
        service: Option<&ServiceName>,
        slot: Slot,
        text: &str,
    ) -> Result<String, DesiredError> {
        self.of_slot(&file.to_string_lossy(), service, slot, text)
            .map_err(|(error, line)| error.of_line(file, line.unwrap_or(1)))
    }

    /// Renders what may differ by slot; with what is wrong comes its line, where it has one.
    fn of_slot(
        &self,
        at: &str,
        service: Option<&ServiceName>,
        slot: Slot,
        text: &str,
    ) -> Result<String, (DesiredError, Option<usize>)> {
        let known = defined(json!({
            "project": self.project,
            "environment": self.environment,
            "service": service.map(ServiceName::as_str),
            "slot": slot.as_str(),
            "image": service.map(|service| format!("{IMAGE}{service}")),
            "release": RELEASE,
            "commit": self.commit,
            "branch": self.branch,
            "vars": self.vars,
        }));

        rendered(at, text, known).map_err(|fault| {
            let what = format!("{at}: {fault}{}", place(&fault));
            (DesiredError::new(what, SEEN_BY_SLOT), fault.line)
        })
    }

    /// A proxy's file: it sees where live traffic arrives, and where the slot that has it answers.
    pub fn render_proxy(
        &self,
        at: &str,
        view: &ProxyView<'_>,
        text: &str,
    ) -> Result<String, DesiredError> {
        let ProxyView {
            service,
            listeners,
            slot,
            server_names,
        } = *view;
        let upstream = slot.and_then(|slot| listeners.slots.get(&slot));
        let trusted: Vec<String> = listeners
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect();
        let limits = &listeners.limits;
        let millis = |period: Period| format!("{}ms", period.as_millis());
        let known = json!({
            "project": self.project,
            "environment": self.environment,
            "service": service.as_str(),
            "slot": slot.map_or("off", Slot::as_str),
            "listen": listeners.live.to_string(),
            "upstream": upstream.map(ToString::to_string),
            "vars": self.vars,
            "server_names": server_names,
            "trusted_proxies": trusted,
            "identity_headers": identity::KNOWN,
            "limits": {
                // 0 is no limit to nginx.
                "body": limits.body.bytes().max(1),
                "header_timeout": millis(limits.header_timeout),
                "response_timeout": millis(limits.response_timeout),
                "client_requests": limits.client_requests,
            },
        });

        rendered("<string>", text, known).map_err(|fault| {
            let what = format!("{at}: {fault}{}", place(&fault));
            DesiredError::new(what, SEEN_BY_PROXY).of_key(at)
        })
    }

    /// Renders a text that stands at this place of the configuration.
    pub fn render(
        &self,
        at: &str,
        service: &ServiceName,
        text: &str,
    ) -> Result<String, DesiredError> {
        render_with(at, text, self.known(service))
    }

    /// Renders a file of the project, which is named in errors.
    pub fn render_file(
        &self,
        file: &Path,
        service: &ServiceName,
        text: &str,
    ) -> Result<String, DesiredError> {
        let name = file.to_string_lossy();
        rendered(&name, text, self.known(service)).map_err(|fault| {
            let what = format!("{name}: {fault}{}", place(&fault));
            DesiredError::new(what, SEEN).of_line(file, fault.line.unwrap_or(1))
        })
    }

    /// Without a commit or a branch its name is not defined: `default` stands for it then, and
    /// whatever needs it is refused.
    fn known(&self, service: &ServiceName) -> Value {
        defined(json!({
            "project": self.project,
            "environment": self.environment,
            "service": service.as_str(),
            "commit": self.commit,
            "branch": self.branch,
            "vars": self.vars,
        }))
    }
}

/// What is known, without what there is none of.
fn defined(mut known: Value) -> Value {
    if let Some(known) = known.as_object_mut() {
        known.retain(|_, value| !value.is_null());
    }
    known
}

/// Renders a text of the configuration with what is known.
fn render_with(at: &str, text: &str, known: Value) -> Result<String, DesiredError> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    rendered("<string>", text, known).map_err(|fault| {
        let what = format!(
            "{at}: the template {} cannot be rendered: {fault}",
            quoted(text)
        );
        DesiredError::new(what, SEEN).of_key(at)
    })
}

/// Renders a text of the configuration that is of no service, at this key, with what is known.
///
/// # Errors
/// It is no template, asks for something that is not known, or takes more than one may.
pub fn render_text(at: &str, text: &str, known: Value) -> Result<String, DesiredError> {
    render_with(at, text, known)
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

fn rendered(name: &str, text: &str, known: Value) -> Result<String, RenderFault> {
    render(&Request {
        name: name.to_owned(),
        text: text.to_owned(),
        known,
    })
}

fn place(fault: &RenderFault) -> String {
    fault
        .line
        .map(|line| format!(", line {line}"))
        .unwrap_or_default()
}

/// A template in an error: one that is too long for a line is not repeated.
fn quoted(text: &str) -> String {
    const MOST: usize = 200;
    let shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        format!("`{shown}…` ({} bytes)", text.len())
    } else {
        format!("`{shown}`")
    }
}
