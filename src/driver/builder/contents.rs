//! What is in an image: read from its layers, the uppermost first, for whoever lists it.
//!
//! A file in a layer hides the one of its name in those below, and a whiteout hides what it names
//! (image-spec, `layer.md`). What cannot be looked into is said, and is no failure: a list with a
//! gap is better than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::files::archive::{self, Budget, Limits, Member};
use crate::files::packed;
use crate::model::Digest;
use crate::model::sbom::{Contents, Manager, System};
use crate::port::registry::Blob;

/// How much of one image is read, unpacked.
const LIMITS: Limits = Limits {
    bytes: 8 << 30,
    entries: 2_000_000,
    within: Duration::from_mins(30),
};
/// The largest package database that is read.
const DATABASE: u64 = 64 << 20;
/// The most files of a package database that is a folder.
const MOST_PARTS: usize = 20_000;
/// The most copied files that are named one by one.
const MOST_FILES: usize = 20_000;

const STATUS: &str = "var/lib/dpkg/status";
/// One file for each package, in images that are made without dpkg.
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const SYSTEM: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
const RPM: [&str; 2] = ["var/lib/rpm/", "usr/lib/sysimage/rpm/"];

/// Looks into the layers, lowest first. `copied` is the one whose files are named one by one.
pub(super) fn read(layers: &[Blob], copied: Option<usize>) -> Contents {
    let budget = Budget::new(LIMITS);
    let mut reading = Reading::default();
    for (number, layer) in layers.iter().enumerate().rev() {
        let Some(file) = &layer.file else {
            reading.gap(format!("layer {}: it was not fetched", layer.digest));
            continue;
        };
        if let Err(error) = reading.layer(file, &budget, copied == Some(number)) {
            reading.gap(format!("layer {}: {error}", layer.digest));
        }
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    /// The files that count, by path.
    found: BTreeMap<String, Vec<u8>>,
    /// What layers above have put in the place of, or deleted.
    hidden: Hidden,
    files: BTreeMap<String, Digest>,
    gaps: BTreeSet<String>,
}

#[derive(Default)]
struct Hidden {
    /// These, and everything below them.
    paths: BTreeSet<String>,
    /// Everything below these.
    folders: BTreeSet<String>,
}

impl Hidden {
    fn hides(&self, path: &str) -> bool {
        self.paths.contains(path)
            || path
                .match_indices('/')
                .map(|(at, _)| &path[..at])
                .any(|above| self.paths.contains(above) || self.folders.contains(above))
            || self.folders.contains("")
    }
}

impl Reading {
    fn gap(&mut self, what: String) {
        self.gaps.insert(what);
    }

    fn layer(&mut self, file: &Path, budget: &Budget, copied: bool) -> io::Result<()> {
        let plain = packed::unpacked(BufReader::with_capacity(256 << 10, File::open(file)?))?;
        let mut above = Hidden::default();
        let result = archive::each(plain, budget, |entry| self.entry(entry, copied, &mut above));
        self.hidden.paths.extend(above.paths);
        self.hidden.folders.extend(above.folders);
        result
    }

    fn entry(
        &mut self,
        entry: &mut Member<'_>,
        copied: bool,
        above: &mut Hidden,
    ) -> io::Result<()> {
        let path = clean(&entry.path);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            above.folders.extend(
                Some(folder.to_owned()).filter(|folder| folder.is_empty() || matters(folder)),
            );
        } else if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = if folder.is_empty() {
                gone.to_owned()
            } else {
                format!("{folder}/{gone}")
            };
            above.paths.extend(Some(gone).filter(|gone| matters(gone)));
        } else if !entry.kind.is_dir() {
            // A folder adds to the one below.
            if copied && entry.kind.is_file() {
                self.copied(&path, entry)?;
            }
            if matters(&path) {
                self.kept(&path, entry)?;
                above.paths.insert(path);
            }
        }

        Ok(())
    }

    /// A file that the build copied in. One that matters is read once more below, from what was
    /// read here.
    fn copied(&mut self, path: &str, entry: &mut impl Read) -> io::Result<()> {
        if self.files.len() == MOST_FILES {
            self.gap(format!(
                "only the first {MOST_FILES} files that were copied in are named"
            ));
            return Ok(());
        }

        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
        let mut kept = matters(path).then(Vec::new);
        loop {
            match entry.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    if let Some(kept) = kept.as_mut().filter(|kept| kept.len() as u64 <= DATABASE) {
                        kept.extend_from_slice(&buffer[..count]);
                    }
                }
            }
        }

        self.files
            .insert(format!("/{path}"), Digest::from_sha256(hasher));
        match kept {
            Some(kept) => self.kept(path, &mut kept.as_slice()),
            None => Ok(()),
        }
    }

    fn kept(&mut self, path: &str, entry: &mut impl Read) -> io::Result<()> {
        if RPM.iter().any(|folder| path.starts_with(folder)) {
            self.gap("packages of rpm".to_owned());
        }
        if !counts(path) || self.hidden.hides(path) || self.found.contains_key(path) {
            return Ok(());
        }
        if self.found.len() == MOST_PARTS {
            self.gap(format!(
                "only the first {MOST_PARTS} packages of {STATUS_FOLDER} are named"
            ));
            return Ok(());
        }

        let mut bytes = Vec::new();
        entry.take(DATABASE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > DATABASE {
            self.gap(format!("/{path} is larger than {} MiB", DATABASE >> 20));
            bytes.clear();
        }

        self.found.insert(path.to_owned(), bytes);
        Ok(())
    }

    fn finish(self) -> Contents {
        let text = |path: &str| {
            self.found
                .get(path)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let parts = self
            .found
            .keys()
            .filter(|path| path.starts_with(STATUS_FOLDER));
        let debian = parts.map(String::as_str).chain([STATUS]).filter_map(text);
        let alpine = APK.into_iter().filter_map(text);
        let packages = debian
            .flat_map(|text| Manager::Dpkg.installed(&text))
            .chain(alpine.flat_map(|text| Manager::Apk.installed(&text)));

        Contents {
            system: SYSTEM
                .into_iter()
                .filter_map(text)
                .find_map(|text| System::read(&text)),
            packages: packages.collect(),
            files: self.files,
            gaps: self.gaps,
        }
    }
}

/// A path without `.`, `..` and a slash before it.
fn clean(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a file is one of those that are read.
fn counts(path: &str) -> bool {
    let part = path
        .strip_prefix(STATUS_FOLDER)
        .is_some_and(|rest| rest.starts_with('/'));
    path == STATUS
        || APK.contains(&path)
        || SYSTEM.contains(&path)
        || (part && !path.ends_with(".md5sums"))
}

/// Whether a path is one of those that are read, or what they lie in: all that has to be
/// remembered.
fn matters(path: &str) -> bool {
    let above = |wanted: &str| {
        wanted
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    counts(path)
        || path.starts_with(STATUS_FOLDER)
        || RPM.iter().any(|folder| path.starts_with(folder))
        || [STATUS, STATUS_FOLDER]
            .into_iter()
            .chain(APK)
            .chain(SYSTEM)
            .any(above)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// A layer of files with their texts; gzip when it should be.
    fn layer(folder: &Path, gzip: bool, files: &[(&str, &str)]) -> Blob {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            if path.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
            }
            tar.append_data(&mut header, path, text.as_bytes())
                .expect("an entry");
        }
        let mut bytes = tar.into_inner().expect("a layer");
        if gzip {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&bytes).expect("packed");
            bytes = packed.finish().expect("packed");
        }
        let digest = Digest::of(&bytes);
        let file = folder.join(digest.hex());
        std::fs::write(&file, &bytes).expect("a file");
        let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
        Blob {
            media_type,
            digest,
            size: bytes.len() as u64,
            file: Some(file),
        }
    }

    fn dpkg(name: &str, version: &str) -> String {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: \
             {version}\n"
        )
    }

    fn names(contents: &Contents) -> Vec<String> {
        contents
            .packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect()
    }

    #[test]
    fn the_uppermost_layer_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (dpkg("libc6", "1"), dpkg("libc6", "2"));
        let below = layer(
            folder.path(),
            true,
            &[
                ("./var/lib/dpkg/status", &old),
                ("usr/lib/os-release", "ID=debian\n"),
            ],
        );
        let above = layer(
            folder.path(),
            false,
            &[("var/lib/dpkg/", ""), ("var/lib/dpkg/status", &new)],
        );
        let contents = read(&[below, above], None);
        assert_eq!(names(&contents), ["libc6 2"]);
        assert_eq!(contents.system.expect("a system").id, "debian");
        assert_eq!(contents.gaps, BTreeSet::new());
    }

    #[test]
    fn what_a_layer_takes_away_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = dpkg("libc6", "1");
        let distroless = [
            ("var/lib/dpkg/status.d/libc6", text.as_str()),
            ("var/lib/dpkg/status.d/libc6.md5sums", "ab  x"),
        ];
        let below = layer(folder.path(), true, &distroless);
        assert_eq!(
            names(&read(std::slice::from_ref(&below), None)),
            ["libc6 1"]
        );
        for gone in [
            "var/lib/dpkg/status.d/.wh.libc6",
            "var/lib/.wh.dpkg",
            ".wh.var",
            "var/lib/.wh..wh..opq",
            "var/lib",
        ] {
            let above = layer(folder.path(), true, &[(gone, "")]);
            assert_eq!(
                names(&read(&[below.clone(), above], None)),
                [""; 0],
                "{gone}"
            );
        }
        let above = layer(
            folder.path(),
            true,
            &[("var/lib/.wh.dpk", ""), ("var/.wh.lib2", "")],
        );
        assert_eq!(
            names(&read(&[below.clone(), above], None)),
            ["libc6 1"],
            "others were deleted"
        );
        // What a layer takes away, it takes from those below it and not from itself.
        let both = layer(
            folder.path(),
            true,
            &[
                (".wh.var", ""),
                ("var/lib/dpkg/status.d/zlib", &dpkg("zlib", "3")),
            ],
        );
        assert_eq!(names(&read(&[below, both], None)), ["zlib 3"]);
    }

    #[test]
    fn copied_files_are_named_and_what_is_not_looked_into_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let apk = "P:musl\nV:1.2.5\nA:x86_64\n";
        let below = layer(
            folder.path(),
            true,
            &[
                ("bin/sh", "#!"),
                ("lib/apk/db/installed", apk),
                ("var/lib/rpm/rpmdb.sqlite", ""),
            ],
        );
        let own = layer(
            folder.path(),
            true,
            &[
                ("app/message.txt", "v1"),
                ("var/lib/dpkg/status", &dpkg("own", "1")),
            ],
        );
        let missing = Blob {
            file: None,
            ..layer(folder.path(), true, &[("x", "x")])
        };
        let broken = layer(folder.path(), true, &[("y", "y")]);
        std::fs::write(broken.file.as_ref().expect("a file"), b"\x1f\x8bno gzip").expect("a file");
        let zstd = layer(
            folder.path(),
            false,
            &[("lib/apk/db/installed", "P:zlib\nV:1.3\nA:x86_64\n")],
        );
        let file = zstd.file.as_ref().expect("a file");
        let plain = std::fs::read(file).expect("a file");
        let packed = compress_to_vec(&plain[..], CompressionLevel::Fastest);
        std::fs::write(file, packed).expect("a file");
        let contents = read(&[below, missing, broken, zstd, own], Some(4));
        assert_eq!(names(&contents), ["own 1", "zlib 1.3"]);
        let files: Vec<&String> = contents.files.keys().collect();
        assert_eq!(files, ["/app/message.txt", "/var/lib/dpkg/status"]);
        assert_eq!(contents.files["/app/message.txt"], Digest::of(b"v1"));
        let gaps = contents.gaps.into_iter().collect::<Vec<_>>().join("\n");
        for gap in ["was not fetched", "rpm"] {
            assert!(gaps.contains(gap), "{gaps}");
        }
        assert_eq!(gaps.lines().count(), 3, "{gaps}");
    }
}
