//! The builder's contract, held by `pack`: the same input gives the same digest anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;
use shipit::driver::builder::pack::Pack;
use shipit::model::Digest;
use shipit::model::build::{BuildSpec, PackSpec};
use shipit::port::Builder as _;
use shipit::port::builder::BuildError;
use tokio_util::sync::CancellationToken;

use crate::support::{pack, request};

/// Files by path: content, and whether they may be executed.
type Files = BTreeMap<String, (Vec<u8>, bool)>;

fn whole() -> PackSpec {
    PackSpec {
        copy: BTreeMap::from([(".".into(), "/app".into())]),
        ..pack("/app/x")
    }
}

fn write(root: &Path, files: &Files, backwards: bool, mode: u32) {
    let mut entries: Vec<_> = files.iter().collect();
    if backwards {
        entries.reverse();
    }
    for (path, (content, executable)) in entries {
        let path = root.join("app").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        let mode = if *executable { mode | 0o111 } else { mode };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
}

async fn digest(root: &Path, spec: PackSpec) -> Digest {
    let request = request(root, spec).await;
    Pack.build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built")
        .digest()
}

fn files() -> impl Strategy<Value = Files> {
    let file = (
        proptest::collection::vec(any::<u8>(), 0..200),
        any::<bool>(),
    );
    proptest::collection::btree_map("[a-c]{1,2}(/[a-c]{1,3}x)?", file, 1..8).prop_filter(
        "a file is no folder",
        |files| {
            files.keys().all(|path| {
                !files
                    .keys()
                    .any(|other| other.starts_with(&format!("{path}/")))
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_files_give_the_same_image_wherever_and_however_they_were_written(files in files()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        write(here.path(), &files, false, 0o644);
        write(there.path(), &files, true, 0o600);
        let first = runtime.block_on(digest(here.path(), whole()));
        prop_assert_eq!(&first, &runtime.block_on(digest(there.path(), whole())));

        let (path, (content, _)) = files.iter().next().expect("a file");
        let mut changed = content.clone();
        changed.push(0);
        fs::write(there.path().join("app").join(path), changed).expect("a file");
        prop_assert_ne!(&first, &runtime.block_on(digest(there.path(), whole())));
    }
}

#[tokio::test]
async fn inputs_that_moved_since_the_plan_are_not_built() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &BTreeMap::from([("a".to_owned(), (vec![1], false))]),
        false,
        0o644,
    );
    let request = request(root.path(), whole()).await;
    fs::write(root.path().join("app/a"), [2]).expect("a file");
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await;
    assert!(
        matches!(built, Err(BuildError::InputsMoved { .. })),
        "{built:?}"
    );
}

#[tokio::test]
async fn what_git_ignores_is_no_input_unless_it_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let file = |text: &str| (text.as_bytes().to_vec(), false);
    let files = BTreeMap::from([
        (".gitignore".to_owned(), file("out/\n")),
        ("main".to_owned(), file("x")),
        ("out/made".to_owned(), file("y")),
        (".git/HEAD".to_owned(), file("z")),
    ]);
    write(root.path(), &files, false, 0o644);
    let built = |spec: PackSpec| PackSpec {
        run: vec!["make".to_owned()],
        ..spec
    };
    let names = |spec: PackSpec| async {
        let inputs = Pack
            .inputs(root.path(), &BuildSpec::Pack(spec), &BTreeMap::new())
            .await
            .expect("inputs");
        inputs.files.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(built(whole())).await, [".gitignore", "main"]);
    assert_eq!(
        names(whole()).await,
        [".gitignore", "main", "out/made"],
        "without a command all is packed as it is"
    );
    assert_eq!(
        names(PackSpec {
            inputs: vec!["out/**".to_owned()],
            ..whole()
        })
        .await,
        ["out/made"]
    );
    let spec = BuildSpec::Pack(PackSpec {
        inputs: vec!["nothing/**".to_owned()],
        ..whole()
    });
    let none = Pack.inputs(root.path(), &spec, &BTreeMap::new()).await;
    assert!(matches!(none, Err(BuildError::Invalid { .. })), "{none:?}");
}

#[tokio::test]
async fn shipit_s_own_folders_are_neither_inputs_nor_packed() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &BTreeMap::from([("a".to_owned(), (vec![1], false))]),
        false,
        0o644,
    );
    let spec = PackSpec {
        context: ".".into(),
        leave_out: vec!["state".into()],
        ..whole()
    };
    let before = digest(root.path(), spec.clone()).await;
    fs::create_dir_all(root.path().join("state/registry")).expect("a folder");
    fs::write(root.path().join("state/registry/blob"), "an image").expect("a file");
    assert_eq!(digest(root.path(), spec).await, before);
}

#[tokio::test]
async fn a_path_that_leaves_the_image_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &BTreeMap::from([("a".to_owned(), (vec![1], false))]),
        false,
        0o644,
    );
    for to in ["/../etc/passwd", "relative", "/app/./a"] {
        let spec = PackSpec {
            copy: BTreeMap::from([("a".into(), to.into())]),
            ..pack("/app/x")
        };
        let request = request(root.path(), spec).await;
        let built = Pack
            .build(&request, &|_| {}, &CancellationToken::new())
            .await;
        let refused = matches!(built, Err(BuildError::Copy { .. }));
        // `.` vanishes from a path by itself.
        assert_eq!(refused, !to.contains("/./"), "{to}: {built:?}");
    }
}

#[tokio::test]
async fn a_build_that_is_called_off_ends_with_all_that_it_started() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &BTreeMap::from([("a".to_owned(), (vec![1], false))]),
        false,
        0o644,
    );
    let command = "sleep 300 & echo $! > ../child; echo started; wait";
    let run = vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()];
    let request = request(root.path(), PackSpec { run, ..whole() }).await;
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let say = move |line: &str| {
        if line == "started" {
            token.cancel();
        }
    };
    let built = Pack.build(&request, &say, &cancel).await;
    assert!(matches!(built, Err(BuildError::Cancelled)), "{built:?}");
    let child = fs::read_to_string(root.path().join("child")).expect("a pid");
    let gone = || {
        fs::read_to_string(format!("/proc/{}/stat", child.trim()))
            .map_or(true, |stat| stat.contains(") Z "))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !gone() {
        assert!(std::time::Instant::now() < deadline, "the child has ended");
        tokio::task::yield_now().await;
    }
}
