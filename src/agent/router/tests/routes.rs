//! Listeners that open, change and close.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Client, Instance, World, backend, free_port, key, scope, short_hold};
use crate::agent::router::{Listener, Options, PortHolder, RouteError, Router, Table};
use crate::model::limits::Limits;
use crate::model::route::Listeners;

fn route(live: SocketAddr, preview: SocketAddr, limits: Limits) -> Listeners {
    Listeners::plain(live, preview, limits)
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
        holder: PortHolder::Process { pid, .. },
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
    assert_eq!(holder, PortHolder::Route(key("web")));
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
    let services = Arc::new([(backend("web"), vec![instance.address])]);
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

/// One web client that asks again and again on new connections, and what went wrong.
struct Visitor {
    stop: tokio_util::sync::CancellationToken,
    visits: tokio::task::JoinHandle<(u32, Vec<String>)>,
}

impl Visitor {
    fn at(address: SocketAddr) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let visits = tokio::spawn({
            let stop = stop.clone();
            async move {
                let (mut count, mut wrong) = (0, Vec::new());
                while !stop.is_cancelled() {
                    count += 1;
                    match TcpStream::connect(address).await {
                        Ok(stream) => wrong.extend(visit(stream).await.err()),
                        Err(error) => wrong.push(error.to_string()),
                    }
                }
                (count, wrong)
            }
        });
        Self { stop, visits }
    }

    async fn saw_nothing_wrong(self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.stop.cancel();
        let (count, wrong) = self.visits.await.unwrap();
        assert!(count > 10, "{count}");
        assert_eq!(wrong, Vec::<String>::new(), "of {count}");
    }
}

async fn visit(mut stream: TcpStream) -> Result<(), String> {
    let request = b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    let sent = stream.write_all(request).await;
    sent.map_err(|error| format!("sending: {error}"))?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    read.map_err(|error| format!("reading: {error}"))?;
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&answer).into_owned())
}

/// A router that leads `web` and `api` to instances that answer with these names.
async fn shop() -> (Router, [Instance; 2]) {
    let router = Router::new(Options::default());
    let instances = [Instance::named("web").await, Instance::named("api").await];
    let names = ["web", "api"];
    let live = names.iter().zip(&instances);
    let live = live.map(|(name, it)| (backend(name), vec![it.address]));
    let table = Table {
        live: live.collect(),
        ..Table::default()
    };
    router.set(&scope(), table);
    (router, instances)
}

fn of(live: SocketAddr, preview: SocketAddr) -> Listeners {
    let limits = Limits::default();
    Listeners::plain(live, preview, limits)
}

/// Addresses that nobody has now, on a loopback address that no other test has.
fn addresses<const N: usize>(host: [u8; 4]) -> [SocketAddr; N] {
    let host = Ipv4Addr::from(host);
    let ports = [(); N].map(|()| std::net::TcpListener::bind((host, 0)).unwrap());
    ports.map(|port| port.local_addr().unwrap())
}

async fn says(address: SocketAddr) -> String {
    Client::connect(address).await.get("/").await.text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_becomes_all_of_them_and_one_again_without_a_refusal() {
    let (router, _instances) = shop().await;
    let [live, preview] = addresses([127, 0, 0, 1]);
    let open = async |live| router.open(key("web"), &of(live, preview)).await;
    open(live).await.unwrap();
    let visitor = Visitor::at(live);
    for to in ["0.0.0.0", "127.0.0.1", "[::]", "0.0.0.0", "127.0.0.1"] {
        let to: SocketAddr = format!("{to}:{}", live.port()).parse().unwrap();
        open(to).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(says(live).await, "web", "{to}");
    }
    visitor.saw_nothing_wrong().await;
}

#[tokio::test]
async fn the_old_address_answers_beside_all_of_them_until_it_is_given_up() {
    let (router, _instances) = shop().await;
    let [live, preview] = addresses([127, 0, 0, 1]);
    let all = SocketAddr::from(([0, 0, 0, 0], live.port()));
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], live.port()));
    let old = of(live, preview);
    router.open(key("web"), &old).await.unwrap();
    let mut client = Client::connect(live).await;
    assert_eq!(client.get("/").await.text, "web");

    let both = old.until(&of(all, preview));
    router.open(key("web"), &both).await.unwrap();
    assert_eq!(says(elsewhere).await, "web");
    assert_eq!(client.get("/").await.text, "web", "on the same connection");

    router.open(key("web"), &old).await.unwrap();
    assert_eq!(client.get("/").await.text, "web", "on the same connection");
    assert!(TcpStream::connect(elsewhere).await.is_err(), "taken back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_swap_their_addresses_without_a_refusal() {
    let (router, _instances) = shop().await;
    let [one, other, preview, next] = addresses([127, 0, 0, 3]);
    let open = async |web, api| {
        let (web, api) = (of(web, preview), of(api, next));
        let changes = [(key("web"), &web), (key("api"), &api)];
        router.open_all(&changes).await
    };
    open(one, other).await.unwrap();
    let visitors = [Visitor::at(one), Visitor::at(other)];
    let mut client = Client::connect(one).await;
    assert_eq!(client.get("/").await.text, "web");

    open(other, one).await.unwrap();
    assert_eq!(
        (says(other).await, says(one).await),
        ("web".to_owned(), "api".to_owned())
    );
    assert_eq!(
        client.get("/").await.text,
        "api",
        "from its next request on"
    );
    for visitor in visitors {
        visitor.saw_nothing_wrong().await;
    }
    router.close(&key("web")).await;
    assert!(
        std::net::TcpListener::bind(other).is_ok(),
        "it is web's now"
    );
}

#[tokio::test]
async fn an_address_that_another_route_has_a_part_of_is_refused() {
    let (router, _instances) = shop().await;
    let [live, preview, next] = addresses([127, 0, 0, 4]);
    router.open(key("web"), &of(live, preview)).await.unwrap();
    let all = SocketAddr::from(([0, 0, 0, 0], live.port()));
    let error = router.open(key("api"), &of(all, next)).await;
    let Err(RouteError::Taken { holder, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(holder, PortHolder::Route(key("web")));

    let error = router.open(key("web"), &of(all, live)).await;
    assert!(matches!(error, Err(RouteError::Taken { .. })), "{error:?}");
    assert_eq!(says(live).await, "web", "nothing has changed");
}

/// A program that shares its port with everybody of its user is not shared with.
#[tokio::test]
async fn another_process_is_named_though_it_would_share_its_port() {
    let (router, _instances) = shop().await;
    let [live, preview] = addresses([127, 0, 0, 5]);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    let theirs = SocketAddr::from(([127, 0, 0, 6], live.port()));
    socket.bind(theirs).unwrap();
    let _theirs = socket.listen(1).unwrap();

    router.open(key("web"), &of(live, preview)).await.unwrap();
    let all = SocketAddr::from(([0, 0, 0, 0], live.port()));
    let error = router.open(key("web"), &of(all, preview)).await;
    let Err(RouteError::Taken {
        holder, address, ..
    }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(address, all);
    assert!(matches!(holder, PortHolder::Process { .. }), "{holder:?}");
    assert_eq!(says(live).await, "web", "nothing has changed");
}
