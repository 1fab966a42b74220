//! What a program of this kind is handed in memory: variables of somebody else's, which are in no
//! file, and not in its own environment, where they would stand for as long as it runs.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};

/// How it is found again among the descriptors.
const NAME: &str = "shipit-handed";

/// Holds bytes for the program that this process becomes.
pub(super) fn hand_on(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(NAME, MemfdFlags::empty())?);
    file.write_all(bytes)?;
    Ok(file)
}

/// What this process was handed. It is passed on to nothing but [`Handed::pass_on`]'s.
#[derive(Debug)]
pub struct Handed(File);

impl Handed {
    /// Looks for it among what this process was started with.
    pub fn find() -> io::Result<Self> {
        let wanted = format!("/memfd:{NAME} ");
        for entry in fs::read_dir("/proc/self/fd")? {
            let path = entry?.path();
            let is_it = |target: std::path::PathBuf| target.to_string_lossy().starts_with(&wanted);
            if fs::read_link(&path).is_ok_and(is_it) {
                return Ok(Self(File::open(path)?));
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// All of it.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whatever this process becomes has it, too.
    pub fn pass_on(&self) -> io::Result<()> {
        Ok(fcntl_setfd(self.0.as_fd(), FdFlags::empty())?)
    }
}
