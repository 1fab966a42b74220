//! The registry's contract, held by the image layout; and that others can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use shipit::driver::builder::pack::Pack;
use shipit::driver::registry::layout::Layout;
use shipit::driver::registry::oci::remote::Remote;
use shipit::driver::registry::oci::{Location, Oci};
use shipit::model::garbage::{Collect, Collected};
use shipit::model::image::ImageHome;
use shipit::model::{ContentHash, Digest, ServiceName};
use shipit::port::registry::{BaseImages, Blob, RegistryError, inputs_tag};
use shipit::port::{Builder as _, Registry};
use tokio_util::sync::CancellationToken;

use crate::support::{image, pack, request, web};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Builds and pushes an image with this message, tagged by its inputs and as `staging`.
async fn push(registry: &dyn Registry, root: &Path, message: &str) -> (ContentHash, Digest) {
    push_as(registry, root, message, "staging").await
}

async fn has(registry: &dyn Registry, image: &Digest) -> bool {
    registry.has(&web(), image).await.expect("an answer")
}

async fn push_as(
    registry: &dyn Registry,
    root: &Path,
    message: &str,
    tag: &str,
) -> (ContentHash, Digest) {
    fs::create_dir_all(root.join("app")).expect("a folder");
    fs::write(root.join("app/message.txt"), message).expect("a file");
    let request = request(root, pack("/app/x")).await;
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built");
    let tags = [inputs_tag(&request.expects), tag.to_owned()];
    let digest = registry
        .push(&web(), &built, &tags, &|_| {})
        .await
        .expect("pushed");
    (request.expects, digest)
}

#[tokio::test]
async fn what_was_pushed_is_found_by_its_digest_and_by_its_tag() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    assert!(
        !has(&layout, &Digest::of(b"x")).await,
        "an empty registry is no error"
    );
    let (_, digest) = push(&layout, root.path(), "v1").await;
    assert!(has(&layout, &digest).await);
    layout
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("whole");
    let base = layout
        .base("web:staging", &[])
        .await
        .expect("an answer")
        .expect("there");
    assert_eq!((&base.digest, layers(&base).len()), (&digest, 1));
    let (_, newer) = push(&layout, root.path(), "v2").await;
    let base = layout
        .base("web:staging", &[])
        .await
        .expect("an answer")
        .expect("there");
    assert_eq!(base.digest, newer, "the tag has moved");
    assert!(has(&layout, &digest).await, "the older one is still there");
}

#[tokio::test]
async fn a_missing_or_corrupt_blob_is_noticed_and_put_right_by_the_next_push() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let (_, digest) = push(&layout, root.path(), "v1").await;
    let base = layout
        .base("web:staging", &[])
        .await
        .expect("an answer")
        .expect("there");
    let layer = root
        .path()
        .join("r/blobs/sha256")
        .join(layers(&base)[0].digest.hex());
    let mut bytes = fs::read(&layer).expect("a layer");
    bytes[20] ^= 1;
    fs::write(&layer, bytes).expect("written");
    assert!(matches!(
        layout.verify(ImageHome::Project(&web()), &digest).await,
        Err(RegistryError::Corrupt { .. })
    ));
    push(&layout, root.path(), "v1").await;
    layout
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("put right");
    fs::remove_file(&layer).expect("removed");
    assert!(!has(&layout, &digest).await, "half an image is none");
    assert!(matches!(
        layout.verify(ImageHome::Project(&web()), &digest).await,
        Err(RegistryError::Missing { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_lose_nothing() {
    let root = folder();
    let path = root.path().join("r");
    let writers = (0..8).map(|number| {
        let path = path.clone();
        tokio::spawn(async move {
            let own = folder();
            push(&Layout::new(path), own.path(), &format!("v{number}")).await
        })
    });
    let layout = Layout::new(path.clone());
    for pushed in futures_util::future::join_all(writers).await {
        let (_, digest) = pushed.expect("pushed");
        assert!(has(&layout, &digest).await);
        layout
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
    }
}

/// Makes everything in a layout two hours old.
fn age(layout: &Path) {
    let long_ago = SystemTime::now() - Duration::from_hours(2);
    for blob in fs::read_dir(layout.join("blobs/sha256"))
        .expect("blobs")
        .filter_map(Result::ok)
    {
        let file = File::options()
            .write(true)
            .open(blob.path())
            .expect("a blob");
        file.set_modified(long_ago).expect("aged");
    }
}

fn digests(collected: &Collected) -> BTreeSet<Digest> {
    collected
        .images
        .iter()
        .map(|image| image.digest.clone())
        .collect()
}

/// What holds of every registry: `age` makes all old that is there.
async fn collects(registry: &dyn Registry, root: &Path, age: impl Fn()) {
    let nothing = registry
        .collect(&BTreeSet::new(), Collect::Delete)
        .await
        .expect("an answer");
    assert_eq!(
        nothing,
        Collected::default(),
        "an empty registry is no error"
    );
    let (_, first) = push_as(registry, root, "v1", "main-3f2c1ab").await;
    let (_, second) = push_as(registry, root, "v2", "main-3f2c1ac").await;
    let (_, third) = push_as(registry, root, "v3", "main-3f2c1ad").await;
    let fourth = on_top_of(registry, root, "web:main-3f2c1ad").await;
    let theirs = {
        let request = request(root, pack("/app/theirs")).await;
        let built = Pack
            .build(&request, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        registry
            .push(&web(), &built, &["theirs".to_owned()], &|_| {})
            .await
            .expect("pushed")
    };
    age();
    let keep = BTreeSet::from([first.clone(), fourth.clone()]);
    let told = registry
        .collect(&keep, Collect::Report)
        .await
        .expect("told");
    assert_eq!(digests(&told), BTreeSet::from([second.clone()]));
    assert!(
        told.images[0].tags.contains(&"main-3f2c1ac".to_owned()),
        "{told:?}"
    );
    assert!(
        told.images[0]
            .repository
            .as_ref()
            .is_some_and(|name| name.ends_with("web")),
        "{told:?}"
    );
    assert!(
        told.blobs == 3 && told.bytes > 500 && told.refused.is_none(),
        "{told:?}"
    );
    registry
        .verify(ImageHome::Project(&web()), &second)
        .await
        .expect("it was told, and not done");
    let taken = registry
        .collect(&keep, Collect::Delete)
        .await
        .expect("deleted");
    assert_eq!(taken, told);
    let missing = registry.verify(ImageHome::Project(&web()), &second).await;
    assert!(
        matches!(missing, Err(RegistryError::Missing { .. })),
        "{missing:?}"
    );
    for left in [first, third, fourth, theirs] {
        registry
            .verify(ImageHome::Project(&web()), &left)
            .await
            .expect("somebody needs it");
    }
    let again = registry
        .collect(&keep, Collect::Delete)
        .await
        .expect("an answer");
    assert_eq!(again, Collected::default());
}

/// An image on top of another.
async fn on_top_of(registry: &dyn Registry, root: &Path, below: &str) -> Digest {
    let base = registry
        .base(below, &[])
        .await
        .expect("an answer")
        .expect("there");
    let bases = BTreeMap::from([(below.to_owned(), base)]);
    let mut above = pack("/app/above");
    above.base = shipit::model::build::Base::Image(below.to_owned());
    let spec = shipit::model::build::BuildSpec::Pack(above);
    let inputs = Pack.inputs(root, &spec, &bases).await.expect("inputs");
    let plain = request(root, pack("/app/x")).await;
    let request = shipit::port::builder::BuildRequest {
        bases,
        expects: inputs.hash,
        spec,
        ..plain
    };
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built");
    let tags = [inputs_tag(&request.expects)];
    registry
        .push(&web(), &built, &tags, &|_| {})
        .await
        .expect("pushed")
}

#[tokio::test]
async fn a_layout_is_rid_of_what_nobody_needs() {
    let root = folder();
    let path = root.path().join("r");
    collects(&Layout::new(path.clone()), root.path(), || age(&path)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_on_the_network_is_rid_of_what_nobody_needs() {
    let Some(registry) = remote() else { return };
    let root = folder();
    // An image is as old as its commit, which is of 2023 here.
    collects(&registry, root.path(), || {}).await;
}

#[tokio::test]
async fn collection_keeps_what_is_needed_and_what_is_young() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let (_, first) = push(&layout, root.path(), "v1").await;
    let (_, second) = push(&layout, root.path(), "v2").await;
    let (_, third) = push(&layout, root.path(), "v3").await;
    let keep = BTreeSet::from([first.clone()]);
    let young = layout
        .collect(&keep, Collect::Delete)
        .await
        .expect("collected");
    assert!(young.images.is_empty(), "all are young");
    age(&root.path().join("r"));
    let collected = layout
        .collect(&keep, Collect::Delete)
        .await
        .expect("collected");
    // The third has the tag `staging` besides; its inputs' tag makes it ours all the same.
    assert_eq!(digests(&collected), BTreeSet::from([second.clone(), third]));
    assert_eq!(collected.blobs, 6);
    layout
        .verify(ImageHome::Project(&web()), &first)
        .await
        .expect("kept");
    assert!(
        layout
            .verify(ImageHome::Project(&web()), &second)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_image_that_lost_its_last_tag_is_kept_as_long_as_it_is_needed() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let (_, first) = push(&layout, root.path(), "v1").await;
    let (_, second) = push(&layout, root.path(), "v2").await;
    layout
        .tag(&web(), &first, &["only".to_owned()])
        .await
        .expect("tagged");
    let base = layout
        .base("web:staging", &[])
        .await
        .expect("an answer")
        .expect("there");
    assert_eq!(base.digest, second);
    // Every tag of the first moves to the second.
    let own = Command::new("grep")
        .args(["-o", "web:src-[0-9a-f]*"])
        .arg(root.path().join("r/index.json"))
        .output();
    let tags: Vec<String> = String::from_utf8_lossy(&own.expect("grep starts").stdout)
        .lines()
        .map(|tag| tag.trim_start_matches("web:").to_owned())
        .chain(["only".to_owned()])
        .collect();
    layout.tag(&web(), &second, &tags).await.expect("tagged");
    age(&root.path().join("r"));
    layout
        .collect(&BTreeSet::from([first.clone(), second]), Collect::Delete)
        .await
        .expect("collected");
    layout
        .verify(ImageHome::Project(&web()), &first)
        .await
        .expect("a slot may use it");
    let collected = layout
        .collect(&BTreeSet::new(), Collect::Delete)
        .await
        .expect("collected");
    assert!(digests(&collected).contains(&first), "{collected:?}");
}

#[tokio::test]
async fn skopeo_reads_and_copies_the_layout() {
    let found = Command::new("skopeo").arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
        "skopeo is not there"
    );
    if !found {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: skopeo is not there");
        }
        return;
    }
    let root = folder();
    let (_, digest) = image(root.path(), "v1").await;
    let source = format!("oci:{}:web:t", root.path().join("registry").display());
    let inspected = Command::new("skopeo")
        .args(["inspect", &source])
        .output()
        .expect("skopeo starts");
    let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(
        text.contains(digest.as_str()),
        "{text}{}",
        String::from_utf8_lossy(&inspected.stderr)
    );
    let copy = format!("oci:{}:copy", root.path().join("copied").display());
    let copied = Command::new("skopeo")
        .args(["copy", "--insecure-policy", &source, &copy])
        .output()
        .expect("skopeo starts");
    assert!(
        copied.status.success(),
        "{}",
        String::from_utf8_lossy(&copied.stderr)
    );
    Layout::new(root.path().join("copied"))
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("the same bytes");
}

/// The layers of the only image.
fn layers(base: &BaseImages) -> &[Blob] {
    &base.images.values().next().expect("an image").layers
}

/// A repository of its own in the tests' registry.
pub fn remote() -> Option<Oci> {
    let endpoint = crate::cluster::admin()?.registry;
    let name = format!("contract-{}", uuid::Uuid::new_v4().simple());
    let repositories = BTreeMap::from([
        (web(), format!("{name}/web")),
        (other(), format!("{name}/other")),
    ]);
    Some(Oci::new(
        Location {
            endpoint,
            repositories,
            moves_tags: true,
            provenance: false,
            sbom: false,
        },
        Remote::default(),
    ))
}

fn other() -> ServiceName {
    "other".parse().expect("a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_on_the_network_keeps_what_is_pushed() {
    let Some(registry) = remote() else { return };
    let root = folder();
    assert!(
        !has(&registry, &Digest::of(b"x")).await,
        "a repository that is not there is no error"
    );
    let (_, digest) = push(&registry, root.path(), "v1").await;
    assert!(has(&registry, &digest).await);
    registry
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("whole");
    let missing = registry.verify(ImageHome::Project(&other()), &digest).await;
    assert!(
        matches!(missing, Err(RegistryError::Missing { .. })),
        "{missing:?}"
    );
    let base = registry
        .base("web:staging", &[])
        .await
        .expect("an answer")
        .expect("there");
    assert_eq!((&base.digest, layers(&base).len()), (&digest, 1));
    assert_eq!(
        registry.base("web:nothing", &[]).await.expect("an answer"),
        None
    );
    let (_, newer) = push(&registry, root.path(), "v2").await;
    let base = registry
        .base("web:staging", &[])
        .await
        .expect("an answer")
        .expect("there");
    assert_eq!(base.digest, newer, "the tag has moved");
    registry
        .tag(&web(), &digest, &["stable".to_owned()])
        .await
        .expect("tagged");
    let base = registry
        .base("web:stable", &[])
        .await
        .expect("an answer")
        .expect("there");
    assert_eq!(base.digest, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_brought_to_a_folder_once_and_whole() {
    let (Some(registry), Some(other)) = (remote(), remote()) else {
        return;
    };
    let (root, to) = (folder(), folder());
    let copies = to.path().join("layout");
    let registry = registry.bringing(copies.clone());
    let (_, digest) = push(&registry, root.path(), "v1").await;
    let said = std::sync::Mutex::new(0);
    let count = |_: &str| *said.lock().expect("no panic") += 1;
    for _ in 0..2 {
        let pull = registry
            .bring(ImageHome::Project(&web()), &digest, &count)
            .await
            .expect("brought");
        assert_eq!(pull, shipit::port::engine::Pull::Layout(copies.clone()));
        Layout::new(copies.clone())
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
    }
    assert_eq!(
        *said.lock().expect("no panic"),
        1,
        "what is there is not fetched again"
    );
    for blob in fs::read_dir(copies.join("blobs/sha256"))
        .expect("blobs")
        .filter_map(Result::ok)
    {
        fs::write(blob.path(), "spoiled").expect("a file");
    }
    registry
        .bring(ImageHome::Project(&web()), &digest, &count)
        .await
        .expect("brought");
    Layout::new(copies.clone())
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("put right");
    let missing = other
        .bringing(folder().path().join("x"))
        .bring(ImageHome::Project(&web()), &digest, &count)
        .await;
    assert!(
        matches!(missing, Err(RegistryError::Missing { .. })),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_comes_from_any_registry_and_by_an_index_too() {
    let Some(registry) = remote() else { return };
    let root = folder();
    let (_, below) = push(&registry, root.path(), "below").await;
    let shipit::port::engine::Pull::Repository(repository) =
        registry.pull(ImageHome::Project(&web()))
    else {
        panic!("a registry")
    };
    // An index, as the images of the world have: this machine's own platform is meant.
    let (host, name) = repository.split_once('/').expect("a repository");
    let own = if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    };
    let entry = |architecture: &str, digest: &str| {
        let platform = serde_json::json!({"os": "linux", "architecture": architecture});
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
            "platform": platform})
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [
        entry("s390x", below.as_str()), entry(own, below.as_str())]});
    let put = Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--request",
            "PUT",
            "--header",
            &format!("content-type: {kind}"),
        ])
        .args([
            "--data",
            &index.to_string(),
            &format!("http://{host}/v2/{name}/manifests/all"),
        ])
        .output()
        .expect("curl starts");
    assert!(
        put.status.success(),
        "{}",
        String::from_utf8_lossy(&put.stdout)
    );

    // A layout, and another registry's repository that has none of its layers: both fetch what they
    // lack.
    let elsewhere = remote().expect("it is there");
    let layout = Layout::new(root.path().join("r"));
    let registries: [&dyn Registry; 2] = [&layout, &elsewhere];
    for registry in registries {
        let reference = format!("{repository}:all");
        let base = registry
            .base(&reference, &[])
            .await
            .expect("an answer")
            .expect("there");
        assert_eq!(base.digest, below, "{}", registry.place());
        let bases = BTreeMap::from([(reference.clone(), base)]);
        fs::write(root.path().join("app/message.txt"), "above").expect("a file");
        let mut above = pack("/app/x");
        above.base = shipit::model::build::Base::Image(reference);
        let spec = shipit::model::build::BuildSpec::Pack(above);
        let inputs = Pack
            .inputs(root.path(), &spec, &bases)
            .await
            .expect("inputs");
        let plain = request(root.path(), pack("/app/x")).await;
        let request = shipit::port::builder::BuildRequest {
            bases,
            expects: inputs.hash,
            spec,
            ..plain
        };
        let built = Pack
            .build(&request, &|_| {}, &CancellationToken::new())
            .await
            .expect("built");
        let digest = registry
            .push(&web(), &built, &["t".to_owned()], &|_| {})
            .await
            .expect("pushed");
        registry
            .verify(ImageHome::Project(&web()), &digest)
            .await
            .expect("whole");
    }
    let nothing = layout
        .base(&format!("{repository}:nothing"), &[])
        .await
        .expect("an answer");
    assert_eq!(nothing, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_attached_and_found_by_its_image() {
    let Some(registry) = remote() else { return };
    let root = folder();
    let (_, digest) = push(&registry, root.path(), "v1").await;
    let kind = shipit::model::provenance::ARTIFACT;
    for text in ["{\"one\": 1}", "{\"two\": 2}", "{\"two\": 2}"] {
        registry
            .attach(&web(), &digest, kind, text.as_bytes())
            .await
            .expect("attached");
    }
    let shipit::port::engine::Pull::Repository(repository) =
        registry.pull(ImageHome::Project(&web()))
    else {
        panic!("a registry")
    };
    let (host, name) = repository.split_once('/').expect("a repository");
    let get = |path: &str| -> serde_json::Value {
        let accept = "accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{host}/v2/{name}/{path}");
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--header", accept, &url])
            .output();
        serde_json::from_slice(&output.expect("curl starts").stdout).expect(path)
    };
    // This registry lists no referrers itself: the tag that the specification gives does.
    let index = get(&format!(
        "manifests/{}",
        digest.to_string().replace(':', "-")
    ));
    let entries = index["manifests"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "the same document twice is one: {index}");
    for (entry, wanted) in entries
        .iter()
        .zip([serde_json::json!({"one": 1}), serde_json::json!({"two": 2})])
    {
        assert_eq!(entry["artifactType"], kind);
        let artifact = get(&format!(
            "manifests/{}",
            entry["digest"].as_str().expect("a digest")
        ));
        assert_eq!(artifact["subject"]["digest"], digest.to_string());
        let document = get(&format!(
            "blobs/{}",
            artifact["layers"][0]["digest"].as_str().expect("a digest")
        ));
        assert_eq!(document, wanted);
    }
    registry
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_goes_with_its_image_and_what_has_a_name_stays() {
    let Some(registry) = remote() else { return };
    let root = folder();
    let (_, old) = push_as(&registry, root.path(), "v1", "main-3f2c1ab").await;
    let (_, needed) = push_as(&registry, root.path(), "v2", "main-3f2c1ac").await;
    let (_, listed) = push_as(&registry, root.path(), "v3", "main-3f2c1ad").await;
    let (_, live) = push_as(&registry, root.path(), "v4", "production").await;
    let kind = shipit::model::provenance::ARTIFACT;
    for image in [&old, &needed] {
        let document = format!("{{\"image\": \"{image}\"}}");
        registry
            .attach(&web(), image, kind, document.as_bytes())
            .await
            .expect("attached");
    }
    let shipit::port::engine::Pull::Repository(repository) =
        registry.pull(ImageHome::Project(&web()))
    else {
        panic!("a registry")
    };
    let (host, name) = repository.split_once('/').expect("a repository");
    let curl = |arguments: &[&str], path: &str| {
        let url = format!("http://{host}/v2/{name}/{path}");
        let accept = "accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let mut curl = Command::new("curl");
        let output = curl
            .args(["--silent", "--fail", "--header", accept])
            .args(arguments)
            .arg(url)
            .output();
        output.expect("curl starts")
    };
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": listed, "size": 1}]});
    let header = "content-type: application/vnd.oci.image.index.v1+json";
    let put = [
        "--request",
        "PUT",
        "--header",
        header,
        "--data",
        &index.to_string(),
    ];
    assert!(curl(&put, "manifests/all").status.success());
    let attached = |image: &Digest| -> Option<String> {
        let list = curl(&[], &format!("manifests/sha256-{}", image.hex()));
        let list: serde_json::Value = serde_json::from_slice(&list.stdout).ok()?;
        Some(
            list["manifests"][0]["digest"]
                .as_str()
                .expect("a digest")
                .to_owned(),
        )
    };
    let (of_old, of_needed) = (
        attached(&old).expect("there"),
        attached(&needed).expect("there"),
    );

    let keep = BTreeSet::from([needed.clone()]);
    let taken = registry
        .collect(&keep, Collect::Delete)
        .await
        .expect("deleted");
    assert_eq!(
        (digests(&taken), taken.refused),
        (BTreeSet::from([old.clone()]), None)
    );
    let there = |digest: &str| {
        curl(&["--head"], &format!("manifests/{digest}"))
            .status
            .success()
    };
    for left in [&needed, &listed, &live] {
        assert!(there(left.as_str()), "{left}");
    }
    assert!(
        there(&of_needed) && attached(&needed).is_some(),
        "it stays with its image"
    );
    assert!(
        !there(&of_old) && attached(&old).is_none(),
        "it goes with its image"
    );
}

/// A registry of Debian's as it comes: it lets nobody take anything away.
struct Plain(std::process::Child);

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_lets_nobody_take_images_away_is_told_and_no_error() {
    if crate::cluster::admin().is_none() {
        return;
    }
    let root = folder();
    let port = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        socket.local_addr().expect("an address").port()
    };
    let data = root.path().join("data");
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        data.display()
    );
    fs::write(root.path().join("registry.yml"), config).expect("written");
    let mut command = Command::new("docker-registry");
    command
        .args(["serve", "registry.yml"])
        .current_dir(root.path());
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let _plain = Plain(command.spawn().expect("it starts"));
    let listens = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listens)
        .await
        .expect("the registry listens");
    let repositories = BTreeMap::from([(web(), "web".to_owned())]);
    let endpoint = format!("127.0.0.1:{port}");
    let place = Location {
        endpoint,
        repositories,
        moves_tags: true,
        provenance: false,
        sbom: false,
    };
    let registry = Oci::new(place, Remote::default());
    let (_, digest) = push_as(&registry, root.path(), "v1", "main-3f2c1ab").await;
    let found = registry
        .collect(&BTreeSet::new(), Collect::Delete)
        .await
        .expect("no error");
    assert_eq!(digests(&found), BTreeSet::from([digest.clone()]));
    let refused = found.refused.expect("a reason");
    assert!(refused.contains("lets nobody delete images"), "{refused}");
    registry
        .verify(ImageHome::Project(&web()), &digest)
        .await
        .expect("still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent_again_and_a_base_is_mounted() {
    let Some(registry) = remote() else { return };
    let root = folder();
    push(&registry, root.path(), "v1").await;
    let said = std::sync::Mutex::new(String::new());
    let request = request(root.path(), pack("/app/x")).await;
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built");
    let say = |line: &str| said.lock().expect("whole").push_str(line);
    registry
        .push(&web(), &built, &["again".to_owned()], &say)
        .await
        .expect("pushed");
    assert!(
        said.lock().expect("whole").starts_with("pushed 0 bytes"),
        "{said:?}"
    );
    // An image on top of it, in another repository: the base's layer is not in the build's folder.
    let base = registry
        .base("web:again", &[])
        .await
        .expect("an answer")
        .expect("there");
    let bases = BTreeMap::from([("web:again".to_owned(), base)]);
    fs::write(root.path().join("app/message.txt"), "on top").expect("a file");
    let mut above = pack("/app/x");
    above.base = shipit::model::build::Base::Image("web:again".to_owned());
    let spec = shipit::model::build::BuildSpec::Pack(above);
    let inputs = Pack
        .inputs(root.path(), &spec, &bases)
        .await
        .expect("inputs");
    let request = shipit::port::builder::BuildRequest {
        bases,
        expects: inputs.hash,
        spec,
        service: other(),
        ..request
    };
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await
        .expect("built");
    let digest = registry
        .push(&other(), &built, &["t".to_owned()], &|_| {})
        .await
        .expect("pushed");
    registry
        .verify(ImageHome::Project(&other()), &digest)
        .await
        .expect("whole");
}
