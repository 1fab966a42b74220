//! What one client, one instance and all of traffic may have, and what becomes of what is more.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::support::{Answer, Client, Instance, World, raw, read_head, soon, text};
use crate::agent::Descriptors;
use crate::agent::router::Options;
use crate::model::Period;
use crate::model::limits::Limits;

/// An instance that answers when it is told to.
async fn waiting() -> (Instance, Arc<Semaphore>) {
    let answers = Arc::new(Semaphore::new(0));
    let told = Arc::clone(&answers);
    let instance = Instance::serving(move |_| {
        let told = Arc::clone(&told);
        async move {
            told.acquire().await.unwrap().forget();
            Response::new(text("done"))
        }
    })
    .await;
    (instance, answers)
}

/// Sends a GET, which is answered later.
fn send(mut client: Client, path: &'static str) -> tokio::task::JoinHandle<Answer> {
    tokio::spawn(async move { client.get(path).await })
}

async fn are_asked(instance: &Instance, requests: usize) {
    while instance.requests() < requests {
        tokio::task::yield_now().await;
    }
}

/// A client with an address of its own.
async fn client_at(own: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn told(mut stream: TcpStream) -> String {
    let mut told = String::new();
    soon(stream.read_to_string(&mut told)).await.unwrap();
    told
}

#[tokio::test]
async fn a_client_has_so_many_requests_in_flight_and_another_one_its_own() {
    let limits = Limits {
        client_requests: Some(1),
        ..Limits::default()
    };
    let (world, (instance, answers)) = (World::with(limits).await, waiting().await);
    world.live(&[instance.address]);
    let first = send(world.client().await, "/first");
    are_asked(&instance, 1).await;

    let refused = world.get("/second").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["retry-after"], "1");
    let mut other = client_at("127.0.0.2", world.route.live).await;
    other.write_all(GET).await.unwrap();
    answers.add_permits(2);
    assert!(told(other).await.starts_with("HTTP/1.1 200"));
    assert_eq!(first.await.unwrap().status, StatusCode::OK);

    answers.add_permits(1);
    assert_eq!(
        world.get("/third").await.status,
        StatusCode::OK,
        "the first is done"
    );
}

#[tokio::test]
async fn behind_a_trusted_proxy_it_is_the_proxys_clients_that_count() {
    let limits = Limits {
        client_requests: Some(1),
        client_connections: Some(1),
        ..Limits::default()
    };
    let (mut world, (instance, answers)) = (World::with(limits).await, waiting().await);
    world.route.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    world
        .router
        .open(super::support::key("web"), &world.route)
        .await
        .unwrap();
    world.live(&[instance.address]);
    let asks = |client: &str| {
        format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-forwarded-for: {client}\r\n\r\n"
        )
    };
    let mut first = TcpStream::connect(world.route.live).await.unwrap();
    first.write_all(asks("9.9.9.9").as_bytes()).await.unwrap();
    are_asked(&instance, 1).await;

    let refused = raw(world.route.live, &asks("6.6.6.6, 9.9.9.9")).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    answers.add_permits(2);
    let other = raw(world.route.live, &asks("8.8.8.8")).await;
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    assert!(told(first).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_one_that_does_nothing_makes_room() {
    let limits = Limits {
        client_connections: Some(1),
        ..Limits::default()
    };
    let (world, (instance, answers)) = (World::with(limits).await, waiting().await);
    world.live(&[instance.address]);
    let mut idle = TcpStream::connect(world.route.live).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();

    let mut busy = TcpStream::connect(world.route.live).await.unwrap();
    busy.write_all(GET).await.unwrap();
    are_asked(&instance, 1).await;
    assert_eq!(
        soon(idle.read(&mut [0])).await.unwrap_or(0),
        0,
        "it made room"
    );

    let refused = told(TcpStream::connect(world.route.live).await.unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    answers.add_permits(1);
    assert!(told(busy).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_that_leave_http_have_a_limit_of_their_own() {
    let limits = Limits {
        client_upgrades: Some(0),
        ..Limits::default()
    };
    let (world, instance) = (World::with(limits).await, Instance::named("a").await);
    world.live(&[instance.address]);
    let ask =
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n";
    let refused = raw(world.route.live, ask).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert_eq!(world.get("/").await.text, "a", "others are none");
}

#[tokio::test]
async fn an_instance_is_given_so_many_requests_and_the_next_one_waits_for_room() {
    let limits = Limits {
        instance_requests: Some(1),
        ..Limits::default()
    };
    let (world, (instance, answers)) = (World::with(limits).await, waiting().await);
    world.live(&[instance.address]);
    let first = send(world.client().await, "/first");
    are_asked(&instance, 1).await;
    let second = send(world.client().await, "/second");
    while world.router.in_flight(instance.address) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(instance.requests(), 1, "it waits");
    answers.add_permits(2);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    assert_eq!(second.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_waits_too_long_for_room_is_told_to_come_back() {
    let limits = Limits {
        instance_requests: Some(1),
        hold: Period::from_millis(50),
        ..Limits::default()
    };
    let (world, (instance, answers)) = (World::with(limits).await, waiting().await);
    world.live(&[instance.address]);
    let first = send(world.client().await, "/first");
    are_asked(&instance, 1).await;
    let refused = world.get("/second").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["retry-after"], "1");
    answers.add_permits(1);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn with_all_places_taken_by_half_heads_ordinary_requests_are_served() {
    // 28 places for live connections, 4 for the others; a client has 7.
    let options = Options {
        descriptors: Descriptors::limited_to(128),
        ..Options::default()
    };
    let (world, instance) = (
        World::start(Limits::default(), options).await,
        Instance::named("a").await,
    );
    world.switch(&[instance.address], &[instance.address]);
    let mut half = Vec::new();
    for client in 0..60 {
        let mut stream = client_at(&format!("127.0.1.{}", client % 10), world.route.live).await;
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: ").await;
        half.push(stream);
    }
    for own in ["127.0.0.1", "127.0.1.3", "127.0.2.1"] {
        let mut stream = client_at(own, world.route.live).await;
        stream.write_all(GET).await.unwrap();
        assert!(told(stream).await.starts_with("HTTP/1.1 200"), "{own}");
    }
}

#[tokio::test]
async fn live_traffic_that_has_all_places_leaves_the_preview_listener_its_own() {
    let options = Options {
        descriptors: Descriptors::limited_to(128),
        ..Options::default()
    };
    let limits = Limits {
        instance_requests: Some(100),
        ..Limits::default()
    };
    let world = World::start(limits, options).await;
    let ((live, _answers), preview) = (waiting().await, Instance::named("next").await);
    world.switch(&[live.address], &[preview.address]);
    let mut busy = Vec::new();
    for client in 0..28 {
        let own = format!("127.0.1.{}", client % 10);
        let mut stream = client_at(&own, world.route.live).await;
        stream.write_all(GET).await.unwrap();
        busy.push(stream);
    }
    are_asked(&live, 28).await;
    let seen = Client::connect(world.route.preview).await.get("/").await;
    assert_eq!(seen.text, "next");
    let mut late = client_at("127.0.3.1", world.route.live).await;
    let head = soon(read_head(&mut late)).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
}
