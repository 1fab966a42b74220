//! What an instance is made from, and what the runtime must know to start it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agent::Directory;
use crate::agent::instance::port::Ports;
use crate::agent::instance::{Instance, Prober};
use crate::agent::launch::{Account, InstanceFiles, Reader, UnlistedGroup, account};
use crate::agent::rootfs::{ImageMeta, Unpacked};
use crate::agent::runtime::{
    ContainerSpec, Launch, REPORTS, Running, Runtime, container, docker, process,
};
use crate::agent::trouble::{Trouble, is_local};
use crate::files;
use crate::model::Digest;
use crate::model::release::Label;
use crate::model::secret::{SECRET_LIMIT, SecretRef, SecretValue, without_line_end};
use crate::model::task::REPORTS_VARIABLE;
use crate::model::workload::{
    ABOUT_ITSELF, ContainerKind, EnvValue, FILES_VARIABLE, Process, Workload,
};
use crate::port::engine::Scope;
use crate::redact::Redactor;

/// Everything that an instance is made from.
#[derive(Clone)]
pub(in crate::agent) struct InstanceSpec {
    pub directory: Directory,
    pub scope: Scope,
    pub label: Label,
    pub workload: Workload,
    /// What each instance of the workload is.
    pub process: Process,
    pub image: ImageMeta,
    pub secrets: BTreeMap<String, SecretValue>,
    pub runtime: Arc<dyn Runtime>,
    pub prober: Prober,
    /// Knows the secrets: what the service writes may have them in it.
    pub redactor: Redactor,
    /// For a task: the folder of its reports.
    pub reports: Option<InstanceFiles>,
}

/// What a secret that is not held any more means: a process that runs has it already and needs it
/// no more.
#[derive(Clone, Copy)]
pub(super) enum Missing {
    Refuse,
    LeaveOut,
}

impl Instance {
    /// What the runtime must know. Secrets from files are read again at each start.
    pub(super) fn launch(
        &self,
        ports: &Ports,
        name: Option<String>,
        missing: Missing,
    ) -> Result<Launch, Trouble> {
        let InstanceSpec {
            workload,
            process,
            image,
            ..
        } = &self.spec;
        let unknown = || Trouble::Instance("its image is not known".to_owned());
        let digest = workload.image.value().ok_or_else(unknown)?;
        let rootfs = self
            .unpacked()
            .map(|image| image.files())
            .unwrap_or_default();
        let account = self.account(&rootfs)?;

        let mut env = self.environment(&rootfs, account.as_ref())?;
        for (name, value) in &process.env {
            let value = match value {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret { name, from } => match (self.secret(name, from), missing) {
                    (Ok(secret), _) => secret,
                    (Err(_), Missing::LeaveOut) => continue,
                    (Err(trouble), Missing::Refuse) => return Err(trouble),
                },
            };
            env.insert(name.clone(), value);
        }
        env.extend(self.about_files());
        env.extend(self.about_reports());
        env.extend(self.about_ports(ports));
        env.extend(self.about());

        let command = if process.command.is_empty() {
            image.command.clone()
        } else {
            process.command.clone()
        };
        Ok(Launch {
            input: None,
            rootfs,
            command,
            workdir: image.workdir.clone(),
            stop_signal: image.stop_signal(),
            env,
            user: account.map(|account| account.user),
            socket: ports.socket.clone(),
            files: self.mounted_files(),
            instance_files: self.files.clone(),
            reports: self.spec.reports.clone(),
            log: self.log(),
            commands: Some(self.spec.directory.commands()),
            contained: self.enclosure(ports, name, digest),
        })
    }

    /// Writes the files that it finds; none when it finds none. Secrets from files are read again.
    pub(super) fn write_files(&self) -> Result<Option<InstanceFiles>, Trouble> {
        let files = &self.spec.process.files;
        if files.is_empty() {
            return Ok(None);
        }

        let mut texts = BTreeMap::new();
        for (path, file) in files {
            let text = match &file.content {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret { name, from } => self.secret(name, from)?,
            };
            texts.insert(path.clone(), text);
        }
        let reader = if self.has_own_files() {
            Reader::Container
        } else {
            let rootfs = self.unpacked().map(|image| image.files());
            let account = self.account(&rootfs.unwrap_or_default())?;
            Reader::User(process::user(account.map(|account| account.user))?)
        };
        let written = InstanceFiles::write(&self.spec.directory, &texts, reader);
        written
            .map(Some)
            .map_err(|error| Trouble::from(error).during("writing its files"))
    }

    pub(super) fn remove_files(&mut self) {
        if let Some(files) = self.files.take() {
            files.remove();
        }
    }

    /// Where its files are, by their paths in it.
    fn mounted_files(&self) -> BTreeMap<PathBuf, PathBuf> {
        let Some(written) = &self.files else {
            return BTreeMap::new();
        };
        let paths = self.spec.process.files.keys();
        paths
            .map(|path| (path.clone(), written.source(path)))
            .collect()
    }

    /// The variables that say where its files are: in a container at their own paths.
    fn about_files(&self) -> BTreeMap<String, String> {
        let paths = &self.spec.process.files;
        let folder = match &self.files {
            Some(files) if !self.has_own_files() => files.folder(),
            _ => Path::new(""),
        };
        let at = |path: &Path| format!("{}{}", folder.display(), path.display());
        let named = paths.iter().filter_map(|(path, file)| {
            let name = file.variable.clone()?;
            Some((name, at(path)))
        });
        let whole =
            (!paths.is_empty()).then(|| (FILES_VARIABLE.to_owned(), folder.display().to_string()));
        named.chain(whole).collect()
    }

    /// The variable that says where reports are written.
    fn about_reports(&self) -> Option<(String, String)> {
        let reports = self.spec.reports.as_ref()?;
        let folder = if self.has_own_files() {
            REPORTS.to_owned()
        } else {
            reports.reports().display().to_string()
        };
        Some((REPORTS_VARIABLE.to_owned(), folder))
    }

    /// Whoever writes reports into a folder of the machine comes to it.
    pub(super) fn open_reports(&self, launch: &Launch) -> Result<(), Trouble> {
        let user = process::user(launch.user)?;
        if let (Some(reports), Some(user), false) = (&launch.reports, user, self.has_own_files()) {
            reports.give(user)?;
        }
        Ok(())
    }

    /// No instance starts from an image that somebody has changed since it was unpacked. What keeps
    /// it from being put right is this machine's trouble.
    pub(super) async fn ensure_image(&self) -> Result<(), Trouble> {
        let Some(unpacked) = self.unpacked() else {
            return Ok(());
        };
        tokio::task::spawn_blocking(move || unpacked.ensure())
            .await
            .map_err(|error| Trouble::Local(error.to_string()))?
            .map_err(Trouble::Local)
    }

    fn unpacked(&self) -> Option<Unpacked> {
        let InstanceSpec {
            directory,
            workload,
            runtime,
            ..
        } = &self.spec;
        runtime.unpacked(directory, workload.image.value()?)
    }

    /// Whether it sees files of its own alone, and not the machine's.
    fn has_own_files(&self) -> bool {
        matches!(
            self.spec.workload.runs_by(),
            Some(ContainerKind::Docker | ContainerKind::Own)
        )
    }

    /// Whom its image means by its user. Docker finds that out itself.
    fn account(&self, rootfs: &Path) -> Result<Option<Account>, Trouble> {
        if self.spec.workload.runs_by() == Some(ContainerKind::Docker) {
            return Ok(None);
        }
        let unlisted = if self.has_own_files() {
            UnlistedGroup::Root
        } else {
            UnlistedGroup::Own
        };
        Ok(account(rootfs, self.spec.image.user.as_deref(), unlisted)?)
    }

    /// The variables that it has before its own. A container has an environment of its own: what
    /// its image says, and its user's home; Docker fills in both itself.
    fn environment(
        &self,
        rootfs: &Path,
        found: Option<&Account>,
    ) -> Result<BTreeMap<String, String>, Trouble> {
        let mut env = match self.spec.workload.runs_by() {
            Some(ContainerKind::Docker) => BTreeMap::new(),
            Some(ContainerKind::Own) => {
                let home = match found {
                    Some(found) => Some(found.home.clone()),
                    None => account(rootfs, Some("root"), UnlistedGroup::Root)?.map(|it| it.home),
                };
                let home = home.map(|home| ("HOME".to_owned(), home.display().to_string()));
                home.into_iter().collect()
            }
            None | Some(ContainerKind::Systemd) => clean_environment(found),
        };
        env.extend(self.spec.image.env.clone());
        Ok(env)
    }

    /// What it is told of its ports: where it has to listen, as it sees this machine.
    fn about_ports(&self, ports: &Ports) -> BTreeMap<String, String> {
        let InstanceSpec {
            workload, process, ..
        } = &self.spec;
        let (main, others) = match workload.runs_by() {
            Some(ContainerKind::Docker) => (workload.port, &process.ports),
            None | Some(ContainerKind::Own | ContainerKind::Systemd) => {
                (ports.number, &ports.others)
            }
        };
        let main = main.map(|number| ("PORT".to_owned(), number));
        let others = others.iter();
        let others = others.map(|(name, number)| (name.variable(), *number));
        let all = main.into_iter().chain(others);
        all.map(|(variable, number)| (variable, number.to_string()))
            .collect()
    }

    /// The ports of this machine, and those in a container of Docker's that they lead to.
    fn published(&self, ports: &Ports) -> Vec<(u16, u16)> {
        let InstanceSpec {
            workload, process, ..
        } = &self.spec;
        if workload.runs_by() != Some(ContainerKind::Docker) {
            return Vec::new();
        }
        let main = ports.number.zip(workload.port);
        let others = ports.others.iter();
        let others = others.filter_map(|(name, number)| Some((*number, *process.ports.get(name)?)));
        main.into_iter().chain(others).collect()
    }

    /// What it is told of itself.
    fn about(&self) -> impl Iterator<Item = (String, String)> {
        let InstanceSpec { scope, label, .. } = &self.spec;
        let about = [
            scope.project.to_string(),
            scope.environment.to_string(),
            self.key.service.to_string(),
            self.key.slot.to_string(),
            label.number.to_string(),
            self.key.index.to_string(),
            label.commit.clone().unwrap_or_default(),
        ];
        let names = ABOUT_ITSELF.into_iter().map(str::to_owned);
        names.zip(about)
    }

    fn enclosure(
        &self,
        ports: &Ports,
        name: Option<String>,
        image: &Digest,
    ) -> Option<ContainerSpec> {
        let InstanceSpec {
            directory, process, ..
        } = &self.spec;
        let spec = process.container.as_ref()?;

        Some(ContainerSpec {
            name: name.unwrap_or_else(|| self.unique_name(spec.by)),
            description: self.description(),
            image: docker::local_name(directory, image),
            labels: self.labels(),
            project: self.spec.scope.project.to_string(),
            agent: directory.path().display().to_string(),
            ports: self.published(ports),
            grace: process.stop_grace.get(),
            spec: spec.clone(),
        })
    }

    pub(super) fn log(&self) -> PathBuf {
        let InstanceSpec {
            directory,
            scope,
            label,
            ..
        } = &self.spec;
        directory.instance_log(
            scope,
            self.key.slot,
            label.number,
            &self.key.service,
            self.key.index,
        )
    }

    /// A name that no other container or unit has.
    fn unique_name(&self, by: ContainerKind) -> String {
        let (scope, key) = (&self.spec.scope, &self.key);
        let random = uuid::Uuid::new_v4().simple().to_string();
        let kind = if by == ContainerKind::Systemd {
            ".service"
        } else {
            ""
        };
        format!(
            "shipit-{}-{}-{}-{}-{}-{}{kind}",
            scope.project,
            scope.environment,
            key.slot,
            key.service,
            key.index,
            &random[..6]
        )
    }

    fn description(&self) -> String {
        let (InstanceSpec { scope, label, .. }, key) = (&self.spec, &self.key);
        format!(
            "shipit: {scope}, {}.{} of release {} in {}",
            key.service, key.index, label.number, key.slot
        )
    }

    /// What objects of a cluster carry, too.
    fn labels(&self) -> BTreeMap<String, String> {
        let InstanceSpec { scope, label, .. } = &self.spec;
        let labels = [
            ("app.kubernetes.io/name", self.key.service.to_string()),
            ("app.kubernetes.io/part-of", scope.project.to_string()),
            ("app.kubernetes.io/managed-by", "shipit".to_owned()),
            ("shipit.dev/project", scope.project.to_string()),
            ("shipit.dev/environment", scope.environment.to_string()),
            ("shipit.dev/slot", self.key.slot.to_string()),
            ("shipit.dev/release", label.number.to_string()),
        ];
        labels
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The secrets that a process has which an earlier agent started: they are held no more, and
    /// are to be hidden all the same. What cannot be looked at is another user's.
    pub(super) fn remember_what_it_has(&self, process: &dyn Running) {
        let container = process.container();
        self.remember_variables_of(self.first_process(process.pid(), container.as_deref()));

        let files = self.spec.process.files.iter();
        let secrets = files.filter(|(_, file)| matches!(file.content, EnvValue::Secret { .. }));
        for (path, _) in secrets {
            let source = self.files.as_ref().map(|files| files.source(path));
            if let Some(Ok(text)) = source.map(std::fs::read_to_string) {
                self.spec.redactor.remember(&SecretValue::new(text));
            }
        }
    }

    /// The first process of the service itself: a container that the agent makes has one beside it.
    pub(super) fn first_process(&self, pid: u32, container: Option<&str>) -> u32 {
        let first = container
            .filter(|_| self.spec.workload.runs_by() == Some(ContainerKind::Own))
            .and_then(|name| container::first_process(&self.spec.directory, name));
        first.unwrap_or(pid)
    }

    pub(super) fn remember_variables_of(&self, pid: u32) {
        for (name, value) in variables_of(pid) {
            if let Some(EnvValue::Secret { .. }) = self.spec.process.env.get(&name) {
                self.spec.redactor.remember(&SecretValue::new(value));
            }
        }
    }

    fn secret(&self, name: &str, from: &SecretRef) -> Result<String, Trouble> {
        if let SecretRef::File(path) = from {
            match secret_in(path) {
                Ok(value) => {
                    self.spec
                        .redactor
                        .remember(&SecretValue::new(value.clone()));
                    return Ok(value);
                }
                // There may be a newer value than the one that is held.
                Err(error) if is_local(&error) => {
                    let what = format!("reading the secret `{name}`");
                    return Err(Trouble::from(error).during(&what));
                }
                Err(_) => {}
            }
        }

        let held = self
            .spec
            .secrets
            .get(name)
            .map(|value| value.expose().to_owned());
        held.ok_or_else(|| {
            Trouble::Instance(format!(
                "the secret `{name}` is not held since the agent was \
                                       restarted; `shipit apply` brings it again"
            ))
        })
    }
}

/// A secret's value by its file, as the command line reads it.
fn secret_in(path: &Path) -> std::io::Result<String> {
    let text = files::read_text(path, SECRET_LIMIT)?;
    Ok(without_line_end(&text).to_owned())
}

/// The variables of a process, as far as they are text; none of one that cannot be looked at.
pub(super) fn variables_of(pid: u32) -> BTreeMap<String, String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variables = environment.split(|byte| *byte == 0);
    variables
        .filter_map(|variable| {
            let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Of the agent's own variables only what every program may expect; its home is the home of whom it
/// runs as.
fn clean_environment(account: Option<&Account>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = ["PATH", "HOME", "LANG", "TZ"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    // Python leaves what it has compiled beside its source. An image is not written to, and root is
    // not kept from it.
    env.insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    let own = rustix::process::geteuid().as_raw();
    if let Some(Account { home, .. }) = account.filter(|account| account.user.uid != own) {
        env.insert("HOME".to_owned(), home.display().to_string());
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_a_file_is_what_the_command_line_reads_and_only_a_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            secret_in(&path).expect("read")
        };
        assert_eq!(read("hello\r\n"), "hello");
        assert_eq!(read("two\nlines\n\n"), "two\nlines\n");

        let most = usize::try_from(SECRET_LIMIT).expect("small");
        std::fs::write(&path, "x".repeat(most + 1)).expect("written");
        assert!(secret_in(&path).is_err(), "it is too large");
        std::fs::remove_file(&path).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a pipe");
        assert!(secret_in(&path).is_err(), "a pipe has no end");
    }
}
