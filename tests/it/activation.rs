//! Socket activation: whoever holds the listening sockets (systemd, here a few lines of Python)
//! keeps them over an agent's death, so that a connection made meanwhile waits instead of being
//! refused.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{World, has, shipit, signal, until};

/// Holds two sockets, starts an agent with them (the protocol of `sd_listen_fds(3)`), and starts
/// another whenever one has ended. Ends when its standard input does.
const HOLDER: &str = r#"
import os, select, socket, subprocess, sys, time
program, directory, host = sys.argv[1:4]
sockets = []
for port in (8080, 8081):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port)); s.listen(64); sockets.append(s)
def start():
    pid = os.fork()
    if pid == 0:
        low = [os.dup(s.fileno()) for s in sockets]
        for number, fd in enumerate(low):
            os.dup2(fd, 3 + number); os.set_inheritable(3 + number, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
        os.execv(program, [program, "agent", "run", "--agent-directory", directory])
    return pid
pid = start()
while True:
    ready, _, _ = select.select([sys.stdin], [], [], 0.05)
    if ready:
        break
    done, _ = os.waitpid(pid, os.WNOHANG)
    if done:
        time.sleep(0.5)
        pid = start()
os.kill(pid, 15)
os.waitpid(pid, 0)
"#;

fn hold(world: &World) -> Child {
    let host = world.live_address().replace(":8080", "");
    Command::new("python3")
        .args(["-c", HOLDER])
        .arg(shipit())
        .arg(world.agent_folder())
        .arg(host)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 starts")
}

#[test]
fn a_restart_of_the_agent_refuses_no_connection() {
    if !has("python3") {
        return;
    }
    let world = World::new();
    let mut holder = hold(&world);
    until("the agent is up", || world.agent_pid().is_some());
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    let agent = world.agent_pid().expect("it runs");
    signal(agent, Signal::KILL);
    until("the agent is gone", || {
        !std::path::Path::new(&format!("/proc/{agent}/exe")).exists()
    });
    // Nobody accepts now. The connection is made all the same, and answered by the next agent.
    let mut stream = TcpStream::connect(world.live_address()).expect("the socket is held");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("set");
    write!(
        stream,
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("v1"),
        "{text}"
    );
    world
        .run(&["agent", "unit"])
        .code(0)
        .says(&format!("ListenStream={}", world.live_address()));
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
    // The service outlives the holder's agent; the next one, which this world stops, takes it back.
    world.run(&["status", "--env", "staging"]).code(0);
    assert!(world.agent_pid().is_some());
}
