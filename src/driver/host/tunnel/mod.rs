//! A connection to another machine by the ssh program: one process for a run, with a control socket
//! in a folder of its own, through which the agent's socket, ports and commands are reached.
//!
//! The user's own configuration of ssh holds: names, jump hosts, keys, an ssh-agent. What a run
//! must not be without, it is told on its command line ([`ssh`]). What it prints about a fault is
//! the reason of the error ([`explain`]). It is watched: one that ends is said by whoever needed
//! it, and the next call makes another. It ends with this process in any case: it lives as long as
//! its standard input is open.

mod explain;
mod ssh;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use crate::driver::host::tunnel::ssh::CONNECT;
use crate::files::process::{self, Group};
use crate::files::program::{Bounds, CaptureError, Captured, Keep, LeftBehind, captured};
use crate::port::engine::EngineError;

pub use ssh::{Destination, HostTrust};

/// How long all of connecting may take: the connection itself, jump hosts, the login, a shell.
const LOGIN: Duration = Duration::from_secs(4 * CONNECT);

/// How long opening a forwarded socket may take.
const FORWARD: Duration = Duration::from_secs(15);

/// How long it takes at the most to see that a connection has ended, once nothing comes through it.
pub(super) const SEEN: Duration = Duration::from_millis(500);

/// How a client of ssh ends by a failure of its own (`ssh(1)`), and not as the script did.
const OF_SSH: i32 = 255;

/// What ssh prints where sshd lets nobody reach an address through it.
const PROHIBITED: &str = "administratively prohibited";

/// How much is kept of what ssh prints.
const KEPT: usize = 8 << 10;

/// What the answer of the other side's shell begins and ends with: its files may print more.
const BEGIN: &str = "shipit-host-begin";
const END: &str = "shipit-host-end";

/// The longest folder that a control socket fits into: its name is at most 107 bytes long
/// (`unix(7)`), and ssh writes some behind it.
const LONGEST: usize = 60;

/// What the other side's shell says of the machine and its user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    values: BTreeMap<String, String>,
}

impl About {
    fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The folder of that user's agent, by the same rule as on this machine.
    #[must_use]
    pub fn agent_folder(&self) -> String {
        let absolute = |name| Some(self.value(name)).filter(|path| path.starts_with('/'));
        if let Some(named) = absolute("directory") {
            return named.to_owned();
        }
        if self.is_root() {
            return "/var/lib/shipit".to_owned();
        }
        match absolute("state") {
            Some(state) => format!("{state}/shipit"),
            None => format!("{}/.local/state/shipit", self.home()),
        }
    }

    /// Whether the login is root's.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.value("uid") == "0"
    }

    /// That user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        self.value("user")
    }

    /// That user's home.
    #[must_use]
    pub fn home(&self) -> &str {
        self.value("home")
    }

    /// The kernel and the architecture: `Linux x86_64`.
    #[must_use]
    pub fn kernel(&self) -> &str {
        self.value("kernel")
    }

    /// Whether systemd runs there.
    #[must_use]
    pub fn has_systemd(&self) -> bool {
        self.value("systemd") == "yes"
    }
}

/// A connection.
pub struct Tunnel {
    to: Destination,
    folder: TempDir,
    about: About,
    said: Arc<Mutex<Vec<u8>>>,
    /// It is over.
    ended: CancellationToken,
    stop: CancellationToken,
    pid: Option<u32>,
    /// Open as long as the connection is wanted.
    _input: Option<ChildStdin>,
    /// One socket is made at a time.
    making: tokio::sync::Mutex<()>,
}

impl Tunnel {
    /// Logs in.
    pub async fn open(to: Destination) -> Result<Self, EngineError> {
        let folder = private_folder().map_err(|error| failed(&to, "making a folder", &error))?;
        let effective = effective(&to).await?;
        let script = shell(&about_script());
        let mut command = to.master(&control(folder.path()), &effective, &script);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What a terminal sends to interrupt a run is for the run: it ends the connection last.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| failed(&to, "starting ssh", &error))?;

        let said = Arc::<Mutex<Vec<u8>>>::default();
        let reading = child.stderr.take().map(|errors| {
            let said = Arc::clone(&said);
            tokio::spawn(keep(errors, said))
        });
        let output = child.stdout.take();
        let about = tokio::time::timeout(LOGIN, read_about(output)).await;
        let Ok(Some(about)) = about else {
            if about.is_err() {
                let _ = child.start_kill();
            }
            let _ = tokio::time::timeout(FORWARD, child.wait()).await;
            if let Some(reading) = reading {
                let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
            }
            return Err(not_connected(&to, &text(&said), about.is_err()));
        };

        let (ended, stop) = (CancellationToken::new(), CancellationToken::new());
        let (pid, input) = (child.id(), child.stdin.take());
        tokio::spawn(watch(child, ended.clone(), stop.clone()));
        Ok(Self {
            to,
            folder,
            about,
            said,
            ended,
            stop,
            pid,
            _input: input,
            making: tokio::sync::Mutex::default(),
        })
    }

    /// Where it leads.
    #[must_use]
    pub const fn destination(&self) -> &Destination {
        &self.to
    }

    /// What is on the other side.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Why it is not there any more, if it ends in this time.
    pub async fn fault_within(&self, patience: Duration) -> Option<EngineError> {
        let ended = tokio::time::timeout(patience, self.ended.cancelled()).await;
        ended.ok()?;
        Some(explain::ended(&self.to, &text(&self.said)))
    }

    /// A socket of this machine that leads to one there. It is made once.
    pub async fn socket(&self, name: &str, there: &str) -> Result<PathBuf, EngineError> {
        let here = self.folder.path().join(name);
        let _alone = self.making.lock().await;
        if here.exists() {
            return Ok(here);
        }
        let command = self.to.forward(&control(self.folder.path()), &here, there);
        let what = format!("forwarding {there} of {}", self.to.address);
        let done = self.capture(command, None, FORWARD, &what).await?;
        if done.status.success() {
            return Ok(here);
        }
        Err(EngineError::Unreachable {
            what,
            reason: explain::last(&String::from_utf8_lossy(&done.beside)),
            help: "sshd must allow it: `AllowStreamLocalForwarding` and `AllowTcpForwarding`"
                .to_owned(),
        })
    }

    /// Whether sshd lets an address there be reached through the connection; why not, in its words.
    pub async fn forwards(&self, there: &str) -> Result<Option<String>, EngineError> {
        let socket = self.socket("t", there).await?;
        let mut stream = match UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Some(error.to_string())),
        };
        // Nobody listens there: it ends either way, and ssh prints why.
        let _ = tokio::time::timeout(FORWARD, stream.read(&mut [0])).await;
        if let Some(fault) = self.fault_within(SEEN).await {
            return Err(fault);
        }
        let said = text(&self.said);
        let refused = said.lines().rev().find(|line| line.contains(PROHIBITED));
        Ok(refused.map(|line| line.trim().to_owned()))
    }

    /// Runs a script of `sh` there; `input` is what it reads.
    pub async fn run(
        &self,
        script: &str,
        input: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<Captured, EngineError> {
        let control = control(self.folder.path());
        // What the files of a login shell print comes before it.
        let script = format!("echo; echo {BEGIN}; {script}");
        let command = self.to.session(&control, &shell(&script));
        let what = format!("running a command on {}", self.to.address);
        let mut done = self.capture(command, input, within, &what).await?;
        if done.status.code() != Some(OF_SSH) {
            done.answer = behind_begin(done.answer);
            return Ok(done);
        }
        // The script was not run, or not to its end: that is no answer of it.
        let fault = self.fault_within(SEEN).await;
        Err(fault.unwrap_or_else(|| EngineError::Unreachable {
            what,
            reason: explain::last(&String::from_utf8_lossy(&done.beside)),
            help: "sshd must allow several sessions in a connection: `MaxSessions`".to_owned(),
        }))
    }

    async fn capture(
        &self,
        command: Command,
        input: Option<Vec<u8>>,
        within: Duration,
        what: &str,
    ) -> Result<Captured, EngineError> {
        let bounds = Bounds {
            within,
            answer: Keep::Last(64 << 10),
            beside: KEPT,
            left_behind: LeftBehind::Ends,
        };
        let done = captured(command, input, &bounds).await;
        if let Err(error) = &done
            && let Some(fault) = self.fault_within(Duration::ZERO).await
        {
            tracing::debug!(%error, "the connection has ended");
            return Err(fault);
        }
        done.map_err(|error| EngineError::Failed {
            what: what.to_owned(),
            reason: error.to_string(),
        })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.cancel();
        let pid = self.pid.and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_open()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

fn failed(to: &Destination, what: &str, error: &std::io::Error) -> EngineError {
    let help = if error.kind() == std::io::ErrorKind::NotFound {
        "install the ssh program: `apt-get install openssh-client`"
    } else {
        "look at TMPDIR, and whether `ssh` can be started"
    };
    EngineError::Unreachable {
        what: format!("connecting to {}", to.address),
        reason: format!("{what}: {error}"),
        help: help.to_owned(),
    }
}

fn not_connected(to: &Destination, said: &str, is_late: bool) -> EngineError {
    if is_late {
        let late = format!("{said}\nConnection timed out after {} s", LOGIN.as_secs());
        return explain::no_connection(to, &late);
    }
    explain::no_connection(to, said)
}

/// What ssh's configuration amounts to.
async fn effective(to: &Destination) -> Result<String, EngineError> {
    let bounds = Bounds {
        within: FORWARD,
        answer: Keep::Whole(1 << 20),
        beside: KEPT,
        left_behind: LeftBehind::Ends,
    };
    let done = match captured(to.effective(), None, &bounds).await {
        Err(CaptureError::Start(error)) => return Err(failed(to, "starting ssh", &error)),
        Err(error) => return Err(explain::no_connection(to, &error.to_string())),
        Ok(done) => done,
    };
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.beside);
        return Err(explain::no_connection(to, &said));
    }
    Ok(String::from_utf8_lossy(&done.answer).into_owned())
}

fn control(folder: &Path) -> PathBuf {
    folder.join("c")
}

/// What a script has printed, without what a login shell's files have before it.
fn behind_begin(mut answer: Vec<u8>) -> Vec<u8> {
    let line = format!("\n{BEGIN}\n").into_bytes();
    if let Some(at) = answer.windows(line.len()).position(|it| it == line) {
        answer.drain(..at + line.len());
    }
    answer
}

/// A script for whatever shell the user has there.
fn shell(script: &str) -> String {
    format!("exec sh -c {}", quoted(script))
}

/// A word for a shell, whatever is in it.
#[must_use]
pub fn quoted(word: &str) -> String {
    // In double quotes: fish reads a backslash in single ones.
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

/// Says what is on the other side, and stays until the connection is not wanted any more.
fn about_script() -> String {
    let values = [
        ("uid", "$(id -u)"),
        ("user", "$(id -un)"),
        ("home", "$HOME"),
        ("state", "$XDG_STATE_HOME"),
        ("directory", "$SHIPIT_AGENT_DIR"),
        ("kernel", "$(uname -sm)"),
        ("systemd", "$(test -d /run/systemd/system && echo yes)"),
    ];
    let lines = values.map(|(name, value)| format!("printf \"%s %s\\n\" {name} \"{value}\""));
    let lines = lines.join("; ");
    format!("echo {BEGIN}; {lines}; echo {END}; exec cat >/dev/null")
}

async fn read_about(output: Option<impl AsyncRead + Unpin>) -> Option<About> {
    let mut lines = BufReader::new(output?.take(1 << 20)).lines();
    let mut about = About::default();
    let mut has_begun = false;
    while let Ok(Some(line)) = lines.next_line().await {
        match line.trim_end() {
            BEGIN => has_begun = true,
            END if has_begun => return Some(about),
            line if has_begun => {
                let (name, value) = line.split_once(' ').unwrap_or((line, ""));
                about.values.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }
    None
}

/// Keeps the end of what ssh prints.
async fn keep(mut errors: impl AsyncRead + Unpin, said: Arc<Mutex<Vec<u8>>>) {
    let mut piece = vec![0; 4096];
    while let Ok(count) = errors.read(&mut piece).await {
        if count == 0 {
            return;
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&piece[..count]);
        let over = said.len().saturating_sub(KEPT);
        said.drain(..over);
    }
}

fn text(said: &Mutex<Vec<u8>>) -> String {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&said).into_owned()
}

/// Waits for ssh to end, by itself or because nobody wants it any more, with what it has started.
async fn watch(mut child: Child, ended: CancellationToken, stop: CancellationToken) {
    let group = Group::of(&child);
    tokio::select! {
        _ = child.wait() => {}
        () = stop.cancelled() => {
            let _ = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
        }
    }
    ended.cancel();
    drop(group);
}

/// What the folder of a connection begins with: the process follows.
const PREFIX: &str = "shipit-ssh-";

/// A folder for the sockets of one connection, for this user alone. Those of processes that were
/// killed are taken away.
fn private_folder() -> std::io::Result<TempDir> {
    let top = std::env::temp_dir();
    let is_fit = |path: &Path| {
        let text = path.to_string_lossy();
        text.len() <= LONGEST && !text.contains(['%', ':', '"'])
    };
    let top = if is_fit(&top) { top } else { "/tmp".into() };
    sweep(&top);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(top)
}

fn sweep(top: &Path) {
    use std::os::unix::fs::MetadataExt as _;

    let own = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(top).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_string_lossy();
        let pid = pid
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'));
        let Some(Ok(pid)) = pid.map(|(pid, _)| pid.parse::<u32>()) else {
            continue;
        };
        let is_own = std::fs::symlink_metadata(entry.path())
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
        if is_own && matches!(process::look(pid), Ok(None)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn about(printed: &str) -> Option<About> {
        read_about(Some(printed.as_bytes())).await
    }

    #[tokio::test]
    async fn what_a_login_prints_besides_is_not_taken_for_the_answer() {
        let printed = format!(
            "Welcome!\nuid 0\n{BEGIN}\nuid 1000\nhome /home/a b\nstate \nsystemd \nkernel Linux \
             x86_64\n{END}\n"
        );
        let about = about(&printed).await.expect("an answer");
        assert!(!about.is_root() && !about.has_systemd());
        assert_eq!(about.kernel(), "Linux x86_64");
        assert_eq!(about.agent_folder(), "/home/a b/.local/state/shipit");
        assert_eq!(self::about("uid 0\n").await, None);
    }

    #[test]
    fn what_a_login_prints_is_no_part_of_what_a_script_does() {
        let printed = |text: &str| behind_begin(text.replace("BEGIN", BEGIN).into_bytes());
        assert_eq!(printed("Welcome!\n\nBEGIN\nabc  -\n"), b"abc  -\n");
        assert_eq!(
            printed("no line end\nBEGIN\n\nBEGIN\n"),
            b"\nshipit-host-begin\n".as_slice()
        );
        assert_eq!(printed("\nBEGIN\n"), b"");
        assert_eq!(printed("cut off"), b"cut off");
    }

    #[tokio::test]
    async fn the_agents_folder_is_found_by_the_same_rule_as_here() {
        let folder = async |lines: &str| {
            let about = about(&format!("{BEGIN}\n{lines}\n{END}\n")).await;
            about.expect("an answer").agent_folder()
        };
        assert_eq!(folder("uid 0\nhome /root").await, "/var/lib/shipit");
        assert_eq!(folder("uid 7\nstate /s\nhome /h").await, "/s/shipit");
        assert_eq!(
            folder("uid 7\nstate s\nhome /h").await,
            "/h/.local/state/shipit"
        );
        assert_eq!(folder("uid 7\ndirectory /d\nhome /h").await, "/d");
    }

    #[test]
    fn a_script_is_one_word_for_any_shell() {
        assert_eq!(shell("echo 'a'"), r#"exec sh -c 'echo '"'"'a'"'"''"#);
    }

    #[test]
    fn folders_of_processes_that_are_gone_are_taken_away() {
        let top = tempfile::tempdir().expect("a folder");
        let own = top.path().join(format!("{PREFIX}{}-x", std::process::id()));
        // No process has this number (`proc(5)`: pid_max is 2^22).
        let gone = top.path().join(format!("{PREFIX}{}-x", 1 << 30));
        let other = top.path().join("shipit-ssh-notes");
        for folder in [&own, &gone, &other] {
            std::fs::create_dir(folder).expect("made");
        }
        sweep(top.path());
        assert!(own.exists() && other.exists() && !gone.exists());
    }
}
