//! Layers as friends and enemies write them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::json;
use tar::EntryType;

use super::*;

/// An entry of a layer, as somebody wrote it.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    kind: EntryType,
    link: String,
    mode: u32,
    content: Vec<u8>,
}

fn entry(kind: EntryType, name: &str, link: &str, content: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        kind,
        link: link.to_owned(),
        mode: 0o644,
        content: content.as_bytes().to_vec(),
    }
}

fn file(name: &str, content: &str) -> Entry {
    entry(EntryType::Regular, name, "", content)
}

fn folder(name: &str) -> Entry {
    entry(EntryType::Directory, name, "", "")
}

fn link(name: &str, target: &str) -> Entry {
    entry(EntryType::Symlink, name, target, "")
}

fn hard_link(name: &str, target: &str) -> Entry {
    entry(EntryType::Link, name, target, "")
}

/// Bytes of a tar in which names stand as they are, wherever they lead.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let records: Vec<u8> = [("path", &entry.name), ("linkpath", &entry.link)]
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(key, value)| record(key, value))
            .collect();
        bytes.extend(member(EntryType::XHeader, 0o644, &records));
        bytes.extend(member(entry.kind, entry.mode, &entry.content));
    }
    bytes.extend([0; 1024]);
    bytes
}

/// A PAX record: its own length, a key and a value.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

fn member(kind: EntryType, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path("x").expect("a name");
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let padding = content.len().next_multiple_of(512) - content.len();
    [header.as_bytes(), content, &vec![0; padding]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("packed");
    gzip.finish().expect("packed")
}

/// The digest of what comes out of a layer, as far as something does.
fn diff_id(layer: &[u8]) -> Digest {
    let mut plain = Vec::new();
    let _ = io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(layer), &mut plain);
    Digest::of(&plain)
}

/// A machine with an agent's folder, a layout, and something that is nobody's business.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("layout/blobs/sha256")).expect("a layout");
        let canary = folder.path().join("canary");
        fs::create_dir_all(canary.join("sub")).expect("a folder");
        for (name, content) in [("secret.txt", "s3cret"), ("sub/deep.txt", "deep")] {
            fs::write(canary.join(name), content).expect("a file");
        }
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o700)).expect("a mode");
        Self { folder }
    }

    fn canary(&self) -> PathBuf {
        self.folder.path().join("canary")
    }

    fn layout(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    fn directory(&self) -> Directory {
        Directory::find(Some(self.folder.path().join("agent")))
    }

    fn blob(&self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        let path = self.layout().join("blobs/sha256").join(digest.hex());
        fs::write(path, bytes).expect("a blob");
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest,
            "size": bytes.len(),
        })
    }

    /// An image of these layers, lowest first.
    fn image(&self, layers: &[Vec<u8>]) -> Digest {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| diff_id(layer)).collect();
        self.image_of(layers, &json!({}), &diff_ids)
    }

    /// The same with this configuration.
    fn image_of(
        &self,
        layers: &[Vec<u8>],
        runs: &serde_json::Value,
        diff_ids: &[Digest],
    ) -> Digest {
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(layer)).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": runs,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let mut config = self.blob(config.to_string().as_bytes());
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let manifest = manifest.to_string();
        self.blob(manifest.as_bytes());
        Digest::of(manifest.as_bytes())
    }

    fn fetch(&self, image: &Digest) -> Result<PathBuf, Reason> {
        let unpacked = Unpacked::of(&self.directory(), image, Tree::Container);
        unpacked.fetch(&Pull::Layout(self.layout()), &Arc::default())?;
        Ok(unpacked.files())
    }

    fn unpack(&self, layers: &[Vec<Entry>]) -> Result<PathBuf, Reason> {
        let layers: Vec<_> = layers.iter().map(|layer| gzip(&tar(layer))).collect();
        self.fetch(&self.image(&layers))
    }

    /// All that is nobody's business, with its modes, owners and times.
    fn untouched(&self) -> Vec<String> {
        let mut lines = Vec::new();
        list(&self.canary(), &mut lines);
        lines
    }
}

fn list(path: &Path, lines: &mut Vec<String>) {
    let meta = fs::symlink_metadata(path).expect("it is there");
    let content = fs::read_to_string(path).unwrap_or_default();
    lines.push(format!(
        "{} {:o} {}:{} {} {}.{} {content}",
        path.display(),
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.nlink(),
        meta.ctime(),
        meta.ctime_nsec(),
    ));
    if meta.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        let mut below: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        below.sort();
        for path in below {
            list(&path, lines);
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{error}"))
}

#[test]
fn a_whiteout_never_leaves_the_image() {
    let machine = Machine::new();
    let before = machine.untouched();
    let canary = machine.canary().display().to_string();
    let sub = machine.canary().join("sub").display().to_string();
    let climbing = "../".repeat(40) + &canary;
    for (target, whiteout) in [
        (&canary, "link/.wh.secret.txt"),
        (&canary, "link/.wh..wh..opq"),
        (&climbing, "link/.wh..wh..opq"),
        (&canary, "link/sub/.wh.deep.txt"),
        (&sub, "link/.wh.deep.txt"),
    ] {
        let layers = [vec![link("link", target)], vec![file(whiteout, "")]];
        machine.unpack(&layers).expect("a whiteout of nothing");
        machine
            .unpack(&[layers.concat()])
            .expect("in one layer as well");
        assert_eq!(machine.untouched(), before, "{whiteout}");
    }
    for nobody in [
        "link/.wh...",
        "link/.wh..",
        "link/.wh.",
        ".wh...",
        ".wh.a/b",
    ] {
        let layers = [vec![link("link", &sub)], vec![file(nobody, "")]];
        let reason = machine.unpack(&layers).expect_err(nobody);
        assert!(reason.contains("whiteout"), "{reason}");
        assert_eq!(machine.untouched(), before, "{nobody}");
    }
}

#[test]
fn a_whiteout_takes_away_what_lower_layers_have_and_nothing_else() {
    let machine = Machine::new();
    let files = machine
        .unpack(&[
            vec![
                file("a/1", "1"),
                file("a/2", "2"),
                file("b/1", "1"),
                file("c", "c"),
            ],
            vec![file("d/e/f", "f"), file("d/g", "g"), file("aufs", "")],
            vec![
                // What is of the same layer stays, wherever the marker stands.
                file("a/3", "3"),
                folder("d"),
                file("d/e/h", "h"),
                file("a/.wh..wh..opq", ""),
                file("d/.wh..wh..opq", ""),
                file("b/.wh.1", ""),
                file("b/1", "new"),
                file("c", "new"),
                file(".wh.c", ""),
                file(".wh.none", ""),
                file("none/.wh..wh..opq", ""),
                // Notes of another tool.
                file(".wh..wh.aufs", ""),
                file("a/4", "4"),
            ],
        ])
        .expect("a legal image");
    let mut names = Vec::new();
    list(&files, &mut names);
    let names: Vec<_> = names
        .iter()
        .filter_map(|line| line.split(' ').next()?.strip_prefix(files.to_str()?))
        .collect();
    let left = [
        "", "/a", "/a/3", "/a/4", "/aufs", "/b", "/b/1", "/c", "/d", "/d/e", "/d/e/h",
    ];
    assert_eq!(names, left);
    assert_eq!(
        (text(&files.join("b/1")), text(&files.join("c"))),
        ("new".into(), "new".into())
    );
}

#[test]
fn an_entry_takes_the_place_of_whatever_had_its_name() {
    let machine = Machine::new();
    let canary = machine.canary().display().to_string();
    let before = machine.untouched();
    let files = machine
        .unpack(&[
            vec![
                link("folder-over-link", &canary),
                link("slash-over-link", &canary),
                file("file-over-folder/x/y", "old"),
                file("link-over-folder/x", "old"),
                file("hard-over-file", "old"),
                file("folder-over-file", "old"),
                link("file-over-link", &format!("{canary}/secret.txt")),
                file("below-file", "old"),
                file("target", "target"),
                file("same", "same"),
            ],
            vec![
                folder("folder-over-link"),
                file("folder-over-link/x", "x"),
                folder("slash-over-link/"),
                file("file-over-folder", "new"),
                link("link-over-folder", "target"),
                hard_link("hard-over-file", "target"),
                folder("folder-over-file"),
                file("file-over-link", "new"),
                file("below-file/x", "x"),
                hard_link("same", "./same"),
            ],
        ])
        .expect("a legal image");
    for (path, content) in [
        ("folder-over-link/x", "x"),
        ("file-over-folder", "new"),
        ("link-over-folder", "target"),
        ("hard-over-file", "target"),
        ("file-over-link", "new"),
        ("below-file/x", "x"),
        ("same", "same"),
    ] {
        assert_eq!(text(&files.join(path)), content, "{path}");
    }
    for path in ["folder-over-link", "slash-over-link", "folder-over-file"] {
        let meta = fs::symlink_metadata(files.join(path)).expect(path);
        assert!(meta.is_dir(), "{path}");
    }
    assert_eq!(machine.untouched(), before);
}

#[test]
fn links_of_an_image_see_the_image_as_their_root() {
    let machine = Machine::new();
    let before = machine.untouched();
    let canary = machine.canary().display().to_string();
    let files = machine
        .unpack(&[
            vec![
                link("var/run", "/run"),
                link("up", "../../../../../run"),
                link("chain", "up"),
                link("out", &canary),
                folder("lib64"),
                link("lib", "lib64"),
            ],
            vec![
                file("var/run/pid", "1"),
                file("chain/sock", "2"),
                file("out/new.txt", "3"),
                file("/lib/x", "4"),
                hard_link("pid", "/var/run/pid"),
                hard_link("ours", &format!("{canary}/new.txt")),
                file("var/run/.wh.sock", ""),
            ],
        ])
        .expect("a legal image");
    let own = files.join(canary.trim_start_matches('/')).join("new.txt");
    for (path, content) in [
        (files.join("run/pid"), "1"),
        (files.join("run/sock"), "2"),
        (own, "3"),
        (files.join("lib64/x"), "4"),
        (files.join("pid"), "1"),
        (files.join("ours"), "3"),
    ] {
        assert_eq!(text(&path), content, "{}", path.display());
    }
    assert!(
        fs::symlink_metadata(files.join("var/run"))
            .expect("a link")
            .is_symlink()
    );
    assert_eq!(machine.untouched(), before);
}

#[test]
fn what_no_image_may_say_is_refused_or_left_out() {
    let machine = Machine::new();
    let before = machine.untouched();
    let canary = machine.canary().display().to_string();
    let deep = "d/".repeat(300) + "x";
    let long = "long-name/".repeat(500);
    for (layer, expected) in [
        (
            vec![file(&format!("../../../../../..{canary}/new"), "")],
            "outside of the image",
        ),
        (vec![file("a/../../b", "")], "outside of the image"),
        (
            vec![hard_link(
                "h",
                &format!("../../../../..{canary}/secret.txt"),
            )],
            "outside",
        ),
        (
            vec![hard_link("h", &format!("{canary}/secret.txt"))],
            "No such file",
        ),
        (vec![hard_link("h", "none")], "No such file"),
        (vec![link("a", "a"), file("a/x", "")], "symbolic links"),
        (vec![file(&deep, "")], "folders deep"),
        (vec![file(&long, "")], "bytes"),
        (vec![file(&"n".repeat(300), "")], "too long"),
        (
            vec![entry(EntryType::new(b'V'), "label", "", "")],
            "not understood",
        ),
    ] {
        let reason = machine.unpack(&[layer]).expect_err(expected);
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(machine.untouched(), before);
    }

    let mut set = file("set", "#!/bin/sh\n");
    set.mode = 0o6755;
    let mut sticky = folder("sticky");
    sticky.mode = 0o7777;
    let device = entry(EntryType::Char, "device", "", "");
    let fifo = entry(EntryType::Fifo, "fifo", "", "");
    let files = machine
        .unpack(&[vec![set, sticky, device, fifo]])
        .expect("what is left out is no error");
    for name in ["set", "sticky", "device", "fifo"] {
        let meta = fs::symlink_metadata(files.join(name)).expect(name);
        assert_eq!(meta.mode() & 0o6000, 0, "{name}");
        assert!(meta.is_file() || meta.is_dir(), "{name}");
    }
}

#[test]
fn a_layer_of_several_archives_is_read_to_its_end() {
    let machine = Machine::new();
    let bytes = tar(&[file("first", "1"), file("second", "2")]);
    let packed = bytes.chunks(700).flat_map(gzip).collect();
    let files = machine
        .fetch(&machine.image(&[packed]))
        .expect("a legal image");
    assert_eq!(text(&files.join("second")), "2");
}

/// Their media type says gzip, as tools leave it that pack a layer anew.
#[test]
fn a_layer_is_packed_as_its_bytes_say() {
    let machine = Machine::new();
    let plain = tar(&[file("first", "1"), file("second", "2")]);
    let zstd =
        ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    let id = [Digest::of(&plain)];
    for packed in [plain, zstd] {
        let image = machine.image_of(&[packed], &json!({}), &id);
        let files = machine.fetch(&image).expect("a legal image");
        assert_eq!(text(&files.join("second")), "2");
    }
}

#[test]
fn a_bomb_is_refused_and_leaves_nothing() {
    let machine = Machine::new();
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").expect("a name");
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(400 << 20);
    header.set_cksum();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(header.as_bytes()).expect("packed");
    let zeros = vec![0; 1 << 20];
    for _ in 0..400 {
        gzip.write_all(&zeros).expect("packed");
    }
    let image = machine.image(&[gzip.finish().expect("packed")]);
    let reason = machine.fetch(&image).expect_err("a bomb");
    assert!(reason.contains("SHIPIT_IMAGE_SIZE"), "{reason}");
    let left = fs::read_dir(machine.directory().images()).expect("a folder");
    assert_eq!(left.count(), 0, "nothing is left of it");
}

#[test]
fn folders_that_only_paths_imply_count_as_entries() {
    let image = tempfile::tempdir().expect("a folder");
    let limits = crate::files::archive::Limits {
        bytes: 1 << 20,
        entries: 1000,
        within: std::time::Duration::from_mins(1),
    };
    let budget = Budget::new(limits);
    budget.next_archive(u64::MAX);
    let deep = |number: usize| file(&format!("{number}/{}x", "a/".repeat(100)), "");
    let entries: Vec<Entry> = (0..50).map(deep).collect();

    let unpacker = Unpacker::new(image.path(), Owners::Own, budget).expect("a folder");
    let error = unpacker
        .layer(&tar(&entries)[..])
        .expect_err("5,000 folders");
    let said =
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(said.contains("more than 1000 entries"), "{said}");
    let made = fs::read_dir(image.path()).expect("a folder").count();
    assert!(made <= 10, "{made} of 50");
}

#[test]
fn short_names_behind_a_link_count_as_long_as_they_are() {
    let image = tempfile::tempdir().expect("a folder");
    let limits = crate::files::archive::Limits {
        bytes: 1 << 20,
        entries: 1000,
        within: std::time::Duration::from_mins(1),
    };
    let budget = Budget::new(limits);
    budget.next_archive(u64::MAX);
    let deep = vec!["d".repeat(250); 14].join("/");
    let mut entries = vec![file(&format!("{deep}/x"), ""), link("l", &deep)];
    entries.extend((0..100).map(|number| file(&format!("l/{number}"), "")));

    let unpacker = Unpacker::new(image.path(), Owners::Own, budget).expect("a folder");
    let error = unpacker.layer(&tar(&entries)[..]).expect_err("350 KB");
    assert!(error.to_string().contains("more than 125 KiB"), "{error}");
    let made = fs::read_dir(image.path().join(deep)).expect("a folder");
    assert!(made.count() < 40);
}

#[test]
fn bytes_that_are_not_the_digest_are_named_before_what_is_wrong_with_them() {
    let machine = Machine::new();
    let layer = gzip(&tar(&[file("a", "a")]));
    let image = machine.image(std::slice::from_ref(&layer));
    let blob = machine
        .layout()
        .join("blobs/sha256")
        .join(Digest::of(&layer).hex());
    for spoiled in [[&layer[..], b"more"].concat(), b"no gzip at all".to_vec()] {
        fs::write(&blob, spoiled).expect("a blob");
        let reason = machine.fetch(&image).expect_err("other bytes");
        assert!(reason.contains("the image is corrupt"), "{reason}");
    }
}

#[test]
fn the_checksum_behind_a_layer_is_compared() {
    let machine = Machine::new();
    let mut layer = gzip(&tar(&[file("a", "a")]));
    let at = layer.len() - 8;
    layer[at] ^= 1;
    let reason = machine
        .fetch(&machine.image(&[layer]))
        .expect_err("other bytes");
    assert!(reason.contains("unpacking it"), "{reason}");
}

#[test]
fn a_blob_is_a_file_of_the_layout() {
    let machine = Machine::new();
    let layer = gzip(&tar(&[file("a", "a")]));
    let image = machine.image(std::slice::from_ref(&layer));
    let blob = machine
        .layout()
        .join("blobs/sha256")
        .join(Digest::of(&layer).hex());
    let elsewhere = machine.folder.path().join("elsewhere");
    fs::rename(&blob, &elsewhere).expect("moved");
    for (target, expected) in [
        (elsewhere.as_path(), "outside"),
        (Path::new("/dev/zero"), "outside"),
    ] {
        symlink(target, &blob).expect("a link");
        let reason = machine.fetch(&image).expect_err("not of the layout");
        assert!(reason.contains(expected), "{reason}");
        fs::remove_file(&blob).expect("gone");
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &blob,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a FIFO");
    let reason = machine.fetch(&image).expect_err("would wait for ever");
    assert!(reason.contains("is a pipe"), "{reason}");
}

#[test]
fn an_image_that_changed_is_unpacked_again_and_refused_without_its_layers() {
    let machine = Machine::new();
    let image = machine.image(&[gzip(&tar(&[file("app/s.py", "good"), file("app/x", "x")]))]);
    let pull = Pull::Layout(machine.layout());
    for tree in [Tree::Machine, Tree::Container] {
        let unpacked = Unpacked::of(&machine.directory(), &image, tree);
        unpacked
            .fetch(&pull, &Arc::default())
            .expect("a legal image");
        assert_eq!(unpacked.damage(), None);

        let program = unpacked.files().join("app/s.py");
        let forge = || {
            fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("a mode");
            fs::write(&program, "evil").expect("written");
        };
        forge();
        let damage = unpacked.damage().expect("it is seen");
        assert_eq!(damage, "app/s.py has other content");
        unpacked.ensure().expect("put right");
        assert_eq!(
            (text(&program), unpacked.damage()),
            ("good".to_owned(), None)
        );

        forge();
        let away = machine.folder.path().join("away");
        fs::rename(machine.layout(), &away).expect("moved");
        let reason = unpacked.ensure().expect_err("nothing to unpack");
        assert!(reason.contains("app/s.py has other content"), "{reason}");
        assert!(reason.contains("`shipit apply`"), "{reason}");
        fs::rename(&away, machine.layout()).expect("moved");
        unpacked.fetch(&pull, &Arc::default()).expect("put right");
        assert_eq!(text(&program), "good");
        let left = fs::read_dir(machine.directory().images()).expect("a folder");
        assert_eq!(left.count(), 1, "what was unpacked for it is gone");
        sweep(&machine.directory(), &[]);
        assert!(!unpacked.files().exists());
    }
}

#[test]
fn a_process_cannot_write_its_image_and_a_container_has_its_own_permissions() {
    let machine = Machine::new();
    let mut secret = file("secret", "s");
    secret.mode = 0o600;
    let mut tmp = folder("tmp");
    tmp.mode = 0o1777;
    let mut program = file("bin/x", "#!");
    program.mode = 0o700;
    let image = machine.image(&[gzip(&tar(&[secret, tmp, program]))]);
    let modes = |tree| {
        let unpacked = Unpacked::of(&machine.directory(), &image, tree);
        unpacked
            .fetch(&Pull::Layout(machine.layout()), &Arc::default())
            .expect("a legal image");
        ["secret", "tmp", "bin/x", "bin"].map(|name| {
            let meta = fs::metadata(unpacked.files().join(name)).expect(name);
            meta.mode() & 0o7777
        })
    };
    assert_eq!(modes(Tree::Machine), [0o444, 0o555, 0o555, 0o555]);
    assert_eq!(modes(Tree::Container), [0o600, 0o1777, 0o700, 0o755]);
}

#[test]
fn an_image_that_does_not_fit_is_refused_before_anything_is_written() {
    let machine = Machine::new();
    let disk = rustix::fs::statvfs(machine.folder.path()).expect("a disk");
    let free = disk.f_bavail * disk.f_frsize;
    let claims = |number: u64| {
        let mut layer = gzip(&tar(&[file(&number.to_string(), "a")]));
        // What gzip says of itself: four bytes at its end.
        let end = layer.len() - 4;
        layer[end..].copy_from_slice(&u32::MAX.to_le_bytes());
        layer
    };
    let layers: Vec<Vec<u8>> = (0..=free >> 32).map(claims).collect();
    let reason = machine.fetch(&machine.image(&layers)).expect_err("no room");
    assert!(reason.contains("MiB free: the image needs"), "{reason}");
}

/// Names that mean something to layers, to paths, or to the machine beside the image.
fn names(canary: &str) -> impl Strategy<Value = String> + use<> {
    let parts = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "link",
        "run",
        ".",
        "..",
        ".wh.a",
        ".wh.link",
        ".wh..wh..opq",
        ".wh..",
        ".wh...",
        ".wh.",
        ".wh..wh.x",
        "sub",
        "deep.txt",
        "secret.txt",
        "é\n",
        "\u{202e}",
    ]);
    let path = prop::collection::vec(parts, 1..5).prop_map(|parts| parts.join("/"));
    let (absolute, climbing) = (canary.to_owned(), "../".repeat(12) + canary);
    prop_oneof![
        6 => path.clone(),
        1 => path.clone().prop_map(|path| format!("/{path}")),
        1 => path.clone().prop_map(|path| format!("{path}/")),
        1 => path.clone().prop_map(move |path| format!("{absolute}/{path}")),
        1 => path.prop_map(move |path| format!("{climbing}/{path}")),
    ]
}

fn targets(canary: &str) -> impl Strategy<Value = String> + use<> {
    let own = [canary, "/", "..", "../../..", ".", "a", "link", "/run"];
    let own: Vec<String> = own.iter().map(|target| (*target).to_owned()).collect();
    prop_oneof![names(canary), prop::sample::select(own)]
}

fn entries(canary: &str) -> impl Strategy<Value = Vec<Entry>> + use<> {
    let kinds = prop::sample::select(b"00001122225346gxV".to_vec());
    let entry = (kinds, names(canary), targets(canary), 0..0o10000_u32);
    let entry = entry.prop_map(|(kind, name, link, mode)| Entry {
        name,
        kind: EntryType::new(kind),
        link,
        mode,
        content: if kind == b'0' {
            b"hostile".to_vec()
        } else {
            Vec::new()
        },
    });
    prop::collection::vec(entry, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_layer_does_anything_outside_of_the_image(
        seed in prop::collection::vec(entries("/canary"), 1..4),
        packed in any::<bool>(),
    ) {
        let machine = Machine::new();
        let canary = machine.canary().display().to_string();
        let here = |text: &str| text.replace("/canary", &canary);
        let layers: Vec<Vec<Entry>> = seed.into_iter().map(|layer| {
            let entry = |entry: Entry| Entry {
                name: here(&entry.name),
                link: here(&entry.link),
                ..entry
            };
            layer.into_iter().map(entry).collect()
        }).collect();
        let before = machine.untouched();

        for layer in &layers {
            hostile(&tar(layer));
        }
        let layers: Vec<Vec<u8>> = layers.iter().map(|layer| {
            // Without the marks of its end a tar ends as well.
            let bytes = tar(layer);
            gzip(if packed { &bytes } else { &bytes[..bytes.len() - 1024] })
        }).collect();
        let fetched = machine.fetch(&machine.image(&layers));

        prop_assert_eq!(machine.untouched(), before);
        let mut beside: Vec<_> = fs::read_dir(machine.folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        beside.sort();
        prop_assert_eq!(beside, ["agent", "canary", "layout"]);
        if let Ok(files) = fetched {
            let mut lines = Vec::new();
            survey_kinds(&files, &mut lines)?;
        }
    }
}

/// Nothing in an image is a device, a FIFO, or runs as somebody else.
fn survey_kinds(path: &Path, lines: &mut Vec<PathBuf>) -> Result<(), TestCaseError> {
    let meta = fs::symlink_metadata(path).expect("it is there");
    let kind = meta.file_type();
    prop_assert!(
        kind.is_dir() || kind.is_file() || kind.is_symlink(),
        "{}",
        path.display()
    );
    prop_assert_eq!(meta.mode() & 0o6000, 0, "{}", path.display());
    lines.push(path.to_path_buf());
    if meta.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            survey_kinds(&entry.expect("an entry").path(), lines)?;
        }
    }
    Ok(())
}

#[test]
fn images_need_room_together_and_what_is_there_needs_none() {
    let machine = Machine::new();
    let layer = |content: &str| gzip(&tar(&[file("a", &content.repeat(10_000))]));
    let (first, second) = (
        machine.image(&[layer("first ")]),
        machine.image(&[layer("second ")]),
    );
    let pull = Pull::Layout(machine.layout());
    let with = |image: &Digest| {
        let unpacked = Unpacked::of(&machine.directory(), image, Tree::Container);
        (unpacked, pull.clone())
    };
    let alone = |image: &Digest| needed(&[with(image)]).expect("a size");
    assert!(alone(&first) > 60_000 && alone(&second) > 70_000);
    let all = [with(&first), with(&second), with(&first)];
    assert_eq!(
        needed(&all),
        Ok(alone(&first) + alone(&second)),
        "each once"
    );

    let second_alone = alone(&second);
    machine.fetch(&first).expect("unpacked");
    assert_eq!(needed(&all), Ok(second_alone));
    room(&machine.directory(), &all).expect("a disk has room for so little");

    // Two that fit, and not both: each says of itself that it becomes 4 GiB.
    let sizes: Vec<_> = (0..100_u32)
        .map(|number| {
            let mut layer = gzip(&tar(&[file("a", &number.to_string())]));
            let end = layer.len() - 4;
            layer.splice(end.., u32::MAX.to_le_bytes());
            with(&machine.image(&[layer]))
        })
        .collect();
    let refused = room(&machine.directory(), &sizes).expect_err("400 GiB");
    assert!(refused.contains("all images of the plan"), "{refused}");
}

#[test]
fn layers_are_what_the_configuration_says_they_are() {
    let machine = Machine::new();
    let layer = gzip(&tar(&[file("a", "a")]));
    let (own, other) = (diff_id(&layer), Digest::of(b"other"));
    let image = |ids: &[Digest]| machine.image_of(std::slice::from_ref(&layer), &json!({}), ids);

    let reason = machine
        .fetch(&image(std::slice::from_ref(&other)))
        .expect_err("others");
    let both = format!("unpacks to {other}, and it does to {own}");
    assert!(reason.contains(&both), "{reason}");
    let reason = machine.fetch(&image(&[])).expect_err("of no layer");
    assert!(
        reason.contains("its manifest has 1 layers, and its configuration 0"),
        "{reason}"
    );
    machine.fetch(&image(&[own])).expect("its own");
}

#[test]
fn a_user_that_an_image_does_not_have_is_found_when_it_is_unpacked() {
    let machine = Machine::new();
    let users = gzip(&tar(&[file("etc/passwd", "app:x:1000:1000::/:/bin/sh\n")]));
    let image = |user: &str| {
        let (layers, runs) = (std::slice::from_ref(&users), json!({"User": user}));
        machine.image_of(layers, &runs, &[diff_id(&users)])
    };
    for good in ["", "app", "1000:1000", "7"] {
        machine.fetch(&image(good)).expect(good);
    }
    for (user, wanted) in [
        (
            "nobody",
            "user `nobody` is neither a number nor in the image's /etc/passwd",
        ),
        (
            "app:staff",
            "group `staff` is neither a number nor in the image's /etc/group",
        ),
    ] {
        let image = image(user);
        let reason = machine.fetch(&image).expect_err(user);
        assert!(reason.contains(wanted), "{reason}");
        let unpacked = Unpacked::of(&machine.directory(), &image, Tree::Container);
        assert!(!unpacked.files().exists(), "nothing of it is left");
    }
}

/// What is in the folder of an agent's images.
fn images(machine: &Machine) -> Vec<PathBuf> {
    let entries = fs::read_dir(machine.directory().images());
    let entries = entries.into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn what_nobody_waits_for_is_not_unpacked_to_its_end() {
    let machine = Machine::new();
    let zeros = "0".repeat(32 << 20);
    let files: Vec<Entry> = (0..4).map(|at| file(&at.to_string(), &zeros)).collect();
    let image = machine.image(&[gzip(&tar(&files))]);
    let unpacked = Unpacked::of(&machine.directory(), &image, Tree::Container);
    let pull = Pull::Layout(machine.layout());

    // A runtime waits for what it has begun on threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let begun = async {
            while images(&machine).is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            fetched = fetch(unpacked.clone(), &pull) => {
                panic!("it was there at once: {fetched:?}")
            }
            () = begun => {}
        }
    });
    assert_eq!(
        images(&machine),
        [] as [PathBuf; 0],
        "nothing of it is left"
    );
    unpacked
        .fetch(&pull, &Arc::default())
        .expect("the next time");
}
