//! What an instance says before its response.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::support::{RawInstance, World, raw, read_head, soon};

const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
const HINTS_SEEN: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An instance that says this before each of its answers, and goes on when it is told to.
async fn saying(before: &'static [u8], told: Option<Arc<Notify>>) -> RawInstance {
    RawInstance::serving(move |_, mut stream| {
        let told = told.clone();
        async move {
            while !read_head(&mut stream).await.is_empty() {
                match &told {
                    Some(told) => {
                        stream.write_all(before).await.unwrap();
                        told.notified().await;
                        stream.write_all(ANSWER).await.unwrap();
                    }
                    None => stream.write_all(&[before, ANSWER].concat()).await.unwrap(),
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn early_hints_reach_the_client_before_there_is_an_answer() {
    let (world, told) = (World::new().await, Arc::new(Notify::new()));
    let instance = saying(HINTS, Some(Arc::clone(&told))).await;
    world.live(&[instance.address]);
    let mut client = TcpStream::connect(world.route.live).await.unwrap();
    for _ in 0..3 {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(soon(read_head(&mut client)).await, HINTS_SEEN);
        told.notify_one();
        let head = soon(read_head(&mut client)).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let mut body = [0; 2];
        soon(client.read_exact(&mut body)).await.unwrap();
        assert_eq!(&body, b"ok");
    }
}

#[tokio::test]
async fn no_answer_overtakes_what_was_said_before_it() {
    let world = World::new().await;
    let several: &[u8] = &[HINTS, b"HTTP/1.1 102 Processing\r\n\r\n", HINTS].concat();
    let instance = saying(several.to_vec().leak(), None).await;
    world.live(&[instance.address]);
    // Two requests at once, as a client sends them that waits for no answer.
    let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n\
               GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let seen = raw(world.route.live, get).await;
    let lines = seen.lines().filter(|line| line.contains("HTTP/1.1 "));
    let codes: Vec<&str> = lines
        .map(|line| &line[line.find("HTTP").unwrap() + 9..][..3])
        .collect();
    let once = ["103", "102", "103", "200"];
    assert_eq!(codes, [once, once].concat(), "{seen}");
}

#[tokio::test]
async fn a_client_of_http_1_0_hears_of_the_answer_alone() {
    let world = World::new().await;
    let instance = saying(HINTS, None).await;
    world.live(&[instance.address]);
    let seen = raw(world.route.live, "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(seen.starts_with("HTTP/1.0 200 OK\r\n"), "{seen}");
    assert!(!seen.contains("103"), "{seen}");
}

#[tokio::test]
async fn what_an_instance_says_to_the_router_is_not_passed_on() {
    let world = World::new().await;
    let instance = saying(b"HTTP/1.1 100 Continue\r\n\r\n", None).await;
    world.live(&[instance.address]);
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let seen = raw(world.route.live, get).await;
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
}
