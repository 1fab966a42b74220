//! Taking a container's control groups away, whatever state it was left in: libcontainer does so
//! only for one whose own record is whole, and gives up on a group whose last process has not gone
//! yet.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::port::pause;

/// Where control groups are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";
/// The group that all containers' groups are in.
pub const PARENT: &str = "shipit";
/// How long groups that are still busy are tried again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends what is left in a container's groups, and removes them. A process that the kernel does not
/// let go of keeps its group: there is nothing in it then but what cannot be ended.
pub fn remove(name: &str) {
    let (least, most) = (Duration::from_millis(25), Duration::from_millis(75));
    let begun = Instant::now();
    let mut left = groups(Path::new(MOUNTED), name);
    loop {
        left.retain(|group| {
            end_processes(group);
            let removed = fs::remove_dir(group);
            removed.is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
        });
        if left.is_empty() || begun.elapsed() > PATIENCE {
            return;
        }
        std::thread::sleep(pause::between(least, most));
    }
}

/// The groups of a container, in either version of control groups: one for each controller, or one
/// for all.
fn groups(mounted: &Path, name: &str) -> Vec<PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Vec::new();
    }
    let controllers = fs::read_dir(mounted).into_iter().flatten();
    let tops = controllers
        .filter_map(Result::ok)
        // `cpu` and `cpuacct` are links to the one that has both.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .chain([mounted.to_owned()]);
    tops.map(|top| top.join(PARENT).join(name))
        .filter(|group| group.is_dir())
        .collect()
}

fn end_processes(group: &Path) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in listed.lines().filter_map(|line| line.trim().parse().ok()) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_groups_are_found_for_each_controller_and_for_all() {
        let mounted = tempfile::tempdir().expect("a folder");
        let make = |path: &str| fs::create_dir_all(mounted.path().join(path)).expect("made");
        for path in [
            "memory/shipit/a",
            "cpu,cpuacct/shipit/a",
            "pids/shipit/b",
            "shipit/a",
        ] {
            make(path);
        }
        let link = mounted.path().join("cpu");
        std::os::unix::fs::symlink("cpu,cpuacct", link).expect("linked");

        let mut found = groups(mounted.path(), "a");
        found.sort();
        let expected = ["cpu,cpuacct/shipit/a", "memory/shipit/a", "shipit/a"];
        assert_eq!(found, expected.map(|path| mounted.path().join(path)));
        for name in ["", ".", "..", "../a", "a/b"] {
            assert!(groups(mounted.path(), name).is_empty(), "{name}");
        }
    }
}
