//! `destroy --infrastructure` on a host whose images are in ECR, played by moto, with the tests'
//! own registry behind it.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Said, World, free_port, has, until};

/// A shop of two services on Amazon's registry.
struct Shop {
    world: World,
    server: Child,
    amazon: String,
    /// The project's name, which no other test's has.
    name: String,
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Shop {
    fn new() -> Option<Self> {
        let amazon = crate::state::amazon()?;
        if !["docker-registry", "curl"].into_iter().all(has) {
            return None;
        }
        let mut world = World::new();
        let port = free_port();
        world.put(
            "registry.yml",
            &format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"}}\n",
                world.path().display()
            ),
        );
        let server = Command::new("docker-registry")
            .args(["serve", "registry.yml"])
            .current_dir(world.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        until("the registry listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });

        let name = format!("s{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        world.project.push(format!(
            "registry: {{kind: ecr, region: eu-central-1, account: \"123456789012\", \
             endpoint: \"127.0.0.1:{port}\", repository: \"{name}/{{{{ service }}}}\", \
             scan_on_push: true}}"
        ));
        world.others.push(
            "  jobs:\n    build: {kind: pack, context: app, copy: {message.txt: /message.txt}, \
             entrypoint: [/bin/sleep, \"1000\"]}"
                .to_owned(),
        );
        let shop = Self {
            world,
            server,
            amazon,
            name,
        };
        Some(shop)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(&[words, &["--env", "staging"]].concat());
        command
            .env("AWS_ENDPOINT_URL", &self.amazon)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all");
        command
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::from(&self.command(words).output().expect("it ran"))
    }

    fn apply(&self) {
        self.run(&["apply", "--auto-approve"]).code(0);
    }

    /// Asks Amazon directly, as somebody else would.
    fn ecr(&self, operation: &str, body: &Value) -> Option<Value> {
        let target = format!("x-amz-target: AmazonEC2ContainerRegistry_V20150921.{operation}");
        let scope = "authorization: AWS4-HMAC-SHA256 \
                     Credential=x/20260101/eu-central-1/ecr/aws4_request, SignedHeaders=host, \
                     Signature=-";
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--header", &target, "--header", scope]);
        curl.args(["--header", "content-type: application/x-amz-json-1.1"]);
        let done = curl.args(["--data", &body.to_string(), &self.amazon]);
        let done = done.output().expect("curl");
        done.status
            .success()
            .then(|| serde_json::from_slice(&done.stdout).expect("JSON"))
    }

    fn repository(&self, service: &str) -> String {
        format!("{}/{service}", self.name)
    }

    fn exists(&self, service: &str) -> bool {
        let names = json!({"repositoryNames": [self.repository(service)]});
        self.ecr("DescribeRepositories", &names).is_some()
    }

    /// Puts an image into a repository of Amazon's own records.
    fn put_image(&self, service: &str, tag: &str) {
        let manifest = json!({"schemaVersion": 2, "tag": tag,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": format!("sha256:{}", "1".repeat(64)), "size": 10},
            "layers": []})
        .to_string();
        let body = json!({"repositoryName": self.repository(service), "imageTag": tag,
            "imageManifest": manifest});
        self.ecr("PutImage", &body).expect("it is put");
    }

    /// The name by which the images of a repository are let go.
    fn consent(&self, service: &str) -> String {
        format!("repository.{}", self.repository(service))
    }
}

#[test]
fn repositories_go_behind_the_environment_and_only_by_name() {
    let Some(shop) = Shop::new() else {
        return;
    };
    shop.apply();
    assert!(shop.exists("web") && shop.exists("jobs"));
    shop.put_image("web", "one");
    shop.put_image("web", "two");

    // What another environment names is not this one's to delete.
    shop.world.put(
        "environments/production.yaml",
        "promotion: {probe: {rate: 0}}\ntraffic: {address: 127.0.0.1, listeners: \
         {web: {live: 9080, preview: 9081}}}\n",
    );
    shop.run(&["destroy", "--infrastructure", "--out", "shared.json"])
        .code(0)
        .says(&format!("{} stays", shop.consent("web")))
        .says("it is used by production, whose configuration names it")
        .says_not("--allow-data-loss");
    // One that cannot be resolved is named, with its file and what is wrong there.
    shop.world.put(
        "environments/production.yaml",
        "registry: {repository: \"{{ nothing }}/{{ service }}\"}\n",
    );
    shop.run(&["destroy", "--infrastructure", "--out", "broken.json"])
        .code(1)
        .says("whether production uses what would be deleted cannot be told")
        .says("environments/production.yaml:1:")
        .says("registry.repository");
    std::fs::remove_file(shop.world.file("environments/production.yaml")).expect("removed");

    let web = shop.consent("web");
    shop.run(&["destroy", "--infrastructure", "--out", "plan.json"])
        .code(0)
        .says(&format!("2 images in {}", shop.repository("web")))
        .says(&format!("only with --allow-data-loss {web}"))
        .says("no later rollback goes to an image that is gone");
    // The plan of one is not the plan of the other.
    shop.run(&["destroy", "--plan", "plan.json", "--auto-approve"])
        .code(1)
        .says("`shipit destroy --infrastructure --plan FILE` carries it out");

    shop.run(&["destroy", "--infrastructure", "--auto-approve"])
        .code(6)
        .says(&format!("--allow-data-loss {web}"));
    assert_eq!(shop.world.get(), "v1");
    // An image that came later was not let go.
    let file = ["--plan", "plan.json", "--auto-approve", "--allow-data-loss"];
    shop.put_image("web", "three");
    shop.run(&[&["destroy", "--infrastructure"], &file[..], &[&web]].concat())
        .code(5);
    assert_eq!(shop.world.get(), "v1");

    let end = ["destroy", "--infrastructure", "--auto-approve"];
    shop.run(&[&end[..], &["--allow-data-loss", &web]].concat())
        .code(0)
        .says(&format!("{web} is gone"));
    assert!(!shop.exists("web") && !shop.exists("jobs"));
    shop.run(&end).code(0).says("No changes");
}

#[test]
fn a_repository_that_shipit_has_not_made_stays() {
    let Some(shop) = Shop::new() else {
        return;
    };
    let web = json!({"repositoryName": shop.repository("web")});
    shop.ecr("CreateRepository", &web).expect("it is made");
    shop.apply();
    shop.run(&["destroy", "--infrastructure", "--auto-approve"])
        .code(0)
        .says(&format!("{} stays: it has no", shop.consent("web")));
    assert!(shop.exists("web") && !shop.exists("jobs"));
}

#[test]
fn a_protected_environment_keeps_its_infrastructure() {
    let Some(mut shop) = Shop::new() else {
        return;
    };
    shop.world.staging.push("protected: true".to_owned());
    shop.apply();
    shop.run(&["destroy", "--infrastructure", "--auto-approve"])
        .code(6)
        .says("staging is protected");
    assert!(shop.exists("web"));
}

#[test]
fn a_run_that_is_killed_anywhere_is_gone_on_with() {
    let Some(shop) = Shop::new() else {
        return;
    };
    let web = shop.consent("web");
    let end = [
        "destroy",
        "--infrastructure",
        "--auto-approve",
        "--allow-data-loss",
        &web,
    ];
    for line in 1.. {
        shop.apply();
        shop.put_image("web", "one");
        let runs = journals(&shop.world);
        let mut run = shop.command(&end).spawn().expect("shipit starts");
        let ended = loop {
            if journals(&shop.world) > runs && shop.world.journal_lines() >= line {
                run.kill().expect("it can be killed");
                run.wait().expect("it ends");
                break false;
            }
            if run.try_wait().expect("it can be asked").is_some() {
                break true;
            }
        };
        shop.run(&end).code(0);
        assert!(
            !shop.exists("web") && !shop.exists("jobs"),
            "killed at line {line}"
        );
        if ended {
            assert!(line > 8, "the run had only {line} lines");
            return;
        }
    }
}

fn journals(world: &World) -> usize {
    std::fs::read_dir(world.file("state/staging/journal")).map_or(0, Iterator::count)
}
