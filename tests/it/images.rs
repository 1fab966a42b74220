//! Services without a build: images that somebody else has made, on the real Distribution server.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::docker::docker;
use crate::support::{Said, World, free_port, has, until};

/// `letmein`, as `htpasswd -B` writes it.
const PASSWORD: &str = "shop:$2b$05$qWpxZ/AAbHqLVShbceu.Pu6UXk5Cq5Sg4F70Zo0pozHJ1SZJRAoNa\n";
/// `shop:letmein`
const BASIC: &str = "c2hvcDpsZXRtZWlu";

/// A registry that somebody else runs, and a project of theirs that fills it.
struct Maker {
    world: World,
    server: Child,
    endpoint: String,
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Maker {
    /// Whose registry lets everybody in.
    fn new() -> Option<Self> {
        Self::with("")
    }

    /// With more of the server's configuration; none where there is no such server.
    fn with(more: &str) -> Option<Self> {
        if !has("docker-registry") {
            return None;
        }
        let mut world = World::new();
        let port = free_port();
        let endpoint = format!("127.0.0.1:{port}");
        let folder = world.path().display();
        let more = more.replace("FOLDER", &folder.to_string());
        world.put("htpasswd", PASSWORD);
        world.put(
            "registry.yml",
            &format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n\
                 http: {{addr: \"{endpoint}\"}}\n{more}\n"
            ),
        );
        let server = serve(world.path(), port);
        world.project.push(format!(
            "registry: {{kind: oci, endpoint: \"{endpoint}\", repository: \"acme/{{{{ service }}}}\"}}"
        ));
        Some(Self {
            world,
            server,
            endpoint,
        })
    }

    /// Their image by a tag: the name of their environment moves with each of their releases.
    fn image(&self, tag: &str) -> String {
        format!("{}/acme/web:{tag}", self.endpoint)
    }

    /// Publishes what answers with a text.
    fn publish(&self, text: &str) {
        self.world.message(text);
        let mut apply = self
            .world
            .command(&["apply", "--env", "staging", "--auto-approve"]);
        let apply = apply.env("DOCKER_CONFIG", login(&self.world, &self.endpoint));
        Said::from(&apply.output().expect("shipit starts")).code(0);
    }

    fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn serve(folder: &Path, port: u16) -> Child {
    let server = Command::new("docker-registry")
        .args(["serve", "registry.yml"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    until("the registry listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    server
}

/// A folder with the login to a registry.
fn login(world: &World, endpoint: &str) -> std::path::PathBuf {
    let text = format!("{{\"auths\": {{\"{endpoint}\": {{\"auth\": \"{BASIC}\"}}}}}}");
    world.put("docker/config.json", &text);
    world.file("docker")
}

/// A project whose service runs an image.
fn shop(image: String) -> World {
    let mut world = World::new();
    world.image = Some(image);
    world
}

/// Another environment of a project, on ports of its own.
fn production_of(shop: &World, more: &str) {
    let address = shop.live_address().replace(":8080", "");
    shop.put(
        "environments/production.yaml",
        &format!(
            "promotion: {{mode: auto, probe: {{rate: 0, linger: 10ms}}}}\n\
             traffic: {{address: {address}, listeners: {{web: {{live: 9080, preview: 9081}}}}}}\n{more}\n"
        ),
    );
}

fn plan(world: &World) -> Said {
    world.run(&["plan", "--env", "staging", "--detailed-exitcode"])
}

/// The digest of the live release, as `status` has it.
fn live(world: &World) -> String {
    let status = world.status();
    let active = status["facts"]["active"].as_str().expect("a slot");
    let web = &status["facts"]["slots"][active]["workloads"]["web"];
    let image = web["spec"]["image"]["value"].as_str();
    image.expect("a digest").to_owned()
}

#[test]
fn a_service_runs_what_a_tag_is_and_a_tag_that_moves_is_a_change() {
    let Some(mut maker) = Maker::new() else {
        return;
    };
    maker.publish("v1");
    let image = maker.image("staging");
    let shop = shop(image.clone());
    plan(&shop)
        .code(2)
        .says(&format!("image {image} → sha256:"))
        .says("1 fetch");
    shop.apply().code(0);
    assert_eq!(shop.get(), "v1");
    let first = live(&shop);
    assert_eq!(first, live(&maker.world));
    plan(&shop).code(0).says("which is there already");
    let doctor = ["doctor", "--env", "staging"];
    shop.run(&doctor)
        .code(0)
        .says(&format!("the image of web, {image}, is there"));

    // A plan that was made before the tag moved is for what it was.
    shop.message("nothing of the folder is in the image");
    plan(&shop).code(0);
    maker.publish("v2");
    let second = live(&maker.world);
    plan(&shop)
        .code(2)
        .says(&format!("{image} moved: {first} → {second}"));
    shop.run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0);
    maker.publish("v3");
    shop.run(&["apply", "--env", "staging", "--auto-approve", "p.json"])
        .code(5)
        .says(&format!("{image} was {second} when it was made, and is "));
    assert_eq!(shop.get(), "v1");
    shop.apply().code(0);
    assert_eq!(shop.get(), "v3");

    // What was brought here needs no registry any more: neither to go back to, nor again.
    maker.stop();
    shop.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(shop.get(), "v1");
    plan(&shop)
        .code(1)
        .says(&format!("services.web.image, {image}: "))
        .says("whether its registry is up");
    shop.run(&doctor).code(1).says("whether its registry is up");
}

#[test]
fn a_digest_is_what_it_is_whatever_the_tag_beside_it() {
    let Some(mut maker) = Maker::new() else {
        return;
    };
    maker.publish("v1");
    let first = live(&maker.world);
    maker.publish("v2");
    let shop = shop(format!("{}@{first}", maker.image("staging")));
    shop.apply().code(0);
    assert_eq!(shop.get(), "v1");
    // Nothing has to be looked up.
    maker.stop();
    plan(&shop).code(0);
}

#[test]
fn what_cannot_be_run_is_told_with_the_plan() {
    let Some(mut maker) = Maker::new() else {
        return;
    };
    maker.publish("v1");
    let mut shop = shop(maker.image("9.9"));
    plan(&shop)
        .code(1)
        .says("there is no tag 9.9 of acme/web, or no such repository")
        .says("skopeo list-tags");
    let none = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    shop.image = Some(format!("{}/acme/web@{none}", maker.endpoint));
    plan(&shop)
        .code(1)
        .says("does not have it, or not any more");
    shop.image = Some(format!("\"{}/acme/web:{{{{ commit }}}}\"", maker.endpoint));
    plan(&shop)
        .code(1)
        .says("services.web.image")
        .says("`commit`");

    // Made for another machine.
    maker
        .world
        .build
        .push("platforms: [linux/s390x]".to_owned());
    maker.world.message("v2");
    let _ = maker.world.apply();
    shop.image = Some(maker.image("staging"));
    plan(&shop).code(1).says("it is made for other platforms");
    maker.stop();
}

#[test]
fn a_registry_that_wants_a_login_gets_the_one_that_was_written_for_it() {
    let auth = "auth: {htpasswd: {realm: acme, path: FOLDER/htpasswd}}";
    let Some(maker) = Maker::with(auth) else {
        return;
    };
    maker.publish("v1");
    let shop = shop(maker.image("staging"));
    let with = |folder: std::path::PathBuf, arguments: &[&str]| {
        let mut command = shop.command(arguments);
        let output = command.env("DOCKER_CONFIG", folder).output();
        let said = Said::from(&output.expect("shipit starts"));
        said.says_not("letmein").says_not(BASIC)
    };
    with(shop.file("none"), &["plan", "--env", "staging"])
        .code(1)
        .says(&format!("services.web.image, {}", maker.image("staging")))
        .says("docker login");
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    // A login to another registry is none to this one.
    with(login(&shop, "127.0.0.1:1"), &apply).code(1);
    with(login(&shop, &maker.endpoint), &apply).code(0);
    assert_eq!(shop.get(), "v1");
}

#[test]
fn of_an_index_the_image_for_this_machine_is_brought_once() {
    let Some(mut maker) = Maker::new() else {
        return;
    };
    let own = match std::env::consts::ARCH {
        "aarch64" => "platforms: [linux/arm64, linux/s390x]",
        _ => "platforms: [linux/amd64, linux/s390x]",
    };
    maker.world.build.push(own.to_owned());
    maker.publish("v1");
    let shop = shop(maker.image("staging"));
    shop.apply().code(0).says("bringing");
    assert_eq!(shop.get(), "v1");
    let index = live(&shop);
    assert_eq!(index, live(&maker.world));

    maker.world.build.clear();
    maker.publish("v2");
    shop.apply().code(0);
    maker.stop();
    // It starts again from what was brought, without its registry.
    let mut first = shop.command(&[
        "rollback",
        "--to",
        "1",
        "--env",
        "staging",
        "--auto-approve",
    ]);
    Said::from(&first.output().expect("shipit starts"))
        .code(0)
        .says_not("bringing");
    assert_eq!((shop.get(), live(&shop)), ("v1".to_owned(), index));
}

#[test]
fn an_environment_takes_what_is_live_in_another_one() {
    let Some(mut maker) = Maker::new() else {
        return;
    };
    maker.publish("v1");
    let mut shop = shop(maker.image("staging"));
    production_of(&shop, "services: {web: {image: {from: staging}}}");
    let production = |world: &World, words: &[&str]| {
        world.run(&[words, &["--env", "production", "--auto-approve"]].concat())
    };
    production(&shop, &["apply"])
        .code(64)
        .says("services.web.image: staging has no live release to promote");
    shop.apply().code(0);
    production(&shop, &["apply"])
        .code(0)
        .says("promoted from staging release 1");
    let address = shop.live_address().replace(":8080", ":9080");
    let get = || {
        crate::support::http::get(&address, "/")
            .expect("an answer")
            .body
    };
    assert_eq!(get(), "v1");

    // What staging does not run yet is not in production, whatever the tag is.
    maker.publish("v2");
    production(&shop, &["apply"]).code(0).says("No changes");
    shop.apply().code(0);
    maker.stop();
    production(&shop, &["apply"])
        .code(0)
        .says("promoted from staging release 2");
    assert_eq!(get(), "v2");

    // A rule about promotions is not gone round.
    shop.project.push(
        "branches: {main: {environment: production, accepts: [beta]}, beta: {environment: production}}".to_owned(),
    );
    shop.run(&["plan", "--env", "production"])
        .code(6)
        .says("production takes releases only from beta, and not from staging");
}

#[test]
fn a_promotion_carries_the_same_image_and_its_name_on() {
    let Some(maker) = Maker::new() else { return };
    maker.publish("v1");
    let shop = shop(maker.image("staging"));
    production_of(&shop, "");
    shop.apply().code(0);
    let first = live(&shop);
    maker.publish("v2");
    shop.run(&["promote", "staging", "--to", "production", "--auto-approve"])
        .code(0);
    let said = shop.run(&["history", "--env", "production", "--output", "json"]);
    let releases: serde_json::Value = serde_json::from_str(&said.code(0).stdout).expect("JSON");
    let release = &releases["releases"][0];
    assert_eq!(release["workloads"]["web"]["image"]["value"], first);
    assert_eq!(release["names"]["web"], maker.image("staging"));
    // The next apply of production looks the tag up by itself, and says what moved.
    shop.run(&["plan", "--env", "production"])
        .code(0)
        .says(&format!("moved: {first} → "));
}

/// Docker fetches by itself: nothing goes by the folder of this project.
#[test]
fn docker_fetches_the_image_by_its_digest() {
    let Some(mut world) = crate::docker::world() else {
        return;
    };
    let Some(mut maker) = Maker::new() else {
        return;
    };
    maker.publish("v1");
    world.image = Some(maker.image("staging"));
    world.apply().code(0).says_not("bringing");
    assert_eq!(world.get(), "v1");
    assert!(!world.file("state/registry").exists());
    maker.publish("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    maker.stop();
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(world.get(), "v1");
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
}

#[test]
fn a_service_is_asked_to_end_by_the_signal_of_its_image() {
    let worlds = [crate::docker::world(), crate::containers::world()];
    let [Some(with_docker), contained] = worlds else {
        return;
    };
    let Some(maker) = Maker::new() else { return };
    maker.publish("v1");
    let (base, image) = (maker.image("staging"), maker.image("interrupted"));
    let dockerfile = format!("FROM {base}\nSTOPSIGNAL SIGINT\n");
    maker.world.put("signal/Dockerfile", &dockerfile);
    let context = maker.world.file("signal").display().to_string();
    docker(&["build", "--quiet", "--tag", &image, &context]);
    docker(&["push", "--quiet", &image]);

    for mut world in [Some(World::new()), Some(with_docker), contained]
        .into_iter()
        .flatten()
    {
        world.image = Some(image.clone());
        world.apply().code(0);
        world
            .run(&["restart", "--env", "staging", "--auto-approve"])
            .code(0);
        until("the first one has said how it was asked to end", || {
            let said = world.run(&["logs", "--env", "staging"]).code(0);
            said.stdout.contains("asked to end by SIGINT")
        });
        world
            .run(&["destroy", "--env", "staging", "--auto-approve"])
            .code(0);
    }
    docker(&["rmi", &image]);
}

#[test]
fn a_container_runs_an_image_of_others() {
    let Some(mut world) = crate::containers::world() else {
        return;
    };
    let Some(maker) = Maker::new() else { return };
    maker.publish("v1");
    world.image = Some(maker.image("staging"));
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
}

#[test]
fn each_environment_keeps_as_many_releases_as_it_says_itself() {
    let mut world = World::new();
    world.staging = vec!["retention: {releases: 1}\npromotion: {probe: {linger: 10ms}}".to_owned()];
    production_of(&world, "retention: {releases: 10}");
    for text in ["v1", "v2", "v3", "v4"] {
        world.message(text);
        world
            .run(&["apply", "--env", "production", "--auto-approve"])
            .code(0);
    }
    let aged = Command::new("find")
        .arg(world.file("state/registry"))
        .args(["-type", "f", "-exec", "touch", "--date", "2024-01-02"])
        .args(["{}", "+"])
        .status();
    assert!(aged.expect("find starts").success());
    world
        .run(&["images", "--env", "staging"])
        .code(0)
        .says("No unused images");
    world
        .run(&[
            "rollback",
            "--env",
            "production",
            "--to",
            "1",
            "--auto-approve",
        ])
        .code(0);
}

#[test]
fn what_another_environment_uses_is_needed_wherever_its_state_is() {
    let mut world = World::new();
    world.project.push("retention: {releases: 1}".to_owned());
    world.staging = vec!["promotion: {probe: {linger: 10ms}}".to_owned()];
    production_of(&world, "state: {kind: local, path: elsewhere}");
    world
        .run(&["apply", "--env", "production", "--auto-approve"])
        .code(0);
    let other = world.file("elsewhere/production/state.json");
    assert!(other.exists(), "its state is in a store of its own");

    let mut made = Vec::new();
    for text in ["v2", "v3", "v4"] {
        world.message(text);
        world.apply().code(0);
        made.push(live(&world));
    }
    let aged = Command::new("find")
        .arg(world.file("state/registry"))
        .args(["-type", "f", "-exec", "touch", "--date", "2024-01-02"])
        .args(["{}", "+"])
        .status();
    assert!(aged.expect("find starts").success());

    let unneeded = |world: &World| {
        let said = world.run(&["images", "--env", "staging", "--output", "json"]);
        let found: serde_json::Value = serde_json::from_str(&said.code(0).stdout).expect("JSON");
        let images = found["images"].as_array().expect("a list").clone();
        let digests = images.iter().filter_map(|image| image["digest"].as_str());
        (
            digests.map(str::to_owned).collect::<Vec<_>>(),
            found["refused"].as_str().map(str::to_owned),
        )
    };
    assert_eq!(unneeded(&world), (vec![made[0].clone()], None));

    // Where that is not known, nothing is deleted.
    let good = std::fs::read(&other).expect("a state");
    std::fs::write(&other, &good[..good.len() / 2]).expect("written");
    let (_, refused) = unneeded(&world);
    let refused = refused.expect("a reason");
    let reason = "what production uses is not known";
    assert!(refused.starts_with(reason), "{refused}");
    let collect = ["images", "--collect", "--auto-approve", "--env", "staging"];
    world
        .run(&collect)
        .says(reason)
        .says_not("They were deleted");

    std::fs::write(&other, &good).expect("written");

    // Its configuration names another store by now, and nobody has migrated its state yet.
    let moved = world.file("elsewhere/production");
    production_of(&world, "state: {kind: local, path: new}");
    world
        .run(&collect)
        .says("what production uses is not known")
        .says("shipit state migrate --env production")
        .says_not("They were deleted");
    assert!(moved.exists());
    production_of(&world, "state: {kind: local, path: elsewhere}");

    world.run(&collect).code(0).says("1 unused image");
    assert_eq!(unneeded(&world), (Vec::new(), None));
    world
        .run(&["plan", "--env", "production"])
        .code(0)
        .says_not("corrupt");
}
