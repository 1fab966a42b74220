//! Opening beneath a folder: a path that somebody else wrote never leads out of it.
//!
//! A path is walked name by name with `openat(2)` and `O_NOFOLLOW`, and the links on the way are
//! followed here, so that the rule about them is this module's and not the kernel's. A test holds
//! every answer against `openat2(2)`, which not every kernel and sandbox has
//! (`docs/decisions/0016`).

#[cfg(test)]
mod tests;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::fs::{fstat, openat, statat};
use rustix::io::Errno;

use crate::files::beneath::walk::{Last, Walk};

/// The most links that one path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// The most folders that one path may lead through, links included: a path of links is walked again
/// from the top.
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
    /// It leads to Git's own files, which have the credentials of the clone in them.
    #[error("{path} is one of Git's own files: {real}")]
    OfGit {
        /// The path that was asked for.
        path: PathBuf,
        /// Where it leads to, beneath the folder.
        real: PathBuf,
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
            BeneathError::Link { .. }
            | BeneathError::Outside { .. }
            | BeneathError::OfGit { .. } => io::ErrorKind::PermissionDenied,
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
    /// How many folders were made on the way.
    pub made: u64,
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
            made: walked.made,
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

    /// Where a path of a project leads to; none where nothing is. Git's own files are not the
    /// project's.
    pub fn of_project(&self, path: &Path) -> Result<Option<PathBuf>, BeneathError> {
        let real = match self.real(path) {
            Err(error) if error.is_missing() => return Ok(None),
            real => real?,
        };
        if real.iter().any(|part| part == ".git") {
            let path = path.to_path_buf();
            return Err(BeneathError::OfGit { path, real });
        }
        Ok(Some(real))
    }

    fn followed(&self, path: &Path) -> Result<Name, BeneathError> {
        Walk::new(self, path, Missing::Refuse)?.into_name(Last::Followed)
    }

    /// A file for reading, through all of its links. Nothing else is opened: a FIFO would wait for
    /// ever, and a device never end.
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

/// The top of the repository that a project is in: what is below it comes with the same commit. The
/// project's own folder where it is in none.
pub fn repository(project: &Path) -> io::Result<PathBuf> {
    let own = project.canonicalize()?;
    let top = top(&own).map(Path::to_path_buf);
    Ok(top.unwrap_or(own))
}

fn top(project: &Path) -> Option<&Path> {
    project
        .ancestors()
        .find(|folder| folder.join(".git").exists())
}

/// A path of a project as one of its repository, whose projects may share files.
pub fn in_repository(project: &Path, path: &Path, alone: Alone) -> io::Result<(Root, PathBuf)> {
    let own = project.canonicalize()?;
    let (top, links) = match (top(&own), alone) {
        (Some(top), _) => (top, Links::StayBeneath),
        (None, Alone::Project) => (own.as_path(), Links::StayBeneath),
        (None, Alone::Machine) => (Path::new("/"), Links::SeeRoot),
    };

    let whole = own.join(path);
    let inside = whole.strip_prefix(top).unwrap_or(&whole).to_path_buf();
    Ok((Root::open(top, links)?, inside))
}

/// A file for reading, by a path that was found: no link that took its name meanwhile, no FIFO, no
/// device.
pub fn plain_file(path: &Path) -> Result<File, BeneathError> {
    regular(CWD, path.as_os_str(), path)
}

/// A file for reading, by its name in a folder that is open: no link, no FIFO, no device. `path` is
/// what it is called in an error.
pub fn file_in(folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<File, BeneathError> {
    regular(folder, name, path)
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
