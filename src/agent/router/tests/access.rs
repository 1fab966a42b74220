//! What is logged of each request.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Client, Instance, World, request, short_hold, text};
use crate::agent::log::file::LogFile;
use crate::agent::router::Options;
use crate::model::secret::SecretValue;
use crate::redact::Redactor;

#[tokio::test]
async fn each_request_is_one_line_without_its_query() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options {
        access_log: Some(LogFile::access(path.clone())),
        ..Options::default()
    };
    let world = World::start(short_hold(), options).await;
    let instance = Instance::named("hello").await;
    world.live(&[instance.address]);
    let mut client = world.client().await;
    client.get("/cart?token=hidden").await;
    client.send(request(Method::HEAD, "/", text(""))).await;
    Client::connect(world.route.preview)
        .await
        .get("/soon")
        .await;
    world.router.shutdown(Duration::from_secs(20)).await;

    let log = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{log}");
    let field = |name: &str| {
        lines
            .iter()
            .map(|line| line[name].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(field("method"), ["GET", "HEAD", "GET"]);
    assert_eq!(field("path"), ["/cart", "/", "/soon"]);
    assert_eq!(field("status"), [200, 200, 503]);
    assert_eq!(field("listener"), ["live", "live", "preview"]);
    assert_eq!(field("complete"), [true, true, true]);
    assert_eq!(lines[0]["bytes"], 5);
    let upstream = Value::from(instance.address.to_string());
    assert_eq!(field("upstream"), [upstream.clone(), upstream, Value::Null]);
    assert_eq!(
        (
            &lines[0]["project"],
            &lines[0]["environment"],
            &lines[0]["service"]
        ),
        (&"shop".into(), &"production".into(), &"web".into())
    );
    assert!(
        lines[0]["time"].is_string()
            && lines[0]["micros"].is_u64()
            && lines[0]["client"].is_string()
    );
    assert!(!log.contains("hidden"));
    assert_eq!(world.router.dropped_log_lines(), 0);
}

#[tokio::test]
async fn what_the_agent_knows_for_a_secret_is_in_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let redactor = Redactor::default();
    let value = "s3cr3t-of/a hook";
    redactor.remember(&SecretValue::new(value.to_owned()));
    let options = Options {
        access_log: Some(LogFile::access(path.clone())),
        redactor,
        ..Options::default()
    };
    let world = World::start(short_hold(), options).await;
    let instance = Instance::named("hello").await;
    world.live(&[instance.address]);
    let mut client = world.client().await;
    client.get("/hooks/s3cr3t-of%2Fa%20hook/push").await;
    let method = Method::from_bytes(b"s3cr3t-of").unwrap();
    client.send(request(method, "/", text(""))).await;
    world.router.shutdown(Duration::from_secs(20)).await;

    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains(r#""path":"/hooks/***/push""#), "{log}");
    assert!(!log.contains("s3cr3t-of"), "{log}");
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_request_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options {
        access_log: Some(LogFile::access(path.clone())),
        ..Options::default()
    };
    let world = World::start(short_hold(), options).await;
    for wrong in ["GET / HTTP/1.1\r\nx y: 1\r\n\r\n", "NO\r\n\r\n"] {
        let mut client = TcpStream::connect(world.route.live).await.unwrap();
        client.write_all(wrong.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    }
    world.router.shutdown(Duration::from_secs(20)).await;

    let log = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for line in lines {
        assert_eq!(line["status"], 400, "{line}");
        assert!(line["client"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_costs_lines_and_no_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/access.log");
    let options = Options {
        access_log: Some(LogFile::access(path)),
        ..Options::default()
    };
    let world = World::start(short_hold(), options).await;
    let instance = Instance::named("hello").await;
    world.live(&[instance.address]);
    assert_eq!(world.get("/").await.text, "hello");
    world.router.shutdown(Duration::from_secs(20)).await;
    assert_eq!(world.router.dropped_log_lines(), 1);
}

#[tokio::test]
async fn the_routers_own_answer_tells_nothing_of_inside_and_the_log_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options {
        access_log: Some(LogFile::access(path.clone())),
        ..Options::default()
    };
    let world = World::start(short_hold(), options).await;
    let refused = world.get("/").await;
    let id = refused.headers["x-request-id"].to_str().unwrap();
    assert_eq!(
        refused.text,
        format!("503 Service Unavailable\nrequest {id}\n")
    );
    world.router.shutdown(Duration::from_secs(20)).await;

    let log = std::fs::read_to_string(&path).unwrap();
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["request_id"], id);
    assert_eq!(
        line["error"],
        "no instance behind the live listener of web is ready"
    );
}
