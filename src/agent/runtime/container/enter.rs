//! A command beside a container with users of its own: this process becomes one of the container's,
//! gives up what a container may not do, and starts the command. For a process of one thread.
//!
//! libcontainer joins every namespace of a container but that of its users, and the order cannot be
//! changed from outside.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Gid, Pid, PidfdFlags, Signal, Uid, WaitOptions, WaitStatus, kill_process, kill_process_group,
    pidfd_open, waitpid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, ThreadNameSpaceType, move_into_thread_name_spaces,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::agent::runtime::container::seccomp;

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What went wrong, in words.
type Reason = String;

fn said<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Reason + '_ {
    move |error| format!("{what}: {error}")
}

/// What root of a container may do, as [`specification`](crate::agent::runtime::container) has it.
const ALLOWED: CapabilitySet = CapabilitySet::NET_BIND_SERVICE
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::KILL);

/// Runs a command as a user of the container whose first process this is; gives how it ended.
pub fn run(
    first: u32,
    (user, group): (u32, u32),
    workdir: &Path,
    mut command: Command,
    within: Duration,
) -> Result<Option<WaitStatus>, Reason> {
    confine(first, (user, group))?;

    let name = command.get_program().to_string_lossy().into_owned();
    // Only a child is in the namespace of processes.
    let child = command
        .current_dir(workdir)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("`{name}` cannot be started: {error}"))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    ended(pid.ok_or("it has no process")?, within)
}

/// Starts the same for somebody who looks on: the command has the streams of this process, and a
/// process group of its own, as one of this process cannot be seen from inside.
pub fn begin(
    first: u32,
    user: (u32, u32),
    workdir: &Path,
    mut command: Command,
) -> Result<Pid, Attaching> {
    confine(first, user).map_err(Attaching::Failed)?;
    let child = command
        .current_dir(workdir)
        .process_group(0)
        .spawn()
        .map_err(Attaching::NotStarted)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Attaching::Failed("it has no process".to_owned()))
}

/// Why a command is not run beside a container.
pub enum Attaching {
    /// The container cannot be joined.
    Failed(Reason),
    /// Its program cannot be started.
    NotStarted(io::Error),
}

/// Makes this process one that may no more than the container's.
fn confine(first: u32, (user, group): (u32, u32)) -> Result<(), Reason> {
    // By root of the machine, as long as this process is that: the container's limits are the
    // command's, too.
    join_groups(first).map_err(said("joining its control groups"))?;
    become_one_of_it(first).map_err(said("joining its namespaces"))?;
    give_up(user, group).map_err(said("giving up what a container may not do"))?;
    seccomp::install().map_err(said("the filter of system calls"))
}

/// Waits for a child; one that takes too long is ended, with its group. Whoever asked has gone by
/// then.
pub fn ended(child: Pid, within: Duration) -> Result<Option<WaitStatus>, Reason> {
    let begun = Instant::now();
    let wait = |options| waitpid(Some(child), options).map_err(said("waiting for it"));
    loop {
        if let Some((_, status)) = wait(WaitOptions::NOHANG)? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= within {
            let _ = kill_process_group(child, Signal::KILL);
            let _ = kill_process(child, Signal::KILL);
            return Ok(wait(WaitOptions::empty())?.map(|(_, status)| status));
        }
        std::thread::sleep(LOOK);
    }
}

fn become_one_of_it(first: u32) -> io::Result<()> {
    let pid = i32::try_from(first).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    // Who is one of its users already cannot become one.
    let users = |of: &str| fs::read_link(format!("/proc/{of}/ns/user"));
    let others = if users("self")? == users(&first.to_string())? {
        ThreadNameSpaceType::empty()
    } else {
        ThreadNameSpaceType::USER
    };
    let all = others
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    Ok(move_into_thread_name_spaces(
        std::os::fd::AsFd::as_fd(&process),
        all,
    )?)
}

fn give_up(user: u32, group: u32) -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        if !ALLOWED.contains(capability) {
            match remove_capability_from_bounding_set(capability) {
                // One that this kernel does not have.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    let kept = if user.is_root() {
        ALLOWED
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    Ok(set_no_new_privs(true)?)
}

fn join_groups(first: u32) -> io::Result<()> {
    let groups = fs::read_to_string(format!("/proc/{first}/cgroup"))?;
    for group in groups.lines() {
        let place = folders(group).into_iter().find(|folder| folder.exists());
        // A group that was not made for the container has no limits of its own.
        if let Some(place) = place.filter(|_| group.contains("/shipit/")) {
            fs::write(place.join("cgroup.procs"), std::process::id().to_string())?;
        }
    }
    Ok(())
}

/// Where a group of `/proc/PID/cgroup` may be, in either version of control groups (`cgroups(7)`).
fn folders(group: &str) -> Vec<PathBuf> {
    let mut fields = group.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let below = |top: &str| PathBuf::from(format!("/sys/fs/cgroup/{top}{path}"));
    match controllers.strip_prefix("name=") {
        Some(name) => vec![below(name)],
        None if controllers.is_empty() => vec![below(""), below("unified")],
        None => {
            let each = controllers.split(',').map(below);
            std::iter::once(below(controllers)).chain(each).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_in_either_version() {
        let first = |line: &str| folders(line)[0].display().to_string();
        assert_eq!(first("0::/shipit/a"), "/sys/fs/cgroup//shipit/a");
        assert_eq!(
            first("4:memory:/shipit/a"),
            "/sys/fs/cgroup/memory/shipit/a"
        );
        assert_eq!(
            first("2:cpu,cpuacct:/shipit/a"),
            "/sys/fs/cgroup/cpu,cpuacct/shipit/a"
        );
        assert_eq!(first("1:name=systemd:/a"), "/sys/fs/cgroup/systemd/a");
        assert!(folders("nothing").is_empty());
    }
}
