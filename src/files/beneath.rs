//! Opening beneath a folder: a path that somebody else wrote never leads out of it.
//!
//! A path is walked name by name with `openat(2)` and `O_NOFOLLOW`, and the links on the way are followed here, so
//! that the rule about them is this module's and not the kernel's. A test holds every answer against `openat2(2)`,
//! which not every kernel and sandbox has (`docs/decisions/0016`).

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::fs::{chmodat, fstat, mkdirat, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;

/// The most links that one path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// The most folders that one path may lead through, links included: a path of links is walked again from the top.
const MOST_STEPS: usize = 20_000;

/// What a link may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Lead to another place beneath the folder; one that leads out is refused.
    StayBeneath,
    /// The folder is their `/`, as in a `chroot(2)`: nothing leads out.
    SeeRoot,
}

/// What becomes of a folder on the way that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is an error ([`io::ErrorKind::NotFound`]).
    Refuse,
    /// It is made, with this mode; a file in its place makes way.
    Make(u32),
}

/// Why a path was not opened.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// A link leads out of the folder.
    #[error(
        "{} a link to {target}, which is outside of {root}",
        through(path, link)
    )]
    Link {
        /// The path that was asked for.
        path: PathBuf,
        /// The link, beneath the folder.
        link: PathBuf,
        /// What it says.
        target: PathBuf,
        /// The folder.
        root: PathBuf,
    },
    /// The path itself leads out of the folder.
    #[error("{path} is outside of {root}")]
    Outside {
        /// The path that was asked for.
        path: PathBuf,
        /// The folder.
        root: PathBuf,
    },
    /// It is something that has no content: a folder, a FIFO, a device.
    #[error("{path}: it is {kind}, not a file")]
    NoFile {
        /// The path that was asked for.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It is larger than it may be.
    #[error("{path}: it has more than {limit} bytes")]
    TooLarge {
        /// The path that was asked for.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The machine says no.
    #[error("{path}: {source}")]
    Io {
        /// The path that was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn through(path: &Path, link: &Path) -> String {
    if path == link {
        return format!("{} is", path.display());
    }
    format!("{}: {} is", path.display(), link.display())
}

impl BeneathError {
    /// Whether nothing is at the path.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl From<BeneathError> for io::Error {
    fn from(error: BeneathError) -> Self {
        let kind = match &error {
            BeneathError::Io { source, .. } => source.kind(),
            BeneathError::Link { .. } | BeneathError::Outside { .. } => {
                io::ErrorKind::PermissionDenied
            }
            BeneathError::NoFile { .. } => io::ErrorKind::InvalidInput,
            BeneathError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, error.to_string())
    }
}

/// A folder beneath which paths are opened.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    folder: OwnedFd,
    links: Links,
}

/// A folder that was found, and where it is.
#[derive(Debug)]
pub struct Folder {
    /// The folder itself, for the calls that end in `at`.
    pub folder: OwnedFd,
    /// Its path beneath the root, without any link.
    pub real: PathBuf,
}

/// A name in a folder: what is there, if anything is, is not followed.
#[derive(Debug)]
pub struct Name {
    /// The folder that has the name.
    pub folder: OwnedFd,
    /// The name; none for the root itself.
    pub name: Option<OsString>,
    /// Its path beneath the root, without any link on the way.
    pub real: PathBuf,
}

impl Root {
    /// This folder. Links that lead to it are its owner's, and followed.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            path: path.to_path_buf(),
            folder: rustix::fs::open(path, flags, Mode::empty())?,
            links,
        })
    }

    /// The folder's own path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder beneath the root, through the links that lead to it.
    pub fn folder(&self, path: &Path, missing: Missing) -> Result<Folder, BeneathError> {
        let walked = Walk::new(self, path, missing)?.into_folder()?;
        Ok(Folder {
            folder: walked.at,
            real: walked.names.iter().collect(),
        })
    }

    /// A name beneath the root: links on the way are followed, one that has the name itself is not.
    pub fn name(&self, path: &Path) -> Result<Name, BeneathError> {
        Walk::new(self, path, Missing::Refuse)?.into_name(Last::Itself)
    }

    /// Where a path leads to, through all of its links.
    pub fn real(&self, path: &Path) -> Result<PathBuf, BeneathError> {
        Ok(self.followed(path)?.real)
    }

    fn followed(&self, path: &Path) -> Result<Name, BeneathError> {
        Walk::new(self, path, Missing::Refuse)?.into_name(Last::Followed)
    }

    /// A file for reading, through all of its links. Nothing else is opened: a FIFO would wait for ever, and a device
    /// never end.
    pub fn file(&self, path: &Path) -> Result<File, BeneathError> {
        let found = self.followed(path)?;
        let name = found.name.as_deref().unwrap_or(OsStr::new("."));
        regular(found.folder.as_fd(), name, path)
    }

    /// A file's content, if it has no more bytes than this.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, BeneathError> {
        let mut bytes = Vec::new();
        let read = self.file(path)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| BeneathError::Io {
            path: path.to_path_buf(),
            source,
        })?;

        if bytes.len() as u64 > limit {
            return Err(BeneathError::TooLarge {
                path: path.to_path_buf(),
                limit,
            });
        }
        Ok(bytes)
    }

    /// A file's text, if it has no more bytes than this.
    pub fn text(&self, path: &Path, limit: u64) -> Result<String, BeneathError> {
        String::from_utf8(self.read(path, limit)?).map_err(|_| BeneathError::Io {
            path: path.to_path_buf(),
            source: io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"),
        })
    }
}

/// Where a path of a project may lead that is in no repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// To the project's own folder.
    Project,
    /// Anywhere on the machine.
    Machine,
}

/// A path of a project as one of its repository, whose projects may share files.
pub fn in_repository(project: &Path, path: &Path, alone: Alone) -> io::Result<(Root, PathBuf)> {
    let own = project.canonicalize()?;
    let top = own.ancestors().find(|folder| folder.join(".git").exists());
    let (top, links) = match (top, alone) {
        (Some(top), _) => (top, Links::StayBeneath),
        (None, Alone::Project) => (own.as_path(), Links::StayBeneath),
        (None, Alone::Machine) => (Path::new("/"), Links::SeeRoot),
    };

    let whole = own.join(path);
    let inside = whole.strip_prefix(top).unwrap_or(&whole).to_path_buf();
    Ok((Root::open(top, links)?, inside))
}

/// A file for reading, by a path that was found: no link that took its name meanwhile, no FIFO, no device.
pub fn plain_file(path: &Path) -> Result<File, BeneathError> {
    regular(CWD, path.as_os_str(), path)
}

fn regular(folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<File, BeneathError> {
    let failed = |errno: Errno| BeneathError::Io {
        path: path.to_path_buf(),
        source: errno.into(),
    };
    // What it is is asked first: to open a device can already have an effect.
    let kind = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    expect_file(&kind, path)?;

    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).map_err(failed)?;
    expect_file(&fstat(&file).map_err(failed)?, path)?;
    Ok(file.into())
}

fn expect_file(stat: &rustix::fs::Stat, path: &Path) -> Result<(), BeneathError> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a folder",
        FileType::Symlink => "a link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(BeneathError::NoFile {
        path: path.to_path_buf(),
        kind,
    })
}

/// What is done with a link that is the last name of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Itself,
    Followed,
}

/// One step on the way.
enum Step {
    Top,
    Up,
    Down(OsString),
}

/// A path on its way through a root.
struct Walk<'a> {
    root: &'a Root,
    path: &'a Path,
    missing: Missing,
    /// The folder that was reached.
    at: OwnedFd,
    /// Its names below the root, none of which is a link.
    names: Vec<OsString>,
    /// What is left, the next step last.
    left: Vec<Step>,
    links: usize,
    steps: usize,
    /// The link that is being followed, and what it says.
    link: Option<(PathBuf, PathBuf)>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Root, path: &'a Path, missing: Missing) -> Result<Self, BeneathError> {
        let mut walk = Self {
            root,
            path,
            missing,
            at: root.folder.try_clone().map_err(|source| BeneathError::Io {
                path: path.to_path_buf(),
                source,
            })?,
            names: Vec::new(),
            left: Vec::new(),
            links: 0,
            steps: 0,
            link: None,
        };
        walk.push(path);
        Ok(walk)
    }

    fn push(&mut self, path: &Path) {
        let steps = path.components().rev().filter_map(|part| match part {
            Component::RootDir => Some(Step::Top),
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Down(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        });
        self.left.extend(steps);
    }

    fn failed(&self, errno: Errno) -> BeneathError {
        BeneathError::Io {
            path: self.path.to_path_buf(),
            source: errno.into(),
        }
    }

    /// Why the root cannot be left here.
    fn leaves(&self) -> BeneathError {
        let (path, root) = (self.path.to_path_buf(), self.root.path.clone());
        match self.link.clone() {
            Some((link, target)) => BeneathError::Link {
                path,
                link,
                target,
                root,
            },
            None => BeneathError::Outside { path, root },
        }
    }

    fn into_folder(mut self) -> Result<Self, BeneathError> {
        while let Some(step) = self.left.pop() {
            match step {
                Step::Top => self.top()?,
                Step::Up => self.up()?,
                Step::Down(name) => self.down(name)?,
            }
        }
        Ok(self)
    }

    fn into_name(mut self, last: Last) -> Result<Name, BeneathError> {
        while let Some(step) = self.left.pop() {
            match step {
                Step::Top => self.top()?,
                Step::Up => self.up()?,
                Step::Down(name) if !self.left.is_empty() => self.down(name)?,
                Step::Down(name) if last == Last::Followed && self.is_link(&name)? => {
                    self.follow(&name)?;
                }
                Step::Down(name) => {
                    let real = self.names.iter().chain([&name]).collect();
                    return Ok(Name {
                        folder: self.at,
                        name: Some(name),
                        real,
                    });
                }
            }
        }
        Ok(Name {
            folder: self.at,
            name: None,
            real: self.names.iter().collect(),
        })
    }

    fn is_link(&self, name: &OsStr) -> Result<bool, BeneathError> {
        let stat = statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| self.failed(errno))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    fn top(&mut self) -> Result<(), BeneathError> {
        if self.root.links == Links::StayBeneath {
            return Err(self.leaves());
        }
        self.names.clear();
        self.reopen()
    }

    fn up(&mut self) -> Result<(), BeneathError> {
        match (self.names.pop(), self.root.links) {
            (None, Links::StayBeneath) => Err(self.leaves()),
            (None, Links::SeeRoot) => Ok(()),
            (Some(_), _) => self.reopen(),
        }
    }

    /// The folder of the names again, from the top: `..` of a folder that was moved meanwhile may be anywhere.
    fn reopen(&mut self) -> Result<(), BeneathError> {
        let mut at = self
            .root
            .folder
            .try_clone()
            .map_err(|source| BeneathError::Io {
                path: self.path.to_path_buf(),
                source,
            })?;
        for name in &self.names.clone() {
            self.count()?;
            at = enter(at.as_fd(), name).map_err(|errno| self.failed(errno))?;
        }
        self.at = at;
        Ok(())
    }

    fn count(&mut self) -> Result<(), BeneathError> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(self.failed(Errno::LOOP));
        }
        Ok(())
    }

    fn down(&mut self, name: OsString) -> Result<(), BeneathError> {
        self.count()?;
        let entered = match (enter(self.at.as_fd(), &name), self.missing) {
            (Err(Errno::NOTDIR | Errno::LOOP), _) if self.is_link(&name)? => {
                return self.follow(&name);
            }
            (Err(Errno::NOENT), Missing::Make(mode)) => self.make(&name, mode),
            (Err(Errno::NOTDIR), Missing::Make(mode)) => {
                unlinkat(&self.at, &name, AtFlags::empty()).and_then(|()| self.make(&name, mode))
            }
            (entered, _) => entered,
        };
        self.at = entered.map_err(|errno| self.failed(errno))?;
        self.names.push(name);
        Ok(())
    }

    fn make(&self, name: &OsStr, mode: u32) -> rustix::io::Result<OwnedFd> {
        let mode = Mode::from_raw_mode(mode);
        mkdirat(&self.at, name, mode)?;
        // The process' umask is no concern of whoever asks.
        chmodat(&self.at, name, mode, AtFlags::empty())?;
        enter(self.at.as_fd(), name)
    }

    fn follow(&mut self, name: &OsStr) -> Result<(), BeneathError> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(self.failed(Errno::LOOP));
        }

        let target = readlinkat(&self.at, name, Vec::new()).map_err(|errno| self.failed(errno))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        let link = self
            .names
            .iter()
            .map(OsString::as_os_str)
            .chain([name])
            .collect();
        self.push(&target);
        self.link = Some((link, target));
        Ok(())
    }
}

fn enter(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name.as_bytes(), flags, Mode::empty())
}
