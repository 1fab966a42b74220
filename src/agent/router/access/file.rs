//! A file that is put aside when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where the access log is, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file that is written now; older ones are beside it with `.1`, `.2` and so on.
    pub path: PathBuf,
    /// The size, in bytes, at which it is put aside.
    pub most_bytes: u64,
    /// How many files there are in all.
    pub files: u32,
}

impl LogFile {
    /// Three files of ten mebibytes.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self {
            path,
            most_bytes: 10 << 20,
            files: 3,
        }
    }
}

/// The file, open.
#[derive(Debug)]
pub struct Rotating {
    settings: LogFile,
    open: Option<(BufWriter<File>, u64)>,
}

impl Rotating {
    /// Opened with the first line.
    pub const fn new(settings: LogFile) -> Self {
        Self {
            settings,
            open: None,
        }
    }

    /// Adds a line; a full file is put aside first. After an error the next line opens the file again.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => open(&self.settings.path)?,
        };
        if size > 0 && size + length > self.settings.most_bytes {
            file.flush()?;
            put_aside(&self.settings)?;
            (file, size) = open(&self.settings.path)?;
        }
        file.write_all(line)?;
        self.open = Some((file, size + length));
        Ok(())
    }

    /// Hands all lines to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |(file, _)| file.flush())
    }
}

fn open(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((BufWriter::new(file), size))
}

/// Each file takes the next number; the last one goes.
fn put_aside(settings: &LogFile) -> io::Result<()> {
    let name = |number: u32| match number {
        0 => settings.path.clone(),
        _ => settings.path.with_added_extension(number.to_string()),
    };
    for number in (1..settings.files).rev() {
        match fs::rename(name(number - 1), name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match settings.files {
        0 | 1 => fs::remove_file(&settings.path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut log = Rotating::new(LogFile {
            path: path.clone(),
            most_bytes: 10,
            files: 3,
        });
        for line in [
            "one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n", "eight\n",
        ] {
            log.write(line.as_bytes()).unwrap();
        }
        log.flush().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("access.log"), "eight\n");
        assert_eq!(read("access.log.1"), "six\nseven\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_was_there_counts_as_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "old line\n").unwrap();
        let mut log = Rotating::new(LogFile {
            path: path.clone(),
            most_bytes: 10,
            files: 2,
        });
        log.write(b"new\n").unwrap();
        log.flush().unwrap();
        assert_eq!(
            fs::read_to_string(path.with_added_extension("1")).unwrap(),
            "old line\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    }
}
