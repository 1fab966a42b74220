//! The runtime `systemd`: a transient service unit for each instance, with the image's files as its
//! working folder.
//!
//! Units are made by `systemd-run` and looked after by `systemctl`, which come with systemd: for
//! the machine when the agent is root, else for the user's own manager. Ports, restarts and their
//! pauses stay with the agent: a unit is started once, and stays loaded after its end until the
//! agent has read how it ended.
//!
//! ```text
//! AGENT/units/NAME       there before the unit is, and gone after it: what a dead agent left is
//!                        found by it
//! AGENT/units/NAME/seal.json  what its files were when it was started
//! AGENT/units/NAME/env   the variables while it starts, for the agent's user alone: no argument
//!                        and no property has them
//! ```

mod seal;
mod unit;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use crate::agent::Directory;
use crate::agent::engine::record::ProcessRecord;
use crate::agent::launch;
use crate::agent::rootfs::{ImageMeta, Unpacked};
use crate::agent::runtime::attached::{Attach, Attached};
use crate::agent::runtime::process::{self, ProcessRuntime};
use crate::agent::runtime::systemd::unit::Unit;
use crate::agent::runtime::{ContainerSpec, Launch, Running, Runtime};
use crate::agent::trouble::Trouble;
use crate::model::Digest;
use crate::model::drift::MovedField;
use crate::port::engine::Pull;
use crate::port::host_probe::Unavailable;

/// How long systemd may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long after a process' end systemd may take to notice it.
const NOTICE: Duration = Duration::from_secs(5);
/// How many processes and threads a unit may have: more than services need, and less than a machine
/// has.
const TASKS: u32 = 4096;

/// The runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemdRuntime;
/// Why units are not possible on this machine for this user; none when they are.
#[must_use]
pub fn unavailable() -> Option<Unavailable> {
    // As sd_booted(3) does.
    if !Path::new("/run/systemd/system").is_dir() {
        return Some(Unavailable {
            reason: "this machine is not run by systemd (there is no /run/systemd/system)"
                .to_owned(),
            help: "write `cluster: {runtime: auto}`, which needs nothing, or `docker`".to_owned(),
        });
    }

    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if let Some(program) = ["systemd-run", "systemctl"]
        .iter()
        .find(|program| !is_there(program))
    {
        return Some(Unavailable {
            reason: format!("`{program}` is not on the PATH"),
            help: "it comes with systemd: install that package whole".to_owned(),
        });
    }
    let own = runtime_folder().join("systemd/private");
    (!is_root() && !own.exists()).then(|| Unavailable {
        reason: format!(
            "this user's own systemd does not run (there is no {})",
            own.display()
        ),
        help: "`loginctl enable-linger` starts it, and keeps it when you log out".to_owned(),
    })
}

/// Whether this user's units go on when nobody is logged in as them. Root's always do.
pub async fn lingers() -> bool {
    if is_root() {
        return true;
    }
    let mut command = Command::new("loginctl");
    command.args(["show-user", "--property=Linger", "--value"]);
    command.arg(rustix::process::geteuid().as_raw().to_string());
    run(command)
        .await
        .is_ok_and(|output| output.stdout.starts_with(b"yes"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the user's own systemd has its socket (`pam_systemd(8)`).
fn runtime_folder() -> PathBuf {
    let usual = || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(usual, PathBuf::from)
}

/// A program of systemd's, speaking to the manager that the agent's units belong to.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    if !is_root() {
        command
            .arg("--user")
            .env("XDG_RUNTIME_DIR", runtime_folder());
    }
    command
}

async fn run(mut command: Command) -> io::Result<Output> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let late = |_| io::Error::other(format!("systemd did not answer within {ANSWER:?}"));
    tokio::time::timeout(ANSWER, command.output())
        .await
        .map_err(late)?
}

/// A systemd that cannot be asked says nothing about a unit.
fn no_answer(error: &io::Error) -> Trouble {
    Trouble::Local(error.to_string())
}

/// Tells systemd something about a unit that may be gone.
async fn tell(arguments: &[&str], unit: &str) {
    let mut command = tool("systemctl");
    command.args(arguments).arg(unit);
    // What came of it, a look at the unit tells.
    let _ = run(command).await;
}

/// A unit as systemd sees it (`systemctl show`).
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    loaded: bool,
    /// Its first process; 0 when that has ended.
    pid: u32,
    result: String,
    /// How the process ended: 1 by itself, 2 or 3 by a signal (`CLD_EXITED`, `CLD_KILLED`,
    /// `CLD_DUMPED`).
    code: u8,
    /// With which exit code or signal.
    status: i64,
}

impl Seen {
    fn of(text: &str) -> Self {
        let mut seen = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "LoadState" => seen.loaded = value == "loaded",
                "MainPID" => seen.pid = value.parse().unwrap_or_default(),
                "Result" => value.clone_into(&mut seen.result),
                "ExecMainCode" => seen.code = value.parse().unwrap_or_default(),
                "ExecMainStatus" => seen.status = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        seen
    }

    /// How it ended, in words.
    fn end(&self) -> String {
        match (self.loaded, self.result.as_str(), self.code) {
            (false, ..) => "its unit was stopped".to_owned(),
            (_, "oom-kill", _) => "killed: it used more memory than it may".to_owned(),
            (.., 1) => format!("exit code {}", self.status),
            (.., 2 | 3) => process::of_signal(self.status),
            _ => "ended (systemd does not say how)".to_owned(),
        }
    }

    /// Whether there was ever a process.
    const fn has_run(&self) -> bool {
        self.loaded && (self.pid != 0 || self.code != 0)
    }

    /// What kept systemd from starting the program: the exit codes that its own part of the process
    /// has then (`systemd.exec(5)`, "Process Exit Codes").
    fn obstacle(&self) -> Option<&'static str> {
        let exited = self.loaded && self.pid == 0 && self.code == 1;
        match self.status {
            200 if exited => Some("its working folder cannot be entered"),
            203 if exited => Some("it cannot be executed"),
            209 if exited => Some("its log cannot be written"),
            216 | 217 if exited => Some("systemd cannot change to its user"),
            _ => None,
        }
    }
}

async fn look(unit: &str) -> io::Result<Seen> {
    let mut command = tool("systemctl");
    command
        .args([
            "show",
            "--property=LoadState,MainPID,Result,ExecMainCode,ExecMainStatus",
        ])
        .arg(unit);
    let output = run(command).await?;
    if !output.status.success() {
        return Err(io::Error::other(said(&output)));
    }
    Ok(Seen::of(&String::from_utf8_lossy(&output.stdout)))
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if text.is_empty() {
        format!("systemd gave no reason ({})", output.status)
    } else {
        text
    }
}

/// Where an agent has the folders of its units.
fn units(agent: &Path) -> PathBuf {
    agent.join("units")
}

/// Ends what is left of a unit, and deletes it: of the machine, then of the agent's folder.
async fn collect(folder: &Path) {
    let Some(unit) = folder.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    if look(unit).await.is_ok_and(|seen| seen.loaded) {
        tell(&["kill", "--signal=SIGKILL"], unit).await;
        tell(&["stop"], unit).await;
        tell(&["reset-failed"], unit).await;
    }
    // One that systemd still has is found again by its folder.
    if look(unit).await.is_ok_and(|seen| !seen.loaded) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[async_trait]
impl Runtime for SystemdRuntime {
    async fn prepare(
        &self,
        directory: &Directory,
        pull: &Pull,
        image: &Digest,
    ) -> io::Result<ImageMeta> {
        if let Some(lack) = unavailable() {
            return Err(io::Error::other(format!("{} ({})", lack.reason, lack.help)));
        }
        ProcessRuntime.prepare(directory, pull, image).await
    }

    fn unpacked(&self, directory: &Directory, image: &Digest) -> Option<Unpacked> {
        ProcessRuntime.unpacked(directory, image)
    }

    fn meta(&self, directory: &Directory, image: &Digest) -> Result<ImageMeta, String> {
        ProcessRuntime.meta(directory, image)
    }

    async fn start(&self, launch: &Launch) -> Result<Box<dyn Running>, Trouble> {
        let enclosure = launch
            .contained
            .as_ref()
            .ok_or_else(|| Trouble::Instance("no unit".to_owned()))?;
        let unit = enclosure.name.clone();
        let folder = units(Path::new(&enclosure.agent)).join(&unit);
        let variables = variables(launch)?;
        process::let_in(launch)?;
        // Opened here first, so that it is there and this user's.
        process::open_log(&launch.log)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let secret = folder.join("env");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&secret)?;
        file.write_all(variables.as_bytes())?;
        let begun = begin(launch, enclosure, &secret).await;
        let _ = std::fs::remove_file(&secret);
        let seen = look(&unit).await.unwrap_or_default();
        if let Err(trouble) = begun
            && (!seen.has_run() || seen.obstacle().is_some())
        {
            collect(&folder).await;
            return Err(match seen.obstacle() {
                Some(reason) => Trouble::Instance(reason.to_owned()),
                None => trouble,
            });
        }

        seal::seal(&folder, &unit).await;
        // One that has ended already is told of as any other.
        let found = Unit::found(&folder).await?;
        Ok(Box::new(found.unwrap_or_else(|| Unit::ended(folder))))
    }

    async fn adopt(
        &self,
        directory: &Directory,
        record: &ProcessRecord,
        _: &Path,
    ) -> Result<Option<Box<dyn Running>>, Trouble> {
        let Some(name) = &record.container else {
            return Ok(None);
        };
        let folder = units(directory.path()).join(name);
        if let Some(unit) = Unit::found(&folder).await? {
            return Ok(Some(Box::new(unit)));
        }
        collect(&folder).await;
        Ok(None)
    }

    async fn exec(
        &self,
        launch: &Launch,
        command: &[String],
        within: Duration,
    ) -> Result<(), Trouble> {
        ProcessRuntime.exec(launch, command, within).await
    }

    /// A process beside the unit, as its user: no unit has a terminal of somebody else's.
    async fn attach(&self, launch: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
        ProcessRuntime.attach(launch, attach).await
    }

    async fn altered(&self, directory: &Directory, name: &str) -> Vec<MovedField> {
        seal::altered(&units(directory.path()).join(name), name).await
    }

    async fn remove_strays(&self, agent: &str, known: &[String]) {
        let Ok(entries) = std::fs::read_dir(units(Path::new(agent))) else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            if !known.contains(&entry.file_name().to_string_lossy().into_owned()) {
                collect(&entry.path()).await;
            }
        }
    }
}

/// Has systemd make and start the unit; the error says why it did not.
async fn begin(launch: &Launch, enclosure: &ContainerSpec, secret: &Path) -> Result<(), Trouble> {
    let mut command = tool("systemd-run");
    command.args(arguments(launch, enclosure, secret)?);
    // A bare name is looked for on the service's own path, and another relative one from its
    // working folder.
    command.current_dir(process::workdir(launch)?);
    if let Some(path) = launch.env.get("PATH") {
        command.env("PATH", path);
    }
    let output = run(command).await.map_err(|error| no_answer(&error))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Trouble::Instance(said(&output)))
    }
}

/// What `systemd-run` is called with (`systemd.service(5)`, `systemd.exec(5)`,
/// `systemd.resource-control(5)`).
fn arguments(
    launch: &Launch,
    enclosure: &ContainerSpec,
    secret: &Path,
) -> io::Result<Vec<OsString>> {
    let (program, rest) = process::program(launch)?;
    let mut properties: Vec<(&str, OsString)> = vec![
        // Its start has succeeded once the program itself runs.
        ("Type", "exec".into()),
        // Kept after its end, and started again by nobody but the agent.
        ("RemainAfterExit", "yes".into()),
        ("Restart", "no".into()),
        (
            "TimeoutStopSec",
            format!("{}ms", enclosure.grace.as_millis()).into(),
        ),
        ("KillSignal", launch.stop_signal.as_raw().to_string().into()),
        ("NoNewPrivileges", "yes".into()),
        ("TasksMax", TASKS.to_string().into()),
        ("WorkingDirectory", process::workdir(launch)?.into()),
        ("EnvironmentFile", secret.into()),
    ];
    for stream in ["StandardOutput", "StandardError"] {
        let mut to = OsString::from("append:");
        to.push(&launch.log);
        properties.push((stream, to));
    }

    if let Some(cpu) = enclosure.spec.cpu {
        properties.push(("CPUQuota", format!("{}.{}%", cpu / 10, cpu % 10).into()));
    }

    if let Some(memory) = enclosure.spec.memory {
        properties.push(("MemoryMax", memory.to_string().into()));
        // Without swap: a limit is a limit.
        properties.push(("MemorySwapMax", "0".into()));
    }

    if let Some(processes) = enclosure.spec.processes {
        properties.push(("TasksMax", processes.to_string().into()));
    }

    let mut arguments: Vec<OsString> = vec![
        "--quiet".into(),
        format!("--unit={}", enclosure.name).into(),
        format!("--description={}", enclosure.description).into(),
    ];
    for (name, value) in properties {
        let mut property = OsString::from(format!("--property={name}="));
        property.push(value);
        arguments.push(property);
    }

    arguments.push("--".into());

    // `User=` takes only users that the machine's own list has, and most of an image's are in no
    // list but its own.
    if let Some(user) = process::user(launch.user)? {
        arguments.extend(launch::becoming(user));
    }

    arguments.push(program.into());

    // systemd puts variables into arguments, and `$$` is a `$` for it; `%` means nothing here.
    arguments.extend(
        rest.iter()
            .map(|argument| argument.replace('$', "$$").into()),
    );
    Ok(arguments)
}

/// The variables as `EnvironmentFile=` reads them.
fn variables(launch: &Launch) -> io::Result<String> {
    let mut text = String::new();
    for (name, value) in &launch.env {
        if !is_passed_on(name) {
            let reason =
                format!("systemd passes no variable `{name}` on: a name has letters, digits and _");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let _ = writeln!(text, "{name}={}", quoted(value));
    }
    Ok(text)
}

fn is_passed_on(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// In double quotes, where nothing but these four has a meaning.
fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for letter in value.chars() {
        if matches!(letter, '"' | '\\' | '`' | '$') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workload::Container;

    #[test]
    fn what_systemd_shows_is_told_in_words() {
        let end = |text: &str| Seen::of(text).end();
        assert_eq!(
            end("LoadState=loaded\nMainPID=0\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3"),
            "exit code 3"
        );
        assert_eq!(
            end("LoadState=loaded\nResult=signal\nExecMainCode=2\nExecMainStatus=9"),
            "signal 9 (SIGKILL)"
        );
        assert_eq!(
            end("LoadState=loaded\nResult=oom-kill\nExecMainCode=2\nExecMainStatus=9"),
            "killed: it used more memory than it may"
        );
        assert_eq!(
            end("LoadState=not-found\nMainPID=0\nResult=success"),
            "its unit was stopped"
        );
        let never = Seen::of(
            "LoadState=loaded\nMainPID=0\nResult=exit-code\nExecMainCode=1\nExecMainStatus=203",
        );
        assert_eq!(never.obstacle(), Some("it cannot be executed"));
    }

    #[test]
    fn variables_are_written_so_that_systemd_reads_the_same() {
        assert_eq!(quoted("plain"), "\"plain\"");
        assert_eq!(
            quoted("a \"b\" \\ `c` $D %h\né"),
            "\"a \\\"b\\\" \\\\ \\`c\\` \\$D %h\né\""
        );
        assert!(
            is_passed_on("_A1") && !is_passed_on("1A") && !is_passed_on("a-b") && !is_passed_on("")
        );
    }

    #[test]
    fn no_argument_has_a_variables_value() {
        let image = tempfile::tempdir().expect("a folder");
        let launch = Launch {
            input: None,
            rootfs: image.path().to_path_buf(),
            command: vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                "echo $HOME 5%".to_owned(),
            ],
            workdir: "/".into(),
            stop_signal: rustix::process::Signal::QUIT,
            env: [("TOKEN".to_owned(), "s3cret".to_owned())].into(),
            user: None,
            socket: None,
            files: std::collections::BTreeMap::new(),
            instance_files: None,
            reports: None,
            log: "/agent/logs/0.log".into(),
            commands: None,
            contained: None,
        };
        let spec = Container {
            cpu: Some(1505),
            memory: Some(64 << 20),
            ..Container::default()
        };
        let grace = Duration::from_millis(1500);
        let enclosure = ContainerSpec {
            name: "shipit-a".to_owned(),
            grace,
            spec,
            ..ContainerSpec::default()
        };
        let all = arguments(&launch, &enclosure, Path::new("/agent/units/shipit-a/env"))
            .expect("arguments");
        let all: Vec<String> = all
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let text = all.join("\n");
        assert!(!text.contains("s3cret"), "{text}");
        for wanted in [
            "CPUQuota=150.5%",
            "MemoryMax=67108864",
            "TimeoutStopSec=1500ms",
            "KillSignal=3",
            "append:/agent/logs/0.log",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        assert!(text.ends_with("--\n/bin/sh\n-c\necho $$HOME 5%"), "{text}");
    }
}
