//! `shipit report-status`, against a played forge.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::{Said, shipit};

const TOKEN: &str = "t0ken-of-a-forge-that-is-secret";
const COMMIT: &str = "3f2c1ab5aa3f2c1ab5aa3f2c1ab5aa3f2c1ab5aa";

/// What a forge was asked.
struct Asked {
    line: String,
    headers: Vec<String>,
    body: Value,
}

/// Answers one request with this; says where it listens.
fn forge(status: &'static str, body: &'static str) -> (String, JoinHandle<Asked>) {
    forge_of(&[], status, body)
}

/// Answers a request with each of these before that.
fn forge_of(
    before: &'static [&'static str],
    status: &'static str,
    body: &'static str,
) -> (String, JoinHandle<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = std::thread::spawn(move || {
        let mut all = before.iter().chain([&status]);
        let mut answer = || answer(&listener, all.next().expect("no more requests"), body);
        for _ in before {
            drop(answer());
        }
        answer()
    });
    (address, asked)
}

fn answer(listener: &TcpListener, status: &str, body: &str) -> Asked {
    let (mut stream, _) = listener.accept().expect("somebody");
    let mut lines = BufReader::new(stream.try_clone().expect("a stream"));
    let mut line = || {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let first = line();
    let headers: Vec<String> = std::iter::repeat_with(&mut line)
        .take_while(|line| !line.is_empty())
        .collect();
    let length = headers
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    let mut bytes = vec![0; length];
    lines.read_exact(&mut bytes).expect("a whole body");
    let count = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {count}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).expect("it listens");
    Asked {
        line: first,
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    }
}

fn report(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(shipit());
    command
        .args(["report-status"])
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .envs(variables.iter().copied());
    Said::from(&command.output().expect("it starts"))
}

#[test]
fn a_status_is_set_at_each_forge_by_its_own_api() {
    let cases = [
        (
            "github",
            "/repos/shop/web/statuses/",
            "authorization: Bearer ",
            "context",
            "pending",
        ),
        (
            "gitea",
            "/repos/shop/web/statuses/",
            "authorization: token ",
            "context",
            "pending",
        ),
        (
            "gitlab",
            "/projects/shop%2Fweb/statuses/",
            "private-token: ",
            "name",
            "running",
        ),
    ];
    for (kind, path, header, name, state) in cases {
        let (api, asked) = forge("201 Created", "{}");
        let said = report(
            &[
                "running",
                "--env",
                "staging",
                "--forge",
                kind,
                "--api",
                &api,
                "--repository",
                "shop/web",
                "--commit",
                COMMIT,
                "--token-variable",
                "FORGE",
                "--description",
                "release 42 is on its way",
            ],
            &[
                ("FORGE", TOKEN),
                ("BUILD_URL", "https://jenkins.example.com/job/7/"),
            ],
        );
        said.code(0)
            .says("shows shipit/staging beside commit 3f2c1ab");

        let asked = asked.join().expect("it was asked");
        assert_eq!(asked.line, format!("POST {path}{COMMIT} HTTP/1.1"));
        let authorized = format!("{header}{TOKEN}");
        assert!(
            asked.headers.contains(&authorized),
            "{kind}: {:?}",
            asked.headers
        );
        assert_eq!(asked.body[name], "shipit/staging", "{kind}");
        assert_eq!(asked.body["state"], state, "{kind}");
        assert_eq!(asked.body["description"], "release 42 is on its way");
        assert_eq!(
            asked.body["target_url"],
            "https://jenkins.example.com/job/7/"
        );
    }
}

#[test]
fn a_forge_that_is_busy_is_asked_once_more() {
    let busy = [
        "503 Busy\r\nretry-after: 0",
        "429 Too Many\r\nretry-after: 0",
    ];
    let (api, asked) = forge_of(Box::leak(Box::new(busy)), "201 Created", "{}");
    let given = ["success", "--forge", "github", "--repository", "shop/web"];
    let place = ["--commit", COMMIT, "--api", &api];
    report(&[&given[..], &place].concat(), &[("GITHUB_TOKEN", TOKEN)]).code(0);
    asked.join().expect("it was asked three times");
}

#[test]
fn what_a_forge_refuses_is_said_without_the_token() {
    let body = r#"{"message": "Bad credentials for t0ken-of-a-forge-that-is-secret"}"#;
    let (api, asked) = forge("401 Unauthorized", body);
    let given = [
        "success",
        "--repository",
        "shop/web",
        "--commit",
        COMMIT,
        "--api",
    ];
    let of = |forge: &'static str, api: &str| {
        let arguments: Vec<&str> = given.into_iter().chain([api, "--forge", forge]).collect();
        report(
            &arguments,
            &[("GITHUB_TOKEN", TOKEN), ("GITLAB_TOKEN", TOKEN)],
        )
    };
    of("github", &api)
        .code(1)
        .says("401 Unauthorized for shop/web: Bad credentials")
        .says("may write statuses")
        .says_not(TOKEN);
    asked.join().expect("it was asked");

    // A token goes to nobody but the forge, and over no line that others read.
    let (other, _listens) = forge("200 OK", "{}");
    let moved: &'static str = Box::leak(format!("307 Moved\r\nlocation: {other}").into_boxed_str());
    let (api, asked) = forge(moved, "{}");
    of("gitlab", &api).code(1).says("307").says_not(TOKEN);
    asked.join().expect("it was asked");
    of("github", "http://git.example.com/api")
        .code(1)
        .says("is not https");
    of("gitea", &api).code(64).says("GITEA_TOKEN is not set");
    let with_login = api.replace("http://", "http://kim:hunter22@");
    of("github", &with_login)
        .code(64)
        .says("--api: the address has a login in it")
        .says_not("hunter22");
}
