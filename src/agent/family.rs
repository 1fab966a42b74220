//! A process and what belongs to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::files::process::fields;

/// A process' place among the others (`proc_pid_stat(5)`).
#[derive(Debug, Clone, Copy)]
struct Kin {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
}

impl Kin {
    fn of(pid: u32, stat: &str) -> Option<Self> {
        let mut fields = fields(stat)?.skip(1);
        let mut next = || fields.next()?.parse().ok();
        Some(Self {
            pid,
            parent: next()?,
            group: next()?,
            session: next()?,
        })
    }
}

/// A process and its descendants, and what is in its group or session although its parent has
/// ended. An error where the system does not tell.
pub(super) fn family(leader: u32) -> io::Result<BTreeSet<u32>> {
    let all: Vec<Kin> = fs::read_dir("/proc")?
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Kin::of(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        })
        .collect();
    Ok(belonging(leader, &all))
}

fn belonging(leader: u32, all: &[Kin]) -> BTreeSet<u32> {
    let mut members = BTreeSet::from([leader]);
    loop {
        let more: Vec<u32> = all
            .iter()
            .filter(|kin| {
                members.contains(&kin.parent) || kin.group == leader || kin.session == leader
            })
            .map(|kin| kin.pid)
            .filter(|pid| !members.contains(pid))
            .collect();
        if more.is_empty() {
            return members;
        }
        members.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_what_they_left_in_the_group_belong_to_an_instance_and_nobody_else() {
        let kin = |pid, parent, group, session| Kin {
            pid,
            parent,
            group,
            session,
        };
        let all = [
            kin(10, 1, 10, 5),
            kin(11, 10, 11, 11),
            kin(12, 11, 12, 12),
            kin(13, 1, 10, 5),
            kin(20, 1, 20, 5),
            kin(21, 20, 20, 5),
        ];
        assert_eq!(belonging(10, &all), BTreeSet::from([10, 11, 12, 13]));
    }
}
