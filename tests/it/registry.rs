//! A registry with TLS of its own authority and a password, on the real Distribution server.

use std::process::{Child, Command, Stdio};

use crate::support::{World, free_port, has, until};

/// `letmein`, as `htpasswd -B` writes it.
const PASSWORD: &str = "shop:$2b$05$qWpxZ/AAbHqLVShbceu.Pu6UXk5Cq5Sg4F70Zo0pozHJ1SZJRAoNa\n";
/// `shop:letmein`
const BASIC: &str = "c2hvcDpsZXRtZWlu";

struct Locked {
    world: World,
    server: Child,
    endpoint: String,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Locked {
    fn new() -> Option<Self> {
        if !["docker-registry", "openssl"].into_iter().all(has) {
            return None;
        }
        let mut world = crate::docker::world()?;
        let port = free_port();
        let endpoint = format!("127.0.0.1:{port}");
        crate::support::tls::certificate(&world);
        world.put("htpasswd", PASSWORD);
        world.put(
            "registry.yml",
            &format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\nauth: {{htpasswd: {{realm: shop, path: {0}/htpasswd}}}}\n\
                 http: {{addr: \"{endpoint}\", tls: {{certificate: {0}/leaf.pem, key: {0}/key.pem}}}}\n",
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
        world.project.push(format!(
            "registry: {{kind: oci, endpoint: \"{endpoint}\", ca: ca.pem}}"
        ));
        Some(Self {
            world,
            server,
            endpoint,
        })
    }

    /// Applies with these credentials.
    fn apply(&self, docker: &str) -> (bool, String) {
        self.world.put("docker/config.json", docker);
        let path = format!(
            "{}:{}",
            self.world.path().display(),
            std::env::var("PATH").expect("a path")
        );
        let mut command = self
            .world
            .command(&["apply", "--env", "staging", "--auto-approve"]);
        let output = command
            .env("DOCKER_CONFIG", self.world.file("docker"))
            .env("PATH", path)
            .output();
        let output = output.expect("shipit starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("letmein") && !said.contains(BASIC), "{said}");
        (output.status.success(), said)
    }
}

#[test]
fn a_registry_with_tls_and_a_password() {
    let Some(mut locked) = Locked::new() else {
        return;
    };
    let (done, said) = locked.apply("{}");
    assert!(!done && said.contains("docker login"), "{said}");
    let wrong = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"c2hvcDp3cm9uZw==\"}}}}}}",
        locked.endpoint
    );
    let (done, said) = locked.apply(&wrong);
    assert!(!done && said.contains("docker login"), "{said}");
    let right = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"{BASIC}\"}}}}}}",
        locked.endpoint
    );
    let (done, said) = locked.apply(&right);
    assert!(done, "{said}");
    assert_eq!(locked.world.get(), "v1");

    // A credential helper has them as well.
    let helper = "#!/bin/sh\nread -r server\necho '{\"ServerURL\": \"\", \"Username\": \"shop\", \"Secret\": \"letmein\"}'\n";
    locked.world.put("docker-credential-tests", helper);
    let file = locked.world.file("docker-credential-tests");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a mode");
    locked.world.message("v2");
    let (done, said) = locked.apply(&format!(
        "{{\"credHelpers\": {{\"{}\": \"tests\"}}}}",
        locked.endpoint
    ));
    // The agent was started with the other credentials' folder, and reads the same file.
    assert!(done, "{said}");
    assert_eq!(locked.world.get(), "v2");

    // A certificate of an authority that nobody named.
    locked.world.project.pop();
    let endpoint = &locked.endpoint;
    locked.world.put("other.pem", OTHER);
    locked.world.project.push(format!(
        "registry: {{kind: oci, endpoint: \"{endpoint}\", ca: other.pem}}"
    ));
    locked.world.message("v3");
    let (done, said) = locked.apply(&right);
    assert!(!done && said.contains("registry.ca"), "{said}");
    assert_eq!(locked.world.get(), "v2");
}

#[test]
fn images_that_nobody_needs_are_told_and_taken_away() {
    let Some(mut world) = crate::docker::world() else {
        return;
    };
    let Ok(endpoint) = std::env::var("SHIPIT_TEST_REGISTRY") else {
        assert!(
            std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "SHIPIT_TEST_REGISTRY is not set"
        );
        return;
    };
    let name = format!("images-{}", uuid::Uuid::new_v4().simple());
    let place =
        format!("kind: oci, endpoint: \"{endpoint}\", repository: \"{name}/{{{{ service }}}}\"");
    world.project.push(format!("registry: {{{place}}}"));
    world.project.push("retention: {releases: 1}".to_owned());
    world.git(&["init", "--quiet", "--initial-branch", "main"]);
    // Images are as old as their commits.
    let release = |world: &World, message: &str| {
        world.message(message);
        world.git(&["add", "."]);
        // Long ago, and one after the other: which images are the newest is told by these.
        let made = format!("2024-01-02T03:04:0{}Z", message.trim_start_matches('v'));
        let old = [
            "-c",
            "user.name=kim",
            "-c",
            "user.email=k@x",
            "commit",
            "--quiet",
            "-m",
            message,
        ];
        let mut commit = Command::new("git");
        commit
            .args(old)
            .current_dir(world.path())
            .env("GIT_COMMITTER_DATE", &made);
        assert!(commit.status().expect("git starts").success());
        world
            .run(&["apply", "--env", "staging", "--auto-approve"])
            .code(0);
    };
    for message in ["v1", "v2", "v3", "v4"] {
        release(&world, message);
    }
    // The live one and the one before it are needed, and the newest one stays: two are left over,
    // and nothing has taken them away.
    let told = world.run(&["images", "--env", "staging"]).code(0).stdout;
    assert!(
        told.contains(&format!("{name}/web")) && told.contains("2 unused images"),
        "{told}"
    );
    let unasked = world
        .run(&["images", "--env", "staging", "--collect"])
        .code(1);
    assert!(
        unasked.stderr.contains("--auto-approve"),
        "{}",
        unasked.stderr
    );
    let taken = world
        .run(&["images", "--env", "staging", "--collect", "--auto-approve"])
        .code(0)
        .stdout;
    assert!(
        taken.contains("2 unused images") && taken.contains("They were deleted."),
        "{taken}"
    );
    let none = world
        .run(&["images", "--env", "staging", "--output", "json"])
        .code(0)
        .stdout;
    let none: serde_json::Value = serde_json::from_str(&none).expect("JSON");
    assert_eq!(none["images"], serde_json::json!([]));
    assert_eq!(world.get(), "v4");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(world.get(), "v3");

    // With a number of images to keep a run does it by itself.
    world.project.retain(|line| !line.starts_with("registry:"));
    world
        .project
        .push(format!("registry: {{{place}, retention: {{tagged: 0}}}}"));
    release(&world, "v5");
    release(&world, "v6");
    let none = world.run(&["images", "--env", "staging"]).code(0).stdout;
    assert!(none.starts_with("No unused images."), "{none}");
}

/// An authority that has signed nothing here.
const OTHER: &str = include_str!("support/other.pem");
