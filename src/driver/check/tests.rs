//! Checks and the prober against real sockets.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use tokio_util::sync::CancellationToken;

use super::Checks;
use crate::model::check::Check;
use crate::model::outcome::Url;
use crate::model::{Period, Slot};
use crate::port::Checker as _;
use crate::port::checker::{CheckTarget, ProbeTarget};

/// A server that answers 200 to requests for `shop.test` and 400 to others, until the test ends.
fn server_of_one_host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..length]).to_lowercase();
            let is_known = head.contains("\r\nhost: shop.test\r\n");
            let status = if is_known { 200 } else { 400 };
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    address
}

/// A server that answers every connection with this status, until the test ends.
fn server(status: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer);
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
            );
        }
    });
    address
}

/// A server that answers the first requests of a connection with this header, as many as it is told,
/// and closes when the next one has come: what a proxy that is reloaded does to a request on its way.
fn server_that_closes_after(answers: usize, header: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                for _ in 0..answers {
                    let _ = stream.read(&mut buffer);
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{header}\r\n"
                    );
                }
                let _ = stream.read(&mut buffer);
            });
        }
    });
    address
}

fn target(addresses: &[(&str, SocketAddr)]) -> CheckTarget {
    let urls = addresses.iter().map(|(service, address)| Url {
        service: service.parse().expect("a name"),
        port: None,
        slot: Slot::Blue,
        url: format!("http://{address}"),
        trust: Vec::new(),
    });
    CheckTarget {
        urls: urls.collect(),
        root: std::env::temp_dir(),
        env: BTreeMap::new(),
    }
}

async fn check(json: &str, target: &CheckTarget) -> Result<(), String> {
    let check: Check = serde_json::from_str(json).expect("a check");
    let held = Checks::default()
        .check(&check, target, &|_| {}, &CancellationToken::new())
        .await;
    held.map_err(|failed| failed.reason)
}

#[tokio::test]
async fn an_http_check_holds_for_the_right_status_and_text() {
    let there = target(&[("web", server(200))]);
    assert_eq!(
        check(r#"{"http": {"path": "/", "contains": "hello"}}"#, &there).await,
        Ok(())
    );
    let other = check(r#"{"http": {"path": "/", "contains": "bye"}}"#, &there)
        .await
        .expect_err("another text");
    assert!(other.contains("does not contain `bye`"), "{other}");
    let sick = check(
        r#"{"http": {"path": "/"}}"#,
        &target(&[("web", server(500))]),
    )
    .await
    .expect_err("500");
    assert!(sick.contains("answered 500, not 200"), "{sick}");
}

#[tokio::test]
async fn a_check_asks_for_the_host_that_it_names() {
    let there = target(&[("web", server_of_one_host())]);
    let held = check(r#"{"http": {"path": "/", "host": "shop.test"}}"#, &there).await;
    assert_eq!(held, Ok(()));
    let plain = check(r#"{"http": {"path": "/"}}"#, &there).await;
    assert!(plain.unwrap_err().ends_with("/ answered 400, not 200"));
    let other = check(r#"{"http": {"path": "/", "host": "a.test"}}"#, &there).await;
    assert!(
        other
            .unwrap_err()
            .ends_with("answered 400, not 200, to Host: a.test")
    );
}

#[tokio::test]
async fn a_check_says_which_service_it_means_when_there_are_several() {
    let two = target(&[("web", server(200)), ("api", server(500))]);
    let unclear = check(r#"{"http": {"path": "/"}}"#, &two)
        .await
        .expect_err("unclear");
    assert!(unclear.contains("web, api"), "{unclear}");
    assert_eq!(
        check(r#"{"http": {"path": "/", "service": "web"}}"#, &two).await,
        Ok(())
    );
    assert!(check(r#"{"tcp": {"service": "db"}}"#, &two).await.is_err());
    assert_eq!(check(r#"{"tcp": {"service": "api"}}"#, &two).await, Ok(()));
}

#[tokio::test]
async fn a_command_sees_where_the_service_is_and_ends_at_its_time() {
    let there = target(&[("web", server(200))]);
    assert_eq!(
        check(
            r#"{"run": ["sh", "-c", "test -n \"$SHIPIT_URL_WEB\""]}"#,
            &there
        )
        .await,
        Ok(())
    );
    let failed = check(r#"{"run": ["sh", "-c", "exit 7"]}"#, &there)
        .await
        .expect_err("it failed");
    assert_eq!(failed, "ended with exit code 7");
    let late = check(
        r#"{"run": {"command": ["sleep", "300"], "timeout": "50ms"}}"#,
        &there,
    )
    .await;
    assert_eq!(late.expect_err("late"), "not done within 50ms");
}

#[tokio::test]
async fn a_command_that_has_ended_is_done_whatever_it_left_running() {
    let background = "sleep 300 & echo $! > background; echo started; exit CODE";
    let folder = tempfile::tempdir().expect("a folder");
    let there = CheckTarget {
        root: folder.path().to_path_buf(),
        ..target(&[])
    };
    for (code, expected) in [
        ("0", Ok(())),
        ("7", Err("ended with exit code 7".to_owned())),
    ] {
        let shell = background.replace("CODE", code);
        let json = serde_json::json!({"run": {"command": ["sh", "-c", shell], "timeout": "60s"}});
        assert_eq!(check(&json.to_string(), &there).await, expected);
        let left = std::fs::read_to_string(folder.path().join("background")).expect("there");
        let pid = left
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it still runs");
    }
}

#[tokio::test]
async fn the_prober_counts_answers_and_failures() {
    let probe = |address: SocketAddr| ProbeTarget {
        host: None,
        service: "web".parse().expect("a name"),
        url: format!("http://{address}/"),
        trust: Vec::new(),
        rate: 500,
        timeout: Period::from_secs(5),
    };
    let stop = CancellationToken::new();
    let (healthy, sick) = (Checks::default(), Checks::default());
    let later = stop.clone();
    let (good, bad, ()) = tokio::join!(
        healthy.probe(probe(server(200)), stop.clone()),
        sick.probe(probe(server(503)), stop),
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            later.cancel();
        }
    );
    assert!(good.requests > 5 && good.failures == 0, "{good:?}");
    assert!(
        bad.failures == bad.requests && bad.requests > 5 && bad.examples[0].contains("503"),
        "{bad:?}"
    );
}

#[tokio::test]
async fn a_request_that_is_lost_with_a_kept_connection_is_sent_again_and_a_new_one_is_a_failure() {
    let within = std::time::Duration::from_secs(30);
    let client = super::http::Client::default();
    for header in ["", "Connection: keep-alive\r\n"] {
        let kept = format!("http://{}/", server_that_closes_after(2, header));
        // A connection may come back too late to be taken for the next request.
        let mut is_second = false;
        for _ in 0..1000 {
            let answer = client.get(&kept, None, within).await.expect("an answer");
            is_second |= answer.is_second;
            if is_second {
                break;
            }
        }
        assert!(is_second, "no request was sent again: {header}");
    }

    let never = format!("http://{}/", server_that_closes_after(0, ""));
    for _ in 0..3 {
        let lost = client.get(&never, None, within).await;
        assert!(lost.is_err(), "{lost:?}");
    }
}
