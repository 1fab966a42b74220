//! Servers that take a connection and say nothing: whoever is waited for is named, and soon.

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::process::Output;

use crate::support::{Said, World};

/// A server that says nothing, and its address. It accepts by itself up to its backlog: the kernel
/// does.
fn silent() -> (TcpListener, String) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address").to_string();
    (server, address)
}

fn ended(output: std::io::Result<Output>) -> Said {
    Said::from(&output.expect("shipit starts"))
}

#[test]
fn a_registry_that_says_nothing() {
    let mut world = World::new();
    let (_server, address) = silent();
    world
        .project
        .push(format!("registry: {{kind: oci, endpoint: \"{address}\"}}"));
    world
        .apply()
        .code(1)
        .says(&format!("{address}: connected, no answer within 8 s"))
        .says("registry.endpoint");
}

#[test]
fn an_agent_that_says_nothing() {
    let world = World::new();
    let mut folder = std::fs::DirBuilder::new();
    let folder = folder.mode(0o700).create(world.agent_folder());
    folder.expect("a folder");
    let socket = world.agent_folder().join("agent.sock");
    let _server = UnixListener::bind(socket).expect("a socket");
    world
        .run(&["plan", "--env", "staging"])
        .code(1)
        .says("asking the agent in")
        .says("connected, no answer within 8 s");
}

#[test]
fn amazon_services_that_say_nothing() {
    let mut world = World::new();
    let (_server, address) = silent();
    world.project.push(
        "registry: {kind: ecr, region: eu-central-1, account: \"123456789012\", immutable_tags: true}"
            .to_owned(),
    );
    let mut command = world.command(&["plan", "--env", "staging"]);
    command
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "canary-secret-key-5e1d");
    ended(command.output())
        .code(1)
        .says("connected, no answer within 10 s")
        .says("AWS_ENDPOINT_URL");
}

#[test]
fn a_docker_engine_that_says_nothing() {
    let mut world = World::new();
    let (_server, address) = silent();
    world.project.push("cluster: {runtime: docker}".to_owned());
    let mut command = world.command(&["apply", "--env", "staging", "--auto-approve"]);
    command.env("DOCKER_HOST", format!("tcp://{address}"));
    ended(command.output())
        .code(1)
        .says("Docker does not answer: connected, no answer within 8 s");
}
