//! Connections to instances: kept, found dead, replaced, and what may be sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::{
    Client, Instance, RawInstance, World, free_port, read_head, request, soon, text,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_to_an_instance_serves_one_request_after_the_other() {
    let (world, instance) = (World::new().await, Instance::echo().await);
    world.live(&[instance.address]);
    for _ in 0..20 {
        let body = text(vec![b'a'; 100_000]);
        assert_eq!(
            world
                .client()
                .await
                .send(request(Method::POST, "/", body))
                .await
                .text
                .len(),
            100_000
        );
    }
    assert_eq!((instance.connections(), instance.requests()), (1, 20));
}

/// Answers the first request of a connection, and hangs up in the face of the second.
async fn hangs_up(received: Arc<AtomicUsize>) -> RawInstance {
    RawInstance::serving(move |number, mut stream| {
        let received = Arc::clone(&received);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                let count = received.fetch_add(1, Ordering::SeqCst);
                if number == 0 && count == 1 {
                    return;
                }
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_get_whose_kept_connection_dies_is_sent_once_more() {
    let (world, received) = (World::new().await, Arc::<AtomicUsize>::default());
    let instance = hangs_up(Arc::clone(&received)).await;
    world.live(&[instance.address]);
    assert_eq!(world.get("/").await.text, "ok");
    assert_eq!(world.get("/").await.text, "ok");
    assert_eq!(received.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_post_whose_kept_connection_dies_is_not_sent_again() {
    let (world, received) = (World::new().await, Arc::<AtomicUsize>::default());
    let instance = hangs_up(Arc::clone(&received)).await;
    world.live(&[instance.address]);
    assert_eq!(world.get("/").await.text, "ok");
    let lost = world
        .client()
        .await
        .send(request(Method::POST, "/", text("")))
        .await;
    assert_eq!(lost.status, StatusCode::BAD_GATEWAY);
    assert_eq!(
        received.load(Ordering::SeqCst),
        2,
        "the router cannot know whether it was processed"
    );
}

#[tokio::test]
async fn a_get_that_a_new_connection_loses_is_not_sent_again() {
    let world = World::new().await;
    let received = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&received);
    let instance = RawInstance::serving(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            read_head(&mut stream).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    world.live(&[instance.address]);
    assert_eq!(world.get("/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(received.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_instance_that_takes_no_connection_is_passed_over_even_for_a_post() {
    let world = World::new().await;
    let instance = Instance::serving(|request: Request<Incoming>| async move {
        if request.uri().path() == "/slow" {
            return std::future::pending().await;
        }
        Response::new(text(
            request.into_body().collect().await.unwrap().to_bytes(),
        ))
    })
    .await;
    world.live(&[instance.address]);
    let mut busy = world.client().await;
    let _slow = tokio::spawn(async move { busy.get("/slow").await.status });
    soon(async {
        while world.router.in_flight(instance.address) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The dead one has nothing in flight, so it is always the first choice.
    world.live(&[free_port().1, instance.address]);
    for _ in 0..5 {
        let answer = world
            .client()
            .await
            .send(request(Method::POST, "/", text("whole")))
            .await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, "whole")
        );
    }
}

/// Answers some requests, then closes without a word, as a keep-alive timeout does.
async fn close_after(mut stream: TcpStream, requests: usize) {
    for _ in 0..requests {
        let head = read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(OK).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_fails_while_the_instance_closes_connections_under_load() {
    let world = World::new().await;
    let instance = RawInstance::serving(|number, stream| close_after(stream, 1 + number % 5)).await;
    world.live(&[instance.address]);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let live = world.route.live;
        clients.spawn(async move {
            let mut client = Client::connect(live).await;
            for _ in 0..100 {
                let answer = client.get("/").await;
                assert_eq!(
                    (answer.status, answer.text.as_str()),
                    (StatusCode::OK, "ok")
                );
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn a_post_finds_a_connection_that_was_closed_while_idle_and_takes_a_new_one() {
    let world = World::new().await;
    let (close, closed) = (
        Arc::new(tokio::sync::Notify::new()),
        Arc::new(tokio::sync::Notify::new()),
    );
    let gate = (Arc::clone(&close), Arc::clone(&closed));
    let instance = RawInstance::serving(move |number, mut stream| {
        let (close, closed) = gate.clone();
        async move {
            if number > 0 {
                return close_after(stream, 1).await;
            }
            read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            close.notified().await;
            stream.shutdown().await.unwrap();
            // The router has seen the end when it closes its side too.
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            closed.notify_one();
        }
    })
    .await;
    world.live(&[instance.address]);
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text, "ok");
    close.notify_one();
    soon(closed.notified()).await;
    assert_eq!(
        client
            .send(request(Method::POST, "/", text("paid")))
            .await
            .text,
        "ok"
    );
}

#[tokio::test]
async fn requests_are_spread_over_the_instances() {
    let world = World::new().await;
    let (one, two) = (Instance::named("one").await, Instance::named("two").await);
    world.live(&[one.address, two.address]);
    let mut client = world.client().await;
    for _ in 0..20 {
        client.get("/").await;
    }
    assert_eq!((one.requests(), two.requests()), (10, 10));
}
