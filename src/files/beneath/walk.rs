//! A path on its way through a root, name by name.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::fs::{chmodat, mkdirat, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;

use crate::files::beneath::{BeneathError, Links, MOST_LINKS, MOST_STEPS, Missing, Name, Root};

/// What is done with a link that is the last name of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
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
pub(super) struct Walk<'a> {
    root: &'a Root,
    path: &'a Path,
    missing: Missing,
    /// The folder that was reached.
    pub at: OwnedFd,
    /// Its names below the root, none of which is a link.
    pub names: Vec<OsString>,
    /// What is left, the next step last.
    left: Vec<Step>,
    links: usize,
    steps: usize,
    /// How many folders were made.
    pub made: u64,
    /// The link that is being followed, and what it says.
    link: Option<(PathBuf, PathBuf)>,
}

impl<'a> Walk<'a> {
    pub fn new(root: &'a Root, path: &'a Path, missing: Missing) -> Result<Self, BeneathError> {
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
            made: 0,
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

    pub fn into_folder(mut self) -> Result<Self, BeneathError> {
        while let Some(step) = self.left.pop() {
            match step {
                Step::Top => self.top()?,
                Step::Up => self.up()?,
                Step::Down(name) => self.down(name)?,
            }
        }
        Ok(self)
    }

    pub fn into_name(mut self, last: Last) -> Result<Name, BeneathError> {
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

    /// The folder of the names again, from the top: `..` of a folder that was moved meanwhile may
    /// be anywhere.
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

    fn make(&mut self, name: &OsStr, mode: u32) -> rustix::io::Result<OwnedFd> {
        let mode = Mode::from_raw_mode(mode);
        mkdirat(&self.at, name, mode)?;
        self.made += 1;
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
