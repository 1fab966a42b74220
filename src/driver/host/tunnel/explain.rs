//! What ssh says, as a reason and what to do.

use crate::driver::host::tunnel::ssh::Destination;
use crate::port::engine::EngineError;

/// How many of ssh's last lines a reason has.
const LINES: usize = 3;

/// Why there is no connection.
pub(super) fn no_connection(to: &Destination, said: &str) -> EngineError {
    let (reason, help) = explained(to, said);
    EngineError::Unreachable {
        what: format!("connecting to {}", to.address),
        reason,
        help,
    }
}

/// Why a connection that there was is none any more.
pub(super) fn ended(to: &Destination, said: &str) -> EngineError {
    let said = last(said);
    let said = if said.is_empty() {
        "ssh has ended".to_owned()
    } else {
        said
    };
    EngineError::Unreachable {
        what: format!("asking the agent on {}", to.address),
        reason: format!("the connection was cut off: {said}"),
        help: format!(
            "look whether `{} true` works, then run the command again: it goes on where it was, \
             and the services run on meanwhile",
            to.by_hand()
        ),
    }
}

fn explained(to: &Destination, said: &str) -> (String, String) {
    let has = |text: &str| said.contains(text);
    let by_hand = to.by_hand();
    let place = match to.address.port() {
        Some(port) => format!("-p {port} {}", to.address.host()),
        None => to.address.host().to_owned(),
    };

    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let reason = "it shows another key than the one that it is known by: it was set up anew, \
                      or somebody is in between";
        let help = format!(
            "compare its key with whoever runs it; if it is right, `ssh-keygen -R {}` forgets the \
             old one and `ssh-keyscan {place}` prints the new one for the list",
            known_name(to)
        );
        return (reason.to_owned(), help);
    }
    if has("Host key verification failed") || has("host key is known") {
        let help = format!(
            "connect once by hand and compare the key (`{by_hand}`), or add what `ssh-keyscan \
             {place}` prints, once it was compared, to ~/.ssh/known_hosts or to \
             `cluster.ssh.known_hosts`"
        );
        return ("its key is not known".to_owned(), help);
    }

    let help = if has("Permission denied") || has("Too many authentication failures") {
        format!(
            "look whether `{by_hand} true` works without a question: the public key stands in that \
             user's ~/.ssh/authorized_keys, and ssh finds the private one by an ssh-agent or \
             `cluster.ssh.identity`"
        )
    } else if has("Could not resolve") {
        "look at the name under `cluster.at`".to_owned()
    } else if has("Connection refused")
        || has("No route to host")
        || has("timed out")
        || has("Network is unreachable")
    {
        format!(
            "look at `cluster.at`, at the firewall, and whether its sshd runs: `{by_hand} true`"
        )
    } else {
        format!("look whether `{by_hand} true` works")
    };
    let reason = last(said);
    let reason = if reason.is_empty() {
        "ssh has ended without a word".to_owned()
    } else {
        reason
    };
    (reason, help)
}

/// The machine as lists of known hosts name it.
fn known_name(to: &Destination) -> String {
    match to.address.port() {
        Some(port) if port != 22 => format!("'[{}]:{port}'", to.address.host()),
        _ => to.address.host().to_owned(),
    }
}

/// The last lines that say something, as one.
pub(super) fn last(said: &str) -> String {
    let is_told = |line: &&str| {
        !line.is_empty() && !line.starts_with("@@@") && !line.starts_with("Warning: Permanently")
    };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(is_told).collect();
    let lines = &lines[lines.len().saturating_sub(LINES)..];
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> Destination {
        Destination {
            address: "ssh://deploy@10.0.0.5:2222".parse().expect("an address"),
            config: None,
            identity: None,
            known_hosts: None,
            trust: crate::driver::host::tunnel::HostTrust::Configured,
        }
    }

    /// What people read.
    #[test]
    fn each_fault_has_its_next_step() {
        let faults = [
            "No ED25519 host key is known for [10.0.0.5]:2222 and you have requested strict \
             checking.\nHost key verification failed.\n",
            "@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@\nHost key \
             verification failed.\n",
            "deploy@10.0.0.5: Permission denied (publickey).\n",
            "ssh: connect to host 10.0.0.5 port 2222: No route to host\n",
            "ssh: Could not resolve hostname web: Name or service not known\n",
            "",
        ];
        let told = faults.map(|said| match no_connection(&destination(), said) {
            EngineError::Unreachable { what, reason, help } => {
                format!("{what}: {reason}\n  {help}")
            }
            other => other.to_string(),
        });
        insta::assert_snapshot!(told.join("\n"));
    }
}
