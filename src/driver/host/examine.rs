//! Whether a machine that is reached by ssh has what a run needs.

use std::time::Duration;

use jiff::Timestamp;

use crate::driver::host::Machine;
use crate::driver::host::tunnel::{Tunnel, quoted};
use crate::model::ByteSize;
use crate::port::engine::{CheckResult, Engine as _, EngineError, Scope};
use crate::proto::v1::InfoReply;

/// How far two clocks may be apart: a slot is kept until a time of day.
const APART: Duration = Duration::from_secs(30);

/// How long a command there may take.
const COMMAND: Duration = Duration::from_secs(20);

/// An address there at which nobody listens.
const CLOSED: &str = "127.0.0.1:1";

/// How much must be free for another image.
const FREE: ByteSize = ByteSize::from_mib(512);

/// Looks at the connection, the agent, the clock, the disk, and whether the agent comes back by
/// itself. What stands behind something that is missing is not looked at.
pub(super) async fn examine(machine: &Machine, scope: &Scope) -> Vec<CheckResult> {
    let address = machine.address();
    let login = format!("ssh logs in to {address}");
    let tunnel = match machine.tunnel().await {
        Ok(tunnel) => tunnel,
        Err(error) => return vec![failing(&login, &error)],
    };

    let about = tunnel.about();
    let mut found = vec![ok(format!(
        "{login}: {}, {}, {}",
        about.user(),
        about.kernel(),
        if about.has_systemd() {
            "systemd"
        } else {
            "no systemd"
        }
    ))];
    let asked = Timestamp::now();
    match machine.agent().await {
        Ok(reached) => {
            found.push(ok(format!(
                "the agent on {address} answers: shipit {}, contract {}",
                reached.info.version, reached.info.contract
            )));
            found.extend(of_agent(&reached.info, asked));
            let agent = super::HostEngine::on(machine.clone());
            if let Err(error) = agent.observe(scope).await {
                found.push(failing("the agent knows the environment", &error));
            }
        }
        Err(error) => found.push(failing(&format!("the agent on {address} answers"), &error)),
    }
    found.push(forwards(&tunnel, machine).await);
    found.push(space(machine).await);
    found.extend(comes_back(machine).await);
    found
}

/// Whether checks and the measured switch reach what is there.
async fn forwards(tunnel: &Tunnel, machine: &Machine) -> CheckResult {
    let what = format!("services on {} are reached through ssh", machine.address());
    match tunnel.forwards(CLOSED).await {
        Err(error) => failing(&what, &error),
        Ok(None) => ok(what),
        Ok(Some(said)) => CheckResult {
            what,
            fault: Some(format!("sshd lets nobody do it: {said}")),
            help: Some(
                "its sshd_config must say `AllowTcpForwarding local` (or `yes`) for this user \
                 without a `PermitOpen` against it; a key with `restrict` needs `port-forwarding`"
                    .to_owned(),
            ),
        },
    }
}

fn of_agent(info: &InfoReply, asked: Timestamp) -> Vec<CheckResult> {
    let mut found = Vec::new();
    let own = env!("CARGO_PKG_VERSION");
    if info.version != own {
        found.push(CheckResult {
            what: format!("the agent is of this version, {own}"),
            fault: Some(format!("it is {}", info.version)),
            help: Some("`shipit agent upgrade --at …` puts this one there".to_owned()),
        });
    }
    let Ok(there) = info.now.parse::<Timestamp>() else {
        return found;
    };
    let here = Timestamp::now();
    let apart = if there > here {
        there.duration_since(here)
    } else if there < asked {
        asked.duration_since(there)
    } else {
        jiff::SignedDuration::ZERO
    };
    let apart = Duration::try_from(apart).unwrap_or_default();
    found.push(CheckResult {
        what: format!("both clocks agree to {} s", APART.as_secs()),
        fault: (apart > APART).then(|| format!("they are {} s apart", apart.as_secs())),
        help: (apart > APART).then(|| "have both set by NTP (`timedatectl`)".to_owned()),
    });
    found
}

/// The disk that the agent's folder is on, or will be.
async fn space(machine: &Machine) -> CheckResult {
    let what = format!("{} has room for an image", machine.address());
    let asked = async {
        let folder = machine.folder().await?;
        // A folder that is not made yet is on the disk of the one above it.
        let script = format!(
            "d={}; while ! test -d \"$d\"; do d=$(dirname \"$d\"); done; df -Pk \"$d\" | tail -n 1",
            quoted(&folder)
        );
        let tunnel = machine.tunnel().await?;
        let done = tunnel.run(&script, None, COMMAND).await?;
        let line = String::from_utf8_lossy(&done.answer).into_owned();
        let free = line.split_whitespace().nth(3);
        let free = free.and_then(|free| free.parse::<u64>().ok());
        free.map(|free| free.saturating_mul(1024))
            .ok_or_else(|| EngineError::Failed {
                what: "asking for free space".to_owned(),
                reason: String::from_utf8_lossy(&done.beside).trim().to_owned(),
            })
    };
    match asked.await {
        Err(error) => failing(&what, &error),
        Ok(free) if free < FREE.bytes() => CheckResult {
            what,
            fault: Some(format!("{} MiB are free", free >> 20)),
            help: Some("make room on the disk of the agent's folder".to_owned()),
        },
        Ok(free) => ok(format!("{what}: {} MiB are free", free >> 20)),
    }
}

/// Whether the agent starts with the machine.
async fn comes_back(machine: &Machine) -> Option<CheckResult> {
    let tunnel = machine.tunnel().await.ok()?;
    let what = format!("the agent starts with {}", machine.address());
    if !tunnel.about().has_systemd() {
        return Some(ok(format!(
            "{what} only if something there starts it: no systemd runs there"
        )));
    }
    let script = "systemctl is-enabled shipit-agent.service || \
                  { XDG_RUNTIME_DIR=\"${XDG_RUNTIME_DIR:-/run/user/$(id -u)}\" systemctl --user \
                  is-enabled shipit-agent.service && test -e /var/lib/systemd/linger/$(id -un); }";
    let done = tunnel.run(script, None, COMMAND).await.ok()?;
    Some(if done.status.success() {
        ok(what)
    } else {
        CheckResult {
            what,
            fault: Some("no unit of systemd starts it".to_owned()),
            help: Some(format!(
                "`shipit agent install --at {}` makes one; without --sudo it needs `loginctl \
                 enable-linger` there",
                machine.address()
            )),
        }
    })
}

fn ok(what: String) -> CheckResult {
    CheckResult {
        what,
        fault: None,
        help: None,
    }
}

/// What is wrong, with what the error says to do.
pub(super) fn failing(what: &str, error: &EngineError) -> CheckResult {
    let help = match error {
        EngineError::Unreachable { help, .. } | EngineError::Refused { help, .. } => {
            Some(help.clone())
        }
        _ => None,
    };
    CheckResult {
        what: what.to_owned(),
        fault: Some(error.to_string()),
        help,
    }
}
