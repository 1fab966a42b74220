//! Connections that leave HTTP.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{self, Message};

use super::support::{Instance, World, key, raw, short_head, soon};
use crate::model::Period;
use crate::model::limits::Limits;

/// Sends every message back.
async fn echo() -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    (address, tasks)
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn open(world: &World) -> Result<Socket, tungstenite::Error> {
    let stream = TcpStream::connect(world.route.live).await.unwrap();
    soon(tokio_tungstenite::client_async(
        "ws://shop.test/chat",
        stream,
    ))
    .await
    .map(|(socket, _)| socket)
}

async fn say(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text)).await.unwrap();
    soon(socket.next())
        .await
        .unwrap()
        .unwrap()
        .into_text()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn a_websocket_survives_a_switch_and_is_in_flight_until_it_ends() {
    let world = World::new().await;
    let ((instance, _tasks), new) = (echo().await, Instance::named("new").await);
    world.live(&[instance]);
    let mut socket = open(&world).await.unwrap();
    assert_eq!(say(&mut socket, "before").await, "before");
    world.live(&[new.address]);
    assert_eq!(world.get("/").await.text, "new");
    assert_eq!(say(&mut socket, "after").await, "after");
    assert_eq!(world.router.in_flight(instance), 1);
    assert!(
        !world
            .router
            .drained(&[instance], Duration::from_millis(20))
            .await
    );
    drop(socket);
    assert!(
        world
            .router
            .drained(&[instance], Duration::from_secs(20))
            .await
    );
}

#[tokio::test]
async fn an_instance_that_stops_ends_its_websockets() {
    let world = World::new().await;
    let (instance, tasks) = echo().await;
    world.live(&[instance]);
    let mut socket = open(&world).await.unwrap();
    assert_eq!(say(&mut socket, "hello").await, "hello");
    drop(tasks);
    assert!(!matches!(soon(socket.next()).await, Some(Ok(_))));
    assert!(
        world
            .router
            .drained(&[instance], Duration::from_secs(20))
            .await
    );
}

#[tokio::test]
async fn an_instance_may_decline_to_upgrade() {
    let (world, instance) = (World::new().await, Instance::named("plain").await);
    world.live(&[instance.address]);
    let Err(tungstenite::Error::Http(response)) = open(&world).await else {
        panic!("an HTTP response")
    };
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn nobody_gets_past_the_router_by_h2c() {
    let (world, instance) = (World::new().await, Instance::mirror().await);
    world.live(&[instance.address]);
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\nupgrade: \
               h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let seen = raw(world.route.live, get).await;
    assert!(
        seen.starts_with("HTTP/1.1 200")
            && !seen.contains("h2c")
            && !seen.contains("http2-settings"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_closed_route_cuts_its_websockets_after_the_time_to_drain() {
    let world = World::with(Limits {
        drain: Period::from_millis(50),
        ..Limits::default()
    })
    .await;
    let (instance, _tasks) = echo().await;
    world.live(&[instance]);
    let mut socket = open(&world).await.unwrap();
    assert_eq!(say(&mut socket, "hello").await, "hello");
    world.router.close(&key("web")).await;
    assert!(!matches!(soon(socket.next()).await, Some(Ok(_))));
    assert!(
        world
            .router
            .drained(&[instance], Duration::from_secs(20))
            .await
    );
}

#[tokio::test]
async fn the_deadline_of_a_head_is_none_for_a_websocket() {
    let world = World::with(short_head()).await;
    let (instance, _tasks) = echo().await;
    world.live(&[instance]);
    let mut socket = open(&world).await.unwrap();
    assert_eq!(say(&mut socket, "hello").await, "hello");
    let mut silent = TcpStream::connect(world.route.live).await.unwrap();
    let mut nothing = Vec::new();
    soon(silent.read_to_end(&mut nothing)).await.unwrap();
    assert_eq!(
        say(&mut socket, "still there").await,
        "still there",
        "after a younger deadline is over"
    );
}
