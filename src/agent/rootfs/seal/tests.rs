//! What changes is seen, and brought back.

use std::os::unix::fs::symlink;

use super::delete::open;
use super::*;

fn image() -> tempfile::TempDir {
    let image = tempfile::tempdir().expect("a folder");
    let files = image.path().join("files");
    fs::create_dir_all(files.join("app/lib")).expect("a folder");
    for (name, content) in [
        ("app/s.py", "good"),
        ("app/lib/x", "x"),
        ("\u{fc} \\n\n", "odd"),
    ] {
        fs::write(files.join(name), content).expect("a file");
    }
    symlink("app", files.join("link")).expect("a link");
    image
}

fn changes(image: &Path) -> Vec<String> {
    match check(image).expect("it can be read") {
        Condition::Whole => Vec::new(),
        Condition::Changed(changes) => changes.iter().map(ToString::to_string).collect(),
    }
}

/// Another image of the same content.
fn anew(image: &Path) -> io::Result<PathBuf> {
    let fresh = self::image().keep();
    fs::rename(&fresh, image.join("fresh"))?;
    Ok(image.join("fresh/files"))
}

fn forge(path: &Path, content: &str) {
    let _ = fs::set_permissions(path, Permissions::from_mode(0o644));
    fs::write(path, content).expect("written");
    let _ = fs::set_permissions(path, Permissions::from_mode(0o444));
}

#[test]
fn nothing_can_be_changed_without_its_being_seen_and_brought_back() {
    let image = image();
    let (image, files) = (image.path(), image.path().join("files"));
    seal(image, Tree::Machine, &|| Ok(())).expect("sealed");
    assert_eq!(changes(image), [""; 0]);

    open(&files).expect("whoever wants to can");
    forge(&files.join("app/s.py"), "evil");
    fs::remove_file(files.join("app/lib/x")).expect("gone");
    fs::create_dir(files.join("app/new")).expect("a folder");
    fs::write(files.join("app/new/y"), "y").expect("a file");
    fs::remove_file(files.join("link")).expect("gone");
    symlink("/etc", files.join("link")).expect("a link");
    let found = changes(image);
    for expected in [
        "app has another owner or other permissions",
        "app/s.py has other content",
        "app/lib/x is gone",
        "app/new is not of the image",
        "app/new/y is not of the image",
        "link has other content",
    ] {
        assert!(
            found.iter().any(|change| change == expected),
            "{expected}: {found:?}"
        );
    }

    let Condition::Changed(found) = check(image).expect("read") else {
        panic!("it has changed");
    };
    restore(image, Tree::Machine, &found, || anew(image)).expect("restored");
    assert_eq!(changes(image), [""; 0]);
    assert_eq!(
        fs::read_to_string(files.join("app/s.py")).expect("text"),
        "good"
    );
    let kept = fs::read_to_string(image.join("replaced/1/app/s.py")).expect("kept");
    assert_eq!(kept, "evil");
    assert!(image.join("replaced/1/app/new/y").exists());
}

#[test]
fn what_was_only_added_is_put_aside_without_the_layers() {
    let image = image();
    let image = image.path();
    seal(image, Tree::Container, &|| Ok(())).expect("sealed");
    fs::write(image.join("files/app/cache"), "c").expect("a file");
    let Condition::Changed(found) = check(image).expect("read") else {
        panic!("it has changed");
    };
    let never = || Err::<PathBuf, _>(io::Error::other("not asked"));
    restore(image, Tree::Container, &found, never).expect("restored");
    assert_eq!(changes(image), [""; 0]);
    assert!(image.join("replaced/1/app/cache").exists());
}

#[test]
fn stamps_alone_are_no_change() {
    let image = image();
    let image = image.path();
    seal(image, Tree::Machine, &|| Ok(())).expect("sealed");
    let sealed = fs::read(image.join("seal")).expect("a seal");
    let file = image.join("files/app/s.py");
    fs::hard_link(&file, image.join("another")).expect("another name");
    assert_eq!(changes(image), [""; 0]);
    assert_ne!(
        fs::read(image.join("seal")).expect("a seal"),
        sealed,
        "sealed anew"
    );
}

#[test]
fn a_sealed_image_can_be_taken_away() {
    let image = image();
    seal(image.path(), Tree::Machine, &|| Ok(())).expect("sealed");
    remove_tree(image.path()).expect("gone");
    assert!(!image.path().exists());
}

#[test]
fn names_come_in_the_order_that_they_are_recorded_in() {
    let image = image();
    let files = image.path().join("files");
    for name in ["a/b/c", "a!", "a.b/x", "a-b", "a/!", "ab", "a/b.c"] {
        let path = files.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, "").expect("a file");
    }

    let mut found = Vec::new();
    let walked = walk(&files, &mut |name, _| {
        found.push(Name(name.to_path_buf()));
        Ok(())
    });
    walked.expect("read");
    assert_eq!(found.len(), 17);
    assert!(found.is_sorted(), "{found:?}");
}

#[test]
fn sealing_ends_with_the_time() {
    let image = image();
    let late = || Err(io::Error::other("late"));
    for tree in [Tree::Machine, Tree::Container] {
        let error = seal(image.path(), tree, &late).expect_err("no time");
        assert_eq!(error.to_string(), "late");
    }
    assert!(!image.path().join("seal").exists());
}
