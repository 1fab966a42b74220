//! Where a service's image comes from and how it is made, with templates rendered and secrets
//! found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::schema::{
    AnyBuild, BuildConfig, BuildahBuild, Command, DockerfileBuild, ImageConfig, ImageParts,
    PackBuild, ServiceConfig, Text,
};
use crate::config::{EnvironmentConfig, Project};
use crate::desired::template::Templates;
use crate::desired::{DesiredError, value};
use crate::model::build::{Base, BuildSpec, DockerfileSpec, PackSpec, Tool};
use crate::model::desired::ImageSource;
use crate::model::{Platform, ServiceName};

/// One service's build, and what it is made from.
pub(super) struct Builder<'a> {
    pub project: &'a Project,
    pub configuration: &'a EnvironmentConfig,
    pub templates: &'a Templates,
    pub name: &'a ServiceName,
}

impl Builder<'_> {
    /// Where the service's image comes from. The configuration says either how it is built or which
    /// one it is: that was checked when it was read.
    pub fn image(&self, service: &ServiceConfig) -> Result<ImageSource, DesiredError> {
        match (&service.build, &service.image) {
            (Some(build), _) => self
                .build(build, service.port_number())
                .map(ImageSource::Build),
            (None, Some(image)) => self.given(image),
            (None, None) => Err(DesiredError::new(
                format!("services.{}: nothing says which image it runs", self.name),
                "add `build`, or `image: nginx:1.27`",
            )),
        }
    }

    /// An image that is there already.
    fn given(&self, image: &ImageConfig) -> Result<ImageSource, DesiredError> {
        if let Some(from) = image.from() {
            return Ok(ImageSource::LiveIn(from.clone()));
        }
        let at = format!("services.{}.image", self.name);
        let rendered = match image {
            ImageConfig::Name(text) => {
                ImageConfig::Name(self.templates.render(&at, self.name, text)?)
            }
            ImageConfig::Parts(parts) => {
                let render = |text: &String| self.templates.render(&at, self.name, text);
                let part = |text: &Text| render(&text.0).map(Text);
                ImageConfig::Parts(ImageParts {
                    name: parts.name.as_ref().map(render).transpose()?,
                    tag: parts.tag.as_ref().map(part).transpose()?,
                    digest: parts.digest.as_ref().map(part).transpose()?,
                    from: None,
                })
            }
        };
        let name = rendered.name().map_err(|problem| {
            DesiredError::new(format!("{at}: {}", problem.what), problem.help).of_key(at.as_str())
        })?;
        Ok(ImageSource::Named(name))
    }

    fn build(&self, build: &BuildConfig, port: Option<u16>) -> Result<BuildSpec, DesiredError> {
        match build {
            BuildConfig::Pack(any, pack) => self.pack(any, pack, port).map(BuildSpec::Pack),
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
            let at = format!("services.{}.build.secrets", self.name);
            let from = value(self.project, self.configuration, id, &at)?;
            secrets.insert(id.clone(), from);
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
