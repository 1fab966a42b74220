//! Why a program that is there is "not there": the kernel says so of what would have to read it.

use std::io::Read as _;
use std::path::Path;

use crate::files::beneath::plain_file;

/// The longest first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const LONGEST: u64 = 256;

/// What the program is missing, for one that is there and was said not to be.
pub(super) fn missing(program: &Path) -> Option<String> {
    let mut head = Vec::new();
    let file = plain_file(program).ok()?;
    file.take(LONGEST).read_to_end(&mut head).ok()?;
    let Some(line) = head.strip_prefix(b"#!") else {
        let is_elf = head.starts_with(b"\x7fELF");
        return is_elf.then(|| {
            "it is there, and what loads it is not: it was made for another C library or another machine".to_owned()
        });
    };

    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_whitespace().next()?;
    if line.ends_with('\r') {
        return Some(format!(
            "its first line asks for `{interpreter}` and ends as on Windows (CR LF), so that `{interpreter}\\r` is looked for: write it with LF (`*.sh text eol=lf` in .gitattributes)"
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
}
