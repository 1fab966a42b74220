//! Why a program that is there cannot be started: the kernel says "no such file" of what would have
//! to read it, and "permission denied" of a script that nobody has made executable.

use std::ffi::OsString;
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
    match Asked::here(Path::new(program), folder).reason(error) {
        Some(reason) => format!("{error}: {reason}"),
        None => error.to_string(),
    }
}

/// What can be seen to keep a program that is there from being started; none when nothing can.
#[must_use]
pub fn obstacle(program: &Path, folder: &Path, error: &io::Error) -> Option<String> {
    Asked::here(program, folder).obstacle(error)
}

/// A program, as somebody has asked for it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its path, or a bare name.
    pub program: &'a Path,
    /// The folder that its path starts in.
    pub folder: &'a Path,
    /// The `PATH` that a bare name is looked for on.
    pub path: Option<OsString>,
    /// The files of the image that it may be a program of. Nobody mends those by hand.
    pub image: Option<&'a Path>,
}

impl<'a> Asked<'a> {
    /// A program of this machine, as this process asks for it.
    fn here(program: &'a Path, folder: &'a Path) -> Self {
        Self {
            program,
            folder,
            path: std::env::var_os("PATH"),
            image: None,
        }
    }

    /// What can be seen to keep it from being started, or that there is none of this name.
    #[must_use]
    pub fn reason(&self, error: &io::Error) -> Option<String> {
        if error.kind() == ErrorKind::NotFound && self.found().is_none() {
            return Some(self.nowhere());
        }
        self.obstacle(error)
    }

    /// What can be seen to keep it from being started, where it is there.
    fn obstacle(&self, error: &io::Error) -> Option<String> {
        let program = self.found()?;
        if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) {
            return is_cut_off(&program).then(|| "it is empty, or a part of a program".to_owned());
        }
        match error.kind() {
            ErrorKind::NotFound => missing(&program),
            ErrorKind::PermissionDenied => self.barred(&program),
            _ => None,
        }
    }

    /// Where the program is.
    fn found(&self) -> Option<PathBuf> {
        if self.program.components().count() > 1 {
            return Some(self.folder.join(self.program).components().collect());
        }
        let path = self.path.as_ref()?;
        let mut places = std::env::split_paths(path).map(|place| place.join(self.program));
        places.find(|place| place.is_file())
    }

    /// That a bare name is in no folder of the `PATH`.
    fn nowhere(&self) -> String {
        match &self.path {
            Some(path) => format!("it is in no folder of PATH ({})", path.display()),
            None => "it is a bare name, and there is no PATH to look for it on".to_owned(),
        }
    }

    /// Why a program that is there may not be executed.
    fn barred(&self, program: &Path) -> Option<String> {
        let meta = program.metadata().ok()?;
        let in_image = self
            .image
            .and_then(|image| program.strip_prefix(image).ok());
        let shown = match in_image {
            Some(path) => Path::new("/").join(path),
            None => program.to_path_buf(),
        };
        let shown = shown.display();
        if meta.is_dir() {
            return Some(format!("{shown} is a folder, and no program"));
        }
        if meta.permissions().mode() & 0o111 != 0 {
            return None;
        }
        Some(match in_image {
            Some(_) => format!(
                "{shown} is not executable in the image: make the file that is copied there \
                 executable (`chmod +x FILE`, and in Git `git update-index --chmod=+x FILE`), and \
                 build again"
            ),
            None => format!(
                "{shown} is not executable: `chmod +x {shown}`, and in Git `git update-index \
                 --chmod=+x {shown}`"
            ),
        })
    }
}

/// What can be seen to keep a program from being started, before anybody tries; none when nothing
/// can.
#[must_use]
pub fn foreseen(program: &str, folder: &Path) -> Option<String> {
    let asked = Asked::here(Path::new(program), folder);
    let Some(place) = asked.found() else {
        return Some(asked.nowhere());
    };
    match place.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some(format!("{} is not there", place.display()))
        }
        Err(_) => None,
        Ok(_) => asked.barred(&place).or_else(|| missing(&place)),
    }
}

/// How a program ended that failed, with [`windows_lines`] where that may be why.
#[must_use]
pub fn with_windows_lines(ended: String, words: &[String], folder: &Path) -> String {
    match windows_lines(words, folder) {
        Some(reason) => format!("{ended}: {reason}"),
        None => ended,
    }
}

/// That a script which was run has lines that end as on Windows: what reads it takes the CR for a
/// part of each line, and says things like ``set: Illegal option -`` or ``python3\r: not found``.
/// It is the program itself, or the first argument.
fn windows_lines(words: &[String], folder: &Path) -> Option<String> {
    let mut scripts = words.iter().take(2);
    let script = scripts.find(|word| is_of_windows(&folder.join(word)))?;
    Some(format!(
        "the lines of {script} end as on Windows (CR LF), and what reads it takes the CR for a \
         part of them: write it with LF (`*.sh text eol=lf` in .gitattributes)"
    ))
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

/// Whether the first line of a file ends as on Windows.
fn is_of_windows(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = plain_file(path).map(|file| file.take(LONGEST).read_to_end(&mut head));
    if !matches!(read, Ok(Ok(_))) {
        return false;
    }
    let end = head.iter().position(|byte| *byte == b'\n');
    end.is_some_and(|end| head[..end].ends_with(b"\r"))
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
        let place = folder.path().join("check.sh").display().to_string();
        let ways = format!("`chmod +x {place}`, and in Git `git update-index --chmod=+x {place}`");
        assert!(denied.ends_with(&ways), "{denied}");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("its own");
        let windows = told("./check.sh");
        assert!(windows.contains("CR LF"), "{windows}");
        let none = told("shipit-no-such-program");
        assert!(
            none.contains("(os error 2): it is in no folder of PATH (/"),
            "{none}"
        );
        std::fs::create_dir(folder.path().join("checks")).expect("a folder");
        let folder = told("./checks");
        assert!(
            folder.ends_with("/checks is a folder, and no program"),
            "{folder}"
        );
    }

    #[test]
    fn what_nobody_could_start_is_foreseen() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |text: &str, mode| {
            let script = folder.path().join("check.sh");
            std::fs::write(&script, text).expect("written");
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode)).expect("own");
            foreseen("./check.sh", folder.path()).unwrap_or_default()
        };

        assert!(write("#!/bin/sh\n", 0o644).contains("/check.sh is not executable"));
        assert!(write("#!/none/sh\n", 0o755).contains("`/none/sh`, which is not there"));
        assert_eq!(write("#!/bin/sh\n", 0o755), "");
        assert_eq!(foreseen("sh", folder.path()), None);
        let none = foreseen("./smokee.sh", folder.path()).expect("a reason");
        assert!(
            none.ends_with("/smokee.sh is not there") && !none.contains("/./"),
            "{none}"
        );
        let none = foreseen("shipit-no-such-program", folder.path()).expect("a reason");
        assert!(none.starts_with("it is in no folder of PATH"), "{none}");
    }

    #[test]
    fn a_program_of_an_image_is_mended_where_the_image_is_made() {
        let image = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(image.path().join("app")).expect("a folder");
        let program = image.path().join("app/run.sh");
        std::fs::write(&program, "#!/bin/sh\n").expect("written");
        let asked = |program, path: Option<&str>| Asked {
            program,
            folder: Path::new("/"),
            path: path.map(OsString::from),
            image: Some(image.path()),
        };

        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let told = asked(&program, None).reason(&denied).expect("a reason");
        assert!(
            told.starts_with("/app/run.sh is not executable in the image: "),
            "{told}"
        );
        assert!(
            !told.contains(&image.path().display().to_string()),
            "{told}"
        );
        let folder = image.path().join("app");
        let told = asked(&folder, None).reason(&denied);
        assert_eq!(told.as_deref(), Some("/app is a folder, and no program"));

        let none = io::Error::from(ErrorKind::NotFound);
        let told = asked(Path::new("pyhton3"), Some("/usr/bin:/bin")).reason(&none);
        assert_eq!(
            told.as_deref(),
            Some("it is in no folder of PATH (/usr/bin:/bin)")
        );
        let told = asked(Path::new("pyhton3"), None).reason(&none);
        assert!(told.expect("a reason").contains("there is no PATH"));
    }

    #[test]
    fn a_script_with_lines_of_windows_is_found_behind_what_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            windows_lines(&words, folder.path())
        };
        std::fs::write(folder.path().join("run.sh"), "set -e\r\necho\r\n").expect("written");
        std::fs::write(folder.path().join("good.sh"), "set -e\necho '\r'\n").expect("written");

        for found in [&["sh", "run.sh"][..], &["./run.sh"], &["run.sh", "good.sh"]] {
            let told = words(found).expect("a reason");
            assert!(told.contains("run.sh end as on Windows (CR LF)"), "{told}");
        }
        for fine in [
            &["sh", "good.sh"][..],
            &["sh", "-c", "run.sh"],
            &["sh", "none"],
            &[],
        ] {
            assert_eq!(words(fine), None, "{fine:?}");
        }
    }
}
