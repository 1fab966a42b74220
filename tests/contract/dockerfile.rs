//! The builder's contract, held by `docker` and by `buildah` on the real tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use shipit::driver::builder::Builders;
use shipit::driver::registry::layout::Layout;
use shipit::model::build::{BuildSpec, DockerfileSpec, Tool, an_hour};
use shipit::model::image::ImageHome;
use shipit::model::secret::{SecretRef, SecretValue};
use shipit::model::source::Source;
use shipit::port::Builder as _;
use shipit::port::builder::{BuildError, BuildRequest};
use shipit::port::registry::{Bases, Registry, bases};
use tokio_util::sync::CancellationToken;

use crate::support::{pack, web};

/// The tools that are here. One that is missing is a failure where the real parts are asked for.
pub fn tools() -> Vec<Tool> {
    let answers = |tool: &Tool| {
        let found = Command::new(tool.command())
            .arg("info")
            .output()
            .is_ok_and(|output| output.status.success());
        assert!(
            found || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "{} does not answer",
            tool.command()
        );
        #[allow(clippy::print_stderr)]
        if !found {
            eprintln!("SKIPPED: {} does not answer", tool.command());
        }
        found
    };
    [Tool::Docker, Tool::Buildah]
        .into_iter()
        .filter(answers)
        .collect()
}

pub fn spec(tool: Tool) -> DockerfileSpec {
    DockerfileSpec {
        tool,
        context: "app".into(),
        dockerfile: "Dockerfile".into(),
        target: None,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        cache_from: Vec::new(),
        cache_to: None,
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        leave_out: Vec::new(),
        platforms: Vec::new(),
        within: an_hour(),
    }
}

pub fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join("app").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
}

async fn request(root: &Path, spec: DockerfileSpec, bases: Bases) -> BuildRequest {
    let spec = BuildSpec::Dockerfile(spec);
    let inputs = Builders.inputs(root, &spec, &bases).await.expect("inputs");
    BuildRequest {
        title: "shop web".to_owned(),
        service: web(),
        root: root.to_path_buf(),
        spec,
        bases,
        secrets: BTreeMap::new(),
        source: Source {
            commit: Some("3f2c1ab".repeat(5)),
            committed_at: Some(1_700_000_000),
            ..Source::default()
        },
        expects: inputs.hash,
    }
}

/// What an image in a layout has in it: its files, as `tar` lists them, and its configuration.
fn contents(layout: &Path, built: &shipit::port::registry::Built) -> (String, serde_json::Value) {
    let blob = |digest: &shipit::model::Digest| layout.join("blobs/sha256").join(digest.hex());
    let image = &built.images[0];
    let files: String = image
        .layers
        .iter()
        .map(|layer| {
            let listed = Command::new("tar")
                .args(["-tvzf"])
                .arg(blob(&layer.digest))
                .output()
                .expect("tar starts");
            String::from_utf8_lossy(&listed.stdout).into_owned()
        })
        .collect();
    let config = fs::read(blob(&image.config.digest)).expect("a configuration");
    (files, serde_json::from_slice(&config).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_files_give_the_same_image_and_what_is_ignored_is_not_in_it() {
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        let dockerfile = "ARG GREETING=none\nFROM scratch\nARG GREETING\nCOPY . /app/\nLABEL greeting=$GREETING\nENTRYPOINT [\"/app/a\"]\n";
        write(
            root.path(),
            &[
                ("Dockerfile", dockerfile),
                (".dockerignore", "**/*.log\n!keep.log\n"),
                ("a", "1"),
                ("b/c", "2"),
                ("b/x.log", "3"),
                ("keep.log", "4"),
                (".git/HEAD", "5"),
            ],
        );
        let mut spec = spec(tool);
        spec.args.insert("GREETING".to_owned(), "hello".to_owned());
        let first = request(root.path(), spec.clone(), Bases::new()).await;
        let images = root.path().join("images");
        let layout = Layout::new(images.clone());
        let built = Builders
            .build(&first, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        let digest = layout
            .push(&web(), &built, &["t".to_owned()], &|_| {})
            .await
            .expect("pushed");
        layout
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
        let (files, config) = contents(&images, &built);
        assert!(
            files.contains("app/b/c") && files.contains("app/keep.log"),
            "{tool:?}: {files}"
        );
        assert!(
            !files.contains("x.log") && !files.contains("HEAD"),
            "{tool:?}: {files}"
        );
        assert_eq!(
            config["config"]["Entrypoint"],
            serde_json::json!(["/app/a"])
        );
        assert_eq!(config["config"]["Labels"]["greeting"], "hello");
        assert_eq!(config["config"]["Labels"]["team"], "shop");
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let manifest: serde_json::Value =
            serde_json::from_slice(&built.images[0].manifest).expect("JSON");
        assert_eq!(
            manifest["annotations"]["org.opencontainers.image.revision"],
            "3f2c1ab".repeat(5)
        );

        // What is ignored is no input; what is not, is. The time of a file is neither.
        write(root.path(), &[("b/x.log", "changed")]);
        let again = request(root.path(), spec.clone(), Bases::new()).await;
        assert_eq!(again.expects, first.expects, "{tool:?}");
        fs::File::open(root.path().join("app/a"))
            .and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH))
            .expect("a time");
        let rebuilt = Builders
            .build(&again, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        assert_eq!(rebuilt.digest(), digest, "{tool:?}");
        write(root.path(), &[("b/c", "changed")]);
        let moved = Builders
            .build(&again, &|_| {}, &CancellationToken::new())
            .await;
        assert!(
            matches!(moved, Err(BuildError::InputsMoved { .. })),
            "{moved:?}"
        );
        let changed = request(root.path(), spec.clone(), Bases::new()).await;
        assert_ne!(changed.expects, first.expects);
        spec.args.insert("GREETING".to_owned(), "servus".to_owned());
        assert_ne!(
            request(root.path(), spec, Bases::new()).await.expects,
            changed.expects
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_the_stage_that_is_built() {
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        let dockerfile = "FROM scratch AS one\nCOPY a /one\nFROM scratch AS two\nCOPY a /two\n";
        write(root.path(), &[("Dockerfile", dockerfile), ("a", "1")]);
        let images = root.path().join("images");
        for target in ["one", "two"] {
            let spec = DockerfileSpec {
                target: Some(target.to_owned()),
                ..spec(tool)
            };
            let request = request(root.path(), spec, Bases::new()).await;
            let built = Builders
                .build(&request, &|_| {}, &CancellationToken::new())
                .await
                .expect("built");
            Layout::new(images.clone())
                .push(&web(), &built, &[], &|_| {})
                .await
                .expect("pushed");
            let (files, _) = contents(&images, &built);
            assert_eq!(
                files.contains(" one"),
                target == "one",
                "{tool:?} {target}: {files}"
            );
            assert_eq!(
                files.contains(" two"),
                target == "two",
                "{tool:?} {target}: {files}"
            );
        }
    }
}

/// A shell without anything else.
fn busybox() -> Option<Vec<u8>> {
    let found = fs::read("/bin/busybox").ok();
    assert!(
        found.is_some() || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
        "busybox-static is not there"
    );
    found
}

pub fn with_shell(root: &Path, dockerfile: &str) -> Option<()> {
    write(root, &[("Dockerfile", dockerfile)]);
    let to = root.join("app/sh");
    fs::write(&to, busybox()?).expect("a file");
    fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_shown_with_its_line_and_its_last_words() {
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        let dockerfile = "FROM scratch\nCOPY sh /bin/sh\nRUN echo working && \\\n    echo no such luck && exit 3\n";
        let Some(()) = with_shell(root.path(), dockerfile) else {
            return;
        };
        let request = request(root.path(), spec(tool), Bases::new()).await;
        let built = Builders
            .build(&request, &|_| {}, &CancellationToken::new())
            .await;
        let Err(BuildError::Command { log, .. }) = built else {
            panic!("{tool:?}: {built:?}")
        };
        let log = log.join("\n");
        assert!(log.contains("no such luck"), "{tool:?}: {log}");
        assert!(
            log.ends_with("app/Dockerfile:3: RUN echo working && \\"),
            "{tool:?}: {log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_there_while_building_and_nowhere_after() {
    const CANARY: &str = "canary-7c1f";
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        let dockerfile = "FROM scratch\nCOPY sh /bin/sh\nRUN --mount=type=secret,id=token read -r t < /run/secrets/token; echo ${#t} > /length\n";
        let Some(()) = with_shell(root.path(), dockerfile) else {
            return;
        };
        let mut spec = spec(tool);
        spec.secrets
            .insert("token".to_owned(), SecretRef::Env("TOKEN".to_owned()));
        let mut request = request(root.path(), spec, Bases::new()).await;
        request
            .secrets
            .insert("token".to_owned(), SecretValue::new(format!("{CANARY}\n")));
        let said = Mutex::new(String::new());
        let say = |line: &str| said.lock().expect("whole").push_str(line);
        let built = Builders
            .build(&request, &say, &CancellationToken::new())
            .await
            .expect("built");
        assert!(!said.lock().expect("whole").contains(CANARY));
        let images = root.path().join("images");
        Layout::new(images.clone())
            .push(&web(), &built, &[], &|_| {})
            .await
            .expect("pushed");
        let mut lengths = 0;
        for layer in &built.images[0].layers {
            let blob = images.join("blobs/sha256").join(layer.digest.hex());
            let text = Command::new("tar")
                .arg("-xOzf")
                .arg(blob)
                .output()
                .expect("tar starts")
                .stdout;
            assert!(
                !text
                    .windows(CANARY.len())
                    .any(|part| part == CANARY.as_bytes()),
                "{tool:?}"
            );
            lengths += usize::from(text.starts_with(format!("{}\n", CANARY.len()).as_bytes()));
        }
        assert_eq!(lengths, 1, "{tool:?}: the step has read it");
        assert!(
            !serde_json::to_string(&request.spec)
                .expect("JSON")
                .contains(CANARY)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_built_on_by_its_digest_and_its_layers_are_not_sent_again() {
    let Some(registry) = crate::registry::remote() else {
        return;
    };
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), &[("message.txt", "below")]);
        let below = crate::support::request(root.path(), pack("/app/x")).await;
        let below = Builders
            .build(&below, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        let base = registry
            .push(&web(), &below, &["base".to_owned()], &|_| {})
            .await
            .expect("pushed");
        let shipit::port::engine::Pull::Repository(repository) =
            registry.pull(ImageHome::Project(&web()))
        else {
            panic!("a registry")
        };
        write(
            root.path(),
            &[(
                "Dockerfile",
                &format!("FROM {repository}:base\nCOPY message.txt /above\n"),
            )],
        );
        let spec = BuildSpec::Dockerfile(spec(tool));
        let names = Builders.bases(root.path(), &spec).await.expect("names");
        let found = bases(&names, &spec, &registry).await.expect("an answer");
        assert_eq!(
            found.values().map(|base| &base.digest).collect::<Vec<_>>(),
            [&base]
        );
        let BuildSpec::Dockerfile(spec) = spec else {
            panic!("a Dockerfile")
        };
        let request = request(root.path(), spec, found).await;
        // The tag moves; what is built on is what was seen.
        let other = tempfile::tempdir().expect("a folder");
        write(other.path(), &[("message.txt", "another")]);
        let another = crate::support::request(other.path(), pack("/app/x")).await;
        let another = Builders
            .build(&another, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        registry
            .push(&web(), &another, &["base".to_owned()], &|_| {})
            .await
            .expect("pushed");
        let built = Builders
            .build(&request, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        let layers = &built.images[0].layers;
        assert_eq!(layers.len(), 2, "{tool:?}");
        assert_eq!(
            layers[0].digest, below.images[0].layers[0].digest,
            "{tool:?}"
        );
        assert!(layers[0].file.is_none(), "{tool:?}: the base's own");
        let manifest: serde_json::Value =
            serde_json::from_slice(&built.images[0].manifest).expect("JSON");
        assert_eq!(
            manifest["annotations"]["org.opencontainers.image.base.digest"],
            base.to_string()
        );
        let digest = registry
            .push(&web(), &built, &["above".to_owned()], &|_| {})
            .await
            .expect("pushed");
        registry
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_nowhere_is_named() {
    let Some(registry) = crate::registry::remote() else {
        return;
    };
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        let shipit::port::engine::Pull::Repository(repository) =
            registry.pull(ImageHome::Project(&web()))
        else {
            panic!("a registry")
        };
        write(
            root.path(),
            &[("Dockerfile", &format!("FROM {repository}:nothing\n"))],
        );
        let spec = BuildSpec::Dockerfile(spec(tool));
        let names = Builders.bases(root.path(), &spec).await.expect("names");
        let found = bases(&names, &spec, &registry).await.expect("an answer");
        let inputs = Builders.inputs(root.path(), &spec, &found).await;
        assert!(
            matches!(&inputs, Err(BuildError::NoBase { reference, .. }) if reference.ends_with(":nothing")),
            "{inputs:?}"
        );
    }
}
