//! Listeners that open, change and close.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::StatusCode;
use tokio::net::TcpStream;

use super::support::{Client, Instance, World, free_port, key, scope, short_hold};
use crate::agent::router::{Holder, Listener, Options, RouteError, Router, Table};
use crate::model::route::{Limits, Route};

fn route(live: SocketAddr, preview: SocketAddr, limits: Limits) -> Route {
    Route::plain("web".parse().unwrap(), live, preview, limits)
}

#[tokio::test]
async fn a_taken_port_is_said_to_be_taken_and_by_whom_and_nothing_changes() {
    let router = Router::new(Options::default());
    let ((taken, address), (free, other)) = (free_port(), free_port());
    drop(free);
    let error = router
        .open(key("web"), &route(other, address, short_hold()))
        .await
        .unwrap_err();
    let RouteError::Taken {
        holder: Holder::Process { pid, .. },
        listener,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*pid, *listener), (std::process::id(), Listener::Preview));
    let text = error.to_string();
    let begin = format!("{address}, the preview listener of web of shop/production, is taken by ");
    assert!(text.starts_with(&begin), "{text}");
    assert!(
        TcpStream::connect(other).await.is_err(),
        "the live listener was not left open"
    );
    drop(taken);
}

#[tokio::test]
async fn another_route_that_has_the_port_is_named() {
    let world = World::new().await;
    let error = world
        .router
        .open(key("api"), &world.route)
        .await
        .unwrap_err();
    let RouteError::Taken { holder, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(holder, Holder::Route(key("web")));
}

#[tokio::test]
async fn live_and_preview_need_two_addresses() {
    let address = free_port().1;
    let router = Router::new(Options::default());
    let error = router
        .open(key("web"), &route(address, address, short_hold()))
        .await
        .unwrap_err();
    assert!(matches!(error, RouteError::SameAddress { .. }), "{error:?}");
}

#[tokio::test]
async fn a_route_is_opened_twice_without_a_trace() {
    let (world, instance) = (World::new().await, Instance::named("blue").await);
    world.live(&[instance.address]);
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text, "blue");
    world.router.open(key("web"), &world.route).await.unwrap();
    assert_eq!(client.get("/").await.text, "blue", "on the same connection");
}

#[tokio::test]
async fn a_changed_address_answers_and_the_old_one_is_free() {
    let ports = [free_port(), free_port(), free_port()];
    let [live, preview, next] = [ports[0].1, ports[1].1, ports[2].1];
    drop(ports);
    let router = Router::new(Options::default());
    let instance = Instance::named("blue").await;
    let services = Arc::new([("web".parse().unwrap(), vec![instance.address])]);
    router.set(
        &scope(),
        Table {
            live: services.iter().cloned().collect(),
            ..Table::default()
        },
    );
    router
        .open(key("web"), &route(live, preview, short_hold()))
        .await
        .unwrap();
    assert_eq!(Client::connect(live).await.get("/").await.text, "blue");
    router
        .open(key("web"), &route(next, preview, short_hold()))
        .await
        .unwrap();
    assert_eq!(Client::connect(next).await.get("/").await.text, "blue");
    assert!(
        std::net::TcpListener::bind(live).is_ok(),
        "the old port is free"
    );
    router.close(&key("web")).await;
    assert!(
        std::net::TcpListener::bind(next).is_ok(),
        "and so is the new one after the end"
    );
}

#[tokio::test]
async fn live_and_preview_may_swap_addresses() {
    let world = World::with(short_hold()).await;
    let (blue, green) = (
        Instance::named("blue").await,
        Instance::named("green").await,
    );
    world.switch(&[blue.address], &[green.address]);
    let swapped = route(world.route.preview, world.route.live, short_hold());
    world.router.open(key("web"), &swapped).await.unwrap();
    assert_eq!(
        Client::connect(swapped.live).await.get("/").await.text,
        "blue"
    );
    assert_eq!(
        Client::connect(swapped.preview).await.get("/").await.text,
        "green"
    );
}

#[tokio::test]
async fn a_closed_route_can_be_opened_again() {
    let world = World::with(short_hold()).await;
    world.router.close(&key("web")).await;
    world.router.open(key("web"), &world.route).await.unwrap();
    assert_eq!(world.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
