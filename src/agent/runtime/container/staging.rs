//! Where the files of a container with users of its own are put together: in mounts that its own
//! processes alone see.
//!
//! Its root has no way through the agent's folder, so that they are at a place that everybody may
//! enter. The same place serves every container, as each sees its own mounts there.
//!
//! ```text
//! BUNDLE/users.json   which users it has, and its volumes; only for such a container
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, openat};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};
use serde_json::json;

use crate::agent::launch::User;
use crate::agent::runtime::container::id_map::{IdRange, Tree, mapped};
use crate::agent::runtime::container::userns;
use crate::files::beneath::{BeneathError, Links, Missing, Root};

/// What went wrong, in words.
type Reason = String;

fn said<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Reason + '_ {
    move |error| format!("{what}: {error}")
}

/// Where a container's files are put together.
const PLACE: &str = "/run/shipit";

/// The name of the file that says which users a container has.
const FILE: &str = "users.json";

/// The users of a container, and what is mapped for them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContainerUsers {
    /// The machine's numbers of them.
    pub range: IdRange,
    /// Folder or file in the container, and the machine's.
    pub volumes: Vec<(PathBuf, PathBuf)>,
}

impl ContainerUsers {
    /// Writes it into a container's folder.
    pub fn write(&self, bundle: &Path) -> io::Result<()> {
        fs::write(bundle.join(FILE), serde_json::to_vec(self)?)
    }

    /// From a container's folder; none when its users are the machine's.
    pub fn read(bundle: &Path) -> Result<Option<Self>, Reason> {
        let reading = "reading its users";
        match fs::read(bundle.join(FILE)) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(said(reading)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(said(reading)(error)),
        }
    }

    /// A user of the container as the machine knows it; its root without one.
    pub fn of_the_machine(&self, user: Option<User>) -> User {
        let User { uid, gid } = user.unwrap_or(User { uid: 0, gid: 0 });
        User {
            uid: self.range.user.saturating_add(uid),
            gid: self.range.group.saturating_add(gid),
        }
    }

    /// The line about a volume of the machine's root, which root of the container cannot write;
    /// none when it can.
    fn unwritable(&self, from: &Path) -> Option<String> {
        let owner = fs::metadata(from).ok()?.uid();
        let (IdRange { user, group }, from) = (self.range, from.display());
        (owner == 0).then(|| {
            format!(
                "shipit: the volume {from} belongs to root of the machine, and root of this \
                 container is {user} there: it can be written after `chown -R {user}:{group} \
                 {from}`"
            )
        })
    }

    /// The lines for the service's log about its volumes. A user other than root could never write
    /// root's.
    pub fn remarks(&self, user: u32) -> Vec<String> {
        if user != 0 {
            return Vec::new();
        }
        let volumes = self.volumes.iter();
        volumes
            .filter_map(|(_, from)| self.unwritable(from))
            .collect()
    }

    /// Mounts an image's files for these users, with the volumes in them, where this process and
    /// its children alone see them; gives the namespace that the container is to be in.
    pub fn stage(
        &self,
        files: &Path,
        bundle: &Path,
        overlay: impl Fn(&Path, &Path) -> Result<(), Reason>,
    ) -> Result<OwnedFd, Reason> {
        let namespace = self.range.namespace()?;
        let image = mapped(files, Tree::Own, &namespace)?;
        let volumes = self.mapped_volumes()?;
        userns::new_mounts()?;
        // What the machine unmounts goes here too; what is mounted here, the machine never sees.
        mount_change(
            "/",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )
        .map_err(said("mounting its files"))?;

        let (lower, rootfs) = places().map_err(said(&format!("making {PLACE}")))?;
        at(&image, &lower).map_err(said("mounting the image's files"))?;
        std::os::unix::fs::chown(
            bundle.join("upper"),
            Some(self.range.user),
            Some(self.range.group),
        )
        .map_err(said("making its folders"))?;
        overlay(&lower, &rootfs)?;
        // The overlay has them, and needs no name of theirs.
        unmount(&lower, UnmountFlags::DETACH).map_err(said("mounting its files"))?;

        let root = Root::open(&rootfs, Links::SeeRoot).map_err(said("opening its files"))?;
        for ((inside, from), tree) in self.volumes.iter().zip(volumes) {
            self.attach(&root, inside, from, &tree)
                .map_err(said(&format!("the volume {}", inside.display())))?;
        }
        Ok(namespace)
    }

    fn mapped_volumes(&self) -> Result<Vec<OwnedFd>, Reason> {
        if self.volumes.is_empty() {
            return Ok(Vec::new());
        }
        let by = self.range.volumes()?;
        let trees = self.volumes.iter();
        trees
            .map(|(_, from)| mapped(from, Tree::WithMounts, &by))
            .collect()
    }

    /// Puts a volume to its place in the container, which is made when it is not there. The image's
    /// links see the image as their root.
    fn attach(
        &self,
        root: &Root,
        inside: &Path,
        from: &Path,
        tree: &OwnedFd,
    ) -> Result<(), Reason> {
        let place = if fs::metadata(from).map_err(said("reading it"))?.is_dir() {
            self.folder(root, inside)
                .map_err(|error| error.to_string())?
        } else {
            self.file(root, inside).map_err(|error| error.to_string())?
        };
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", &place, "", flags).map_err(|error| error.to_string())
    }

    /// A folder of the container, made with all that lead to it as its root's.
    fn folder(&self, root: &Root, path: &Path) -> Result<OwnedFd, BeneathError> {
        let mut upwards: Vec<&Path> = path.ancestors().collect();
        upwards.reverse();
        for folder in upwards {
            match root.folder(folder, Missing::Refuse) {
                Err(error) if error.is_missing() => {
                    let made = root.folder(folder, Missing::Make(0o755))?;
                    self.own(&made.folder, folder)?;
                }
                other => drop(other?),
            }
        }
        Ok(root.folder(path, Missing::Refuse)?.folder)
    }

    /// A file of the container, made when it is not there.
    fn file(&self, root: &Root, path: &Path) -> Result<OwnedFd, BeneathError> {
        let failed = |errno: rustix::io::Errno| BeneathError::Io {
            path: path.to_path_buf(),
            source: errno.into(),
        };
        self.folder(root, path.parent().unwrap_or(Path::new("/")))?;
        let real = root.real(path).or_else(|error| {
            if !error.is_missing() {
                return Err(error);
            }
            let name = root.name(path)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let base = name.name.as_deref().unwrap_or_default();
            let made = openat(&name.folder, base, flags, Mode::from_raw_mode(0o644));
            self.own(&made.map_err(failed)?, path)?;
            Ok(name.real)
        })?;

        let name = root.name(&real)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let base = name.name.as_deref().unwrap_or_default();
        openat(&name.folder, base, flags, Mode::empty()).map_err(failed)
    }

    fn own(&self, made: &OwnedFd, path: &Path) -> Result<(), BeneathError> {
        let (user, group) = (
            Uid::from_raw(self.range.user),
            Gid::from_raw(self.range.group),
        );
        chownat(made, "", Some(user), Some(group), AtFlags::EMPTY_PATH).map_err(|errno| {
            BeneathError::Io {
                path: path.to_path_buf(),
                source: errno.into(),
            }
        })
    }
}

/// The folders that a container's files are mounted at, made when they are not there: everybody may
/// go through them, and outside of a container's mounts there is nothing in them.
fn places() -> io::Result<(PathBuf, PathBuf)> {
    let place = Path::new(PLACE);
    let folders = (place.join("image"), place.join("rootfs"));
    for folder in [place, &folders.0, &folders.1] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(folder)?;
        let meta = fs::symlink_metadata(folder)?;
        if !meta.is_dir() || meta.uid() != 0 {
            return Err(io::Error::other("it is not root's own folder"));
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
    }
    Ok(folders)
}

fn at(tree: &OwnedFd, place: &Path) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", CWD, place, flags)
}

/// Says in a container's description where its files are and which namespace it is in. The
/// namespace has to stay open until the container is made.
pub fn describe(bundle: &Path, namespace: &OwnedFd) -> Result<(), Reason> {
    let describing = "describing it";
    let file = bundle.join("config.json");
    let text = fs::read(&file).map_err(said(describing))?;
    let mut what: serde_json::Value = serde_json::from_slice(&text).map_err(said(describing))?;
    what["root"]["path"] = format!("{PLACE}/rootfs").into();
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    if let Some(all) = what["linux"]["namespaces"].as_array_mut() {
        all.push(json!({"type": "user", "path": path}));
    }
    crate::files::replace(&file, what.to_string().as_bytes()).map_err(said(describing))
}
