//! The systemd unit: an agent that starts with the machine, and whose restart refuses no
//! connection.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// A service unit and a socket unit, with how to install them. systemd keeps the listening sockets
/// while the agent is away (`systemd.socket(5)`), and `KillMode=process` leaves the services alone.
#[must_use]
pub fn units(program: &Path, directory: &Path, listeners: &[SocketAddr]) -> String {
    let mut text = format!(
        "# Save the two parts as /etc/systemd/system/shipit-agent.service and shipit-agent.socket, then:\n\
         #   systemctl daemon-reload && systemctl enable --now shipit-agent.socket shipit-agent.service\n\
         # Make them again when listeners are added: `shipit agent unit`.\n\
         \n\
         # --- shipit-agent.service\n\
         [Unit]\n\
         Description=shipit agent: runs services and routes their traffic\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         Requires=shipit-agent.socket\n\
         \n\
         [Service]\n\
         ExecStart={program} agent run --agent-directory {directory}\n\
         Restart=always\n\
         RestartSec=200ms\n\
         KillMode=process\n\
         NoNewPrivileges=yes\n\
         # The agent takes the second for itself, and gives its services the first.\n\
         LimitNOFILE=1024:524288\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n\
         \n\
         # --- shipit-agent.socket\n\
         [Unit]\n\
         Description=the listeners of the shipit agent\n\
         \n\
         [Socket]\n",
        program = program.display(),
        directory = directory.display(),
    );

    for listener in listeners {
        let _ = writeln!(text, "ListenStream={listener}");
    }
    if listeners.is_empty() {
        text.push_str("# ListenStream= lines come here once an environment has listeners.\n");
    }
    text.push_str("NoDelay=yes\nBacklog=1024\n\n[Install]\nWantedBy=sockets.target\n");
    text
}
