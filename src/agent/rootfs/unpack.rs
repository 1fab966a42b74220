//! One layer over those below it, by the rules of the OCI image specification (`layer.md`).
//!
//! Every path is one of the image's own: absolute links and `..` see the image as their `/`, and
//! nothing that a layer says is done outside of it. A name takes the place of what had it before,
//! whatever that was. `.wh.NAME` takes NAME away and `.wh..wh..opq` all that is in its folder, of
//! the layers below and never of the same one.
//!
//! Not taken over: devices and FIFOs, which become empty files; `setuid` and `setgid`; extended
//! attributes.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::fs::{chmodat, chownat, fchmod, fchown, fstat, futimens, linkat, mkdirat, openat};
use rustix::fs::{statat, symlinkat};
use rustix::io::Errno;
use tar::EntryType;

use crate::agent::rootfs::space::{NoSpace, Space};
use crate::files::archive::{self, Budget, Exceeded, Member};
use crate::files::beneath::{BeneathError, Folder, Links, Missing, Root};
use crate::files::removal::{clear, remove};

/// What a folder that no layer names is made with.
const IMPLIED: u32 = 0o755;

/// How many folders may be in each other. Whoever walks through them holds one descriptor for each.
const DEEPEST: usize = 256;

/// What every name of the specification's own begins with.
const WHITEOUT: &[u8] = b".wh.";

/// Says that a folder's earlier content is hidden.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What other tools note for themselves.
const NOTES: &[u8] = b".wh..wh.";

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// Of whoever unpacks.
    Own,
    /// As the layers say. Only root can.
    AsWritten,
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// A name leads out of the image.
    #[error("a layer names {0}, which is outside of the image")]
    Outside(PathBuf),
    /// A whiteout takes nothing away that has a name.
    #[error("a layer has the whiteout {0}, which names no file")]
    Whiteout(PathBuf),
    /// Something is below a name that is a whiteout's.
    #[error("a layer names {0}, and names that begin with .wh. are whiteouts")]
    Reserved(PathBuf),
    /// A path that no program could open.
    #[error("a layer names a path of {length} bytes, and {limit} are the most here: {path}…")]
    TooLong {
        /// Its beginning.
        path: String,
        /// Its length.
        length: usize,
        /// The most.
        limit: usize,
    },
    /// Folders in folders without an end.
    #[error("a layer names a path that is {DEEPEST} folders deep: {0}…")]
    TooDeep(String),
    /// An entry of a kind that is not known.
    #[error("a layer has {path} as an entry of the kind {kind:?}, which is not understood")]
    Kind {
        /// Its path.
        path: PathBuf,
        /// What it is.
        kind: EntryType,
    },
    /// A path could not be followed.
    #[error("unpacking a layer: {0}")]
    Path(#[from] BeneathError),
    /// Too much comes out.
    #[error("the image is too large to unpack: {0}")]
    Exceeded(Exceeded),
    /// The disk is nearly full.
    #[error(transparent)]
    Space(#[from] NoSpace),
    /// The machine says no, for one entry.
    #[error("unpacking {path} of a layer: {source}")]
    Entry {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive cannot be read.
    #[error("unpacking a layer: {0}")]
    Archive(io::Error),
}

impl From<io::Error> for UnpackError {
    fn from(error: io::Error) -> Self {
        Exceeded::of(&error).map_or(Self::Archive(error), Self::Exceeded)
    }
}

/// An image under way.
pub(super) struct Unpacker {
    root: Root,
    space: Space,
    owners: Owners,
    budget: Budget,
    /// The most bytes of a path, so that all of it can be opened from the machine's own `/`.
    longest: usize,
}

/// What of the image the current layer has made: by folder and name, and never by a path that may
/// change its meaning.
type Made = HashSet<(u64, OsString)>;

impl Unpacker {
    /// Into this folder, which is empty.
    pub fn new(into: &Path, owners: Owners, budget: Budget) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(into, Links::SeeRoot)?,
            space: Space::of(into)?,
            owners,
            budget,
            longest: 4095_usize.saturating_sub(into.as_os_str().len() + 1),
        })
    }

    /// Unpacks a layer, which is a tar.
    pub fn layer(&self, tar: impl Read) -> Result<(), UnpackError> {
        let mut layer = Layer {
            image: self,
            made: Made::new(),
            parent: None,
            buffer: vec![0; 128 << 10],
        };
        archive::each(tar, &self.budget, |member| layer.entry(member))
    }
}

struct Layer<'a> {
    image: &'a Unpacker,
    made: Made,
    /// The folder of the last entry, which most often is the next one's too.
    parent: Option<(PathBuf, Rc<Parent>)>,
    /// For content on its way.
    buffer: Vec<u8>,
}

/// A folder that an entry goes into.
struct Parent {
    folder: Folder,
    inode: u64,
}

impl Layer<'_> {
    fn entry(&mut self, member: &mut Member<'_>) -> Result<(), UnpackError> {
        let path = clean(&member.path)?;
        self.check_size(&path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The image's own folder.
            return Ok(());
        };
        let above = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if above
            .iter()
            .any(|part| part.as_bytes().starts_with(WHITEOUT))
        {
            return Err(UnpackError::Reserved(path));
        }

        if name.as_bytes().starts_with(WHITEOUT) {
            return self.white_out(&path, &above, name.as_bytes());
        }
        self.image.space.count_entries(1)?;
        let parent = self.parent(&above)?;
        // Links may lead deeper than the path says.
        let real = parent.folder.real.join(&name);
        self.check_size(&real)?;
        let target = match member.kind {
            EntryType::Symlink => member.link.as_os_str().len(),
            _ => 0,
        };
        self.count_path(real.as_os_str().len() + target)?;
        let placed = self.place(member, &parent, &name);
        placed.map_err(|error| match error {
            UnpackError::Archive(source) => UnpackError::Entry { path, source },
            other => other,
        })?;
        self.made.insert((parent.inode, name));
        Ok(())
    }

    fn count_path(&self, bytes: usize) -> Result<(), UnpackError> {
        let counted = self.image.budget.path(bytes);
        Ok(counted.map_err(io::Error::from)?)
    }

    /// Refuses a path that could not be opened afterwards.
    fn check_size(&self, path: &Path) -> Result<(), UnpackError> {
        let (length, limit) = (path.as_os_str().len(), self.image.longest);
        let beginning = || path.to_string_lossy().chars().take(60).collect();
        if length > limit {
            let path = beginning();
            return Err(UnpackError::TooLong {
                path,
                length,
                limit,
            });
        }
        if path.iter().count() > DEEPEST {
            return Err(UnpackError::TooDeep(beginning()));
        }
        Ok(())
    }

    /// The folder that an entry goes into; made, where no layer has named it.
    fn parent(&mut self, path: &Path) -> Result<Rc<Parent>, UnpackError> {
        if let Some((known, parent)) = &self.parent
            && known == path
        {
            return Ok(Rc::clone(parent));
        }
        let folder = self.image.root.folder(path, Missing::Make(IMPLIED))?;
        // One entry implies as many folders as its path has names.
        self.image
            .budget
            .entries(folder.made)
            .map_err(io::Error::from)?;
        self.image.space.count_entries(folder.made)?;
        let made = usize::try_from(folder.made).unwrap_or(usize::MAX);
        let made = folder.real.ancestors().take(made);
        self.count_path(made.map(|path| path.as_os_str().len()).sum())?;
        let inode = inode(&folder)?;
        let parent = Rc::new(Parent { folder, inode });
        self.parent = Some((path.to_path_buf(), Rc::clone(&parent)));
        Ok(parent)
    }

    fn place(
        &mut self,
        member: &mut Member<'_>,
        parent: &Parent,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        // As tar wrote folders before there was a kind for them.
        let is_folder = member.path.as_os_str().as_bytes().ends_with(b"/");
        match member.kind {
            EntryType::Regular if is_folder => self.folder(member, parent, name),
            EntryType::Directory => self.folder(member, parent, name),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(member, parent, name)
            }
            EntryType::Symlink => self.symlink(member, parent, name),
            EntryType::Link => self.hard_link(member, parent, name),
            // What a device of the machine's would be, an image may not say.
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.make_way(parent, name)?;
                create(parent, name).map(drop)
            }
            kind => Err(UnpackError::Kind {
                path: member.path.clone(),
                kind,
            }),
        }
    }

    /// One that is there stays, with what is in it.
    fn folder(
        &mut self,
        member: &Member<'_>,
        parent: &Parent,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        let at = &parent.folder.folder;
        if kind(parent, name)? != Some(FileType::Directory) {
            self.make_way(parent, name)?;
            mkdirat(at, name, Mode::RWXU).map_err(io::Error::from)?;
        }

        // Its owner can always go on unpacking into it.
        let mode = Mode::from_raw_mode(member.mode & 0o1777 | 0o700);
        chmodat(at, name, mode, AtFlags::empty()).map_err(io::Error::from)?;
        self.give(member, parent, name)
    }

    fn file(
        &mut self,
        member: &mut Member<'_>,
        parent: &Parent,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        self.make_way(parent, name)?;
        let mut file = create(parent, name)?;
        self.write(member, &mut file)?;

        if self.image.owners == Owners::AsWritten {
            let (uid, gid) = owner(member)?;
            given(fchown(&file, Some(uid), Some(gid)))?;
        }
        fchmod(&file, Mode::from_raw_mode(member.mode & 0o777)).map_err(io::Error::from)?;
        // Zero is no time: it is what reproducible archives write, and caches would take every
        // release for the same.
        if member.mtime > 0 {
            futimens(&file, &times(member.mtime)).map_err(io::Error::from)?;
        }
        Ok(())
    }

    fn write(&mut self, member: &mut Member<'_>, file: &mut File) -> Result<(), UnpackError> {
        loop {
            match member.read(&mut self.buffer)? {
                0 => return Ok(()),
                count => {
                    file.write_all(&self.buffer[..count])?;
                    self.image.space.count_bytes(count as u64)?;
                }
            }
        }
    }

    fn symlink(
        &mut self,
        member: &Member<'_>,
        parent: &Parent,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        self.make_way(parent, name)?;
        symlinkat(&member.link, &parent.folder.folder, name).map_err(io::Error::from)?;
        self.give(member, parent, name)
    }

    /// Another name for a file of the image; a link is not followed, but gets another name as well.
    fn hard_link(
        &mut self,
        member: &Member<'_>,
        parent: &Parent,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        let target = self.image.root.name(&clean(&member.link)?)?;
        let from = target.name.as_deref().unwrap_or(OsStr::new("."));
        let stat = |at, name| statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
        let wanted = stat(&target.folder, from).map_err(io::Error::from)?;
        let same = |there: rustix::fs::Stat| there.st_ino == wanted.st_ino;
        if stat(&parent.folder.folder, name).is_ok_and(same) {
            return Ok(());
        }

        self.make_way(parent, name)?;
        let at = &parent.folder.folder;
        linkat(&target.folder, from, at, name, AtFlags::empty()).map_err(io::Error::from)?;
        Ok(())
    }

    fn give(&self, member: &Member<'_>, parent: &Parent, name: &OsStr) -> Result<(), UnpackError> {
        if self.image.owners == Owners::AsWritten {
            let (uid, gid) = owner(member)?;
            let (at, flags) = (&parent.folder.folder, AtFlags::SYMLINK_NOFOLLOW);
            given(chownat(at, name, Some(uid), Some(gid), flags))?;
        }
        Ok(())
    }

    /// Takes away what has a name that something else gets.
    fn make_way(&mut self, parent: &Parent, name: &OsStr) -> Result<(), UnpackError> {
        self.parent = None;
        remove(&parent.folder.folder, name, &|_, _| false)?;
        Ok(())
    }

    fn white_out(&mut self, path: &Path, above: &Path, name: &[u8]) -> Result<(), UnpackError> {
        let hidden = OsStr::from_bytes(&name[WHITEOUT.len()..]);
        let is_opaque = name == OPAQUE;
        if !is_opaque && name.starts_with(NOTES) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(UnpackError::Whiteout(path.to_path_buf()));
        }

        let folder = match self.image.root.folder(above, Missing::Refuse) {
            Ok(folder) => folder,
            // Nothing is hidden in a folder that is not there.
            Err(BeneathError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.parent = None;
        let is_made = |inode, name: &OsStr| self.made.contains(&(inode, name.to_owned()));
        if is_opaque {
            clear(&folder.folder, &is_made)?;
        } else {
            remove(&folder.folder, hidden, &is_made)?;
        }
        Ok(())
    }
}

/// A name without what does not change its meaning; refused, where it leads up.
fn clean(path: &Path) -> Result<PathBuf, UnpackError> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(UnpackError::Outside(path.to_path_buf()));
            }
        }
    }
    Ok(clean)
}

fn owner(member: &Member<'_>) -> io::Result<(Uid, Gid)> {
    // The highest number means "nobody is named" to the kernel.
    let number = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let odd = || {
        io::Error::other(format!(
            "no file can belong to {}:{}",
            member.uid, member.gid
        ))
    };
    let (uid, gid) = number(member.uid).zip(number(member.gid)).ok_or_else(odd)?;
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Where root is only that of a namespace, it cannot give files to everybody: they stay its own.
fn given(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

fn times(seconds: u64) -> Timestamps {
    let omitted = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    Timestamps {
        last_access: omitted,
        last_modification: Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or_default(),
            tv_nsec: 0,
        },
    }
}

fn inode(folder: &Folder) -> io::Result<u64> {
    Ok(fstat(&folder.folder)?.st_ino)
}

/// What has a name in a folder; none, when nothing has.
fn kind(parent: &Parent, name: &OsStr) -> io::Result<Option<FileType>> {
    match statat(&parent.folder.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn create(parent: &Parent, name: &OsStr) -> Result<File, UnpackError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&parent.folder.folder, name, flags, Mode::RUSR | Mode::WUSR);
    Ok(file.map_err(io::Error::from)?.into())
}
