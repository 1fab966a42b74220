//! Why a program that is there cannot be started: the kernel says "no such file" of what would have
//! to read it, and "permission denied" of a script that nobody has made executable.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::files::beneath::plain_file;

/// The head of an ELF file of 64 bits, which is the longer one.
const ELF_HEAD: u64 = 64;

/// The longest first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const LONGEST: u64 = 256;

/// The error of a program that was not started in a folder, with what can be seen to be its reason.
#[must_use]
pub fn explained(program: &str, folder: &Path, error: &io::Error) -> String {
    match obstacle(Path::new(program), folder, error) {
        Some(reason) => format!("{error}: {reason}"),
        None => error.to_string(),
    }
}

/// What can be seen to keep a program from being started; none when nothing can.
#[must_use]
pub fn obstacle(program: &Path, folder: &Path, error: &io::Error) -> Option<String> {
    let program = found(program, folder)?;
    if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) {
        return is_cut_off(&program).then(|| "it is empty, or a part of a program".to_owned());
    }
    match error.kind() {
        ErrorKind::NotFound => missing(&program),
        ErrorKind::PermissionDenied => {
            let meta = program.metadata().ok().filter(std::fs::Metadata::is_file)?;
            (meta.permissions().mode() & 0o111 == 0).then(|| {
                let shown = program.display();
                format!(
                    "{shown} is not executable: `chmod +x {shown}`, and in Git `git update-index \
                     --chmod=+x`"
                )
            })
        }
        _ => None,
    }
}

/// Whether it is a file that no kernel executes: without a byte, or an ELF file without what its
/// head speaks of. The C library would have a shell read it as a script.
#[must_use]
pub fn is_cut_off(program: &Path) -> bool {
    let mut head = Vec::new();
    let Ok(file) = plain_file(program) else {
        return false;
    };
    let size = file.metadata().map_or(0, |meta| meta.len());
    if file.take(ELF_HEAD).read_to_end(&mut head).is_err() {
        return false;
    }
    if !head.starts_with(b"\x7fELF") {
        return head.is_empty();
    }
    segments_end(&head).is_none_or(|end| end > size)
}

/// Where the table of segments ends that an ELF file's head speaks of (`elf(5)`); none when the
/// head is not whole.
fn segments_end(head: &[u8]) -> Option<u64> {
    // Where the table begins and how wide that number is, the size of an entry, and how many.
    let (offset, width, entry, count) = match head.get(4)? {
        1 => (28, 4, 42, 44),
        2 => (32, 8, 54, 56),
        _ => return None,
    };
    let is_little = *head.get(5)? == 1;
    let number = |at: usize, width: usize| {
        let bytes = head.get(at..at + width)?.iter();
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if is_little {
            bytes.rev().fold(0, add)
        } else {
            bytes.fold(0, add)
        })
    };
    let table = number(entry, 2)?.checked_mul(number(count, 2)?)?;
    number(offset, width)?.checked_add(table)
}

/// Where the program is: a bare name is looked for in `PATH`.
fn found(program: &Path, folder: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(folder.join(program));
    }
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|place| place.join(program));
    places.find(|place| place.is_file())
}

/// What the program is missing, for one that is there and was said not to be.
fn missing(program: &Path) -> Option<String> {
    let mut head = Vec::new();
    let file = plain_file(program).ok()?;
    file.take(LONGEST).read_to_end(&mut head).ok()?;
    let Some(line) = head.strip_prefix(b"#!") else {
        let is_elf = head.starts_with(b"\x7fELF");
        return is_elf.then(|| {
            "it is there, and what loads it is not: it was made for another C library or another \
             machine"
                .to_owned()
        });
    };

    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_whitespace().next()?;
    if line.ends_with('\r') {
        return Some(format!(
            "its first line asks for `{interpreter}` and ends as on Windows (CR LF), so that \
             `{interpreter}\\r` is looked for: write it with LF (`*.sh text eol=lf` in \
             .gitattributes)"
        ));
    }
    let is_there = Path::new(interpreter).exists();
    (!is_there).then(|| format!("its first line asks for `{interpreter}`, which is not there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_lacks_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |text: &[u8]| {
            let path = folder.path().join("program");
            std::fs::write(&path, text).expect("written");
            missing(&path)
        };
        let windows = of(b"#!/bin/sh\r\necho\r\n").expect("a reason");
        assert!(
            windows.contains("`/bin/sh`") && windows.contains("CR LF"),
            "{windows}"
        );
        let elsewhere = of(b"#! /opt/none/python3 -u\nx").expect("a reason");
        assert!(
            elsewhere.contains("`/opt/none/python3`, which is not there"),
            "{elsewhere}"
        );
        assert!(
            of(b"\x7fELF\x02\x01")
                .expect("a reason")
                .contains("C library")
        );
        assert_eq!(of(b"#!/bin/sh\necho\n"), None);
        assert_eq!(of(b"text"), None);
        assert_eq!(of(b""), None);
        assert_eq!(missing(&folder.path().join("none")), None);
    }

    #[test]
    fn a_part_of_a_program_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = std::fs::read(std::env::current_exe().expect("its own")).expect("read");
        let is_cut = |bytes: &[u8]| {
            let path = folder.path().join("program");
            std::fs::write(&path, bytes).expect("written");
            is_cut_off(&path)
        };
        assert!(!is_cut(&whole) && !is_cut(b"echo a script\n") && !is_cut(b"#!/bin/sh\n"));
        for part in [0, 4, 5, 40, 64, 100] {
            assert!(is_cut(&whole[..part]), "{part} bytes of one");
        }
        assert!(!is_cut_off(&folder.path().join("none")), "it is not there");
    }

    #[test]
    fn an_error_is_told_with_its_reason_where_that_can_be_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("check.sh");
        std::fs::write(&script, "#!/bin/sh\r\n").expect("written");
        let told = |program: &str| {
            let mut command = std::process::Command::new(program);
            let error = command
                .current_dir(folder.path())
                .spawn()
                .expect_err(program);
            explained(program, folder.path(), &error)
        };
        let denied = told("./check.sh");
        assert!(denied.contains("chmod +x"), "{denied}");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("its own");
        let windows = told("./check.sh");
        assert!(windows.contains("CR LF"), "{windows}");
        let none = told("shipit-no-such-program");
        assert!(none.ends_with("(os error 2)"), "{none}");
    }
}
