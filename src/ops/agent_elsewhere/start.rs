//! Starting the agent of another machine, by systemd or without, and starting it anew.

use std::net::SocketAddr;
use std::path::Path;

use super::{COMMAND, Reached, Rights, Supervision, Work, quoted};
use crate::agent::unit::{self, Sockets, UnitOwner};
use crate::ops::Error;
use crate::port::engine::EngineError;
use crate::proto::v1;

/// A login without PAM has no folder of its session in its environment.
const SYSTEMCTL_USER: &str =
    "XDG_RUNTIME_DIR=\"${XDG_RUNTIME_DIR:-/run/user/$(id -u)}\" systemctl --user";

impl Work<'_> {
    /// Starts the agent where none runs.
    pub(super) async fn start(&self, listeners: &[SocketAddr]) -> Result<(), Error> {
        match self.setup.supervision {
            Supervision::Systemd => self.write_units(listeners).await?,
            Supervision::None => self.start_detached().await?,
        }
        self.answers().await.map(drop)
    }

    /// As a local command starts one: with a log of its own, and without what the login has in its
    /// environment.
    async fn start_detached(&self) -> Result<(), Error> {
        let folder = self.machine.folder().await?;
        let script = format!(
            "set -e; umask 077; d={folder}; mkdir -p \"$d\"; cd /; \
             nohup env -i PATH=\"$PATH\" HOME=\"$HOME\" USER=\"$(id -un)\" LOGNAME=\"$(id -un)\" \
             {program} agent run --detached --agent-directory \"$d\" \
             </dev/null >>\"$d/agent.log\" 2>&1 &",
            folder = quoted(&folder),
            program = quoted(&self.program()),
        );
        let done = self.tunnel.run(&script, None, COMMAND).await?;
        if done.status.success() {
            return Ok(());
        }
        Err(self.failed("starting the agent", &done.beside))
    }

    /// What `systemctl` is called with, and where its units are.
    fn systemd(&self) -> (&'static str, String) {
        match self.setup.rights {
            Rights::Sudo => ("systemctl", "/etc/systemd/system".to_owned()),
            Rights::Own if self.tunnel.about().is_root() => {
                ("systemctl", "/etc/systemd/system".to_owned())
            }
            Rights::Own => {
                let home = self.tunnel.about().home();
                (SYSTEMCTL_USER, format!("{home}/.config/systemd/user"))
            }
        }
    }

    /// Whose units they are.
    fn owner(&self) -> UnitOwner<'_> {
        let about = self.tunnel.about();
        if self.systemd().0 != "systemctl" {
            UnitOwner::Own
        } else if about.is_root() {
            UnitOwner::Root
        } else {
            UnitOwner::User(about.user())
        }
    }

    /// Refuses to take the machine's unit away from another user's agent, or from another folder's:
    /// it would not come back after a reboot.
    pub(super) async fn unit_is_free(&self) -> Result<(), Error> {
        let owner = self.owner();
        if self.setup.supervision == Supervision::None || owner == UnitOwner::Own {
            return Ok(());
        }
        let (_, folder) = self.systemd();
        let path = format!("{folder}/shipit-agent.service");
        let script = format!("test ! -e {path} || cat {path}");
        let there = self.must("reading its unit", &script, None).await?;
        if there.is_empty() {
            return Ok(());
        }

        let (program, agent) = (self.program(), self.machine.folder().await?);
        let own = unit::service(Path::new(&program), Path::new(&agent), owner, Sockets::None);
        let lines = |text: &str| -> Vec<String> {
            let says_whose = |line: &&str| {
                ["User=", "ExecStart="]
                    .iter()
                    .any(|it| line.starts_with(it))
            };
            text.lines().filter(says_whose).map(str::to_owned).collect()
        };
        let (found, wanted) = (lines(&there), lines(&own));
        if found == wanted {
            return Ok(());
        }
        Err(self.refused(
            &format!("{path} is of another agent there: {}", found.join(", ")),
            "log in as that agent's user, or stop and disable its unit first; without --sudo a \
             user has a unit of its own",
        ))
    }

    /// Whether the unit's process is this agent.
    pub(super) async fn is_of_unit(&self, agent: &Reached) -> Result<bool, Error> {
        if !self.tunnel.about().has_systemd() {
            return Ok(false);
        }
        let (systemctl, _) = self.systemd();
        let script = format!("{systemctl} show -p MainPID --value shipit-agent.service");
        let done = self.tunnel.run(&script, None, COMMAND).await?;
        let pid = String::from_utf8_lossy(&done.answer).trim().to_owned();
        Ok(pid == agent.info.pid.to_string())
    }

    async fn write_units(&self, listeners: &[SocketAddr]) -> Result<(), Error> {
        let (systemctl, folder) = self.systemd();
        let owner = self.owner();
        let sockets = if listeners.is_empty() {
            Sockets::None
        } else {
            Sockets::Kept
        };
        let (program, agent) = (self.program(), self.machine.folder().await?);
        let service = unit::service(Path::new(&program), Path::new(&agent), owner, sockets);

        self.write_unit(&folder, "shipit-agent.service", service)
            .await?;
        let mut units = "shipit-agent.service".to_owned();
        if sockets == Sockets::Kept {
            self.write_unit(&folder, "shipit-agent.socket", unit::socket(listeners))
                .await?;
            units = format!("shipit-agent.socket {units}");
        }
        if owner == UnitOwner::Own {
            self.linger().await?;
        }
        (self.say)("starting the agent by systemd");
        let script = format!(
            "set -e; {systemctl} daemon-reload; {systemctl} enable {units}; {systemctl} start \
             {units}"
        );
        self.must("starting the units", &script, None)
            .await
            .map(drop)
    }

    async fn write_unit(&self, folder: &str, name: &str, text: String) -> Result<(), Error> {
        let script = format!(
            "set -e; umask 022; d={}; mkdir -p \"$d\"; cat > \"$d/{name}.new\"; mv \
             -f \"$d/{name}.new\" \"$d/{name}\"",
            quoted(folder)
        );
        self.must("writing a unit", &script, Some(text.into_bytes()))
            .await
            .map(drop)
    }

    /// A user's own units end with its last login unless they are let linger; a login without PAM
    /// has no manager of them before.
    async fn linger(&self) -> Result<(), Error> {
        let script = "test -e \"/var/lib/systemd/linger/$(id -un)\" || loginctl enable-linger || \
                      exit 1; n=0; while ! test -S \"/run/user/$(id -u)/systemd/private\" && test $n -lt 50; do \
                      n=$((n+1)); sleep 0.1; done";
        let done = self.tunnel.run(script, None, COMMAND).await?;
        if done.status.success() {
            return Ok(());
        }
        Err(self.failed("`loginctl enable-linger`", &done.beside))
    }

    /// The addresses at which systemd listens for the agent.
    pub(super) async fn kept_sockets(&self) -> Result<Vec<SocketAddr>, Error> {
        let (systemctl, _) = self.systemd();
        if !self.tunnel.about().has_systemd() {
            return Ok(Vec::new());
        }
        let script = format!(
            "{systemctl} is-active -q shipit-agent.socket && {systemctl} show -p Listen \
             shipit-agent.socket"
        );
        let done = self.tunnel.run(&script, None, COMMAND).await?;
        Ok(addresses(&String::from_utf8_lossy(&done.answer)))
    }

    /// Has the agent that runs end, and one of the new program start. Its services run on, and the
    /// next agent takes them back.
    pub(super) async fn restart(
        &self,
        agent: &Reached,
        listeners: &[SocketAddr],
    ) -> Result<(), Error> {
        (self.say)("starting the agent anew; its services run on");
        let kept = self.kept_sockets().await?;
        let all_kept = listeners.iter().all(|listener| kept.contains(listener));
        let (systemctl, _) = self.systemd();
        let is_supervised =
            self.setup.supervision == Supervision::Systemd && self.is_of_unit(agent).await?;
        // It says no while a task runs, and then nothing has happened yet.
        self.end(agent).await?;
        self.machine.forget_agent().await;
        if is_supervised && all_kept {
            let script = format!("{systemctl} start shipit-agent.service");
            self.must("starting the agent anew", &script, None).await?;
            return self.answers().await.map(drop);
        }
        if is_supervised {
            let script = format!("{systemctl} stop shipit-agent.socket shipit-agent.service");
            // A socket unit that is not there is none to stop.
            let _ = self.run(&script, None, COMMAND).await?;
        }
        match self.setup.supervision {
            Supervision::Systemd => self.write_units(listeners).await?,
            Supervision::None => self.start_detached().await?,
        }
        self.answers().await.map(drop)
    }

    /// Has an agent end, and waits until it has.
    async fn end(&self, agent: &Reached) -> Result<(), Error> {
        let mut message = tonic::Request::new(v1::ShutdownRequest {
            stop_services: false,
            end_tasks: false,
        });
        message.set_timeout(COMMAND);
        let ended = agent.client.clone().shutdown(message).await;
        ended.map_err(EngineError::from)?;

        let pid = agent.info.pid;
        let script = format!(
            "n=0; while kill -0 {pid} 2>/dev/null; do test $n -lt 150 || {{ echo it runs still >&2; \
             exit 1; }}; n=$((n+1)); sleep 0.1; done"
        );
        self.must("waiting for the agent's end", &script, None)
            .await
            .map(drop)
    }
}

/// The addresses in what `systemctl show -p Listen` prints: `Listen=127.0.0.1:8080 (Stream)`.
fn addresses(shown: &str) -> Vec<SocketAddr> {
    let words = shown.split_whitespace();
    let words = words.map(|word| word.trim_start_matches("Listen="));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_that_systemd_keeps_are_read_from_what_it_shows() {
        let shown =
            "Listen=127.0.0.1:8080 (Stream)\nListen=[::]:443 (Stream)\nListen=/run/x (Stream)\n";
        let found: Vec<String> = addresses(shown).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "[::]:443"]);
    }
}
