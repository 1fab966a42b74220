//! Which users of the machine a container's users are, where the agent is root: a range of numbers
//! that nobody else has, so that root inside is nobody outside (`user_namespaces(7)`).
//!
//! An image's files keep their owners on disk and are seen through a mount that shifts them into
//! the range (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`). A volume's files are seen by their own
//! numbers, root's excepted: a container's root has those of the range's first number, and the
//! machine's root has none that it can touch.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use libcontainer::syscall::linux::MountAttr;
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::CWD;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::mount::{OpenTreeFlags, open_tree};
use sha2::{Digest as _, Sha256};

use crate::agent::runtime::container::userns;
use crate::files::process::program;

/// What went wrong, in words.
type Reason = String;

fn said<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Reason + '_ {
    move |error| format!("{what}: {error}")
}

/// How many users and groups a container has.
pub const COUNT: u32 = 65_536;

/// The first number of the ranges that projects have: between those that `useradd` and systemd give
/// away and those that are no user's at all (systemd, `UIDS-GIDS.md`).
const FIRST: u32 = 0x7000_0000;

/// How many ranges there are from there on.
const RANGES: u32 = 4094;

/// Whose range in `/etc/subuid` and `/etc/subgid` a container has.
const OWNERS: [&str; 3] = ["shipit", "root", "0"];

/// Attributes of a mount (`mount_setattr(2)`).
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const IDMAP: u64 = 0x0010_0000;

/// Flags of a call with a path (`openat(2)`).
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_RECURSIVE: u32 = 0x8000;

/// The machine's number of a container's first user, and of its first group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IdRange {
    /// The number of root.
    pub user: u32,
    /// The number of root's group.
    pub group: u32,
}

impl IdRange {
    /// The range that the machine's administrator has given to shipit or to root, else the
    /// project's own.
    #[must_use]
    pub fn of(project: &str) -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Self::given(&read("/etc/subuid"), &read("/etc/subgid"))
            .unwrap_or_else(|| Self::own(project))
    }

    fn given(users: &str, groups: &str) -> Option<Self> {
        OWNERS.into_iter().find_map(|owner| {
            let (user, group) = (range(users, owner)?, range(groups, owner)?);
            Some(Self { user, group })
        })
    }

    /// The same on every machine and after every start, as files of volumes have these numbers.
    fn own(project: &str) -> Self {
        let hash = Sha256::digest(project.as_bytes());
        let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % RANGES;
        let first = FIRST + number * COUNT;
        Self {
            user: first,
            group: first,
        }
    }

    /// The users of a container, and the owners of its image's files.
    fn shifted(self) -> Maps {
        let map = |first: u32| format!("0 {first} {COUNT}\n");
        Maps {
            users: map(self.user),
            groups: map(self.group),
        }
    }

    /// The owners of a volume's files: by their own numbers, and none of them root.
    fn kept(self) -> Maps {
        let map = |first: u32| format!("1 {} {}\n{first} {first} 1\n", first + 1, COUNT - 1);
        Maps {
            users: map(self.user),
            groups: map(self.group),
        }
    }

    /// The namespace that a container is in; an image's files are mapped by it too.
    ///
    /// # Errors
    /// In words, when the kernel makes none.
    pub fn namespace(self) -> Result<OwnedFd, Reason> {
        self.shifted().namespace()
    }

    /// The namespace that a volume's files are mapped by.
    ///
    /// # Errors
    /// In words, when the kernel makes none.
    pub fn volumes(self) -> Result<OwnedFd, Reason> {
        self.kept().namespace()
    }
}

/// The first number of an owner's range, if it has enough of them.
fn range(text: &str, owner: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let is_own = fields.next()? == owner;
        let first: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        (is_own && first >= COUNT && count >= COUNT).then_some(first)
    })
}

/// What is written to `/proc/PID/uid_map` and `/proc/PID/gid_map`.
struct Maps {
    users: String,
    groups: String,
}

impl Maps {
    fn namespace(&self) -> Result<OwnedFd, Reason> {
        let (mut holder, talk) = holder()?;
        let namespace = self.given_to(&mut holder, &talk);
        drop(talk);
        let _ = holder.wait();
        namespace
    }

    fn given_to(&self, holder: &mut Child, mut talk: &UnixStream) -> Result<OwnedFd, Reason> {
        let mut word = String::new();
        let mut first = [0];
        // It says one byte when it is in its namespace, else why it is not.
        if talk.read_exact(&mut first).is_err() || first != *READY {
            word.push(char::from(first[0]));
            let _ = talk.read_to_string(&mut word);
            return Err(word.trim_matches('\0').to_owned());
        }

        let of_holder = |name: &str| format!("/proc/{}/{name}", holder.id());
        fs::write(of_holder("uid_map"), &self.users).map_err(said("mapping users"))?;
        fs::write(of_holder("gid_map"), &self.groups).map_err(said("mapping groups"))?;
        let namespace =
            fs::File::open(of_holder("ns/user")).map_err(said("opening a user namespace"))?;
        Ok(namespace.into())
    }
}

/// What a holder says when it is in its namespace.
const READY: &[u8; 1] = b".";

/// A process in a new namespace, which is there until somebody has opened it.
fn holder() -> Result<(Child, UnixStream), Reason> {
    let starting = said::<std::io::Error>("starting a process for a user namespace");
    let (talk, theirs) = UnixStream::pair().map_err(&starting)?;
    let holder = Command::new(program())
        .args(["agent", "contain-users"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(&starting)?;
    Ok((holder, talk))
}

/// The holder's side: makes the namespace, says so, and waits until the other side is gone.
///
/// # Errors
/// In words, when there is nobody to tell.
pub fn hold() -> Result<u8, Reason> {
    let talk = fcntl_dupfd_cloexec(std::io::stdin(), 3).map_err(said("hearing the agent"))?;
    let mut talk = UnixStream::from(talk);
    let made = userns::new_users();
    let word = made
        .as_ref()
        .err()
        .map_or(&READY[..], |reason| reason.as_bytes());
    talk.write_all(word).map_err(said("telling the agent"))?;
    if made.is_ok() {
        let _ = talk.read(&mut [0]);
    }
    Ok(0)
}

/// How much of a tree of files is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// What is in its own file system: an image has nothing else in it.
    Own,
    /// That, and all that is mounted in it.
    WithMounts,
}

/// A tree of files with the owners that a namespace gives to them. It is at no place yet.
///
/// # Errors
/// In words, when the kernel or one of the file systems cannot do it.
pub fn mapped(tree: &Path, how: Tree, by: &OwnedFd) -> Result<OwnedFd, Reason> {
    let (deep, deep_attributes) = match how {
        Tree::Own => (OpenTreeFlags::empty(), 0),
        Tree::WithMounts => (OpenTreeFlags::AT_RECURSIVE, AT_RECURSIVE),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | deep;
    let place = tree.display();
    let mount = open_tree(CWD, tree, flags).map_err(said(&format!("mounting {place}")))?;
    let attributes = MountAttr {
        attr_set: IDMAP | NOSUID | NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(by.as_raw_fd().unsigned_abs()),
    };

    SyscallType::Linux
        .create_syscall()
        .mount_setattr(
            mount.as_fd(),
            Path::new(""),
            AT_EMPTY_PATH | deep_attributes,
            &attributes,
            size_of::<MountAttr>(),
        )
        .map_err(|error| {
            format!("the file system of {place}, or one in it, cannot map users: {error}")
        })?;
    Ok(mount)
}

/// Whether all of this can be done for an image's files in this folder and for these volumes.
///
/// # Errors
/// In words, what cannot.
pub fn probe(folder: &Path, volumes: &[std::path::PathBuf]) -> Result<u8, Reason> {
    let range = IdRange::own("");
    mapped(folder, Tree::Own, &range.namespace()?)?;
    if !volumes.is_empty() {
        let by = range.volumes()?;
        for volume in volumes {
            mapped(volume, Tree::WithMounts, &by)?;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_administrators_or_the_projects_own() {
        let users = "kim:100000:65536\nroot:300000:65536\nshipit:500000:1000\n";
        let groups = "root:400000:65536\n";
        let given = IdRange::given(users, groups);
        let expected = IdRange {
            user: 300_000,
            group: 400_000,
        };
        assert_eq!(given, Some(expected), "shipit's has too few");
        assert_eq!(IdRange::given(users, ""), None);
        // A range that begins among the machine's own users would be no protection.
        assert_eq!(IdRange::given("root:0:65536", "root:0:65536"), None);
    }

    #[test]
    fn every_project_has_a_range_that_stays() {
        let shop = IdRange::own("shop");
        assert_eq!(shop, IdRange::own("shop"));
        assert_ne!(shop, IdRange::own("blog"));
        for project in ["shop", "blog", "", "a-long-name-of-a-project"] {
            let IdRange { user, group } = IdRange::own(project);
            assert_eq!(user, group);
            assert!((FIRST..=0x7FFD_0000).contains(&user), "{user}");
            assert_eq!(user % COUNT, 0);
        }
    }

    #[test]
    fn no_map_has_the_machines_root() {
        let range = IdRange {
            user: 300_000,
            group: 400_000,
        };
        assert_eq!(range.shifted().users, "0 300000 65536\n");
        assert_eq!(range.kept().users, "1 300001 65535\n300000 300000 1\n");
        assert_eq!(range.kept().groups, "1 400001 65535\n400000 400000 1\n");
    }
}
