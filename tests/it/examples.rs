//! The examples that one command starts, as whoever tries them does.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Said, free_port, has, is_given, shipit, started_with};

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

/// Plays an example as somebody does who has never used Git or shipit here, in a folder with a
/// blank in its name. Nothing of it runs any more at the end.
fn played(name: &str, ports: &[&str], variables: &[(&str, String)]) -> Said {
    let folder = tempfile::Builder::new()
        .prefix("an example")
        .tempdir()
        .expect("a folder");
    let (example, home) = (folder.path().join("example"), folder.path().join("home"));
    copied(name, ports, &example);
    fs::create_dir(&home).expect("a folder");

    let own = shipit();
    let own = own.parent().expect("a folder").display();
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new(example.join("run"));
    command
        .arg(folder.path().join("work"))
        .env_clear()
        .env("PATH", format!("{own}:{path}"))
        .env("HOME", home)
        .env("NO_COLOR", "1")
        .envs(variables.iter().map(|(name, value)| (name, value)));
    let said = Said::from(&command.output().expect("it starts")).code(0);

    let left = started_with(&folder.path().display().to_string());
    assert_eq!(left, 0, "processes of it go on");
    said
}

/// The lines that begin with one of these.
fn lines<'a>(said: &'a Said, beginnings: &[&str]) -> Vec<&'a str> {
    let begins = |line: &&str| beginnings.iter().any(|it| line.starts_with(it));
    said.stdout.lines().filter(begins).collect()
}

#[test]
fn the_controller_deploys_what_a_build_server_asks_for_with_its_certificate() {
    let said = played("grpc-controller", &["18480", "18481", "19443"], &[]);
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

/// The Vault that there is, with a store of versions at `secret`, as its development server has it.
fn vault() -> Vec<(&'static str, String)> {
    let Ok(named) = std::env::var("SHIPIT_TEST_VAULT") else {
        return Vec::new();
    };
    let (address, token) = named.trim().split_once(' ').expect("ADDRESS TOKEN");
    // That it is there already is an error, too.
    let asked = Command::new("curl")
        .args(["-s", "-X", "POST", "-H", &format!("X-Vault-Token: {token}")])
        .args(["-d", r#"{"type": "kv", "options": {"version": "2"}}"#])
        .arg(format!("{address}/v1/sys/mounts/secret"))
        .output();
    assert!(asked.expect("curl starts").status.success(), "{address}");
    vec![
        ("VAULT_ADDR", address.to_owned()),
        ("VAULT_TOKEN", token.to_owned()),
    ]
}

#[test]
fn a_push_to_gitolite_fills_an_index_and_moves_traffic() {
    // Without them a bare repository and the router stand in.
    let _ = (has("gitolite"), has("nginx"));
    let ports = ["18580", "18581", "18582", "18583", "18584"];
    let said = played("gitolite", &ports, &vault());

    assert_eq!(
        lines(&said, &["v1", "v2", "v3", "v4", "told:", "0 of "])
            .iter()
            .map(|line| line.split(" requests").next().unwrap_or(line))
            .map(|line| line.trim_end_matches(|c: char| c.is_ascii_digit()))
            .collect::<Vec<_>>(),
        [
            "told: started: release 1 is being deployed",
            "told: done: release 1 is live",
            "v1: 3 documents",
            "told: started: release 2 is being deployed",
            "told: done: release 2 is live",
            "v2: 3 documents",
            "told: started: release 3 is being deployed",
            "told: failed: release 3 has failed; live traffic was not touched",
            "v2: 3 documents",
            "told: started: release 4 is being deployed",
            "told: waiting: release 4 is ready, and waits for `shipit promote`",
            "v2: 3 documents",
            "told: started: release 4 is being promoted",
            "told: done: release 4 is live",
            "v4: 4 documents",
            "0 of ",
        ]
    );
    said.says("unknown key `serivces`")
        .says("3 documents are in the index")
        .says("shipit: job 2 succeeded")
        .says("shipit: job 3 failed");
}

#[test]
fn a_webhook_of_gitlab_builds_pushes_and_updates_instance_by_instance() {
    if !["docker-registry", "perl", "curl"].into_iter().all(has) {
        return;
    }
    let ports = ["18680", "18681", "18690", "18691"];
    let said = played("gitlab-pipeline", &ports, &[]);
    let answers = lines(&said, &["without", "401", "202", "v1 of", "v2 of", "v3 of"]);
    let answers: Vec<_> = answers
        .iter()
        .map(|line| line.split(" of").next().unwrap_or(line))
        .collect();
    assert_eq!(
        answers,
        [
            "without a password: 401",
            "401",
            "202",
            "v1",
            "202",
            "v2",
            "202",
            "202",
            "202",
            "v2"
        ]
    );
    assert_eq!(lines(&said, &["0 of "]).len(), 1, "{}", said.stdout);
    said.says(r#""is_repeated":true,"jobs":[{"number":2,"#)
        .says("No changes.")
        .says("job 4 failed: step test:")
        .says("web.1 is replaced")
        // What shipit itself keeps in the checkout is no change of the commit.
        .says_not("-dirty");
}

/// On a cluster whose nodes are played: what would run there is not asked.
#[test]
fn a_webhook_of_gitlab_updates_a_cluster() {
    let kubeconfig = std::env::var("SHIPIT_TEST_KUBECONFIG").ok();
    let is_given = is_given(kubeconfig.is_some(), "SHIPIT_TEST_KUBECONFIG names none");
    let (Some(kubeconfig), true, true) = (kubeconfig, is_given, has("docker-registry")) else {
        return;
    };
    let ports = ["18680", "18681", "18690", "18691"];
    let said = played("gitlab-pipeline", &ports, &[("KUBECONFIG", kubeconfig)]);
    said.says("a cluster runs it")
        .says("job 1 succeeded")
        .says("job 2 succeeded")
        .says(r#""is_repeated":true,"jobs":[{"number":2,"#)
        .says("No changes.")
        .says("job 4 failed: step test:");
}
