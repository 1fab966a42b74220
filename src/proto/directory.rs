//! The agent's folder: one per user, so that all projects of a machine share one router.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::model::{Digest, ReleaseNumber, ServiceName, Slot};
use crate::port::engine::Scope;

/// The variable that names another folder.
pub const VARIABLE: &str = "SHIPIT_AGENT_DIR";

/// Where the agent keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(PathBuf);

impl Directory {
    /// This folder, else `SHIPIT_AGENT_DIR`, else `/var/lib/shipit` for root, else
    /// `$XDG_STATE_HOME/shipit`, else `~/.local/state/shipit`, where home is what the machine's
    /// list of users says when `HOME` does not. Never a folder that depends on where a command is
    /// typed.
    #[must_use]
    pub fn find(named: Option<PathBuf>) -> Self {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };

        let path = named.or_else(|| variable(VARIABLE)).unwrap_or_else(|| {
            if geteuid().is_root() {
                return PathBuf::from("/var/lib/shipit");
            }
            let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
            let home = || {
                absolute("HOME")
                    .or_else(listed_home)
                    .map(|home| home.join(".local/state"))
            };
            let state = absolute("XDG_STATE_HOME").or_else(home);
            state.map_or_else(
                || format!("/var/tmp/shipit-{}", geteuid().as_raw()).into(),
                |state| state.join("shipit"),
            )
        });
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Why the variable names no folder, if that is so: a path that depends on where a command is
    /// typed is another agent's in each.
    #[must_use]
    pub fn misnamed() -> Option<String> {
        let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
        let path = Path::new(&named);
        path.is_relative().then(|| {
            format!(
                "{VARIABLE} is {}, which depends on the folder",
                path.display()
            )
        })
    }

    /// Makes the folder, for its owner only, and looks whether it can be trusted. Others than
    /// root's services may pass through root's, for the images, and see nothing of it.
    pub fn prepare(&self) -> io::Result<OwnedFd> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        let folder = self.open()?;
        folder.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens the folder, if it is there, and looks whether it can be trusted: whoever can write in
    /// it can be the agent for a client, and the client for an agent. What is looked at is what is
    /// open, and not what has its name later.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match open(&self.0, how, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused(self.no_folder())),
            other => other?,
        };
        let stat = fstat(&folder)?;
        match distrust(&self.0, stat.st_uid, stat.st_mode, geteuid().as_raw()) {
            Some(reason) => Err(refused(reason)),
            None => Ok(Some(folder)),
        }
    }

    fn no_folder(&self) -> String {
        let path = self.0.display();
        format!(
            "{path} is a link or a file: name the folder itself with SHIPIT_AGENT_DIR or `cluster.directory`"
        )
    }

    /// For the agent: what is in the folder is its own alone, whatever it was made with. Root's has
    /// a way through to the images: their names are digests, and their files are for services of
    /// any user to read.
    pub fn close_off(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.0)?.filter_map(Result::ok) {
            let kind = entry.file_type()?;
            let is_open = [self.images(), self.files()].contains(&entry.path());
            if kind.is_symlink() || is_open {
                continue;
            }
            let mode = entry.metadata()?.permissions().mode();
            if mode & 0o077 != 0 {
                set_permissions(entry.path(), Permissions::from_mode(mode & 0o700))?;
            }
        }

        if !geteuid().is_root() {
            return Ok(());
        }

        std::fs::create_dir_all(self.images())?;
        for folder in [self.images(), self.0.clone()] {
            set_permissions(folder, Permissions::from_mode(0o711))?;
        }
        Ok(())
    }

    /// Where the agent listens, by way of the folder that was opened: whatever comes to have its
    /// name meanwhile, and however long the name is (a socket's is 107 bytes at the most,
    /// `unix(7)`).
    #[must_use]
    pub fn socket_of(&self, folder: &OwnedFd) -> PathBuf {
        let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        if through.is_dir() {
            through.join("agent.sock")
        } else {
            self.socket()
        }
    }

    /// Where the agent listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// Held by the agent that runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("agent.lock")
    }

    /// Held while an agent is being started.
    #[must_use]
    pub fn start_lock(&self) -> PathBuf {
        self.0.join("agent.start")
    }

    /// What the agent itself has to say.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("agent.log")
    }

    /// One line per request.
    #[must_use]
    pub fn access_log(&self) -> PathBuf {
        self.0.join("access.log")
    }

    /// What the hashes of secrets are keyed with.
    #[must_use]
    pub fn hash_key(&self) -> PathBuf {
        self.0.join("hash-key")
    }

    /// What is recorded of the environments.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.0.join("environments")
    }

    /// What is recorded of one environment, once anything was done to it.
    #[must_use]
    pub fn record(&self, scope: &Scope) -> PathBuf {
        self.records()
            .join(scope.project.as_str())
            .join(scope.environment.as_str())
            .join("record.json")
    }

    /// Where images are brought to from registries, as an OCI image layout.
    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.0.join("layout")
    }

    /// Where clients on other machines send an environment's images to, as an OCI image layout.
    #[must_use]
    pub fn sent(&self, scope: &Scope) -> PathBuf {
        let environment = self.0.join("sent").join(scope.project.as_str());
        environment.join(scope.environment.as_str())
    }

    /// Where the state of environments is kept for clients on several machines.
    #[must_use]
    pub fn documents(&self) -> PathBuf {
        self.0.join("documents")
    }

    /// Where the files of instances are that cannot be held in memory.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    /// The name of the folder in memory that the files of instances are in.
    #[must_use]
    pub fn memory_name(&self) -> PathBuf {
        self.0.join("files-in-memory")
    }

    /// Where it is written down which commands run.
    #[must_use]
    pub fn commands(&self) -> PathBuf {
        self.0.join("commands")
    }

    /// Where images are unpacked.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// One image's files.
    #[must_use]
    pub fn rootfs(&self, image: &Digest) -> PathBuf {
        self.images().join(image.hex())
    }

    /// The logs of what stands in a slot, or stood there.
    #[must_use]
    pub fn slot_logs(&self, scope: &Scope, slot: Slot) -> PathBuf {
        self.0
            .join("logs")
            .join(scope.project.as_str())
            .join(scope.environment.as_str())
            .join(slot.as_str())
    }

    /// One instance's log.
    #[must_use]
    pub fn instance_log(
        &self,
        scope: &Scope,
        slot: Slot,
        release: ReleaseNumber,
        service: &ServiceName,
        index: u16,
    ) -> PathBuf {
        self.slot_logs(scope, slot)
            .join(release.to_string())
            .join(format!("{service}.{index}.log"))
    }
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// Why a folder of this owner and mode is not trusted, in words and with what to type.
fn distrust(path: &Path, owner: u32, mode: u32, own: u32) -> Option<String> {
    let path = path.display();
    if owner != own && owner != 0 {
        return Some(format!(
            "{path} belongs to user {owner}, and neither to this one ({own}) nor to root: whoever it belongs to could \
             be the agent. `chown {own} {path}` if that is right, or name another folder with SHIPIT_AGENT_DIR or \
             `cluster.directory`"
        ));
    }
    let mode = mode & 0o7777;
    (mode & 0o022 != 0).then(|| {
        format!(
            "{path} can be written by others (mode {mode:04o}): whoever does could be the agent. `chmod go-w {path}`"
        )
    })
}

/// The home of this user in the machine's list (`passwd(5)`).
fn listed_home() -> Option<PathBuf> {
    let list = std::fs::read_to_string("/etc/passwd").ok()?;
    home_in(&list, geteuid().as_raw())
}

fn home_in(list: &str, user: u32) -> Option<PathBuf> {
    let mut entries = list.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|fields| fields.get(2).is_some_and(|uid| *uid == user.to_string()))?;
    let home = PathBuf::from(entry.get(5)?);
    home.is_absolute().then_some(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_elses_or_that_others_may_write_in_is_refused() {
        let distrust = |owner, mode, own| distrust(Path::new("/a"), owner, mode, own);
        for trusted in [(1000, 0o700, 1000), (0, 0o711, 1000), (0, 0o755, 0)] {
            let (owner, mode, own) = trusted;
            assert_eq!(distrust(owner, mode, own), None);
        }
        let others = distrust(65_534, 0o700, 0).unwrap();
        assert!(others.contains("belongs to user 65534"), "{others}");
        for mode in [0o777, 0o720, 0o702, 0o1777] {
            let open = distrust(1000, mode, 1000).unwrap();
            assert!(open.contains("`chmod go-w /a`"), "{open}");
        }
    }

    #[test]
    fn what_is_opened_is_a_folder_and_no_link_to_one() {
        let place = tempfile::tempdir().unwrap();
        let (folder, link) = (place.path().join("a"), place.path().join("b"));
        Directory::find(Some(folder.clone())).prepare().unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let error = Directory::find(Some(link)).open().unwrap_err();
        assert!(error.to_string().contains("is a link"), "{error}");
        let missing = Directory::find(Some(place.path().join("c")));
        assert!(missing.open().unwrap().is_none());
    }

    #[test]
    fn a_user_without_a_home_variable_has_the_home_of_the_list() {
        let list = "root:x:0:0::/root:/bin/sh\nx:x:7:7::/home/x:/bin/sh\ny:x:8:8:::\n";
        assert_eq!(home_in(list, 7), Some("/home/x".into()));
        assert_eq!(home_in(list, 8), None);
        assert_eq!(home_in(list, 9), None);
    }
}
