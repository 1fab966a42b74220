//! What is attached to images in a real registry, and what must be attached to them before they get
//! traffic.

use std::process::Command;

use cyclonedx_bom::prelude::{Bom, Component, SpecVersion, Validate as _};
use serde_json::Value;
use shipit::model::Digest;

use crate::support::World;

/// A project on a Docker host whose images are in the tests' registry.
struct Shop {
    world: World,
    endpoint: String,
    name: String,
}

impl Shop {
    fn new(registry: &str) -> Option<Self> {
        let mut world = crate::docker::world()?;
        let endpoint = std::env::var("SHIPIT_TEST_REGISTRY").ok();
        assert!(
            endpoint.is_some() || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "there is no registry"
        );
        let Some(endpoint) = endpoint else {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: there is no registry");
            }
            return None;
        };
        let name = format!("supply-{}", uuid::Uuid::new_v4().simple());
        let repository = format!("\"{name}/{{{{ service }}}}\"");
        world.project.push(format!(
            "registry: {{kind: oci, endpoint: \"{endpoint}\", repository: {repository}, {registry}}}"
        ));
        Some(Self {
            world,
            endpoint,
            name,
        })
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let accept = "accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{}/v2/{}/web/{path}", self.endpoint, self.name);
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--header", accept, &url])
            .output();
        output.expect("curl starts").stdout
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path)).expect(path)
    }

    /// The image that was pushed last.
    fn image(&self) -> Digest {
        Digest::of(&self.get("manifests/staging"))
    }

    /// The documents of this kind that refer to an image.
    fn attached(&self, image: &Digest, kind: &str) -> Vec<Vec<u8>> {
        let index = self.json(&format!(
            "manifests/{}",
            image.to_string().replace(':', "-")
        ));
        let entries = index["manifests"].as_array().expect("entries").iter();
        entries
            .filter(|entry| entry["artifactType"] == kind)
            .map(|entry| {
                let artifact = self.json(&format!(
                    "manifests/{}",
                    entry["digest"].as_str().expect("a digest")
                ));
                assert_eq!(artifact["subject"]["digest"], image.to_string());
                self.get(&format!(
                    "blobs/{}",
                    artifact["layers"][0]["digest"].as_str().expect("a digest")
                ))
            })
            .collect()
    }

    /// The list of what is in an image, which must be the only one and a valid one.
    fn bill(&self, image: &Digest) -> Bom {
        let documents = self.attached(image, shipit::model::sbom::ARTIFACT);
        assert_eq!(documents.len(), 1);
        let bom = Bom::parse_from_json_v1_5(documents[0].as_slice()).expect("it can be read");
        assert!(bom.validate_version(SpecVersion::V1_5).passed());
        bom
    }

    /// A base image with the package database of this very machine.
    fn debian(&self) -> String {
        for (from, to) in [
            ("/var/lib/dpkg/status", "base/status"),
            ("/usr/lib/os-release", "base/os-release"),
        ] {
            self.world.put(to, "");
            std::fs::copy(from, self.world.file(to)).expect("this is a Debian");
        }
        self.world.put(
            "base/Dockerfile",
            "FROM scratch\nCOPY status /var/lib/dpkg/status\nCOPY os-release /usr/lib/os-release\n",
        );
        let base = format!("{}/{}/base:1", self.endpoint, self.name);
        for arguments in [
            &["build", "--quiet", "--tag", &base, "base"][..],
            &["push", "--quiet", &base],
        ] {
            let done = Command::new("docker")
                .args(arguments)
                .current_dir(self.world.path())
                .output();
            let done = done.expect("docker starts");
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        base
    }
}

fn components(bom: &Bom) -> &[Component] {
    &bom.components.as_ref().expect("components").0
}

fn urls(bom: &Bom) -> Vec<String> {
    components(bom)
        .iter()
        .filter_map(|component| Some(component.purl.as_ref()?.to_string()))
        .collect()
}

/// The version of a package of this machine.
fn installed(package: &str) -> String {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Version}", package])
        .output();
    String::from_utf8(output.expect("dpkg-query starts").stdout).expect("text")
}

#[test]
fn what_is_in_an_image_is_listed_whichever_built_it() {
    let Some(mut shop) = Shop::new("sbom: true") else {
        return;
    };
    let base = shop.debian();
    shop.world.build.push(format!("base: \"{base}\""));
    shop.world.apply().code(0).says("what is in it is attached");
    let (packed, bill) = (shop.image(), shop.bill(&shop.image()));
    let dpkg = format!("pkg:deb/debian/dpkg@{}?", installed("dpkg"));
    assert!(
        urls(&bill).iter().any(|url| url.starts_with(&dpkg)),
        "{dpkg}: {:?}",
        urls(&bill)
    );
    let file = components(&bill)
        .iter()
        .find(|component| *component.name == *"/app/message.txt")
        .expect("the file");
    let hashes = file.hashes.as_ref().expect("a hash");
    assert_eq!(hashes.0[0].content.0, Digest::of(b"v1").hex());
    assert!(
        components(&bill)
            .iter()
            .any(|component| *component.name == *base),
        "its base"
    );

    // The same once more gives the same document, which is not attached twice.
    shop.world
        .run(&["apply", "--env", "staging", "--auto-approve", "--rebuild"])
        .code(0);
    assert_eq!(shop.image(), packed);
    shop.bill(&packed);

    // A Dockerfile on the same base, which brings a package of its own.
    shop.world
        .put("app/installed", "P:musl\nV:1.2.5-r9\nA:x86_64\no:musl\n");
    shop.world.put(
        "app/Dockerfile",
        &format!(
            "FROM {base}\nCOPY message.txt /app/message.txt\nCOPY installed /lib/apk/db/installed\nWORKDIR /app\n\
             ENTRYPOINT [\"{}\"]\n",
            crate::support::storefront().display()
        ),
    );
    shop.world.configure();
    let text = shop.world.read("shipit.yaml");
    let (before, rest) = text.split_once("    build:\n").expect("a build");
    let after: String = rest
        .lines()
        .skip_while(|line| line.starts_with("      "))
        .fold(String::new(), |text, line| text + line + "\n");
    let mut command = shop
        .world
        .command(&["apply", "--env", "staging", "--auto-approve"]);
    shop.world.put(
        "shipit.yaml",
        &format!("{before}    build: {{kind: docker, context: app}}\n{after}"),
    );
    let output = command.output().expect("shipit starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_ne!(shop.image(), packed);
    let bill = shop.bill(&shop.image());
    let urls = urls(&bill);
    assert!(
        urls.iter().any(|url| url.starts_with(&dpkg)),
        "what the base brings is there: {urls:?}"
    );
    assert!(
        urls.iter()
            .any(|url| url.starts_with("pkg:apk/debian/musl@1.2.5-r9?")),
        "{urls:?}"
    );
    assert!(
        !components(&bill)
            .iter()
            .any(|component| component.name.starts_with("/app/")),
        "nobody knows who made them"
    );
}

/// A key pair of `openssl`'s making.
struct Keys<'a> {
    shop: &'a Shop,
    name: &'static str,
}

impl Keys<'_> {
    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(self.shop.world.path())
            .output();
        let done = done.expect("openssl starts");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// The signature of these bytes, in base64.
    fn sign(&self, payload: &[u8]) -> String {
        std::fs::write(self.shop.world.file("payload"), payload).expect("a file");
        let key = format!("{}.key", self.name);
        self.openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            &key,
            "-out",
            "signature",
            "payload",
        ]);
        self.openssl(&["base64", "-A", "-in", "signature", "-out", "signature.txt"]);
        self.shop.world.read("signature.txt")
    }
}

/// What cosign signs.
fn payload(image: &Digest) -> Vec<u8> {
    let critical = serde_json::json!({"identity": {"docker-reference": "shop"}, "type": "cosign container image signature",
        "image": {"docker-manifest-digest": image}});
    serde_json::json!({"critical": critical, "optional": null})
        .to_string()
        .into_bytes()
}

impl Shop {
    fn keys(&self, name: &'static str) -> Keys<'_> {
        let keys = Keys { shop: self, name };
        let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
        keys.openssl(&[
            "ecparam",
            "-genkey",
            "-name",
            "prime256v1",
            "-noout",
            "-out",
            &private,
        ]);
        keys.openssl(&["ec", "-in", &private, "-pubout", "-out", &public]);
        keys
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) {
        std::fs::write(self.world.file("body"), body).expect("a file");
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("http://{}/v2/{}/web/{path}", self.endpoint, self.name)
        };
        let header = format!("content-type: {kind}");
        let sent = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--request",
                method,
                "--header",
                &header,
            ])
            .args(["--data-binary", "@body", &url])
            .current_dir(self.world.path())
            .output()
            .expect("curl starts");
        assert!(
            sent.status.success(),
            "{url}: {}",
            String::from_utf8_lossy(&sent.stderr)
        );
    }

    fn upload(&self, bytes: &[u8]) {
        let url = format!(
            "http://{}/v2/{}/web/blobs/uploads/",
            self.endpoint, self.name
        );
        let output = Command::new("curl")
            .args(["--silent", "--include", "--request", "POST", &url])
            .output();
        let output = String::from_utf8(output.expect("curl starts").stdout).expect("text");
        let place = output.lines().find_map(|line| {
            line.split_once(": ")
                .filter(|(name, _)| name.eq_ignore_ascii_case("location"))
        });
        let place = place.expect("a place").1.trim().to_owned();
        let place = if place.starts_with('/') {
            format!("http://{}{place}", self.endpoint)
        } else {
            place
        };
        let to = format!(
            "{place}{}digest={}",
            if place.contains('?') { '&' } else { '?' },
            Digest::of(bytes)
        );
        self.send("PUT", &to, "application/octet-stream", bytes);
    }

    /// Pushes an artifact of one layer: as a tag, or as one that refers to an image.
    fn artifact(&self, tag: Option<&str>, kind: &str, layer: &Value, bytes: &[u8]) -> Digest {
        self.upload(bytes);
        self.upload(b"{}");
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let config = serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": Digest::of(b"{}")});
        let document = serde_json::json!({"schemaVersion": 2, "mediaType": manifest, "artifactType": kind, "config": config,
            "layers": [layer]});
        let document = document.to_string().into_bytes();
        let digest = Digest::of(&document);
        self.send(
            "PUT",
            &format!("manifests/{}", tag.unwrap_or(digest.as_str())),
            manifest,
            &document,
        );
        digest
    }

    /// Signs as `cosign sign --key` does by default until version 2: a payload under a tag made of
    /// the image's digest.
    fn sign(&self, image: &Digest, payload: &[u8], signature: &str) {
        let layer = serde_json::json!({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "size": payload.len(), "digest": Digest::of(payload),
            "annotations": {"dev.cosignproject.cosign/signature": signature}});
        let tag = format!("{}.sig", image.to_string().replace(':', "-"));
        self.artifact(Some(&tag), "", &layer, payload);
    }

    /// Signs as it does from version 3 on: a bundle that refers to the image.
    fn sign_with_bundle(&self, image: &Digest, keys: &Keys<'_>) {
        let statement = serde_json::json!({"_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://sigstore.dev/cosign/sign/v1", "subject": [{"digest": {"sha256": image.hex()}}]});
        let (kind, text) = ("application/vnd.in-toto+json", statement.to_string());
        let signature =
            keys.sign(format!("DSSEv1 {} {kind} {} {text}", kind.len(), text.len()).as_bytes());
        std::fs::write(self.world.file("statement"), &text).expect("a file");
        keys.openssl(&["base64", "-A", "-in", "statement", "-out", "statement.txt"]);
        let envelope = serde_json::json!({"payload": self.world.read("statement.txt"), "payloadType": kind,
            "signatures": [{"sig": signature}]});
        let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let bundle =
            serde_json::json!({"mediaType": media_type, "dsseEnvelope": envelope}).to_string();
        let layer = serde_json::json!({"mediaType": media_type, "size": bundle.len(), "digest": Digest::of(bundle.as_bytes())});
        let artifact = self.artifact(None, media_type, &layer, bundle.as_bytes());
        // This registry lists no referrers itself: the tag that the specification gives for that
        // does.
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": artifact, "size": 1, "artifactType": media_type}]});
        let tag = image.to_string().replace(':', "-");
        self.send(
            "PUT",
            &format!("manifests/{tag}"),
            "application/vnd.oci.image.index.v1+json",
            index.to_string().as_bytes(),
        );
    }
}

#[test]
fn an_image_gets_traffic_when_it_is_signed_and_not_before() {
    let Some(mut shop) = Shop::new("provenance: true") else {
        return;
    };
    shop.world.staging = vec![
        "promotion: {before: [{signature: {keys: [cosign.pub]}}], probe: {linger: 50ms}}"
            .to_owned(),
    ];
    let (right, wrong) = (shop.keys("cosign"), shop.keys("other"));
    let refused = |reason: &str| {
        shop.world
            .apply()
            .code(1)
            .says(reason)
            .says("cosign sign --key")
            .says("signed by cosign.pub");
    };
    refused("the image of web is not signed");
    let image = shop.image();
    let plan = || shop.world.run(&["plan", "--env", "staging"]).code(0);
    plan().says("web is not signed yet").says(image.as_str());
    let other = Digest::of(b"another image");
    shop.sign(&image, &payload(&image), &wrong.sign(&payload(&image)));
    refused("it was not made with one of the keys");
    shop.sign(&image, &payload(&other), &right.sign(&payload(&other)));
    refused(&format!("it is for {other}"));
    shop.sign(&image, b"garbage", &right.sign(b"garbage"));
    refused("it cannot be read");
    shop.sign(&image, &payload(&image), "no base64");
    refused("it is not in base64");
    let large = [payload(&image), vec![b' '; 256 << 10]].concat();
    shop.sign(&image, &large, &right.sign(&large));
    refused("it is larger than 256 KiB");
    let live = crate::support::http::get(&shop.world.live_address(), "/");
    assert!(
        !live.is_ok_and(|answer| answer.body == "v1"),
        "nothing of it got traffic"
    );
    shop.sign(&image, &payload(&image), &right.sign(&payload(&image)));
    assert!(!plan().stdout.contains("not signed"));
    shop.world
        .apply()
        .code(0)
        .says("web is signed by cosign.pub")
        .says("is active");
    assert_eq!(shop.world.get(), "v1");
    assert_eq!(shop.image(), image, "it was built once");
}

#[test]
fn a_release_that_waits_is_signed_while_it_waits() {
    let Some(mut shop) = Shop::new("sbom: true") else {
        return;
    };
    shop.world.staging = vec![
        "promotion: {mode: manual, before: [{signature: {keys: [cosign.pub]}}], probe: {linger: 50ms}}"
            .to_owned(),
    ];
    let right = shop.keys("cosign");
    shop.world
        .apply()
        .code(0)
        .says("must be signed when it is promoted")
        .says("waits in blue");
    let promote = ["promote", "blue", "--env", "staging", "--auto-approve"];
    shop.world
        .run(&promote)
        .code(1)
        .says("the image of web is not signed");
    shop.sign_with_bundle(&shop.image(), &right);
    shop.world
        .run(&promote)
        .code(0)
        .says("web is signed by cosign.pub");
    assert_eq!(shop.world.get(), "v1");
    // With another key, what the first one has signed does not count any more.
    let right = shop.keys("cosign");
    shop.world.message("v2");
    shop.world.apply().code(0).says("waits in green");
    let promote = ["promote", "green", "--env", "staging", "--auto-approve"];
    shop.world
        .run(&promote)
        .code(1)
        .says("the image of web is not signed");
    assert_eq!(shop.world.get(), "v1");
    shop.sign_with_bundle(&shop.image(), &right);
    shop.world.run(&promote).code(0);
    assert_eq!(shop.world.get(), "v2");
    // A rollback asks for nothing: what it goes back to had its promotion.
    shop.world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(shop.world.get(), "v1");
}

#[test]
fn an_image_of_others_is_signed_where_they_keep_it() {
    let Some(maker) = Shop::new("provenance: true") else {
        return;
    };
    let keys = maker.keys("cosign");
    maker.world.apply().code(0);
    let image = maker.image();

    // A project with a folder for a registry, which keeps no signatures itself.
    let mut shop = World::new();
    shop.put("cosign.pub", &maker.world.read("cosign.pub"));
    shop.image = Some(format!("{}/{}/web:staging", maker.endpoint, maker.name));
    shop.staging = vec![
        "promotion: {before: [{signature: {keys: [cosign.pub]}}], probe: {linger: 50ms}}"
            .to_owned(),
    ];
    shop.apply().code(1).says("the image of web is not signed");
    maker.sign(&image, &payload(&image), &keys.sign(&payload(&image)));
    shop.apply().code(0).says("web is signed by cosign.pub");
    assert_eq!(shop.get(), "v1");
    maker
        .world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
}

#[test]
fn a_key_that_cannot_be_used_is_told_with_its_place() {
    let mut world = World::new();
    world.staging = vec![
        "promotion:\n  before:\n    - signature: {keys: [missing.pub, shipit.yaml]}\n".to_owned(),
    ];
    world.project.push("cluster: {runtime: docker}".to_owned());
    world
        .project
        .push("registry: {kind: oci, endpoint: \"127.0.0.1:9\"}".to_owned());
    let said = world.run(&["validate"]).code(1);
    said.says("missing.pub: No such file")
        .says("staging.yaml:3:26")
        .says("shipit.yaml: there is no `-----BEGIN PUBLIC KEY-----`");
    world.staging =
        vec!["strategy: rolling\npromotion: {after: [{signature: {keys: []}}]}\n".to_owned()];
    world.project.pop();
    let said = world
        .run(&["validate"])
        .code(1)
        .says("there is no key")
        .says("too late after the switch");
    said.says("this registry keeps no signatures")
        .says("can wait for its signature");
}

#[test]
fn actions_are_named_by_commit_and_a_release_says_where_it_comes_from() {
    let workflows = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let mut uses = 0;
    for entry in std::fs::read_dir(&workflows).expect("workflows") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        for line in text.lines().filter_map(|line| line.split_once("uses:")) {
            let action = line.1.split_whitespace().next().unwrap_or_default();
            let commit = action.split_once('@').map_or("", |(_, commit)| commit);
            let is_commit = commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_commit, "{}: {action}", path.display());
            uses += 1;
        }
        assert!(text.contains("permissions:"), "{}", path.display());
    }
    assert!(uses > 0, "there are actions");

    let release = std::fs::read_to_string(workflows.join("release.yml")).expect("text");
    for made in ["provenance.json", "cdx.json", "SHA256SUMS", "--locked"] {
        assert!(release.contains(made), "{made}");
    }
    let advisories = std::fs::read_to_string(workflows.join("advisories.yml")).expect("text");
    assert!(advisories.contains("cron:") && advisories.contains("advisories"));
}
