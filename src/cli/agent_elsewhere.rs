//! `shipit agent install` and `shipit agent upgrade`: an agent on another machine.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::{Cx, ask};
use crate::model::ssh::SshAddress;
use crate::ops::agent_elsewhere::{
    self as elsewhere, Cost, Destination, HostTrust, Installed, Rights, Setup, Supervision,
};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// Where the agent is, and how it is put there.
#[derive(Debug, clap::Args)]
pub struct Elsewhere {
    /// The machine, as `cluster.at` names it. The agent runs as the user that logs in.
    #[arg(long, value_name = "ssh://USER@HOST[:PORT]")]
    at: SshAddress,

    /// A configuration of ssh in the place of the user's own.
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,

    /// The private key to log in with.
    #[arg(long, value_name = "FILE")]
    ssh_identity: Option<PathBuf>,

    /// The keys that hosts are known by, in the place of the user's own list.
    #[arg(long, value_name = "FILE")]
    ssh_known_hosts: Option<PathBuf>,

    /// The program to put there, for a machine of another architecture; this one without it.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Use root's rights there, by `sudo -n`: the program in /usr/local/bin, units of the
    /// machine's. Without it both are that user's own.
    #[arg(long)]
    sudo: bool,

    /// Start the agent without systemd; it does not come back after a reboot.
    #[arg(long)]
    no_systemd: bool,
}

impl Elsewhere {
    fn setup(&self, directory: Option<PathBuf>) -> Setup {
        let file = |path: &Option<PathBuf>| {
            let absolute =
                |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.as_ref().map(absolute)
        };
        Setup {
            to: Destination {
                address: self.at.clone(),
                config: file(&self.ssh_config),
                identity: file(&self.ssh_identity),
                known_hosts: file(&self.ssh_known_hosts),
                trust: HostTrust::Configured,
            },
            directory,
            program: self.program.clone(),
            rights: if self.sudo { Rights::Sudo } else { Rights::Own },
            supervision: if self.no_systemd {
                Supervision::None
            } else {
                Supervision::Systemd
            },
        }
    }
}

pub(super) async fn install(
    cx: &Cx,
    args: &Elsewhere,
    directory: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let say = |line: &str| cx.screen.say(&Page::of(line));
    let installed = elsewhere::install(&args.setup(directory), &say).await?;
    show(cx, &installed);
    Ok(Exit::Done)
}

pub(super) async fn upgrade(
    cx: &Cx,
    args: &Elsewhere,
    directory: Option<PathBuf>,
    auto_approve: bool,
) -> Result<Exit, Failure> {
    let say = |line: &str| cx.screen.say(&Page::of(line));
    let setup = args.setup(directory);
    if let Cost::Refused(listeners) = elsewhere::cost(&setup, &say).await? {
        let listeners: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        say(&format!(
            "The services run on. For a moment nothing listens at {}: systemd does not keep these \
             sockets{}.",
            listeners.join(", "),
            if args.no_systemd {
                ""
            } else {
                " yet; it does from then on"
            }
        ));
        consent(auto_approve)?;
    }
    let installed = elsewhere::upgrade(&setup, &say).await?;
    show(cx, &installed);
    Ok(Exit::Done)
}

fn consent(auto_approve: bool) -> Result<(), Failure> {
    if auto_approve || (ask::is_possible() && ask::yes("Start the agent anew?")) {
        return Ok(());
    }
    Err(Failure::say(
        Exit::Usage,
        "nobody has approved it: nothing was changed".to_owned(),
        "--auto-approve does",
    ))
}

fn show(cx: &Cx, installed: &Installed) {
    if cx.format == Format::Json {
        cx.screen.document(Kind::Agent, &json!(installed));
        return;
    }
    let Installed {
        machine,
        version,
        directory,
        program,
        changed,
    } = installed;
    let done = if *changed { "" } else { "Nothing to do: " };
    cx.screen.show(&Page::of(format!(
        "{done}shipit agent {version} answers on {machine}, in {directory} ({program})"
    )));
}
