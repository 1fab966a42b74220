//! `import --discover`: what is proposed of files, of real containers and of an account.

use std::fs;
use std::process::Command;

use crate::support::{Said, World, docker_answers, free_port, has};

const CANARY: &str = "canary-4c1e-hunter2";

const COMPOSE: &str = "
services:
  web:
    build: ./web
    ports: ['80:3000']
    environment: {LOG_LEVEL: info, API_TOKEN: canary-4c1e-hunter2}
    depends_on: [db]
  db:
    image: postgres:17
    volumes: [data:/var/lib/postgresql/data]
volumes: {data: {}}
";

/// A command that prints nothing which is secret.
fn discover(world: &World, words: &[&str]) -> Said {
    let said = world.run(&[&["import", "--discover"], words].concat());
    for text in [&said.stdout, &said.stderr] {
        assert!(!text.contains(CANARY), "{text}");
    }
    said
}

/// What was written can be read, by whoever gets it.
fn is_valid(world: &World, folder: &str) {
    world
        .run(&["-C", folder, "validate"])
        .code(0)
        .says("is valid");
}

#[test]
fn a_file_is_proposed_and_written_into_a_new_folder_alone() {
    let world = World::new();
    world.put("old/compose.yaml", COMPOSE);
    discover(&world, &["--from", "old/compose.yaml"])
        .code(0)
        .says("# shipit.yaml")
        .says("project: old")
        .says("# left out: depends_on:")
        .says("secret: api_token")
        .says("# environments/production.yaml")
        .says("env: API_TOKEN");
    assert!(!world.file("new").exists());

    let write = [
        "--from",
        "old/compose.yaml",
        "--out",
        "new",
        "--env",
        "staging",
    ];
    discover(&world, &write)
        .code(0)
        .says("new/shipit.yaml written")
        .says("new/environments/staging.yaml written");
    is_valid(&world, "new");

    world.put("new/shipit.yaml", "mine");
    discover(&world, &write)
        .code(64)
        .says("new is there already; nothing was written");
    assert_eq!(world.read("new/shipit.yaml"), "mine");
    std::os::unix::fs::symlink(world.file("new"), world.file("link")).expect("a link");
    discover(&world, &["--from", "old/compose.yaml", "--out", "link"])
        .code(64)
        .says("link is there already");
}

#[test]
fn what_is_on_the_standard_input_is_read_and_what_is_no_source_is_told() {
    let world = World::new();
    world.put("compose.yaml", COMPOSE);
    let mut command = world.command(&["import", "--discover", "--from", "-", "--output", "json"]);
    let input = fs::File::open(world.file("compose.yaml")).expect("it is there");
    let said = Said::from(&command.stdin(input).output().expect("it ran")).code(0);
    assert!(!said.stdout.contains(CANARY), "{}", said.stdout);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(document["proposed"][0]["path"], "shipit.yaml");
    assert!(document["written"].is_null());

    world.put("odd.yaml", "a: b\n");
    discover(&world, &["--from", "odd.yaml"])
        .code(1)
        .says("no tool that is known writes such a file")
        .says("a Compose file has `services`");
    world.put("broken.yaml", "services: [\n");
    discover(&world, &["--from", "broken.yaml"])
        .code(1)
        .says("broken.yaml: it cannot be read")
        .says("line ");
    discover(&world, &["--from", "none.yaml"])
        .code(1)
        .says("none.yaml: it cannot be read");
    discover(&world, &[]).code(64).says("--from <FILE>");
    world
        .run(&["import", "--from", "compose.yaml"])
        .code(64)
        .says("--discover");
}

fn docker(words: &[&str]) -> String {
    let done = Command::new("docker").args(words).output().expect("docker");
    assert!(done.status.success(), "{words:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Containers and a volume that go with a test.
struct Running(Vec<String>, String);

impl Drop for Running {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("docker").args(["rm", "-f", name]).output();
        }
        let _ = Command::new("docker")
            .args(["volume", "rm", &self.1])
            .output();
    }
}

/// An image with nothing in it, whose containers run a program of this machine.
fn empty_image(world: &World, name: &str) {
    // The end of an archive, and nothing before.
    let archive = world.file("empty.tar");
    fs::write(&archive, [0; 1024]).expect("written");
    let archive = archive.display().to_string();
    let exposed = ["--change", "EXPOSE 8080", "--change", "ENV FROM_IMAGE=yes"];
    docker(&[&["import"], &exposed[..], &[&archive, name]].concat());
}

#[test]
fn containers_that_run_are_proposed_without_what_is_secret_in_them() {
    if !docker_answers() {
        return;
    }
    let world = World::new();
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let (image, volume) = (format!("acme/web{id}:1.2"), format!("data{id}"));
    empty_image(&world, &image);
    let mut running = Running(Vec::new(), volume.clone());
    for colour in ["blue", "green"] {
        let name = format!("web{id}-{colour}");
        let port = free_port();
        let published = format!("127.0.0.1:{port}:8080");
        let mut run = vec![
            "run",
            "--detach",
            "--name",
            &name,
            "-e",
            "LOG_LEVEL=info",
            "-e",
        ];
        let token = format!("API_TOKEN={CANARY}");
        let data = format!("{volume}:/data");
        run.extend([token.as_str(), "-v", &data, "--memory", "64m"]);
        run.extend([
            "-v",
            "/usr:/usr:ro",
            "-v",
            "/lib:/lib:ro",
            "-v",
            "/lib64:/lib64:ro",
        ]);
        if colour == "green" {
            run.extend(["-p", &published]);
        }
        run.extend([image.as_str(), "/usr/bin/sleep", "1000"]);
        docker(&run);
        running.0.push(name.clone());
        if colour == "blue" {
            continue;
        }

        let said = discover(&world, &["--docker"]).code(0);
        let text = &said.stdout;
        let service = format!("  web{id}:");
        let from = text.find(&service).expect("the service");
        let own = &text[from..];
        let own = &own[..own.find("\n  web").unwrap_or(own.len())];
        assert!(text.contains("are its two colours"), "{text}");
        assert!(own.contains(&format!("image: \"{image}\"")), "{own}");
        assert!(
            own.contains("port: 8080") && own.contains("LOG_LEVEL: info"),
            "{own}"
        );
        assert!(own.contains("secret: api_token"), "{own}");
        assert!(own.contains(&format!("/data: {volume}")), "{own}");
        assert!(own.contains("command: [/usr/bin/sleep, \"1000\"]"), "{own}");
        assert!(!own.contains("FROM_IMAGE"), "{own}");
        assert!(
            text.contains("left out: volume /usr:/usr: it was read only"),
            "{text}"
        );
        assert!(text.contains(&format!("live: {port}")), "{text}");
    }
    discover(&world, &["--docker", "--out", "new"]).code(0);
    is_valid(&world, "new");
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    let world = World::new();
    let mut command = world.command(&["import", "--discover", "--docker"]);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    Said::from(&command.output().expect("it ran"))
        .code(1)
        .says("Docker does not answer")
        .says("DOCKER_HOST");
}

#[test]
fn the_repositories_of_an_account_are_a_registry() {
    let Some(amazon) = crate::state::amazon().filter(|_| has("curl")) else {
        return;
    };
    let world = World::new();
    let region = "ap-south-1";
    let name = format!("s{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let scope = format!(
        "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/{region}/ecr/aws4_request, \
         SignedHeaders=host, Signature=-"
    );
    let target = "x-amz-target: AmazonEC2ContainerRegistry_V20150921.CreateRepository";
    let body = serde_json::json!({"repositoryName": format!("{name}/web"), "imageTagMutability": "IMMUTABLE"});
    let made = Command::new("curl")
        .args(["--silent", "--fail", "--header", target, "--header", &scope])
        .args(["--header", "content-type: application/x-amz-json-1.1"])
        .args(["--data", &body.to_string(), &amazon])
        .output();
    assert!(made.expect("curl").status.success());

    let run = |words: &[&str]| {
        let mut command =
            world.command(&[&["import", "--discover", "--ecr", region], words].concat());
        command
            .env("AWS_ENDPOINT_URL", &amazon)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", CANARY);
        let said = Said::from(&command.output().expect("it ran"));
        assert!(!said.stdout.contains(CANARY) && !said.stderr.contains(CANARY));
        said
    };
    run(&[])
        .code(0)
        .says("kind: ecr")
        .says("region: ap-south-1")
        .says("account: \"123456789012\"")
        .says("is empty: write `build:`");
    run(&["--out", "new"]).code(0);
    is_valid(&world, "new");
}
