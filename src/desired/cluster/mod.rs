//! What a service is on a cluster: the objects of its slots, its entry point, and the environment's
//! own objects.
//!
//! `builtin` makes objects from the service's description, `own` reads the user's, `mark` gives
//! them labels and names of their slot, and `entry_point` makes the Services and routes. All of it
//! is pure: texts come in as [`Sources`].

mod alb;
mod builtin;
mod chart;
mod entry_point;
mod files;
mod mark;
mod marks;
mod own;
mod places;
mod ports;
mod repeated;
mod scaled;
mod schedules;
mod select;
mod sound;
#[cfg(test)]
mod tests;
mod twins;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::Project;
use crate::config::schema::{
    AnyKubernetes, ChartCrds, EnvironmentConfig, Manifests, Rendered, ServiceConfig,
};
use crate::desired::render::{self, Request};
use crate::desired::template::Templates;
use crate::desired::{DesiredError, DesiredErrors, Program};
use crate::model::desired::{Desired, DesiredService};
use crate::model::kind::{KindScopes, unknown_kinds};
use crate::model::object::{IMAGE, Namespaces, SECRET};
use crate::model::route::Route;
use crate::model::schedule::ScheduledTask;
use crate::model::source::Source;
use crate::model::{EnvironmentName, Manifest, ProjectName, ServiceName, Slot, TaskName};

pub use places::Written;
pub(super) use places::places;
pub(super) use yaml::Budget as ManifestBudget;

/// What manifests are rendered for: a service in a slot, or the environment.
pub type Place = (Option<ServiceName>, Slot);

/// The texts that manifests are made from, read beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files by their path below the project's folder.
    pub files: BTreeMap<PathBuf, String>,
    /// Files that a service names, by the path that names them.
    pub named: BTreeMap<PathBuf, String>,
    /// Why others that are there could not be read.
    pub unread: BTreeMap<PathBuf, DesiredError>,
    /// What `kustomize` or `helm` rendered, for a service in a slot, or for the environment.
    pub rendered: BTreeMap<Place, String>,
    /// Where the objects of kinds are, as far as it is known.
    pub scopes: KindScopes,
}

impl Sources {
    /// The files that a glob means, by name.
    fn matching(&self, glob: &str) -> Vec<(&PathBuf, &String)> {
        let clean = glob.trim_start_matches("./");
        let Ok(glob) = globset::GlobBuilder::new(clean)
            .literal_separator(true)
            .build()
        else {
            return Vec::new();
        };
        let matcher = glob.compile_matcher();
        // As in a shell: an editor's files and what is switched off by a dot are named, or left.
        let wants_hidden = is_hidden(Path::new(clean));
        self.files
            .iter()
            .filter(|(path, _)| matcher.is_match(path) && (wants_hidden || !is_hidden(path)))
            .collect()
    }
}

/// Whether a part of a path begins with a dot.
fn is_hidden(path: &Path) -> bool {
    let mut parts = path.components();
    parts.any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name.starts_with('.') && !matches!(&*name, "." | "..")
    })
}

/// What is the same for all objects of an environment.
pub(super) struct Site<'a> {
    pub project: &'a ProjectName,
    pub environment: &'a EnvironmentName,
    pub configuration: &'a EnvironmentConfig,
    pub cluster: &'a AnyKubernetes,
    pub templates: &'a Templates,
    pub sources: &'a Sources,
    pub namespaces: Namespaces,
    /// What all manifests together may still become.
    pub budget: yaml::Budget,
}

/// Where an environment's objects are.
///
/// # Errors
/// When a namespace's template cannot be rendered.
pub fn namespaces(
    project: &ProjectName,
    environment: &EnvironmentName,
    configuration: &EnvironmentConfig,
) -> Result<Namespaces, DesiredError> {
    let render = |at: &str, text: &str| {
        if !text.contains('{') {
            return Ok(text.to_owned());
        }
        let known = serde_json::json!({
            "project": project.as_str(), "environment": environment.as_str(),
        });
        let request = Request {
            name: at.to_owned(),
            text: text.to_owned(),
            known,
        };
        render::render(&request).map_err(|fault| {
            DesiredError::new(
                format!("{at}: the template cannot be rendered: {fault}"),
                "a namespace's template sees project and environment",
            )
            .of_key(at)
        })
    };

    let cluster = configuration.cluster.kubernetes();
    let home = match cluster.and_then(|cluster| cluster.namespace.as_ref()) {
        Some(text) => render("cluster.namespace", text)?,
        None => format!("{project}-{environment}"),
    };
    let mut slots = BTreeMap::new();
    for slot in Slot::ALL {
        let own = configuration
            .slots
            .get(&slot)
            .and_then(|place| place.namespace.as_ref());
        let namespace = match own {
            Some(text) => render(&format!("slots.{slot}.namespace"), text)?,
            None => home.clone(),
        };
        slots.insert(slot, namespace);
    }
    Ok(Namespaces { home, slots })
}

impl Site<'_> {
    /// The place in which all slots are one.
    pub fn apart(&self) -> bool {
        self.namespaces.slots[&Slot::Blue] != self.namespaces.slots[&Slot::Green]
    }

    /// The objects of a service, for each slot.
    pub fn objects(
        &self,
        program: &Program<'_>,
        schedules: &BTreeMap<TaskName, ScheduledTask>,
    ) -> Result<BTreeMap<Slot, Vec<Manifest>>, DesiredErrors> {
        let name = program.name;
        let mut all = BTreeMap::new();
        for slot in Slot::ALL {
            let mut objects = match &program.service.manifests {
                Some(manifests) => {
                    let own = own::of_service(self, name, manifests, slot);
                    own.map_err(|errors| errors.or_of_key(&format!("services.{name}.manifests")))?
                }
                None => builtin::objects(self, program, slot)?,
            };
            if program.service.is_exclusive(self.configuration.strategy) {
                self.refuse_unstoppable(name, &objects)?;
            }
            mark::mark(self, name, slot, &mut objects);
            let jobs = schedules::cron_jobs(self, (name, slot), &objects, schedules)?;
            objects.extend(jobs);
            all.insert(slot, objects);
        }

        if let Some(key) = mark::shared(&all) {
            return Err(DesiredError::new(
                format!("services.{name}.manifests: {key} would be in both slots"),
                "what belongs to no slot is written under the environment's own `manifests:`",
            )
            .into());
        }
        Ok(all)
    }

    /// Refuses an object whose pods cannot be stopped in a slot and started again, where a service
    /// has to be stopped in one before it starts in the other.
    fn refuse_unstoppable(
        &self,
        name: &ServiceName,
        objects: &[Manifest],
    ) -> Result<(), DesiredError> {
        let is_unstoppable =
            |one: &&Manifest| matches!(one.kind(), "DaemonSet" | "Job" | "CronJob" | "Pod");
        match objects.iter().find(is_unstoppable) {
            Some(object) if self.configuration.strategy.has_preview() => Err(DesiredError::new(
                format!(
                    "services.{name}.strategy: {} cannot be stopped in its slot and started again, \
                     as `recreate` wants it in a blue/green environment",
                    object.key().short()
                ),
                "make it a Deployment or StatefulSet, move it to a service of its own, or \
                       take `strategy` out",
            )),
            _ => Ok(()),
        }
    }

    /// The entry point of a service with a port.
    pub fn route(
        &self,
        name: &ServiceName,
        service: &ServiceConfig,
    ) -> Result<Option<Route>, DesiredError> {
        let port = service.traffic_port();
        port.map(|(_, port)| entry_point::route(self, name, service, port))
            .transpose()
    }

    /// Refuses an object that would be made twice.
    pub fn refuse_twins(
        &self,
        own: &[Manifest],
        services: &BTreeMap<ServiceName, DesiredService>,
    ) -> Result<(), DesiredError> {
        twins::refuse(self, own, services)
    }

    /// The objects that belong to no slot, in the order in which they can be made.
    pub fn own_objects(&self) -> Result<Vec<Manifest>, DesiredErrors> {
        let mut objects = Vec::new();
        if self.cluster.create_namespaces {
            let mut names: Vec<&String> = self.namespaces.slots.values().collect();
            names.push(&self.namespaces.home);
            names.sort();
            names.dedup();
            for name in names {
                let standard = self.cluster.pod_security;
                let mut namespace = builtin::namespace(name, standard);
                alb::open(self, &mut namespace);
                objects.push(namespace);
            }
        }

        if let Some(manifests) = &self.configuration.manifests {
            let own = own::of_environment(self, manifests);
            objects.extend(own.map_err(|errors| errors.or_of_key("manifests"))?);
        }
        for object in &mut objects {
            mark::common(self, object);
        }
        scaled::note(&mut objects, scaled::Workloads::All);
        objects
            .sort_by_cached_key(|object| (crate::model::object::rank(object.kind()), object.key()));
        Ok(objects)
    }
}

/// The globs of files that an environment's manifests are read from.
#[must_use]
pub fn globs(configuration: &EnvironmentConfig) -> Vec<String> {
    let of = |manifests: &Option<Manifests>| match manifests {
        Some(Manifests::Files(glob)) => Some(glob.clone()),
        _ => None,
    };
    let services = configuration.services.values();
    let own = services
        .clone()
        .filter_map(|service| of(&service.manifests));
    let config = services
        .filter_map(|service| service.config.as_ref())
        .flat_map(|config| config.files.clone());
    own.chain(config)
        .chain(of(&configuration.manifests))
        .collect()
}

/// Every object that a run may make from manifests.
pub fn objects(desired: &Desired) -> impl Iterator<Item = &Manifest> {
    let services = desired.services.values();
    let own = services.flat_map(|service| service.workload.all_objects());
    desired.objects.iter().chain(own)
}

/// What the definitions in a configuration say of the kinds that they define.
#[must_use]
pub fn definitions(desired: &Desired) -> KindScopes {
    KindScopes::defined_by(objects(desired))
}

/// The `apiVersion` and kind of what only a server can tell the scope of.
#[must_use]
pub fn unknown(desired: &Desired, known: &KindScopes) -> BTreeSet<(String, String)> {
    unknown_kinds(objects(desired), known)
}

/// The secrets that a workload's objects name.
pub(super) fn secrets(slots: &BTreeMap<Slot, Vec<Manifest>>) -> BTreeSet<String> {
    let objects = slots.values().flatten();
    let values = objects
        .filter(|object| object.kind() == "Secret")
        .flat_map(|object| object.body()["data"].as_object().into_iter().flatten());
    values
        .filter_map(|(_, value)| value.as_str()?.strip_prefix(SECRET).map(str::to_owned))
        .collect()
}

/// A run of a tool that renders manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// `kustomize build`.
    Kustomize {
        /// The folder.
        folder: String,
    },
    /// `helm template`.
    Helm {
        /// The chart.
        chart: String,
        /// The file of values.
        values: Option<String>,
        /// The release's name, as Helm counts them.
        name: String,
        /// The namespace that the chart sees.
        namespace: String,
        /// Values that shipit knows, as `shipit.KEY`.
        set: Vec<(String, String)>,
        /// What becomes of its definitions.
        crds: ChartCrds,
    },
}

/// Which tools have to run, and for what.
///
/// # Errors
/// When a template cannot be rendered.
pub fn tools(
    project: &Project,
    environment: &EnvironmentName,
    configuration: &EnvironmentConfig,
    source: &Source,
) -> Result<Vec<(Place, Tool)>, DesiredError> {
    let templates = Templates::new(&project.name, environment, source, &configuration.vars);
    let namespaces = namespaces(&project.name, environment, configuration)?;
    let mut all = Vec::new();
    for (name, service) in &configuration.services {
        let Some(Manifests::Rendered(rendered)) = &service.manifests else {
            continue;
        };
        for slot in Slot::ALL {
            let tool = tool(
                &templates,
                Some(name),
                slot,
                &namespaces.slots[&slot],
                rendered,
            )?;
            all.push(((Some(name.clone()), slot), tool));
        }
    }

    if let Some(Manifests::Rendered(rendered)) = &configuration.manifests {
        let tool = tool(&templates, None, Slot::Blue, &namespaces.home, rendered)?;
        all.push(((None, Slot::Blue), tool));
    }
    Ok(all)
}

fn tool(
    templates: &Templates,
    service: Option<&ServiceName>,
    slot: Slot,
    namespace: &str,
    rendered: &Rendered,
) -> Result<Tool, DesiredError> {
    let at = service.map_or_else(
        || "manifests".to_owned(),
        |name| format!("services.{name}.manifests"),
    );
    let render =
        |key: &str, text: &str| templates.render_in(&format!("{at}.{key}"), service, slot, text);
    if let Some(folder) = &rendered.kustomize {
        return Ok(Tool::Kustomize {
            folder: render("kustomize", folder)?,
        });
    }

    let chart = render("helm", rendered.helm.as_deref().unwrap_or_default())?;
    let values = rendered
        .values
        .as_deref()
        .map(|values| render("values", values))
        .transpose()?;
    let name = service
        .map_or("environment", ServiceName::as_str)
        .to_owned();
    let mut set = vec![("slot".to_owned(), slot.to_string())];
    if let Some(service) = service {
        set.push(("service".to_owned(), service.to_string()));
        set.push(("image".to_owned(), format!("{IMAGE}{service}")));
    }

    Ok(Tool::Helm {
        chart,
        values,
        name,
        namespace: namespace.to_owned(),
        set,
        crds: rendered.crds,
    })
}
