//! Connections to `tcp` ports.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{Client, Instance, RawInstance, free_port, key, scope, soon};
use crate::agent::Descriptors;
use crate::agent::router::{Backend, Options, Router, Table};
use crate::model::Period;
use crate::model::limits::Limits;
use crate::model::port::Protocol;
use crate::model::route::{Listeners, PortListeners};

/// A service with HTTP at the port with the traffic, and something else at `sql`.
struct World {
    router: Router,
    route: Listeners,
    sql: SocketAddr,
}

fn sql() -> Backend {
    Backend {
        service: "web".parse().unwrap(),
        port: Some("sql".parse().unwrap()),
    }
}

impl World {
    async fn new(limits: Limits) -> Self {
        Self::with(limits, Descriptors::of_this_process()).await
    }

    async fn with(limits: Limits, descriptors: Descriptors) -> Self {
        let [live, preview, sql] = [free_port(), free_port(), free_port()];
        let mut route = Listeners::plain(live.1, preview.1, limits);
        let port = PortListeners {
            protocol: Protocol::Tcp,
            live: Some(sql.1),
            ..PortListeners::default()
        };
        route.ports.insert("sql".parse().unwrap(), port);
        let router = Router::new(Options {
            inherited: vec![live.0, preview.0, sql.0],
            descriptors,
            ..Options::default()
        });
        router.open(key("web"), &route).await.unwrap();
        let sql = sql.1;
        Self { router, route, sql }
    }

    /// Sends live traffic to these instances.
    fn switch(&self, instances: &[SocketAddr]) {
        let live = [(sql(), instances.to_vec())].into();
        self.router.set(
            &scope(),
            Table {
                live,
                ..Table::default()
            },
        );
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.sql).await.unwrap()
    }
}

fn limits(drain: Duration) -> Limits {
    let millis = u64::try_from(drain.as_millis()).unwrap();
    Limits {
        drain: Period::from_millis(millis),
        client_connections: Some(1000),
        instance_requests: Some(1000),
        ..Limits::default()
    }
}

/// What is cut off does not look as if it had ended.
const CUT: Result<usize, std::io::ErrorKind> = Err(std::io::ErrorKind::ConnectionReset);
const LONG: Duration = Duration::from_mins(1);

/// Answers each byte with its name.
async fn named(name: u8) -> RawInstance {
    RawInstance::serving(move |_, mut stream| async move {
        while stream.read_u8().await.is_ok() {
            if stream.write_u8(name).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Who answers on a connection.
async fn who(stream: &mut TcpStream) -> u8 {
    stream.write_u8(b'?').await.unwrap();
    soon(stream.read_u8()).await.unwrap()
}

/// How a connection ended on which nothing was said any more.
async fn end(stream: &mut TcpStream) -> Result<usize, std::io::ErrorKind> {
    soon(stream.read(&mut [0]))
        .await
        .map_err(|error| error.kind())
}

#[tokio::test]
async fn open_connections_stay_with_their_slot_and_new_ones_go_to_the_next() {
    let world = World::new(limits(LONG)).await;
    let (blue, green) = (named(b'b').await, named(b'g').await);
    world.switch(&[blue.address]);
    let mut old = Vec::new();
    for _ in 0..200 {
        let mut stream = world.connect().await;
        assert_eq!(who(&mut stream).await, b'b');
        old.push(stream);
    }

    world.switch(&[green.address]);
    let mut new = world.connect().await;
    assert_eq!(who(&mut new).await, b'g');
    for stream in &mut old {
        assert_eq!(who(stream).await, b'b');
    }
    assert_eq!(world.router.in_flight(blue.address), 200);

    world.switch(&[blue.address]);
    let mut back = world.connect().await;
    assert_eq!(who(&mut back).await, b'b');
    assert_eq!(who(&mut new).await, b'g');
    assert_eq!(who(&mut old[0]).await, b'b');
}

#[tokio::test]
async fn what_is_left_when_the_drain_is_over_is_closed_and_what_came_back_is_not() {
    let drain = Duration::from_millis(300);
    let world = World::new(limits(drain)).await;
    let (blue, green) = (named(b'b').await, named(b'g').await);
    world.switch(&[blue.address]);
    let mut old = world.connect().await;
    assert_eq!(who(&mut old).await, b'b');

    world.switch(&[green.address]);
    let mut new = world.connect().await;
    assert_eq!(who(&mut new).await, b'g');
    world.switch(&[blue.address]);
    assert_eq!(end(&mut new).await, CUT, "green drained");
    assert_eq!(who(&mut old).await, b'b', "blue had the traffic again");
    assert!(world.router.drained(&[green.address], LONG).await);
    assert_eq!(world.router.in_flight(blue.address), 1);
}

#[tokio::test]
async fn an_end_of_one_side_is_passed_on_and_the_other_goes_on() {
    let world = World::new(limits(LONG)).await;
    let instance = RawInstance::serving(|_, mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    world.switch(&[instance.address]);
    let mut stream = world.connect().await;
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "cba");
}

#[tokio::test]
async fn an_instance_that_breaks_off_is_no_end_and_the_next_connection_has_another() {
    let world = World::new(limits(LONG)).await;
    let breaks = RawInstance::serving(|_, mut stream| async move {
        stream.read_u8().await.unwrap();
        let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.unwrap();
    })
    .await;
    let other = named(b'o').await;
    world.switch(&[breaks.address]);
    let mut stream = world.connect().await;
    stream.write_u8(b'?').await.unwrap();
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    assert_eq!(end(&mut stream).await, reset);

    // Nobody listens there any more, which the table does not know yet.
    let (gone, address) = free_port();
    drop(gone);
    world.switch(&[address, other.address]);
    for _ in 0..4 {
        assert_eq!(who(&mut world.connect().await).await, b'o');
    }
}

#[tokio::test]
async fn a_connection_waits_for_an_instance_and_is_reset_when_none_comes() {
    let short = Limits {
        hold: Period::from_millis(50),
        ..limits(LONG)
    };
    let world = World::new(short).await;
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    assert_eq!(end(&mut world.connect().await).await, reset);

    let world = World::new(limits(LONG)).await;
    let instance = named(b'i').await;
    let mut early = world.connect().await;
    early.write_u8(b'?').await.unwrap();
    world.switch(&[instance.address]);
    assert_eq!(soon(early.read_u8()).await.unwrap(), b'i');
}

#[tokio::test]
async fn nothing_is_read_for_a_client_that_does_not_read() {
    const ALL: usize = 256 << 20;
    let world = World::new(limits(LONG)).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let instance = RawInstance::serving(move |_, mut stream| {
        let tell = tell.lock().unwrap().take().unwrap();
        async move {
            let piece = vec![7; 64 << 10];
            let mut sent = 0;
            let pause = Duration::from_millis(500);
            while sent < ALL {
                match tokio::time::timeout(pause, stream.write(&piece)).await {
                    Ok(written) => sent += written.unwrap(),
                    Err(_) => break,
                }
            }
            tell.send(sent).unwrap();
        }
    })
    .await;
    world.switch(&[instance.address]);
    let mut stream = world.connect().await;
    assert_eq!(soon(stream.read_u8()).await.unwrap(), 7);
    let sent = soon(told).await.unwrap();
    assert!(sent < ALL / 4, "{sent} bytes were taken, and none was read");

    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest.len() + 1, sent, "none of them is lost");
}

#[tokio::test]
async fn connections_that_do_nothing_leave_http_its_half() {
    // 28 connections to live listeners, of which 14 may be none of HTTP's.
    let world = World::with(limits(LONG), Descriptors::limited_to(128)).await;
    let (web, instance) = (Instance::named("web").await, named(b'i').await);
    world.router.set(
        &scope(),
        Table {
            live: [
                (sql(), vec![instance.address]),
                (super::support::backend("web"), vec![web.address]),
            ]
            .into(),
            ..Table::default()
        },
    );
    let mut idle = Vec::new();
    for _ in 0..14 {
        let mut stream = world.connect().await;
        assert_eq!(who(&mut stream).await, b'i');
        idle.push(stream);
    }
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    assert_eq!(end(&mut world.connect().await).await, reset);

    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(world.route.live).await;
        assert_eq!(client.get("/").await.text, "web");
        clients.push(client);
    }
    for stream in &mut idle {
        assert_eq!(who(stream).await, b'i', "none of them made room");
    }
    drop(idle.pop());
    assert!(world.router.in_flight(instance.address) >= 13);
    let again = async {
        while soon(async {
            let mut stream = world.connect().await;
            stream.write_u8(b'?').await.ok()?;
            stream.read_u8().await.ok()
        })
        .await
        .is_none()
        {}
    };
    soon(again).await;
}

#[tokio::test]
async fn five_hundred_connections_that_do_nothing_are_no_trouble() {
    let world = World::with(limits(LONG), Descriptors::limited_to(4096)).await;
    let (web, instance) = (Instance::named("web").await, named(b'i').await);
    world.router.set(
        &scope(),
        Table {
            live: [
                (sql(), vec![instance.address]),
                (super::support::backend("web"), vec![web.address]),
            ]
            .into(),
            ..Table::default()
        },
    );
    let mut idle = Vec::new();
    for _ in 0..500 {
        let mut stream = world.connect().await;
        assert_eq!(who(&mut stream).await, b'i');
        idle.push(stream);
    }
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect(world.route.live).await;
        assert_eq!(client.get("/").await.text, "web");
        clients.push(client);
    }
    for stream in &mut idle {
        assert_eq!(who(stream).await, b'i');
    }
}

#[tokio::test]
async fn a_client_has_its_share_and_what_says_nothing_ends() {
    let few = Limits {
        client_connections: Some(2),
        tcp_idle: Period::from_millis(300),
        ..limits(LONG)
    };
    let world = World::new(few).await;
    let instance = named(b'i').await;
    world.switch(&[instance.address]);
    let mut own = [world.connect().await, world.connect().await];
    for stream in &mut own {
        assert_eq!(who(stream).await, b'i');
    }
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    assert_eq!(end(&mut world.connect().await).await, reset);

    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(world.sql).await.unwrap();
    assert_eq!(who(&mut other).await, b'i', "another client has its own");
    for stream in &mut own {
        assert_eq!(end(stream).await, CUT);
    }
}

#[tokio::test]
async fn a_listener_that_closes_gives_its_connections_time_to_drain() {
    let world = World::new(limits(Duration::from_millis(300))).await;
    let instance = named(b'i').await;
    world.switch(&[instance.address]);
    let mut stream = world.connect().await;
    assert_eq!(who(&mut stream).await, b'i');
    world.router.close(&key("web")).await;
    assert_eq!(who(&mut stream).await, b'i');
    assert_eq!(end(&mut stream).await, CUT);
}
