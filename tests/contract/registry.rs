//! The registry's contract, held by the image layout; and that others can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use shipit::driver::builder::pack::Pack;
use shipit::driver::registry::layout::Layout;
use shipit::driver::registry::oci::remote::Remote;
use shipit::driver::registry::oci::{Oci, Place};
use shipit::model::{ContentHash, Digest, ServiceName};
use shipit::port::registry::{BaseImages, Blob, RegistryError, inputs_tag};
use shipit::port::{Builder as _, Registry};
use tokio_util::sync::CancellationToken;

use crate::support::{image, pack, request, web};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Builds and pushes an image with this message, tagged by its inputs.
async fn push(registry: &dyn Registry, root: &std::path::Path, message: &str) -> (ContentHash, Digest) {
    fs::create_dir_all(root.join("app")).expect("a folder");
    fs::write(root.join("app/message.txt"), message).expect("a file");
    let request = request(root, pack("/app/x")).await;
    let built = Pack.build(&request, &|_| {}, &CancellationToken::new()).await.expect("built");
    let tags = [inputs_tag(&request.expects), "staging".to_owned()];
    let digest = registry.push(&web(), &built, &tags, &|_| {}).await.expect("pushed");
    (request.expects, digest)
}

#[tokio::test]
async fn what_was_pushed_is_found_by_its_inputs_and_by_its_tag() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let nothing = layout.find(&web(), &ContentHash::of(b"x")).await.expect("an answer");
    assert_eq!(nothing, None, "an empty registry is no error");
    let (inputs, digest) = push(&layout, root.path(), "v1").await;
    assert_eq!(layout.find(&web(), &inputs).await.expect("an answer"), Some(digest.clone()));
    layout.verify(&web(), &digest).await.expect("whole");
    let base = layout.base("web:staging", &[]).await.expect("an answer").expect("there");
    assert_eq!((&base.digest, layers(&base).len()), (&digest, 1));
    let (_, newer) = push(&layout, root.path(), "v2").await;
    let base = layout.base("web:staging", &[]).await.expect("an answer").expect("there");
    assert_eq!(base.digest, newer, "the tag has moved");
    assert_eq!(
        layout.find(&web(), &inputs).await.expect("an answer"),
        Some(digest),
        "the older one is still there"
    );
}

#[tokio::test]
async fn a_missing_or_corrupt_blob_is_noticed_and_put_right_by_the_next_push() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let (inputs, digest) = push(&layout, root.path(), "v1").await;
    let base = layout.base("web:staging", &[]).await.expect("an answer").expect("there");
    let layer = root.path().join("r/blobs/sha256").join(layers(&base)[0].digest.hex());
    let mut bytes = fs::read(&layer).expect("a layer");
    bytes[20] ^= 1;
    fs::write(&layer, bytes).expect("written");
    assert!(matches!(layout.verify(&web(), &digest).await, Err(RegistryError::Corrupt { .. })));
    push(&layout, root.path(), "v1").await;
    layout.verify(&web(), &digest).await.expect("put right");
    fs::remove_file(&layer).expect("removed");
    assert_eq!(layout.find(&web(), &inputs).await.expect("an answer"), None, "half an image is none");
    assert!(matches!(layout.verify(&web(), &digest).await, Err(RegistryError::Missing { .. })));
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
        let (inputs, digest) = pushed.expect("pushed");
        assert_eq!(layout.find(&web(), &inputs).await.expect("an answer"), Some(digest.clone()));
        layout.verify(&web(), &digest).await.expect("whole");
    }
}

#[tokio::test]
async fn collection_keeps_what_is_needed_and_what_is_young() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let (_, first) = push(&layout, root.path(), "v1").await;
    let (_, second) = push(&layout, root.path(), "v2").await;
    let (_, third) = push(&layout, root.path(), "v3").await;
    let keep = BTreeSet::from([first.clone()]);
    assert!(layout.collect(&keep).await.expect("collected").images.is_empty(), "all are young");
    let long_ago = SystemTime::now() - Duration::from_hours(2);
    for blob in fs::read_dir(root.path().join("r/blobs/sha256")).expect("blobs").filter_map(Result::ok) {
        let file = File::options().write(true).open(blob.path()).expect("a blob");
        file.set_modified(long_ago).expect("aged");
    }
    let collected = layout.collect(&keep).await.expect("collected");
    // The third has the tag `staging` besides; its inputs' tag makes it ours all the same.
    assert_eq!(collected.images.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&second, &third]));
    assert_eq!(collected.blobs, 6);
    layout.verify(&web(), &first).await.expect("kept");
    assert!(layout.verify(&web(), &second).await.is_err());
}

#[tokio::test]
async fn an_image_that_lost_its_last_tag_is_kept_as_long_as_it_is_needed() {
    let root = folder();
    let layout = Layout::new(root.path().join("r"));
    let (_, first) = push(&layout, root.path(), "v1").await;
    let (_, second) = push(&layout, root.path(), "v2").await;
    layout.tag(&web(), &first, &["only".to_owned()]).await.expect("tagged");
    let base = layout.base("web:staging", &[]).await.expect("an answer").expect("there");
    assert_eq!(base.digest, second);
    // Every tag of the first moves to the second.
    let own =
        Command::new("grep").args(["-o", "web:src-[0-9a-f]*"]).arg(root.path().join("r/index.json")).output();
    let tags: Vec<String> = String::from_utf8_lossy(&own.expect("grep starts").stdout)
        .lines()
        .map(|tag| tag.trim_start_matches("web:").to_owned())
        .chain(["only".to_owned()])
        .collect();
    layout.tag(&web(), &second, &tags).await.expect("tagged");
    let long_ago = SystemTime::now() - Duration::from_hours(2);
    for blob in fs::read_dir(root.path().join("r/blobs/sha256")).expect("blobs").filter_map(Result::ok) {
        let file = File::options().write(true).open(blob.path()).expect("a blob");
        file.set_modified(long_ago).expect("aged");
    }
    layout.collect(&BTreeSet::from([first.clone(), second])).await.expect("collected");
    layout.verify(&web(), &first).await.expect("a slot may use it");
    let collected = layout.collect(&BTreeSet::new()).await.expect("collected");
    assert!(collected.images.contains(&first), "{collected:?}");
}

#[tokio::test]
async fn skopeo_reads_and_copies_the_layout() {
    let found = Command::new("skopeo").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("SHIPIT_TEST_REAL").is_none(), "skopeo is not there");
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
    let inspected = Command::new("skopeo").args(["inspect", &source]).output().expect("skopeo starts");
    let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(text.contains(digest.as_str()), "{text}{}", String::from_utf8_lossy(&inspected.stderr));
    let copy = format!("oci:{}:copy", root.path().join("copied").display());
    let copied = Command::new("skopeo")
        .args(["copy", "--insecure-policy", &source, &copy])
        .output()
        .expect("skopeo starts");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    Layout::new(root.path().join("copied")).verify(&web(), &digest).await.expect("the same bytes");
}

/// The layers of the only image.
fn layers(base: &BaseImages) -> &[Blob] {
    &base.images.values().next().expect("an image").layers
}

/// A repository of its own in the tests' registry.
pub fn remote() -> Option<Oci> {
    let endpoint = crate::cluster::admin()?.registry;
    let name = format!("contract-{}", uuid::Uuid::new_v4().simple());
    let repositories = BTreeMap::from([(web(), format!("{name}/web")), (other(), format!("{name}/other"))]);
    Some(Oci::new(
        Place { endpoint, repositories, moves_tags: true, provenance: false, sbom: false },
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
    let nothing = registry.find(&web(), &ContentHash::of(b"x")).await.expect("an answer");
    assert_eq!(nothing, None, "a repository that is not there is no error");
    let (inputs, digest) = push(&registry, root.path(), "v1").await;
    assert_eq!(registry.find(&web(), &inputs).await.expect("an answer"), Some(digest.clone()));
    registry.verify(&web(), &digest).await.expect("whole");
    let missing = registry.verify(&other(), &digest).await;
    assert!(matches!(missing, Err(RegistryError::Missing { .. })), "{missing:?}");
    let base = registry.base("web:staging", &[]).await.expect("an answer").expect("there");
    assert_eq!((&base.digest, layers(&base).len()), (&digest, 1));
    assert_eq!(registry.base("web:nothing", &[]).await.expect("an answer"), None);
    let (_, newer) = push(&registry, root.path(), "v2").await;
    let base = registry.base("web:staging", &[]).await.expect("an answer").expect("there");
    assert_eq!(base.digest, newer, "the tag has moved");
    registry.tag(&web(), &digest, &["stable".to_owned()]).await.expect("tagged");
    let base = registry.base("web:stable", &[]).await.expect("an answer").expect("there");
    assert_eq!(base.digest, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_brought_to_a_folder_once_and_whole() {
    let (Some(registry), Some(other)) = (remote(), remote()) else { return };
    let (root, to) = (folder(), folder());
    let copies = to.path().join("layout");
    let registry = registry.bringing(copies.clone());
    let (_, digest) = push(&registry, root.path(), "v1").await;
    let said = std::sync::Mutex::new(0);
    let count = |_: &str| *said.lock().expect("no panic") += 1;
    for _ in 0..2 {
        let pull = registry.bring(&web(), &digest, &count).await.expect("brought");
        assert_eq!(pull, shipit::port::engine::Pull::Layout(copies.clone()));
        Layout::new(copies.clone()).verify(&web(), &digest).await.expect("whole");
    }
    assert_eq!(*said.lock().expect("no panic"), 1, "what is there is not fetched again");
    for blob in fs::read_dir(copies.join("blobs/sha256")).expect("blobs").filter_map(Result::ok) {
        fs::write(blob.path(), "spoiled").expect("a file");
    }
    registry.bring(&web(), &digest, &count).await.expect("brought");
    Layout::new(copies.clone()).verify(&web(), &digest).await.expect("put right");
    let missing = other.bringing(folder().path().join("x")).bring(&web(), &digest, &count).await;
    assert!(matches!(missing, Err(RegistryError::Missing { .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_comes_from_any_registry_and_by_an_index_too() {
    let Some(registry) = remote() else { return };
    let root = folder();
    let (_, below) = push(&registry, root.path(), "below").await;
    let shipit::port::engine::Pull::Repository(repository) = registry.pull(&web()) else {
        panic!("a registry")
    };
    // An index, as the images of the world have: this machine's own platform is meant.
    let (host, name) = repository.split_once('/').expect("a repository");
    let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let entry = |architecture: &str, digest: &str| {
        let platform = serde_json::json!({"os": "linux", "architecture": architecture});
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
            "platform": platform})
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [
        entry("s390x", below.as_str()), entry(own, below.as_str())]});
    let put = Command::new("curl")
        .args(["--silent", "--fail", "--request", "PUT", "--header", &format!("content-type: {kind}")])
        .args(["--data", &index.to_string(), &format!("http://{host}/v2/{name}/manifests/all")])
        .output()
        .expect("curl starts");
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stdout));

    // A layout, and another registry's repository that has none of its layers: both fetch what they lack.
    let elsewhere = remote().expect("it is there");
    let layout = Layout::new(root.path().join("r"));
    let registries: [&dyn Registry; 2] = [&layout, &elsewhere];
    for registry in registries {
        let reference = format!("{repository}:all");
        let base = registry.base(&reference, &[]).await.expect("an answer").expect("there");
        assert_eq!(base.digest, below, "{}", registry.place());
        let bases = BTreeMap::from([(reference.clone(), base)]);
        fs::write(root.path().join("app/message.txt"), "above").expect("a file");
        let mut above = pack("/app/x");
        above.base = shipit::model::build::Base::Image(reference);
        let spec = shipit::model::build::BuildSpec::Pack(above);
        let inputs = Pack.inputs(root.path(), &spec, &bases).await.expect("inputs");
        let plain = request(root.path(), pack("/app/x")).await;
        let request = shipit::port::builder::BuildRequest { bases, expects: inputs.hash, spec, ..plain };
        let built = Pack.build(&request, &|_| {}, &CancellationToken::new()).await.expect("built");
        let digest = registry.push(&web(), &built, &["t".to_owned()], &|_| {}).await.expect("pushed");
        registry.verify(&web(), &digest).await.expect("whole");
    }
    let nothing = layout.base(&format!("{repository}:nothing"), &[]).await.expect("an answer");
    assert_eq!(nothing, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_attached_and_found_by_its_image() {
    let Some(registry) = remote() else { return };
    let root = folder();
    let (_, digest) = push(&registry, root.path(), "v1").await;
    let kind = shipit::model::provenance::ARTIFACT;
    for text in ["{\"one\": 1}", "{\"two\": 2}", "{\"two\": 2}"] {
        registry.attach(&web(), &digest, kind, text.as_bytes()).await.expect("attached");
    }
    let shipit::port::engine::Pull::Repository(repository) = registry.pull(&web()) else {
        panic!("a registry")
    };
    let (host, name) = repository.split_once('/').expect("a repository");
    let get = |path: &str| -> serde_json::Value {
        let accept =
            "accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{host}/v2/{name}/{path}");
        let output = Command::new("curl").args(["--silent", "--fail", "--header", accept, &url]).output();
        serde_json::from_slice(&output.expect("curl starts").stdout).expect(path)
    };
    // This registry lists no referrers itself: the tag that the specification gives does.
    let index = get(&format!("manifests/{}", digest.to_string().replace(':', "-")));
    let entries = index["manifests"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "the same document twice is one: {index}");
    for (entry, wanted) in entries.iter().zip([serde_json::json!({"one": 1}), serde_json::json!({"two": 2})])
    {
        assert_eq!(entry["artifactType"], kind);
        let artifact = get(&format!("manifests/{}", entry["digest"].as_str().expect("a digest")));
        assert_eq!(artifact["subject"]["digest"], digest.to_string());
        let document = get(&format!("blobs/{}", artifact["layers"][0]["digest"].as_str().expect("a digest")));
        assert_eq!(document, wanted);
    }
    registry.verify(&web(), &digest).await.expect("whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent_again_and_a_base_is_mounted() {
    let Some(registry) = remote() else { return };
    let root = folder();
    push(&registry, root.path(), "v1").await;
    let said = std::sync::Mutex::new(String::new());
    let request = request(root.path(), pack("/app/x")).await;
    let built = Pack.build(&request, &|_| {}, &CancellationToken::new()).await.expect("built");
    let say = |line: &str| said.lock().expect("whole").push_str(line);
    registry.push(&web(), &built, &["again".to_owned()], &say).await.expect("pushed");
    assert!(said.lock().expect("whole").starts_with("pushed 0 bytes"), "{said:?}");
    // An image on top of it, in another repository: the base's layer is not in the build's folder.
    let base = registry.base("web:again", &[]).await.expect("an answer").expect("there");
    let bases = BTreeMap::from([("web:again".to_owned(), base)]);
    fs::write(root.path().join("app/message.txt"), "on top").expect("a file");
    let mut above = pack("/app/x");
    above.base = shipit::model::build::Base::Image("web:again".to_owned());
    let spec = shipit::model::build::BuildSpec::Pack(above);
    let inputs = Pack.inputs(root.path(), &spec, &bases).await.expect("inputs");
    let request = shipit::port::builder::BuildRequest {
        bases,
        expects: inputs.hash,
        spec,
        service: other(),
        ..request
    };
    let built = Pack.build(&request, &|_| {}, &CancellationToken::new()).await.expect("built");
    let digest = registry.push(&other(), &built, &["t".to_owned()], &|_| {}).await.expect("pushed");
    registry.verify(&other(), &digest).await.expect("whole");
}
