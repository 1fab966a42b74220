//! The ssh program's arguments: a vector each, never a line for a shell of this machine. It sees
//! the environment as the user's other programs do: a jump host may be reached by one of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::files::environment;
use crate::model::ssh::SshAddress;

/// How long a connection may take to be made, in seconds.
pub(super) const CONNECT: u64 = 10;

/// How often the other side is asked for a sign of life, in seconds, and after how many unanswered
/// ones the connection is given up.
const ALIVE: (u64, u64) = (5, 3);

/// Where a machine is, and the files that ssh uses for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The machine.
    pub address: SshAddress,
    /// A configuration in the place of the user's own.
    pub config: Option<PathBuf>,
    /// The key to log in with, and no other.
    pub identity: Option<PathBuf>,
    /// The keys that hosts are known by, in the place of the user's own list.
    pub known_hosts: Option<PathBuf>,
    /// Which hosts are believed.
    pub trust: HostTrust,
}

/// Which hosts are believed to be who they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTrust {
    /// Those that the user's configuration of ssh says: never any, and new ones where it has
    /// `StrictHostKeyChecking accept-new`.
    Configured,
    /// Those alone whose key is known beforehand.
    Known,
}

impl Destination {
    /// What says how to log in, for any use of the connection.
    fn login(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(config) = &self.config {
            arguments.extend(["-F".into(), config.into()]);
        }
        if let Some(identity) = &self.identity {
            arguments.extend(["-i".into(), identity.into()]);
            arguments.extend(options(&["IdentitiesOnly=yes"]));
        }
        if let Some(known_hosts) = &self.known_hosts {
            let mut option = OsString::from("UserKnownHostsFile=");
            option.push(quoted(known_hosts));
            arguments.extend(["-o".into(), option]);
            arguments.extend(options(&["GlobalKnownHostsFile=/dev/null"]));
        }
        if let Some(port) = self.address.port() {
            arguments.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = self.address.user() {
            arguments.extend(["-l".into(), user.into()]);
        }
        arguments
    }

    fn host(&self) -> [OsString; 2] {
        ["--".into(), self.address.host().into()]
    }

    /// Asks ssh what its configuration amounts to for this machine; nobody is connected to.
    pub(super) fn effective(&self) -> Command {
        let mut command = environment::program("ssh");
        command.arg("-G").args(self.login()).args(self.host());
        command
    }

    /// The connection itself, with the control socket by which everything else goes through it. It
    /// ends when its standard input does: a shipit that was killed leaves no connection.
    /// `effective`: what ssh's configuration amounts to.
    pub(super) fn master(&self, control: &Path, effective: &str, script: &str) -> Command {
        let mut command = environment::program("ssh");
        command.args(["-T", "-M", "-S"]).arg(control);
        command.args(self.login());
        let (interval, count) = ALIVE;
        command.args(options(&[
            "ControlPersist=no",
            "BatchMode=yes",
            "ExitOnForwardFailure=yes",
            "StreamLocalBindUnlink=yes",
            "StreamLocalBindMask=0177",
            &format!("ConnectTimeout={CONNECT}"),
            &format!("ServerAliveInterval={interval}"),
            &format!("ServerAliveCountMax={count}"),
            // What a user's configuration may say for sessions of their own.
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "ForwardX11=no",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "EscapeChar=none",
            // What it says is the reason that people read.
            "LogLevel=INFO",
        ]));
        // What an older ssh does not know no configuration of it can say.
        let known = NEWER
            .into_iter()
            .filter(|option| is_known(effective, option));
        command.args(options(&known.collect::<Vec<_>>()));
        if self.trust == HostTrust::Known || HostKeys::of(effective) == HostKeys::WouldNotBeChecked
        {
            command.args(options(&["StrictHostKeyChecking=yes"]));
        }
        if self.known_hosts.is_some() {
            // The file is somebody's to write, and it is the only one.
            command.args(options(&["UpdateHostKeys=no", "VerifyHostKeyDNS=no"]));
        }
        command.args(self.host());
        command.arg(script);
        command
    }

    /// Opens a socket here that leads to one there, through the connection.
    pub(super) fn forward(&self, control: &Path, here: &Path, there: &str) -> Command {
        let mut command = through(control);
        let mut pair = here.as_os_str().to_owned();
        pair.push(":");
        pair.push(there);
        command.args(options(&[
            "StreamLocalBindUnlink=yes",
            "StreamLocalBindMask=0177",
        ]));
        command.args(["-O", "forward", "-L"]).arg(pair);
        command.args(self.host());
        command
    }

    /// Runs a script of the other side's `sh`, through the connection.
    pub(super) fn session(&self, control: &Path, script: &str) -> Command {
        let mut command = through(control);
        command.args(["-T"]).args(options(&["BatchMode=yes"]));
        command.args(self.host());
        command.arg(script);
        command
    }

    /// How somebody logs in there by hand.
    #[must_use]
    pub fn by_hand(&self) -> String {
        let mut words = vec!["ssh".to_owned()];
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([name.to_owned(), value]);
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string());
        add("-F", path(&self.config));
        add("-i", path(&self.identity));
        let known = path(&self.known_hosts);
        add("-o", known.map(|it| format!("UserKnownHostsFile={it}")));
        add("-p", self.address.port().map(|port| port.to_string()));
        let user = self.address.user();
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        words.push(format!("{user}{}", self.address.host()));
        words.join(" ")
    }
}

/// What a user's configuration may say for sessions of their own, since OpenSSH 8.7.
const NEWER: [&str; 3] = [
    "SessionType=default",
    "StdinNull=no",
    "ForkAfterAuthentication=no",
];

/// Whether ssh knows an option, by what it prints of its configuration.
fn is_known(effective: &str, option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default();
    let mut names = effective.lines().filter_map(|line| line.split(' ').next());
    names.any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the user's configuration has hosts' keys checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKeys {
    /// As it says: `yes`, `ask`, which is the same where nobody can be asked, or `accept-new`.
    Checked,
    /// It says `no`, or that new ones are believed and none is remembered: whoever is in between
    /// could be the machine. They are checked all the same.
    WouldNotBeChecked,
}

impl HostKeys {
    /// From what `ssh -G` prints.
    pub fn of(effective: &str) -> Self {
        let said = |wanted: &str| {
            effective.lines().find_map(|line| {
                let (name, value) = line.split_once(' ')?;
                name.eq_ignore_ascii_case(wanted)
                    .then(|| value.trim().to_ascii_lowercase())
            })
        };
        let files = said("userknownhostsfile").unwrap_or_default();
        // A new key is written into the first one.
        let first = files.split_whitespace().next();
        let remembers = first.is_none_or(|it| it != "/dev/null" && it != "none");
        match said("stricthostkeychecking").as_deref() {
            Some("no" | "false" | "off") => Self::WouldNotBeChecked,
            Some("accept-new") if !remembers => Self::WouldNotBeChecked,
            _ => Self::Checked,
        }
    }
}

/// A client of the connection: nothing of the user's configuration is for it.
fn through(control: &Path) -> Command {
    let mut command = environment::tool("ssh", &[]);
    command.args(["-F", "none", "-S"]).arg(control);
    // Where the connection is gone ssh would make another by itself, to another port and as somebody
    // else: it has no way there but the control socket.
    command.args(options(&["ControlMaster=no", "ProxyCommand=false"]));
    command
}

fn options(options: &[&str]) -> Vec<OsString> {
    let pairs = options
        .iter()
        .flat_map(|option| ["-o".into(), OsString::from(option)]);
    pairs.collect()
}

/// A path as a value of a configuration of ssh, where blanks part two.
fn quoted(path: &Path) -> OsString {
    let mut quoted = OsString::from("\"");
    quoted.push(path);
    quoted.push("\"");
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let arguments = command.as_std().get_args();
        arguments
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect()
    }

    fn destination() -> Destination {
        Destination {
            address: "ssh://deploy@10.0.0.5:2222".parse().expect("an address"),
            config: Some("/p/ssh config".into()),
            identity: Some("/p/key".into()),
            known_hosts: Some("/p/known hosts".into()),
            trust: HostTrust::Configured,
        }
    }

    #[test]
    fn nobody_is_asked_and_no_wait_is_without_end() {
        let control = Path::new("/run/c");
        let words = words(&destination().master(control, "sessiontype default\n", "true"));
        for option in [
            "BatchMode=yes",
            "ExitOnForwardFailure=yes",
            "StreamLocalBindUnlink=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "IdentitiesOnly=yes",
            "SessionType=default",
            "UserKnownHostsFile=\"/p/known hosts\"",
        ] {
            let at = words.iter().position(|word| word == option);
            assert_eq!(words[at.expect(option) - 1], "-o", "{words:?}");
        }
        let known = Destination {
            trust: HostTrust::Known,
            ..destination()
        };
        let words_of = |effective: &str| self::words(&known.master(control, effective, "true"));
        let checking = "StrictHostKeyChecking=yes".to_owned();
        assert!(words_of("stricthostkeychecking accept-new\n").contains(&checking));
        let checking = words
            .iter()
            .find(|word| word.contains("StrictHostKeyChecking"));
        assert_eq!(checking, None, "the user's configuration says it");
        let newer = "StdinNull=no".to_owned();
        assert!(!words.contains(&newer), "this ssh does not know it");
        assert_eq!(words[words.len() - 3..], ["--", "10.0.0.5", "true"]);
    }

    #[test]
    fn keys_of_hosts_are_checked_even_where_a_configuration_would_not() {
        for (text, keys) in [
            ("stricthostkeychecking no\n", HostKeys::WouldNotBeChecked),
            (
                "x y\nstricthostkeychecking false",
                HostKeys::WouldNotBeChecked,
            ),
            ("stricthostkeychecking ask\n", HostKeys::Checked),
            ("stricthostkeychecking accept-new\n", HostKeys::Checked),
            (
                "stricthostkeychecking accept-new\nuserknownhostsfile /dev/null\n",
                HostKeys::WouldNotBeChecked,
            ),
            (
                "stricthostkeychecking accept-new\nuserknownhostsfile ~/.ssh/known_hosts /dev/null\n",
                HostKeys::Checked,
            ),
            (
                "stricthostkeychecking accept-new\nuserknownhostsfile /dev/null ~/.ssh/known_hosts\n",
                HostKeys::WouldNotBeChecked,
            ),
            ("", HostKeys::Checked),
        ] {
            assert_eq!(HostKeys::of(text), keys, "{text}");
        }
        let unchecked = "stricthostkeychecking no\n";
        let words = words(&destination().master(Path::new("/run/c"), unchecked, "true"));
        assert!(words.contains(&"StrictHostKeyChecking=yes".to_owned()));
    }

    #[test]
    fn what_goes_through_the_connection_has_no_configuration_of_its_own() {
        let (control, here) = (Path::new("/run/c"), Path::new("/run/a"));
        let forward = words(&destination().forward(control, here, "/var/lib/shipit/agent.sock"));
        assert_eq!(forward[..4], ["-F", "none", "-S", "/run/c"]);
        assert!(forward.contains(&"/run/a:/var/lib/shipit/agent.sock".to_owned()));
    }

    #[test]
    fn what_is_typed_by_hand_is_the_same_machine() {
        let by_hand = destination().by_hand();
        let expected = "ssh -F /p/ssh config -i /p/key -o UserKnownHostsFile=/p/known hosts -p \
                        2222 deploy@10.0.0.5";
        assert_eq!(by_hand, expected);
    }
}
