//! The systemd units: an agent that starts with the machine, and whose restart refuses no
//! connection.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// Whose units they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitOwner<'a> {
    /// The machine's, for an agent that is root.
    Root,
    /// The machine's, for an agent that is this user.
    User(&'a str),
    /// A user's own.
    Own,
}

/// A service unit and a socket unit, with how to install them. systemd keeps the listening sockets
/// while the agent is away (`systemd.socket(5)`), and `KillMode=process` leaves the services alone.
#[must_use]
pub fn units(program: &Path, directory: &Path, listeners: &[SocketAddr]) -> String {
    let mut text = format!(
        "# Save the two parts as /etc/systemd/system/shipit-agent.service and shipit-agent.socket, \
         then:\n#   systemctl daemon-reload && systemctl enable --now shipit-agent.socket \
         shipit-agent.service\n# Make them again when listeners are added: `shipit agent unit`.\n\
         \n\
         # --- shipit-agent.service\n\
         {}\n\
         # --- shipit-agent.socket\n",
        service(program, directory, UnitOwner::Root, Sockets::Kept),
    );
    if listeners.is_empty() {
        let none = "# ListenStream= lines come here once an environment has listeners.\n";
        let socket = socket(&[]);
        text.push_str(&socket.replacen("[Socket]\n", &format!("[Socket]\n{none}"), 1));
    } else {
        text.push_str(&socket(listeners));
    }
    text
}

/// Whether systemd keeps the agent's listeners. A socket unit without any is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    /// There is a socket unit.
    Kept,
    /// There is none.
    None,
}

/// The service unit.
#[must_use]
pub fn service(program: &Path, directory: &Path, owner: UnitOwner<'_>, sockets: Sockets) -> String {
    let requires = match sockets {
        Sockets::Kept => "Requires=shipit-agent.socket\n",
        Sockets::None => "",
    };
    let (user, target) = match owner {
        UnitOwner::Root => (String::new(), "multi-user.target"),
        UnitOwner::User(name) => (format!("User={name}\n"), "multi-user.target"),
        UnitOwner::Own => (String::new(), "default.target"),
    };
    format!(
        "[Unit]\n\
         Description=shipit agent: runs services and routes their traffic\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         {requires}\
         \n\
         [Service]\n\
         {user}\
         ExecStart={program} agent run --agent-directory {directory}\n\
         Restart=always\n\
         RestartSec=200ms\n\
         KillMode=process\n\
         NoNewPrivileges=yes\n\
         # The agent takes the second for itself, and gives its services the first.\n\
         LimitNOFILE=1024:524288\n\
         \n\
         [Install]\n\
         WantedBy={target}\n",
        program = word(program),
        directory = word(directory),
    )
}

/// A path as one word of `ExecStart=` (`systemd.service(5)`), in which `%` and `$` mean more.
fn word(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%").replace('$', "$$");
    if !text.contains([' ', '\t', '"', '\'', '\\', ';']) {
        return text;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// The socket unit.
#[must_use]
pub fn socket(listeners: &[SocketAddr]) -> String {
    let mut text = "[Unit]\nDescription=the listeners of the shipit agent\n\n[Socket]\n".to_owned();
    for listener in listeners {
        let _ = writeln!(text, "ListenStream={listener}");
    }
    text.push_str("NoDelay=yes\nBacklog=1024\n\n[Install]\nWantedBy=sockets.target\n");
    text
}

#[cfg(test)]
mod tests {
    use super::word;
    use std::path::Path;

    #[test]
    fn a_path_is_one_word_of_a_unit() {
        for (path, expected) in [
            ("/var/lib/shipit", "/var/lib/shipit"),
            ("/home/a b/x", "\"/home/a b/x\""),
            ("/a%h/$HOME", "/a%%h/$$HOME"),
            ("/a\"b", "\"/a\\\"b\""),
        ] {
            assert_eq!(word(Path::new(path)), expected);
        }
    }
}
