//! As whom a service runs: what its image says, in numbers or by the names of its own
//! `/etc/passwd`.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

/// The largest list of accounts that is read.
const LONGEST_LIST: u64 = 1 << 20;

/// A user and a group of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its only group.
    pub gid: u32,
}

/// A user, and where it is at home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub user: User,
    /// The home folder that the image gives to it; `/` without one, as container runtimes do.
    pub home: PathBuf,
}

impl User {
    /// Whether it may not enter a folder: the folder's mode then.
    #[must_use]
    pub fn barred_by(self, folder: &Path) -> Option<u32> {
        let meta = std::fs::metadata(folder).ok()?;
        let may = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        let is_root = self.uid == 0;
        (!is_root && meta.mode() & may == 0).then_some(meta.mode() & 0o7777)
    }
}

/// The group of a user by its number that the image's lists do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlistedGroup {
    /// Of the same number: on the machine root's group is more than such a user should have.
    Own,
    /// Root's of the container, as container runtimes have it: images that are made for any user
    /// give their folders to that group.
    Root,
}

/// Whom an image means by its user; none when it names nobody.
pub fn account(
    rootfs: &Path,
    named: Option<&str>,
    unlisted: UnlistedGroup,
) -> io::Result<Option<Account>> {
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return Ok(None);
    };
    let list = |path: &str| read_within(rootfs, path).unwrap_or_default();
    let lists = (&*list("etc/passwd"), &*list("etc/group"));
    let found = resolve(named, lists, unlisted);
    found
        .map(Some)
        .map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))
}

/// By the image's lists of users and groups (`passwd(5)`, `group(5)`).
fn resolve(
    named: &str,
    (users, groups): (&str, &str),
    unlisted: UnlistedGroup,
) -> Result<Account, String> {
    let (user, group) = named
        .split_once(':')
        .map_or((named, None), |(user, group)| (user, Some(group)));
    let entry = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&user) || fields.get(2) == Some(&user));
    let field = |at: usize| entry.as_ref().and_then(|fields| fields.get(at).copied());

    let number = |text: &str| text.parse::<u32>().ok();
    let uid = number(user)
        .or_else(|| field(2).and_then(number))
        .or_else(|| (user == "root").then_some(0));
    let uid = uid.ok_or_else(|| {
        format!("user `{user}` is neither a number nor in the image's /etc/passwd")
    })?;
    let gid = match group {
        Some(group) => number(group)
            .or_else(|| group_of(groups, group))
            .ok_or_else(|| {
                format!("group `{group}` is neither a number nor in the image's /etc/group")
            })?,
        None => field(3).and_then(number).unwrap_or(match unlisted {
            UnlistedGroup::Own => uid,
            UnlistedGroup::Root => 0,
        }),
    };
    let home = field(5).filter(|home| home.starts_with('/')).unwrap_or("/");
    Ok(Account {
        user: User { uid, gid },
        home: home.into(),
    })
}

fn group_of(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        (fields.next()? == name)
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

/// A file of an image, whose links lead nowhere but into the image.
fn read_within(rootfs: &Path, path: &str) -> io::Result<String> {
    let root = open(
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let file = openat2(
        &root,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    let mut text = String::new();
    std::fs::File::from(file)
        .take(LONGEST_LIST)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:2000::/home/node:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nstaff:x:50:\n";

    fn found(named: &str) -> (u32, u32, String) {
        let account = resolve(named, (USERS, GROUPS), UnlistedGroup::Own).unwrap();
        let User { uid, gid } = account.user;
        (uid, gid, account.home.display().to_string())
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let node = (1000, 2000, "/home/node".to_owned());
        assert_eq!(found("node"), node);
        assert_eq!(found("1000"), node);
        assert_eq!(found("node:staff"), (1000, 50, "/home/node".to_owned()));
        assert_eq!(found("1000:7"), (1000, 7, "/home/node".to_owned()));
        assert_eq!(found("65532"), (65532, 65532, "/".to_owned()));

        let in_container = |named| {
            let found = resolve(named, (USERS, GROUPS), UnlistedGroup::Root);
            found.unwrap().user.gid
        };
        assert_eq!(in_container("65532"), 0);
        assert_eq!(in_container("1000"), 2000);
        assert_eq!(in_container("65532:7"), 7);
    }

    #[test]
    fn a_user_that_the_image_does_not_have_is_an_error_that_names_it() {
        let error = resolve("nobody", (USERS, GROUPS), UnlistedGroup::Root).unwrap_err();
        assert!(error.contains("user `nobody`"), "{error}");
        let error = resolve("node:wheel", (USERS, GROUPS), UnlistedGroup::Own).unwrap_err();
        assert!(error.contains("group `wheel`"), "{error}");
        let root = resolve("root", ("", ""), UnlistedGroup::Own).unwrap();
        assert_eq!(root.user, User { uid: 0, gid: 0 });
    }

    #[test]
    fn the_lists_of_an_image_are_never_those_of_the_machine() {
        let image = tempfile::tempdir().unwrap();
        std::fs::create_dir(image.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", image.path().join("etc/passwd")).unwrap();
        // The link leads to itself within the image.
        assert!(read_within(image.path(), "etc/passwd").is_err());
    }

    #[test]
    fn a_folder_that_a_user_may_not_enter_is_told() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder.path(), closed).unwrap();
        let stranger = User {
            uid: 65_533,
            gid: 65_533,
        };
        assert_eq!(stranger.barred_by(folder.path()), Some(0o700));
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).unwrap();
        assert_eq!(stranger.barred_by(folder.path()), None);
    }
}
