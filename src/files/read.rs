//! Reading files that somebody else has written: never more than a bound, and never from what is no
//! file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// A regular file's content, `limit` bytes at the most. Pipes, devices and folders are refused
/// before anything is read: they may have no end, or never begin.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path, limit)?;
    let mut content = Vec::new();
    // A file may grow while it is read, and those of /proc say that they are empty.
    file.take(limit + 1).read_to_end(&mut content)?;
    within(content.len() as u64, limit)?;
    Ok(content)
}

/// The same; none when nothing is there.
pub fn read_if_there(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match read(path, limit) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The first line of it, without its end.
pub fn first_line(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let file = BufReader::new(open(path, limit)?);
    file.take(limit).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(line)
}

/// The same as a text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let content = read(path, limit)?;
    String::from_utf8(content).map_err(|_| wrong("it is not a text in UTF-8".to_owned()))
}

fn open(path: &Path, limit: u64) -> io::Result<File> {
    // Opening a pipe waits for somebody at its other end, unless that is asked not to be.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let there = file.metadata()?;
    let kind = there.file_type();
    let is = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_file() {
        within(there.len(), limit)?;
        return Ok(file);
    } else {
        "a device"
    };
    Err(wrong(format!("it is {is}, not a file")))
}

fn within(size: u64, limit: u64) -> io::Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(wrong(format!("it has more than {limit} bytes")))
}

fn wrong(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_beyond() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "1234").expect("a file");
        assert_eq!(read(&path, 4).expect("read"), b"1234");
        assert!(read(&path, 3).is_err());
        let nothing = read_if_there(&folder.path().join("no"), 4).expect("nothing");
        assert_eq!(nothing, None);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once_and_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("a pipe");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
        for (path, is) in [
            (pipe.as_path(), "a pipe"),
            (Path::new("/dev/zero"), "a device"),
            (&link, "a device"),
            (folder.path(), "a folder"),
        ] {
            let error = read(path, 1 << 20).expect_err(is);
            assert!(error.to_string().contains(is), "{error}");
        }
    }

    #[test]
    fn a_file_that_does_not_say_its_size_is_bounded_too() {
        let path = Path::new("/proc/self/maps");
        assert!(read(path, 16).is_err());
        assert!(!read(path, 16 << 20).expect("read").is_empty());
    }
}
