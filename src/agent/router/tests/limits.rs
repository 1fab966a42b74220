//! What a route allows, and what the router says when it does not.

use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Instance, RawInstance, World, free_port, piecewise, raw, read_head, request, short_head,
    short_hold, short_response, soon, text,
};
use crate::model::limits::Limits;
use crate::model::{ByteSize, Period};

fn small() -> Limits {
    Limits {
        body: ByteSize::from_bytes(10),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let (world, instance) = (World::with(small()).await, Instance::echo().await);
    world.live(&[instance.address]);
    let mut client = world.client().await;
    assert_eq!(
        client
            .send(request(Method::POST, "/", text("0123456789")))
            .await
            .text,
        "0123456789"
    );
    let refused = client
        .send(request(Method::POST, "/", text("0123456789a")))
        .await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(instance.requests(), 1);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_not_told_to_send_too_much() {
    let (world, instance) = (World::with(small()).await, Instance::echo().await);
    world.live(&[instance.address]);
    let post = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n";
    let answer = raw(world.route.live, post).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused_while_it_streams() {
    let (world, instance) = (World::with(small()).await, Instance::echo().await);
    world.live(&[instance.address]);
    let mut client = world.client().await;
    let (pieces, body) = piecewise();
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            if pieces.send(Bytes::from_static(b"0123")).await.is_err() {
                break;
            }
        }
    });
    let refused = client.send(request(Method::POST, "/", body)).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn without_an_instance_a_request_is_held_and_then_refused() {
    let world = World::with(short_hold()).await;
    let refused = world.get("/").await;
    assert_eq!(
        (refused.status, &refused.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
}

#[tokio::test]
async fn a_refused_upload_still_gets_its_answer() {
    let world = World::with(short_hold()).await;
    let body = "a".repeat(8 << 20);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}",
        body.len()
    );
    let refused = raw(world.route.live, &format!("{head}\r\n\r\n{body}")).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

#[tokio::test]
async fn an_instance_that_takes_no_connection_is_a_bad_gateway() {
    let world = World::new().await;
    let gone = free_port().1;
    world.live(&[gone]);
    let refused = world.get("/").await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn what_an_instance_says_wrong_is_a_bad_gateway() {
    let world = World::new().await;
    let instance = RawInstance::serving(|_, mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"nonsense\r\n\r\n").await;
    })
    .await;
    world.live(&[instance.address]);
    let refused = world.get("/").await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn an_instance_that_does_not_answer_is_given_up() {
    let world = World::with(short_response()).await;
    let instance = Instance::serving(|_| std::future::pending::<Response<_>>()).await;
    world.live(&[instance.address]);
    let refused = world.get("/").await;
    assert_eq!(refused.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(world.router.in_flight(instance.address), 0);
}

#[tokio::test]
async fn a_client_that_stops_sending_is_given_up() {
    let (world, instance) = (World::with(short_response()).await, Instance::echo().await);
    world.live(&[instance.address]);
    let (pieces, body) = piecewise();
    pieces.send(Bytes::from_static(b"begun")).await.unwrap();
    let refused = world
        .client()
        .await
        .send(request(Method::POST, "/", body))
        .await;
    assert_eq!(refused.status, StatusCode::REQUEST_TIMEOUT);
    drop(pieces);
}

#[tokio::test]
async fn an_instance_that_does_not_read_is_a_slow_instance() {
    let world = World::with(short_response()).await;
    let instance = Instance::serving(|request: Request<Incoming>| async move {
        let _unread = request;
        std::future::pending().await
    })
    .await;
    world.live(&[instance.address]);
    let post = request(Method::POST, "/", text(vec![b'a'; 16 << 20]));
    let refused = world.client().await.send(post).await;
    assert_eq!(refused.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_client_that_stays_silent_is_closed() {
    let world = World::with(short_head()).await;
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(world.route.live).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = soon(stream.read_to_end(&mut rest)).await;
        assert!(
            closed.is_ok() && !rest.starts_with(b"HTTP/1.1 200"),
            "{begin:?}: {closed:?}"
        );
    }
}

#[tokio::test]
async fn changed_limits_hold_for_the_next_request_on_an_open_connection() {
    let (mut world, instance) = (World::new().await, Instance::echo().await);
    world.live(&[instance.address]);
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    world.route.limits.body = ByteSize::from_bytes(1);
    world
        .router
        .open(super::support::key("web"), &world.route)
        .await
        .unwrap();
    let refused = client.send(request(Method::POST, "/", text("ab"))).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_long_upload_is_no_slow_instance() {
    let limits = Limits {
        response_timeout: Period::from_secs(1),
        ..Limits::default()
    };
    let (world, instance) = (World::with(limits).await, Instance::echo().await);
    world.live(&[instance.address]);
    let (pieces, body) = piecewise();
    let sending = tokio::spawn(async move {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
        for _ in 0..12 {
            tick.tick().await;
            pieces.send(Bytes::from_static(b"a")).await.unwrap();
        }
    });
    assert_eq!(
        world
            .client()
            .await
            .send(request(Method::POST, "/", body))
            .await
            .text,
        "a".repeat(12)
    );
    sending.await.unwrap();
}

#[tokio::test]
async fn a_second_head_has_its_deadline_too_and_an_idle_client_has_none_of_it() {
    let (world, instance) = (World::with(short_head()).await, Instance::named("a").await);
    world.live(&[instance.address]);
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text, "a");
    // Another client falls idle after it, and is then closed by the deadline of its second head.
    let mut other = TcpStream::connect(world.route.live).await.unwrap();
    other
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(
        soon(read_head(&mut other))
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(other.read_u8().await.unwrap(), b'a');
    other.write_all(b"GET / HTT").await.unwrap();
    let mut rest = Vec::new();
    soon(other.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
    assert_eq!(
        client.get("/").await.text,
        "a",
        "idle for longer than a head may take"
    );
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (world, instance) = (World::new().await, Instance::named("never").await);
    world.live(&[instance.address]);
    let lines: String = std::iter::repeat_n("x: y\r\n", 200).collect();
    let many = raw(
        world.route.live,
        &format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n"),
    )
    .await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    assert_eq!(instance.requests(), 0);
}

#[tokio::test]
async fn an_answer_of_many_header_lines_comes_whole() {
    let world = World::new().await;
    let instance = RawInstance::serving(|_, mut stream| async move {
        read_head(&mut stream).await;
        let cookies = "set-cookie: c=1\r\n".repeat(400);
        let answer = format!("HTTP/1.1 200 OK\r\n{cookies}content-length: 2\r\n\r\nok");
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    world.live(&[instance.address]);

    // The client of these tests counts lines itself.
    let answer = raw(
        world.route.live,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("set-cookie: ").count(), 400);
}
