//! Pushing an image of ten layers of which one has changed, beside skopeo. `benches/push` starts
//! what this needs.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shipit::driver::registry::layout::Layout;
use shipit::driver::registry::oci::remote::Remote;
use shipit::driver::registry::oci::{Location, Oci};
use shipit::model::{Digest, ServiceName};
use shipit::port::Registry as _;
use shipit::port::registry::{Blob, Built, BuiltImage};

const RUNS: usize = 5;

/// A file of bytes that do not compress.
fn blob(folder: &Path, name: &str, size: usize, media_type: &str) -> Blob {
    let path = folder.join(name);
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut seed = Digest::of(name.as_bytes()).hex().as_bytes().to_vec();
    let mut left = size;
    while left > 0 {
        let mut block = Vec::with_capacity(1 << 20);
        while block.len() < (1 << 20) {
            seed = Digest::of(&seed).hex().as_bytes().to_vec();
            block.extend(std::iter::repeat_n(seed.clone(), 64).flatten());
        }
        let count = left.min(block.len());
        file.write_all(&block[..count]).expect("written");
        left -= count;
    }
    drop(file);
    let bytes = std::fs::read(&path).expect("read");
    Blob {
        media_type: media_type.to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        file: Some(path),
    }
}

fn image(folder: &Path, fixed: &[Blob], changed: &str, megabytes: usize) -> Built {
    let mut layers = fixed.to_vec();
    layers.push(blob(
        folder,
        changed,
        megabytes << 20,
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ));
    let path = folder.join(format!("{changed}.json"));
    let ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
    std::fs::write(&path, config.to_string()).expect("written");
    let bytes = std::fs::read(&path).expect("read");
    let media_type = "application/vnd.oci.image.config.v1+json".to_owned();
    let config = Blob {
        media_type,
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        file: Some(path),
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let named = |blob: &Blob| serde_json::json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size});
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "config": named(&config),
        "layers": layers.iter().map(named).collect::<Vec<_>>()});
    let manifest = manifest.to_string().into_bytes();
    BuiltImage {
        manifest,
        media_type,
        config,
        layers,
        folder: None,
    }
    .into()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// What cannot be done without: one HEAD for each blob side by side, an upload, and the manifest;
/// on one connection each.
fn floor(endpoint: &str, repository: &str, built: &Built) -> Duration {
    let image = &built.images[0];
    let begun = Instant::now();
    let heads = image.layers.iter().chain([&image.config]).map(|blob| {
        let url = format!("http://{endpoint}/v2/{repository}/blobs/{}", blob.digest);
        format!("url={url}\nhead\noutput=/dev/null\n")
    });
    let mut curl = Command::new("curl")
        .args(["--silent", "--parallel", "--config", "-"])
        .stderr(Stdio::null())
        .stdin(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let asked: String = heads.collect::<Vec<_>>().join("next\nsilent\n");
    curl.stdin
        .take()
        .expect("a pipe")
        .write_all(asked.as_bytes())
        .expect("written");
    curl.wait().expect("it ends");
    let last = image.layers.last().expect("a layer");
    let script = format!(
        "l=$(curl -s -i -X POST http://{endpoint}/v2/{repository}/blobs/uploads/ | tr -d '\\r' | sed -n 's/^Location: //Ip'); \
         curl -s -X PUT --data-binary @{} -H 'content-type: application/octet-stream' \"$l&digest={}\" -o /dev/null",
        last.file.as_ref().expect("a file").display(),
        last.digest
    );
    assert!(
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .expect("sh starts")
            .success()
    );
    begun.elapsed()
}

fn main() {
    let endpoint = std::env::var("SHIPIT_TEST_REGISTRY")
        .expect("SHIPIT_TEST_REGISTRY, as `benches/push` sets it");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let web: ServiceName = "web".parse().expect("a name");
    let fixed: Vec<Blob> = (0..9)
        .map(|n| {
            blob(
                folder.path(),
                &format!("layer-{n}"),
                55 << 20,
                "application/vnd.oci.image.layer.v1.tar+gzip",
            )
        })
        .collect();
    let registry = |name: &str| {
        let repositories = BTreeMap::from([(web.clone(), name.to_owned())]);
        Oci::new(
            Location {
                endpoint: endpoint.clone(),
                repositories,
                moves_tags: true,
                provenance: false,
                sbom: false,
            },
            Remote::default(),
        )
    };
    let first = image(folder.path(), &fixed, "first", 1);
    let begun = Instant::now();
    runtime
        .block_on(registry("bench/shipit").push(&web, &first, &["t".to_owned()], &|_| {}))
        .expect("pushed");
    println!(
        "496 MiB in 10 layers, nothing there:   shipit {:>8.1?}",
        begun.elapsed()
    );
    let layout_at = |built: &Built, name: &str| -> PathBuf {
        let path = folder.path().join(name);
        runtime
            .block_on(Layout::new(path.clone()).push(&web, built, &["t".to_owned()], &|_| {}))
            .expect("pushed");
        path
    };
    let skopeo = |layout: &Path| {
        let begun = Instant::now();
        let done = Command::new("skopeo")
            .args([
                "copy",
                "--quiet",
                "--insecure-policy",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}:web:t", layout.display()))
            .arg(format!("docker://{endpoint}/bench/skopeo:t"))
            .status();
        assert!(done.expect("skopeo starts").success());
        begun.elapsed()
    };
    println!(
        "                                       skopeo {:>8.1?}",
        skopeo(&layout_at(&first, "l-first"))
    );
    let (mut ours, mut theirs, mut least) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let next = image(folder.path(), &fixed, &format!("ours-{run}"), 1);
        // A process of its own each time, as the command is: nothing is remembered.
        let registry = registry("bench/shipit");
        let begun = Instant::now();
        runtime
            .block_on(registry.push(&web, &next, &["t".to_owned()], &|_| {}))
            .expect("pushed");
        ours.push(begun.elapsed());
        let next = image(folder.path(), &fixed, &format!("theirs-{run}"), 1);
        theirs.push(skopeo(&layout_at(&next, &format!("l-{run}"))));
        let next = image(folder.path(), &fixed, &format!("floor-{run}"), 1);
        least.push(floor(&endpoint, "bench/shipit", &next));
    }
    println!(
        "1 MiB of it changed:                   shipit {:>8.1?}",
        median(ours)
    );
    println!(
        "                                       skopeo {:>8.1?}",
        median(theirs)
    );
    println!(
        "                 the floor, by curl (3 starts) {:>8.1?}",
        median(least)
    );
}
