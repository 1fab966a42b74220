//! Images for several platforms: what every builder makes, and what every registry keeps of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use shipit::driver::builder::Builders;
use shipit::driver::registry::layout::Layout;
use shipit::model::build::{Base, BuildSpec, DockerfileSpec, PackSpec};
use shipit::model::garbage::Collect;
use shipit::model::image::ImageHome;
use shipit::model::{Digest, Platform};
use shipit::port::Builder as _;
use shipit::port::builder::{BuildError, BuildRequest};
use shipit::port::engine::Pull;
use shipit::port::registry::{Built, Registry, RegistryError, bases, inputs_tag};
use tokio_util::sync::CancellationToken;

use crate::dockerfile::{spec, tools, write};
use crate::support::{pack, web};

fn platforms(names: &[&str]) -> Vec<Platform> {
    names
        .iter()
        .map(|name| name.parse().expect("a platform"))
        .collect()
}

/// Files that are another for each platform.
fn made() -> PackSpec {
    PackSpec {
        run: [
            "sh",
            "-c",
            "echo $TARGETPLATFORM $TARGETOS-$TARGETARCH-$TARGETVARIANT > made",
        ]
        .map(str::to_owned)
        .to_vec(),
        inputs: vec!["message.txt".to_owned()],
        copy: BTreeMap::from([
            ("made".into(), "/made".into()),
            ("message.txt".into(), "/message.txt".into()),
        ]),
        platforms: platforms(&["linux/amd64", "linux/arm/v7", "linux/arm64"]),
        ..pack("/app/x")
    }
}

async fn request(
    root: &Path,
    spec: BuildSpec,
    registry: &dyn Registry,
) -> Result<BuildRequest, BuildError> {
    let names = Builders.bases(root, &spec).await?;
    let bases = bases(&names, &spec, registry).await.expect("an answer");
    let plain = crate::support::request(root, pack("/app/x")).await;
    let expects = Builders.inputs(root, &spec, &bases).await?.hash;
    Ok(BuildRequest {
        spec,
        bases,
        expects,
        ..plain
    })
}

async fn build(request: &BuildRequest) -> Built {
    Builders
        .build(request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built")
}

/// The platforms that an index says, each with what its image's configuration says.
fn said(built: &Built) -> Vec<(Value, Value)> {
    let index: Value =
        serde_json::from_slice(built.index.as_ref().expect("an index")).expect("JSON");
    assert_eq!(
        index["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let entries = index["manifests"]
        .as_array()
        .expect("entries")
        .iter()
        .zip(&built.images);
    let said = entries.map(|(entry, image)| {
        assert_eq!(entry["digest"], image.digest().to_string());
        assert_eq!(entry["size"], image.manifest.len());
        let config =
            fs::read(image.config.file.as_ref().expect("a file")).expect("a configuration");
        let config: Value = serde_json::from_slice(&config).expect("JSON");
        let mut is = json!({"os": config["os"], "architecture": config["architecture"]});
        if let Some(variant) = config["variant"]
            .as_str()
            .filter(|variant| !variant.is_empty())
        {
            is["variant"] = json!(variant);
        }
        (entry["platform"].clone(), is)
    });
    said.collect()
}

#[track_caller]
fn has_three(built: &Built) {
    let three = [
        json!({"os": "linux", "architecture": "amd64"}),
        json!({"os": "linux", "architecture": "arm", "variant": "v7"}),
        json!({"os": "linux", "architecture": "arm64"}),
    ];
    let said = said(built);
    assert_eq!(
        said.iter()
            .map(|(entry, _)| entry.clone())
            .collect::<Vec<_>>(),
        three
    );
    assert_eq!(
        said.iter()
            .map(|(_, config)| config.clone())
            .collect::<Vec<_>>(),
        three
    );
}

fn repository(registry: &dyn Registry) -> String {
    let Pull::Repository(repository) = registry.pull(ImageHome::Project(&web())) else {
        panic!("a registry")
    };
    repository
}

#[tokio::test(flavor = "multi_thread")]
async fn pack_makes_an_image_for_each_platform_and_both_registries_keep_the_index() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "hello")]);
    let layout = Layout::new(root.path().join("images"));
    let spec = BuildSpec::Pack(made());
    let request = request(root.path(), spec, &layout).await.expect("inputs");
    let built = build(&request).await;
    has_three(&built);
    let layers: BTreeSet<&Digest> = built
        .images
        .iter()
        .map(|image| &image.layers[0].digest)
        .collect();
    assert_eq!(layers.len(), 3, "the command has made other files for each");
    assert_eq!(
        build(&request).await.digest(),
        built.digest(),
        "the same again"
    );

    let tags = [inputs_tag(&request.expects), "t".to_owned()];
    let remote = crate::registry::remote();
    let mut registries: Vec<&dyn Registry> = vec![&layout];
    registries.extend(remote.as_ref().map(|remote| remote as &dyn Registry));
    for registry in registries {
        let place = registry.place();
        let digest = registry
            .push(&web(), &built, &tags, &|_| {})
            .await
            .expect("pushed");
        assert_eq!(digest, built.digest(), "{place}");
        let found = registry.has(&web(), &digest).await.expect("an answer");
        assert!(found, "{place}: it need not be built again");
        registry
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
        registry
            .tag(&web(), &digest, &["other".to_owned()])
            .await
            .expect("tagged");
        // A base for each platform, and for this machine alone without any.
        for reference in ["web:t", "web:other"] {
            let wanted = platforms(&["linux/arm/v7", "linux/s390x"]);
            let base = registry
                .base(reference, &wanted)
                .await
                .expect("an answer")
                .expect("there");
            assert_eq!(base.digest, digest, "{place}");
            let of: Vec<_> = base
                .images
                .iter()
                .map(|(platform, image)| (platform.clone(), image.digest.clone()))
                .collect();
            assert_eq!(
                of,
                [(wanted[0].clone(), built.images[1].digest())],
                "{place}"
            );
            let own = registry
                .base(reference, &[])
                .await
                .expect("an answer")
                .expect("there");
            assert!(
                built
                    .images
                    .iter()
                    .any(|image| image.digest() == own.digest),
                "{place}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_sees_the_index_on_the_registry() {
    let Some(registry) = crate::registry::remote() else {
        return;
    };
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "hello")]);
    let request = request(root.path(), BuildSpec::Pack(made()), &registry)
        .await
        .expect("inputs");
    let built = build(&request).await;
    registry
        .push(&web(), &built, &["t".to_owned()], &|_| {})
        .await
        .expect("pushed");
    let name = format!("docker://{}:t", repository(&registry));
    let raw = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &name])
        .output();
    let raw = raw.expect("skopeo starts");
    assert_eq!(
        Some(&raw.stdout),
        built.index.as_ref(),
        "{}",
        String::from_utf8_lossy(&raw.stderr)
    );
    for (architecture, variant) in [("arm64", ""), ("arm", "v7")] {
        let mut command = Command::new("skopeo");
        command.args([
            "--override-arch",
            architecture,
            "--override-variant",
            variant,
        ]);
        let image = command
            .args(["inspect", "--config", "--tls-verify=false", &name])
            .output();
        let config: Value =
            serde_json::from_slice(&image.expect("skopeo starts").stdout).expect("JSON");
        assert_eq!(config["architecture"], architecture);
    }
}

#[tokio::test]
async fn a_blob_of_another_platform_is_missed_and_collection_keeps_all_of_them() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "hello")]);
    let layout = Layout::new(root.path().join("images"));
    let request = request(root.path(), BuildSpec::Pack(made()), &layout)
        .await
        .expect("inputs");
    let built = build(&request).await;
    let digest = layout
        .push(&web(), &built, &[inputs_tag(&request.expects)], &|_| {})
        .await
        .expect("pushed");
    let blobs = root.path().join("images/blobs/sha256");
    let long_ago = SystemTime::now() - Duration::from_hours(2);
    for blob in fs::read_dir(&blobs).expect("blobs").filter_map(Result::ok) {
        let file = File::options()
            .write(true)
            .open(blob.path())
            .expect("a blob");
        file.set_modified(long_ago).expect("aged");
    }
    let kept = layout
        .collect(&BTreeSet::from([digest.clone()]), Collect::Delete)
        .await
        .expect("collected");
    assert_eq!(kept.blobs, 0, "{kept:?}");
    layout
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("whole");

    let layer = blobs.join(built.images[2].layers[0].digest.hex());
    let bytes = fs::read(&layer).expect("a layer");
    fs::remove_file(&layer).expect("removed");
    assert!(matches!(
        layout.verify(ImageHome::Project(&web()), &digest).await,
        Err(RegistryError::Missing { .. })
    ));
    assert!(!layout.has(&web(), &digest).await.expect("an answer"));
    fs::write(&layer, bytes).expect("written");
    let gone = layout
        .collect(&BTreeSet::new(), Collect::Delete)
        .await
        .expect("collected");
    // The index, three manifests, three configurations, and the layers; the one written a moment
    // ago is young.
    let images: Vec<&Digest> = gone.images.iter().map(|image| &image.digest).collect();
    assert_eq!((images, gone.blobs), (vec![&digest], 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_is_one_image_without_an_index() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "hello")]);
    let layout = Layout::new(root.path().join("images"));
    let plain = PackSpec {
        platforms: Vec::new(),
        ..made()
    };
    let one = request(root.path(), BuildSpec::Pack(plain.clone()), &layout)
        .await
        .expect("inputs");
    let built = build(&one).await;
    assert!(built.index.is_none());
    assert_eq!(built.digest(), built.images[0].digest());
    let config =
        fs::read_to_string(built.images[0].config.file.as_ref().expect("a file")).expect("text");
    let own = Platform::own();
    let begins = format!(
        "{{\"architecture\":\"{}\",\"os\":\"linux\",\"created\":",
        own.architecture()
    );
    assert!(
        config.starts_with(&begins),
        "an older shipit writes the same bytes: {config}"
    );
    // The platforms are an input.
    let named = PackSpec {
        platforms: vec![Platform::own()],
        ..plain
    };
    let index = request(root.path(), BuildSpec::Pack(named), &layout)
        .await
        .expect("inputs");
    assert_ne!(index.expects, one.expects);
    let index = build(&index).await;
    assert_eq!(index.images.len(), 1);
    assert_eq!(
        index.images[0].digest(),
        built.digest(),
        "the same image in an index"
    );
}

#[tokio::test]
async fn a_program_for_another_platform_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "hello")]);
    fs::copy(env!("CARGO_BIN_EXE_shipit"), root.path().join("app/web")).expect("a program");
    let layout = Layout::new(root.path().join("images"));
    let other = if Platform::own().architecture() == "arm64" {
        "linux/amd64"
    } else {
        "linux/arm64"
    };
    let spec = PackSpec {
        copy: BTreeMap::from([("web".into(), "/app/web".into())]),
        platforms: platforms(&[other]),
        ..pack("/app/web")
    };
    let request = request(root.path(), BuildSpec::Pack(spec), &layout)
        .await
        .expect("inputs");
    let built = Builders
        .build(&request, &|_| {}, &CancellationToken::new())
        .await;
    let error = built.expect_err("it would not start").to_string();
    assert!(
        error.contains("is a program for") && error.contains("$TARGETARCH"),
        "{error}"
    );
}

/// Pushes a base for three platforms; gives its name and what was built.
async fn base(registry: &dyn Registry) -> (String, Built) {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "below")]);
    let request = request(root.path(), BuildSpec::Pack(made()), registry)
        .await
        .expect("inputs");
    let below = build(&request).await;
    registry
        .push(&web(), &below, &["base".to_owned()], &|_| {})
        .await
        .expect("pushed");
    (format!("{}:base", repository(registry)), below)
}

#[tokio::test(flavor = "multi_thread")]
async fn pack_builds_on_the_base_s_image_for_each_platform() {
    let Some(registry) = crate::registry::remote() else {
        return;
    };
    let (name, below) = base(&registry).await;
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("message.txt", "above")]);
    let above = PackSpec {
        base: Base::Image(name.clone()),
        platforms: made().platforms,
        ..pack("/app/x")
    };
    let request = request(root.path(), BuildSpec::Pack(above.clone()), &registry)
        .await
        .expect("inputs");
    let built = build(&request).await;
    has_three(&built);
    for (image, below) in built.images.iter().zip(&below.images) {
        assert_eq!(image.layers[0].digest, below.layers[0].digest);
        let manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
        assert_eq!(
            manifest["annotations"]["org.opencontainers.image.base.digest"],
            below.digest().to_string()
        );
    }
    let index: Value =
        serde_json::from_slice(built.index.as_ref().expect("an index")).expect("JSON");
    assert_eq!(
        index["annotations"]["org.opencontainers.image.base.digest"],
        below.digest().to_string()
    );
    registry
        .push(&web(), &built, &["above".to_owned()], &|_| {})
        .await
        .expect("pushed");
    registry
        .verify(ImageHome::Project(&web()), &built.digest())
        .await
        .expect("whole");

    let missing = PackSpec {
        platforms: platforms(&["linux/s390x"]),
        ..above
    };
    let error = crate::platforms::request(root.path(), BuildSpec::Pack(missing), &registry).await;
    let error = error.expect_err("there is none").to_string();
    assert!(error.contains("is not made for linux/s390x"), "{error}");
}

fn dockerfile(spec: DockerfileSpec) -> BuildSpec {
    BuildSpec::Dockerfile(DockerfileSpec {
        platforms: made().platforms,
        ..spec
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_makes_an_image_for_each_platform() {
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        write(
            root.path(),
            &[
                (
                    "Dockerfile",
                    "FROM scratch\nCOPY message.txt /message.txt\n",
                ),
                ("message.txt", "hello"),
            ],
        );
        let layout = Layout::new(root.path().join("images"));
        let request = request(root.path(), dockerfile(spec(tool)), &layout)
            .await
            .expect("inputs");
        let built = build(&request).await;
        has_three(&built);
        assert_eq!(
            build(&request).await.digest(),
            built.digest(),
            "{tool:?}: the same again"
        );
        let digest = layout
            .push(&web(), &built, &[inputs_tag(&request.expects)], &|_| {})
            .await
            .expect("pushed");
        layout
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
        assert!(layout.has(&web(), &digest).await.expect("an answer"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_starts_from_its_base_s_image_for_each_platform() {
    let Some(registry) = crate::registry::remote() else {
        return;
    };
    let (name, below) = base(&registry).await;
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        write(
            root.path(),
            &[
                (
                    "Dockerfile",
                    &format!("FROM {name}\nCOPY message.txt /above\n"),
                ),
                ("message.txt", "above"),
            ],
        );
        let request = request(root.path(), dockerfile(spec(tool)), &registry)
            .await
            .expect("inputs");
        let built = build(&request).await;
        has_three(&built);
        for (image, below) in built.images.iter().zip(&below.images) {
            assert_eq!(image.layers.len(), 2, "{tool:?}");
            assert_eq!(image.layers[0].digest, below.layers[0].digest, "{tool:?}");
            assert!(image.layers[0].file.is_none(), "{tool:?}: the base's own");
        }
        registry
            .push(&web(), &built, &["above".to_owned()], &|_| {})
            .await
            .expect("pushed");
        registry
            .verify(ImageHome::Project(&web()), &built.digest())
            .await
            .expect("whole");

        let mut missing = spec(tool);
        missing.platforms = platforms(&["linux/s390x"]);
        let error =
            crate::platforms::request(root.path(), BuildSpec::Dockerfile(missing), &registry).await;
        let error = error.expect_err("there is none").to_string();
        assert!(
            error.contains("is not made for linux/s390x"),
            "{tool:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_needs_another_machine_is_told_so() {
    for tool in tools() {
        let root = tempfile::tempdir().expect("a folder");
        let dockerfile_text = "FROM scratch\nCOPY sh /bin/sh\nRUN echo hi > /x\n";
        let Some(()) = crate::dockerfile::with_shell(root.path(), dockerfile_text) else {
            return;
        };
        // The same program by its header for an architecture that no machine runs by itself.
        let file = root.path().join("app/sh");
        let mut program = fs::read(&file).expect("a program");
        program[18..20].copy_from_slice(&22_u16.to_le_bytes());
        fs::write(&file, program).expect("written");
        let layout = Layout::new(root.path().join("images"));
        let mut spec = spec(tool);
        spec.platforms = platforms(&["linux/s390x"]);
        let request = request(root.path(), BuildSpec::Dockerfile(spec), &layout)
            .await
            .expect("inputs");
        let built = Builders
            .build(&request, &|_| {}, &CancellationToken::new())
            .await;
        let Err(BuildError::Command { log, .. }) = built else {
            panic!("{tool:?}: {built:?}")
        };
        let log = log.join("\n");
        assert!(log.contains("qemu-user-static"), "{tool:?}: {log}");
        assert!(
            log.ends_with("app/Dockerfile:3: RUN echo hi > /x"),
            "{tool:?}: {log}"
        );
    }
}
