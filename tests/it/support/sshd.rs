//! A real sshd on a port of the loopback, with keys of its own: the machine behind it is this one,
//! reached as another would be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::parts::is_given;
use super::{Machine, free_port, until};

/// An sshd, and the files that a client needs for it.
pub struct Sshd {
    folder: PathBuf,
    pub port: u16,
    user: String,
    daemon: Option<Child>,
    /// The machine that it is on; this one without it.
    machine: Option<Machine>,
}

/// Whether there is an sshd to start.
pub fn is_there() -> bool {
    is_given(program().is_some(), "sshd is not there")
}

fn program() -> Option<PathBuf> {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn keygen(path: &Path) {
    let path = path.display().to_string();
    output(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", &path],
    );
}

impl Sshd {
    /// Starts one in a folder of the world's, which lets this user in by a key.
    pub fn start(world: &Path) -> Self {
        let folder = world.join("sshd");
        fs::create_dir_all(folder.join("home")).expect("a folder");
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("a folder that sshd wants");
        }
        keygen(&folder.join("host"));
        keygen(&folder.join("key"));
        fs::copy(folder.join("key.pub"), folder.join("authorized")).expect("copied");
        let mut sshd = Self {
            folder,
            port: free_port(),
            user: output("id", &["-un"]),
            daemon: None,
            machine: None,
        };
        sshd.is_known();
        sshd.begin();
        sshd
    }

    /// Starts one on another machine that has the world's folder and this one's network, as the
    /// machine's user: the program of this one, with its libraries.
    pub fn start_on(machine: &Machine, world: &Path) -> Self {
        let folder = world.join("sshd");
        fs::create_dir_all(folder.join("lib")).expect("a folder");
        let program = program().expect("it is there");
        let libraries = output("ldd", &[&program.display().to_string()]);
        let libraries = libraries.lines().filter_map(|line| {
            let path = line.split("=> ").nth(1)?.split_whitespace().next()?;
            (!path.contains("libc.so")).then_some(path)
        });
        for library in libraries {
            let name = Path::new(library).file_name().expect("a name");
            fs::copy(library, folder.join("lib").join(name)).expect("copied");
        }
        fs::copy(program, folder.join("sshd")).expect("copied");
        keygen(&folder.join("host"));
        keygen(&folder.join("key"));
        fs::copy(folder.join("key.pub"), folder.join("authorized")).expect("copied");
        let user = std::os::unix::fs::chown(folder.join("host"), Some(1000), Some(1000));
        user.expect("it is theirs");

        let sshd = Self {
            folder,
            port: free_port(),
            user: machine.user.to_owned(),
            daemon: None,
            machine: Some(machine.clone()),
        };
        sshd.is_known();
        let config = sshd.folder.join("config");
        let own = format!("SetEnv HOME={}/home", sshd.folder.display());
        let text = sshd.config("").replace(&own, "");
        let pid = format!("PidFile {}/pid", sshd.folder.display());
        let text = text.replace("PidFile none", &pid);
        fs::write(&config, text).expect("written");
        // It writes its number there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&sshd.folder, open).expect("it is ours");
        let libraries = sshd.folder.join("lib").display().to_string();
        let program = sshd.folder.join("sshd").display().to_string();
        let mut command =
            machine.command(&program, Path::new("/"), &[("LD_LIBRARY_PATH", libraries)]);
        command.args(["-e", "-f"]).arg(&config);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("docker starts").success());
        let port = sshd.port;
        until("sshd listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        sshd
    }

    fn config(&self, more: &str) -> String {
        let folder = self.folder.display();
        format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 200\n\
             SetEnv HOME={folder}/home\n{more}",
            self.port
        )
    }

    /// Starts it, or starts it again at the same port.
    pub fn begin(&mut self) {
        self.begin_with("");
    }

    /// The same with other lines in its configuration.
    pub fn begin_with(&mut self, more: &str) {
        let config = self.folder.join("config");
        fs::write(&config, self.config(more)).expect("written");
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let mut command = Command::new(program().expect("it is there"));
        command.args(["-D", "-e", "-f"]).arg(&config);
        command.env("SHIPIT_OF", &self.folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.daemon = Some(command.spawn().expect("sshd starts"));
        let port = self.port;
        until("sshd listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// Ends it; connections that there are go on without it.
    pub fn end(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Has clients know the host by this public key.
    fn know(&self, key: &Path) {
        let key = fs::read_to_string(key).expect("a key");
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        fs::write(self.known_hosts(), line).expect("written");
    }

    /// Has clients know the host by its key.
    pub fn is_known(&self) {
        self.know(&self.folder.join("host.pub"));
    }

    /// Has clients know the host by another key than it has.
    pub fn is_known_by_another_key(&self) {
        keygen(&self.folder.join("other"));
        self.know(&self.folder.join("other.pub"));
    }

    /// Has clients know no host.
    pub fn is_not_known(&self) {
        fs::write(self.known_hosts(), "").expect("written");
    }

    /// Lets nobody in any more, or this user again.
    pub fn lets_in(&self, key: bool) {
        let text = fs::read_to_string(self.folder.join("key.pub")).expect("a key");
        let text = if key { text } else { String::new() };
        fs::write(self.folder.join("authorized"), text).expect("written");
    }

    /// The home of who logs in.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    pub fn identity(&self) -> PathBuf {
        self.folder.join("key")
    }

    pub fn address(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}", self.user, self.port)
    }

    /// The cluster of an environment that is there, with its agent in this folder.
    pub fn cluster(&self, agent: &Path) -> String {
        format!(
            "cluster: {{kind: host, at: \"{}\", directory: {}, ssh: {{identity: {}, known_hosts: {}}}}}",
            self.address(),
            agent.display(),
            self.identity().display(),
            self.known_hosts().display()
        )
    }

    /// The processes of its connections.
    pub fn sessions(&self) -> Vec<u32> {
        let daemon = self.daemon.as_ref();
        daemon.map_or_else(Vec::new, |daemon| children(daemon.id()))
    }

    /// The connections of clients that use its key: their processes.
    pub fn clients(&self) -> Vec<u32> {
        let key = self.identity().display().to_string();
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").expect("processes").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            if command.starts_with("ssh\0") && command.contains(&key) {
                pids.push(pid);
            }
        }
        pids
    }
}

/// The processes that a process has started, and those that they have.
fn children(of: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let pid = entry.file_name().to_string_lossy().parse::<u32>();
        if let (Some(parent), Ok(pid)) = (parent, pid)
            && parent.trim() == of.to_string()
        {
            all.push(pid);
            all.extend(children(pid));
        }
    }
    all
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
        if let Some(machine) = &self.machine {
            let script = format!("kill $(cat {}/pid)", self.folder.display());
            let mut ending = machine.command("sh", Path::new("/"), &[]);
            let _ = ending.args(["-c", &script]).output();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            eprintln!("--- sshd\n{log}");
        }
    }
}
