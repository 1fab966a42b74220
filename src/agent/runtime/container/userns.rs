//! A user namespace of one's own, in which whoever runs this is root: what makes containers without
//! root (`user_namespaces(7)`). For a process of one thread.
//!
//! With `newuidmap` and ids in `/etc/subuid` and `/etc/subgid` the namespace has many users, else
//! one. The mounts that are made in it are seen by its own processes alone, and go with the last of
//! them.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// What went wrong, in words.
type Reason = String;

fn said<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Reason + '_ {
    move |error| format!("{what}: {error}")
}

/// Whether this process is in a namespace that does not have all users of the machine.
#[must_use]
pub fn is_inside() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains(&u32::MAX.to_string()))
}

/// Whether a user and a group of the container are any of the machine's.
#[must_use]
pub fn has(user: u32, group: u32) -> bool {
    let maps = |file: &str, id: u32| {
        let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        text.lines().any(|line| {
            let mut numbers = line
                .split_whitespace()
                .map(|number| number.parse::<u64>().unwrap_or(0));
            let (first, count) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
            (first..first + count).contains(&u64::from(id))
        })
    };
    maps("uid_map", user) && maps("gid_map", group)
}

/// Starts this program again, with the same arguments, as root of a new namespace. Returns only
/// when it cannot.
pub fn enter() -> Reason {
    let made = || {
        let (user, group) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        // It has to be there before, as only from outside it may write the map.
        let helper = mapper(user, group);
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP)?;
        if !helper.is_some_and(mapped) {
            map_one(user, group)?;
        }
        alone()
    };
    made().map_or_else(|reason| reason, |()| again())
}

/// Starts this program again, with the same arguments, as root of a process' namespace. Returns
/// only when it cannot.
pub fn join(pid: u32) -> Reason {
    let joined = || {
        let link =
            fs::File::open(format!("/proc/{pid}/ns/user")).map_err(said("finding its users"))?;
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&link),
            Some(LinkNameSpaceType::User),
        )
        .map_err(said("becoming one of its users"))?;
        unshare(UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP)?;
        alone()
    };
    joined().map_or_else(|reason| reason, |()| again())
}

/// This process is in a namespace of users that has none yet.
pub fn new_users() -> Result<(), Reason> {
    unshare(UnshareFlags::NEWUSER)
}

/// Mounts of this process are its own from here on.
pub fn new_mounts() -> Result<(), Reason> {
    unshare(UnshareFlags::NEWNS)
}

/// A process that is started from here on is the first of its own process namespace.
pub fn new_pids() -> Result<(), Reason> {
    unshare(UnshareFlags::NEWPID)
}

fn unshare(flags: UnshareFlags) -> Result<(), Reason> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for descriptors, of which there are none here"
    )]
    let unshared = rustix::thread::unshare(flags);
    unshared.map_err(said("the kernel does not allow it a namespace of its own"))
}

/// A program that is started anew belongs to the namespace as a whole, `/proc` included.
fn again() -> Reason {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return said("finding this program")(error),
    };
    said("starting this program again")(
        Command::new(program)
            .args(std::env::args_os().skip(1))
            .exec(),
    )
}

/// Mounts are this process' own from here on, and of the control groups there is only what is its
/// own.
fn alone() -> Result<(), Reason> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(said("mounting in a namespace"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags, None)
        .map_err(said("mounting its control group"))
}

/// The ids that a file gives to a user: the first, and how many.
fn given(file: &str, user: u32) -> Option<(String, String)> {
    let name = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == user.to_string()).then(|| name.to_owned())
    });
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let is_own = owner == user.to_string() || Some(owner) == name.as_deref();
        let range = (fields.next()?.to_owned(), fields.next()?.to_owned());
        is_own.then_some(range)
    })
}

/// Writes the map of this process when it is told to: for many users only `newuidmap` may.
fn mapper(user: u32, group: u32) -> Option<Child> {
    let (users, groups) = (given("/etc/subuid", user)?, given("/etc/subgid", user)?);
    let script = "read -r _ && newuidmap \"$1\" 0 \"$2\" 1 1 \"$3\" \"$4\" && newgidmap \"$1\" \
                  0 \"$5\" 1 1 \"$6\" \"$7\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &std::process::id().to_string()]);
    command.args([
        &user.to_string(),
        &users.0,
        &users.1,
        &group.to_string(),
        &groups.0,
        &groups.1,
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

fn mapped(mut helper: Child) -> bool {
    let told = helper
        .stdin
        .take()
        .is_some_and(|mut stdin| stdin.write_all(b"\n").is_ok());
    helper.wait().is_ok_and(|status| told && status.success())
}

/// One user alone: whoever runs this is root inside.
fn map_one(user: u32, group: u32) -> Result<(), Reason> {
    let missing = |file: &str| fs::read_to_string(file).is_ok_and(|map| map.trim().is_empty());
    let write =
        |file: &str, text: String| fs::write(Path::new(file), text).map_err(said("mapping users"));
    if missing("/proc/self/uid_map") {
        write("/proc/self/uid_map", format!("0 {user} 1"))?;
    }
    if missing("/proc/self/gid_map") {
        // Else a group that takes rights away could be left (CVE-2014-8989).
        write("/proc/self/setgroups", "deny".to_owned())?;
        write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    Ok(())
}
