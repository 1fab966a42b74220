//! How a service's image is made, with templates rendered and secrets found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::schema::{
    AnyBuild, BuildConfig, BuildahBuild, Command, DockerfileBuild, PackBuild, ServiceConfig, Text,
};
use crate::config::{EnvironmentConfig, Project};
use crate::desired::template::Templates;
use crate::desired::{DesiredError, secret};
use crate::model::build::{Base, BuildSpec, DockerfileSpec, PackSpec, Tool};
use crate::model::workload::EnvValue;
use crate::model::{Platform, ServiceName};

/// One service's build, and what it is made from.
pub(super) struct Builder<'a> {
    pub project: &'a Project,
    pub configuration: &'a EnvironmentConfig,
    pub templates: &'a Templates,
    pub name: &'a ServiceName,
}

impl Builder<'_> {
    pub fn build(&self, service: &ServiceConfig) -> Result<BuildSpec, DesiredError> {
        match &service.build {
            BuildConfig::Pack(any, pack) => self.pack(any, pack, service.port).map(BuildSpec::Pack),
            BuildConfig::Docker(any, dockerfile) => {
                self.dockerfile(Tool::Docker, any, dockerfile, &BuildahBuild::default())
            }
            BuildConfig::Buildah(any, dockerfile, buildah) => {
                self.dockerfile(Tool::Buildah, any, dockerfile, buildah)
            }
        }
    }

    fn pack(
        &self,
        any: &AnyBuild,
        build: &PackBuild,
        port: Option<u16>,
    ) -> Result<PackSpec, DesiredError> {
        let env = build.env.iter();
        Ok(PackSpec {
            within: any.within,
            context: clean(&any.context),
            inputs: build.inputs.clone(),
            leave_out: self.leave_out(),
            run: build.run.as_ref().map(Command::vector).unwrap_or_default(),
            copy: build.copy.clone(),
            base: if build.base == "scratch" {
                Base::Scratch
            } else {
                Base::Image(build.base.clone())
            },
            entrypoint: build.entrypoint.clone(),
            user: build.user.as_ref().map(|user| user.0.clone()),
            workdir: build.workdir.clone(),
            env: env
                .map(|(name, text)| (name.clone(), text.0.clone()))
                .collect(),
            labels: self.rendered("labels", &any.labels)?,
            port,
            platforms: platforms(&any.platforms),
        })
    }

    fn dockerfile(
        &self,
        tool: Tool,
        any: &AnyBuild,
        build: &DockerfileBuild,
        buildah: &BuildahBuild,
    ) -> Result<BuildSpec, DesiredError> {
        let mut secrets = BTreeMap::new();
        for id in &build.secrets {
            if let EnvValue::Secret { from, .. } = secret(self.project, self.configuration, id)? {
                secrets.insert(id.clone(), from);
            }
        }

        let image = |key: &'static str| {
            let at = format!("services.{}.build.{key}", self.name);
            move |image: &String| self.templates.render(&at, self.name, image)
        };
        let cache_from = build.cache_from.iter().map(image("cache_from"));
        let cache_to = buildah.cache_to.as_ref().map(image("cache_to"));
        let dockerfile = build.dockerfile.clone();
        Ok(BuildSpec::Dockerfile(DockerfileSpec {
            tool,
            context: clean(&any.context),
            dockerfile: dockerfile.unwrap_or_else(|| "Dockerfile".into()),
            target: build.target.clone(),
            args: self.rendered("args", &build.args)?,
            secrets,
            cache_from: cache_from.collect::<Result<_, _>>()?,
            cache_to: cache_to.transpose()?,
            labels: self.rendered("labels", &any.labels)?,
            leave_out: self.leave_out(),
            platforms: platforms(&any.platforms),
            within: any.within,
        }))
    }

    fn rendered(
        &self,
        key: &str,
        texts: &BTreeMap<String, Text>,
    ) -> Result<BTreeMap<String, String>, DesiredError> {
        let mut rendered = BTreeMap::new();
        for (name, text) in texts {
            let at = format!("services.{}.build.{key}.{name}", self.name);
            let text = self.templates.render(&at, self.name, &text.0)?;
            rendered.insert(name.clone(), text);
        }
        Ok(rendered)
    }

    fn leave_out(&self) -> Vec<PathBuf> {
        vec![
            clean(self.configuration.state.path()),
            clean(self.configuration.registry.path()),
        ]
    }
}

/// In one order: another order of the same platforms is no other build.
fn platforms(named: &[Platform]) -> Vec<Platform> {
    named
        .iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .cloned()
        .collect()
}

/// `./a` and `a` are the same context, and must not be two builds.
fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}
