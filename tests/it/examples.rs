//! The examples that one command starts, as whoever tries them does.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Said, build_server, free_port, shipit};

/// Copies an example, with its ports replaced by free ones.
fn copied(name: &str, ports: &[&str], to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    let free: Vec<String> = ports.iter().map(|_| free_port().to_string()).collect();
    for entry in ignore::WalkBuilder::new(&from)
        .standard_filters(false)
        .build()
    {
        let entry = entry.expect("an entry");
        let there = to.join(entry.path().strip_prefix(&from).expect("below"));
        if entry.path().is_dir() {
            fs::create_dir_all(&there).expect("a folder");
            continue;
        }
        let mut text = fs::read_to_string(entry.path()).expect("text");
        for (port, free) in ports.iter().zip(&free) {
            text = text.replace(port, free);
        }
        fs::write(&there, text).expect("written");
        let mode = fs::metadata(entry.path()).expect("a file").permissions();
        fs::set_permissions(&there, mode).expect("its mode");
    }
}

#[test]
fn the_controller_deploys_what_a_build_server_asks_for_with_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let example = folder.path().join("example");
    copied("grpc-controller", &["18480", "18481", "19443"], &example);

    let own = shipit();
    let own = own.parent().expect("a folder").display();
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new(example.join("run"));
    build_server::without_build_server(&mut command);
    command
        .arg(folder.path().join("work"))
        .env("PATH", format!("{own}:{path}"))
        .env("NO_COLOR", "1");
    let said = Said::from(&command.output().expect("it starts")).code(0);
    assert_eq!(
        said.stdout
            .lines()
            .filter(|line| *line == "v1" || *line == "v2")
            .collect::<Vec<_>>(),
        ["v1", "v2"]
    );
    said.says("job 1 succeeded")
        .says("job 2 succeeded")
        .says("0 of ")
        .says("the client builder is revoked");
}
