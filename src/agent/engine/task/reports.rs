//! The reports that a task writes: a folder that is made for them, and what is read of it once the
//! task has ended.
//!
//! What is in the folder is the task's, which may be anybody's program: no link is followed, nothing
//! but plain files is opened, and all of it is bounded.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};

use crate::agent::Directory;
use crate::agent::launch::InstanceFiles;
use crate::files::beneath::file_in;
use crate::model::test_report::{TestReport, junit};
use crate::redact::Redactor;

/// The most names that are looked at, in all folders.
const NAMES: usize = 20_000;
/// The most files that are read.
const FILES: usize = 500;
/// How deep folders may be in each other.
const DEPTH: usize = 8;
/// The most bytes of a file, and of all of them.
const FILE: u64 = 4 << 20;
const ALL: u64 = 16 << 20;

/// The folder of a task's reports. It goes with this.
pub(super) struct ReportsFolder {
    files: InstanceFiles,
    globs: Vec<String>,
}

impl ReportsFolder {
    /// Makes one for a task that writes any.
    pub fn make(directory: &Directory, globs: &[String]) -> io::Result<Option<Self>> {
        if globs.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            files: InstanceFiles::for_reports(directory)?,
            globs: globs.to_vec(),
        }))
    }

    /// The folder, for who starts the task.
    pub const fn files(&self) -> &InstanceFiles {
        &self.files
    }

    /// Reads what the task has written, without values of secrets.
    pub async fn collect(self, redactor: &Redactor) -> TestReport {
        let own = redactor.clone();
        let collecting = tokio::task::spawn_blocking(move || {
            let found = Found::beneath(&self.files.reports(), &self.globs);
            // Before anything is cut: half of a value is not known for one.
            found.map(|found| found.redacted(&own).report())
        });
        let collected = collecting.await.map_err(io::Error::other).flatten();
        let report = collected.unwrap_or_else(|error| {
            let mut report = TestReport::default();
            report.problem(format!("its reports cannot be read: {error}"));
            report
        });
        report.map(&|text| redactor.text(text))
    }
}

impl Drop for ReportsFolder {
    fn drop(&mut self) {
        self.files.remove();
    }
}

/// What was found.
#[derive(Default)]
struct Found {
    files: BTreeMap<PathBuf, Vec<u8>>,
    problems: Vec<String>,
    names: usize,
    bytes: u64,
}

/// A folder that is open, and where it is.
struct Folder {
    open: OwnedFd,
    path: PathBuf,
    depth: usize,
}

impl Folder {
    /// The folder of this name in it.
    fn inside(&self, name: &OsStr) -> io::Result<Self> {
        let depth = self.depth + 1;
        if depth > DEPTH {
            let reason = format!("folders are more than {DEPTH} deep");
            return Err(io::Error::other(reason));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            open: openat(&self.open, name, flags, Mode::empty())?,
            path: self.path.join(name),
            depth,
        })
    }
}

impl Found {
    /// The same without values of secrets, as they stand there.
    fn redacted(mut self, redactor: &Redactor) -> Self {
        for bytes in self.files.values_mut() {
            if let Ok(text) = std::str::from_utf8(bytes) {
                *bytes = redactor.text(text).into_bytes();
            }
        }
        self
    }

    /// The files beneath a folder that any of these globs stands for.
    fn beneath(folder: &Path, globs: &[String]) -> io::Result<Self> {
        let wanted = wanted(globs).map_err(io::Error::other)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::open(folder, flags, Mode::empty())?;
        let mut found = Self::default();
        let mut open = vec![Folder {
            open: top,
            path: PathBuf::new(),
            depth: 0,
        }];
        while let Some(folder) = open.pop() {
            found.look(&folder, &wanted, &mut open);
        }
        if found.files.is_empty() && found.problems.is_empty() {
            let globs = globs.join(" ");
            found
                .problems
                .push(format!("no file that it has written is {globs}"));
        }
        Ok(found)
    }

    /// Looks at each name of a folder.
    fn look(&mut self, folder: &Folder, wanted: &GlobSet, open: &mut Vec<Folder>) {
        let names = match self.names_of(folder) {
            Ok(names) => names,
            Err(error) => return self.problem(&folder.path, &error),
        };
        for name in names {
            let path = folder.path.join(&name);
            let kind = statat(&folder.open, &name, AtFlags::SYMLINK_NOFOLLOW);
            let kind = kind.map(|stat| FileType::from_raw_mode(stat.st_mode));
            if kind == Ok(FileType::Directory) {
                match folder.inside(&name) {
                    Ok(inside) => open.push(inside),
                    Err(error) => self.problem(&path, &error),
                }
            } else if wanted.is_match(&path) {
                match self.read(folder, &name, &path) {
                    Ok(bytes) => drop(self.files.insert(path, bytes)),
                    Err(error) => self.problems.push(error.to_string()),
                }
            }
        }
    }

    fn names_of(&mut self, folder: &Folder) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder.open)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name == "." || name == ".." {
                continue;
            }
            self.names += 1;
            if self.names > NAMES {
                let reason = format!("there are more than {NAMES} names in all");
                self.problem(&folder.path, &io::Error::other(reason));
                break;
            }
            names.push(name);
        }
        names.sort();
        Ok(names)
    }

    /// The content of a file; an error says which.
    fn read(&mut self, folder: &Folder, name: &OsStr, path: &Path) -> io::Result<Vec<u8>> {
        let refuse = |reason: String| io::Error::other(format!("{}: {reason}", path.display()));
        if self.files.len() >= FILES {
            return Err(refuse(format!("there are more than {FILES} files")));
        }
        let file = file_in(folder.open.as_fd(), name, path)?;
        // Another name of it may be in a place that the task cannot read.
        if file.metadata()?.nlink() > 1 {
            return Err(refuse("it has another name elsewhere".to_owned()));
        }
        let room = FILE.min(ALL - self.bytes);
        let mut bytes = Vec::new();
        let read = file.take(room + 1).read_to_end(&mut bytes);
        read.map_err(|error| refuse(error.to_string()))?;
        let size = bytes.len() as u64;
        if size > room {
            let reason = format!("it is over {FILE} bytes, or all files are over {ALL}");
            return Err(refuse(reason));
        }
        self.bytes += size;
        Ok(bytes)
    }

    fn problem(&mut self, path: &Path, error: &io::Error) {
        self.problems.push(format!("{}: {error}", path.display()));
    }

    fn report(self) -> TestReport {
        let mut report = TestReport::default();
        for (path, bytes) in self.files {
            junit::read(&mut report, &path.to_string_lossy(), &bytes);
        }
        for problem in self.problems {
            report.problem(problem);
        }
        report
    }
}

fn wanted(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut wanted = GlobSetBuilder::new();
    for glob in globs {
        wanted.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    wanted.build()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const ONE: &str = "<testsuite name='s'><testcase name='t'/></testsuite>";

    fn collected(folder: &Path, globs: &[&str]) -> TestReport {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        Found::beneath(folder, &globs).expect("read").report()
    }

    #[test]
    fn what_globs_stand_for_is_read_and_no_link_is_followed() {
        let machine = tempfile::tempdir().expect("a folder");
        let (folder, secret) = (machine.path().join("out"), machine.path().join("secret"));
        fs::create_dir_all(folder.join("a/b")).expect("a folder");
        fs::create_dir_all(&secret).expect("a folder");
        for path in ["1.xml", "a/2.xml", "a/b/3.xml", "a/b/4.txt"] {
            fs::write(folder.join(path), ONE).expect("written");
        }
        assert_eq!(collected(&folder, &["*.xml"]).total, 1);
        assert_eq!(collected(&folder, &["*.xml", "a/*.xml"]).total, 2);
        let all = collected(&folder, &["**/*.xml"]);
        assert_eq!((all.total, all.problems.len()), (3, 0));
        let none = collected(&folder, &["*.json"]);
        assert_eq!(none.problems, ["no file that it has written is *.json"]);

        fs::write(secret.join("s.xml"), ONE).expect("written");
        symlink(&secret, folder.join("linked")).expect("a link");
        symlink(secret.join("s.xml"), folder.join("l.xml")).expect("a link");
        fs::hard_link(secret.join("s.xml"), folder.join("h.xml")).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("p.xml"), 0o600.into()).expect("a pipe");
        let read = collected(&folder, &["**/*.xml"]);
        assert_eq!(
            (read.total, read.problems.len()),
            (3, 3),
            "{:?}",
            read.problems
        );
    }

    #[test]
    fn what_is_too_large_too_deep_or_too_much_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let large = fs::File::create(path.join("large.xml")).expect("a file");
        large.set_len(1 << 40).expect("a large file");
        let mut deep = path.to_owned();
        for _ in 0..20 {
            deep.push("d");
            fs::create_dir(&deep).expect("a folder");
        }
        fs::write(deep.join("1.xml"), ONE).expect("written");
        let read = collected(path, &["**/*.xml"]);
        assert_eq!(read.total, 0);
        assert!(read.problems[1].contains("8 deep"), "{:?}", read.problems);
        assert!(
            read.problems[0].contains("over 4194304 bytes"),
            "{:?}",
            read.problems
        );

        let many = tempfile::tempdir().expect("a folder");
        for number in 0..=FILES {
            fs::write(many.path().join(format!("{number}.xml")), ONE).expect("written");
        }
        let read = collected(many.path(), &["*.xml"]);
        assert_eq!(
            (read.total, read.problems.len()),
            (500, 1),
            "{:?}",
            read.problems
        );
    }
}
