//! What is attached to images in a real registry.

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
        assert!(endpoint.is_some() || std::env::var_os("SHIPIT_TEST_REAL").is_none(), "there is no registry");
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
        Some(Self { world, endpoint, name })
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let accept =
            "accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{}/v2/{}/web/{path}", self.endpoint, self.name);
        let output = Command::new("curl").args(["--silent", "--fail", "--header", accept, &url]).output();
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
        let index = self.json(&format!("manifests/{}", image.to_string().replace(':', "-")));
        let entries = index["manifests"].as_array().expect("entries").iter();
        entries
            .filter(|entry| entry["artifactType"] == kind)
            .map(|entry| {
                let artifact =
                    self.json(&format!("manifests/{}", entry["digest"].as_str().expect("a digest")));
                assert_eq!(artifact["subject"]["digest"], image.to_string());
                self.get(&format!("blobs/{}", artifact["layers"][0]["digest"].as_str().expect("a digest")))
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
        for (from, to) in
            [("/var/lib/dpkg/status", "base/status"), ("/usr/lib/os-release", "base/os-release")]
        {
            self.world.put(to, "");
            std::fs::copy(from, self.world.file(to)).expect("this is a Debian");
        }
        self.world.put(
            "base/Dockerfile",
            "FROM scratch\nCOPY status /var/lib/dpkg/status\nCOPY os-release /usr/lib/os-release\n",
        );
        let base = format!("{}/{}/base:1", self.endpoint, self.name);
        for arguments in [&["build", "--quiet", "--tag", &base, "base"][..], &["push", "--quiet", &base]] {
            let done = Command::new("docker").args(arguments).current_dir(self.world.path()).output();
            let done = done.expect("docker starts");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        base
    }
}

fn components(bom: &Bom) -> &[Component] {
    &bom.components.as_ref().expect("components").0
}

fn urls(bom: &Bom) -> Vec<String> {
    components(bom).iter().filter_map(|component| Some(component.purl.as_ref()?.to_string())).collect()
}

/// The version of a package of this machine.
fn installed(package: &str) -> String {
    let output = Command::new("dpkg-query").args(["--show", "--showformat", "${Version}", package]).output();
    String::from_utf8(output.expect("dpkg-query starts").stdout).expect("text")
}

#[test]
fn what_is_in_an_image_is_listed_whichever_built_it() {
    let Some(mut shop) = Shop::new("sbom: true") else { return };
    let base = shop.debian();
    shop.world.build.push(format!("base: \"{base}\""));
    shop.world.apply().code(0).says("what is in it is attached");
    let (packed, bill) = (shop.image(), shop.bill(&shop.image()));
    let dpkg = format!("pkg:deb/debian/dpkg@{}?", installed("dpkg"));
    assert!(urls(&bill).iter().any(|url| url.starts_with(&dpkg)), "{dpkg}: {:?}", urls(&bill));
    let file =
        components(&bill).iter().find(|component| *component.name == *"/app/message.txt").expect("the file");
    let hashes = file.hashes.as_ref().expect("a hash");
    assert_eq!(hashes.0[0].content.0, Digest::of(b"v1").hex());
    assert!(components(&bill).iter().any(|component| *component.name == *base), "its base");

    // The same once more gives the same document, which is not attached twice.
    shop.world.run(&["apply", "--env", "staging", "--auto-approve", "--rebuild"]).code(0);
    assert_eq!(shop.image(), packed);
    shop.bill(&packed);

    // A Dockerfile on the same base, which brings a package of its own.
    shop.world.put("app/installed", "P:musl\nV:1.2.5-r9\nA:x86_64\no:musl\n");
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
    let mut command = shop.world.command(&["apply", "--env", "staging", "--auto-approve"]);
    shop.world.put("shipit.yaml", &format!("{before}    build: {{kind: docker, context: app}}\n{after}"));
    let output = command.output().expect("shipit starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(shop.image(), packed);
    let bill = shop.bill(&shop.image());
    let urls = urls(&bill);
    assert!(urls.iter().any(|url| url.starts_with(&dpkg)), "what the base brings is there: {urls:?}");
    assert!(urls.iter().any(|url| url.starts_with("pkg:apk/debian/musl@1.2.5-r9?")), "{urls:?}");
    assert!(
        !components(&bill).iter().any(|component| component.name.starts_with("/app/")),
        "nobody knows who made them"
    );
}
