//! Clients that are slow, or have gone: none keeps an instance, or a place of the router, for as
//! long as it likes.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    AnyBody, Instance, RawInstance, World, piecewise, raw, read_head, request, soon, text,
};
use crate::model::limits::Limits;
use crate::model::{ByteSize, Period};

/// So fast that nobody is, measured over so short a time that a test can wait for it.
fn too_fast_for_anybody() -> Limits {
    Limits {
        min_rate: ByteSize::from_mib(1 << 20),
        min_rate_over: Period::from_millis(50),
        ..Limits::default()
    }
}

/// An instance whose responses do not end.
async fn endless() -> Instance {
    Instance::serving(|_| async {
        let frames = futures_util::stream::repeat_with(|| {
            let data = Bytes::from(vec![b'a'; 64 << 10]);
            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(data))
        });
        Response::new(BodyExt::boxed(http_body_util::StreamBody::new(frames)))
    })
    .await
}

/// Everything that the router had to an instance has ended.
async fn is_let_go(world: &World, instance: &Instance) {
    let (within, all) = (Duration::from_secs(30), [instance.address]);
    assert!(
        world.router.drained(&all, within).await,
        "it is still in use"
    );
}

/// Waits until the instance has got a request.
async fn is_asked(instance: &Instance) {
    while instance.requests() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_whatever_the_instance_says() {
    let world = World::with(too_fast_for_anybody()).await;
    let early = Instance::serving(|request: Request<Incoming>| async {
        // An answer before the body has come: nothing but the pace would ever end the upload.
        let (_, rest) = piecewise();
        tokio::spawn(request.into_body().collect());
        Response::new(rest)
    })
    .await;
    let late = Instance::echo().await;
    for (instance, status) in [
        (&late, StatusCode::REQUEST_TIMEOUT),
        (&early, StatusCode::OK),
    ] {
        world.live(&[instance.address]);
        let (pieces, body) = piecewise();
        let mut client = world.client().await;
        pieces.send(Bytes::from_static(b"a")).await.unwrap();
        let answer = client
            .try_send(request(Method::POST, "/", body))
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
        is_let_go(&world, instance).await;
        drop(pieces);
    }
}

#[tokio::test]
async fn a_body_has_a_time_to_come_in_however_it_is_spread() {
    let limits = Limits {
        min_rate: ByteSize::from_bytes(0),
        body_timeout: Period::from_millis(50),
        ..Limits::default()
    };
    let (world, instance) = (World::with(limits).await, Instance::echo().await);
    world.live(&[instance.address]);
    let (_pieces, body) = piecewise();
    let answer = world
        .client()
        .await
        .send(request(Method::POST, "/", body))
        .await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    is_let_go(&world, &instance).await;
}

#[tokio::test]
async fn a_response_that_is_not_read_lets_the_instance_go() {
    let (world, instance) = (World::with(too_fast_for_anybody()).await, endless().await);
    world.live(&[instance.address]);
    let mut stream = TcpStream::connect(world.route.live).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    is_asked(&instance).await;
    is_let_go(&world, &instance).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let world = World::with(too_fast_for_anybody()).await;
    let instance = Instance::serving(|request: Request<Incoming>| async move {
        let length = if request.uri().path() == "/large" {
            1 << 20
        } else {
            2
        };
        Response::new(text(vec![b'a'; length]))
    })
    .await;
    world.live(&[instance.address]);
    let stream = TcpStream::connect(world.route.live).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1000)
        .handshake::<_, AnyBody>(TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });

    let get = |path: &str| request(Method::GET, &format!("http://shop.test{path}"), text(""));
    let unread = soon(sender.send_request(get("/large"))).await.unwrap();
    is_let_go(&world, &instance).await;
    let read = soon(sender.send_request(get("/small"))).await.unwrap();
    assert_eq!(read.into_body().collect().await.unwrap().to_bytes(), "aa");
    assert!(
        soon(unread.into_body().collect()).await.is_err(),
        "it was reset"
    );
}

#[tokio::test]
async fn who_has_finished_sending_gets_the_answer() {
    let world = World::new().await;
    let (asked, answer) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let (asked, answer) = (std::sync::Arc::new(asked), std::sync::Arc::new(answer));
    let instance = Instance::serving({
        let (asked, answer) = (asked.clone(), answer.clone());
        move |request: Request<Incoming>| {
            let (asked, answer) = (asked.clone(), answer.clone());
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                asked.notify_one();
                answer.notified().await;
                Response::new(text(body))
            }
        }
    })
    .await;
    world.live(&[instance.address]);
    let requests = [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    ];
    for request in requests {
        let mut stream = TcpStream::connect(world.route.live).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        asked.notified().await;
        answer.notify_one();
        let mut told = String::new();
        soon(stream.read_to_string(&mut told)).await.unwrap();
        assert!(told.contains(" 200 OK\r\n"), "{request:?}: {told}");
    }
}

#[tokio::test]
async fn who_has_finished_sending_and_takes_nothing_is_given_up() {
    let limits = Limits {
        response_timeout: Period::from_millis(50),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let instance = Instance::of_events().await;
    world.live(&[instance.address]);
    let mut stream = TcpStream::connect(world.route.live).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut stream).await;
    stream.shutdown().await.unwrap();
    is_let_go(&world, &instance).await;
}

#[tokio::test]
async fn who_has_gone_is_noticed_at_once() {
    let world = World::new().await;
    let instance = Instance::serving(|_| std::future::pending::<Response<_>>()).await;
    world.live(&[instance.address]);
    let mut stream = TcpStream::connect(world.route.live).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    is_asked(&instance).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    is_let_go(&world, &instance).await;
}

#[tokio::test]
async fn a_connection_that_has_left_http_and_is_silent_is_closed() {
    let limits = Limits {
        upgrade_idle: Period::from_millis(50),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let instance = RawInstance::serving(|_, mut stream| async move {
        read_head(&mut stream).await;
        let change =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        stream.write_all(change).await.unwrap();
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    world.live(&[instance.address]);
    let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let told = raw(world.route.live, ask).await;
    assert!(told.starts_with("HTTP/1.1 101"), "{told}");
    let (within, all) = (Duration::from_secs(30), [instance.address]);
    assert!(world.router.drained(&all, within).await);
}

#[tokio::test]
async fn a_pace_that_is_kept_is_never_in_the_way() {
    let limits = Limits {
        min_rate: ByteSize::from_bytes(1),
        min_rate_over: Period::from_millis(1),
        ..Limits::default()
    };
    let (world, instance) = (World::with(limits).await, Instance::echo().await);
    world.live(&[instance.address]);
    let body = "a".repeat(4 << 20);
    let answer = world
        .client()
        .await
        .send(request(Method::POST, "/", text(body)))
        .await;
    assert_eq!(
        (answer.status, answer.text.len()),
        (StatusCode::OK, 4 << 20)
    );
}
