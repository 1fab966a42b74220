//! Many clients at once: what they take is never what a service is judged by.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::{World, http, until};

/// The open files that the agent may have.
const FILES: usize = 4096;

/// A world whose agent may have [`FILES`], and starts with a soft limit of 256.
fn world() -> World {
    let mut world = World::new();
    let health = "{path: /healthz, interval: 50ms, failures: 2, start_within: 20s, \
                  liveness: {interval: 50ms, timeout: 5s, failures: 2}}";
    world.service.insert("health".to_owned(), health.to_owned());
    let first = format!("ulimit -Sn 256; ulimit -Hn {FILES}");
    crate::launch::apply_after(&world, &first).code(0);

    // The clients are this process.
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).expect("it may");
    world
}

fn instance(world: &World) -> Value {
    world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0].clone()
}

/// It is the same process, never restarted, and ready. Each look takes as long as a few probes.
fn is_well(world: &World, before: &Value) {
    for _ in 0..20 {
        let now = instance(world);
        assert_eq!(now["health"], "ready", "{now}");
        assert_eq!(
            (&now["pid"], &now["restarts"]),
            (&before["pid"], &before["restarts"]),
            "{now}"
        );
    }
}

/// A connection of one of 200 clients.
fn client(world: &World, number: usize) -> Option<TcpStream> {
    let address: SocketAddr = world.live_address().parse().expect("an address");
    let last = u8::try_from(number % 200).expect("small") + 1;
    let own: IpAddr = Ipv4Addr::new(127, 77, 0, last).into();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from((own, 0)).into()).ok()?;
    let wait = Duration::from_secs(2);
    socket.connect_timeout(&address.into(), wait).ok()?;
    Some(socket.into())
}

#[test]
fn idle_connections_up_to_nine_tenths_of_the_files_end_no_service() {
    let world = world();
    let before = instance(&world);
    let idle: Vec<TcpStream> = (0..FILES * 9 / 10)
        .filter_map(|number| client(&world, number))
        .collect();
    assert!(idle.len() > FILES / 2, "{} are there", idle.len());
    is_well(&world, &before);
    drop(idle);
    until("clients are served again", || {
        http::get(&world.live_address(), "/").is_ok_and(|answer| answer.body == "v1")
    });
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [
        &length[1..],
        &[kind, flags][..],
        &stream.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// Requests whose bodies never come, on one connection.
fn slow_requests(count: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // POST, http, /, and the authority `a`: with the end of the head, without that of the request.
    let head = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    for number in 0..count {
        bytes.extend(frame(1, 4, 2 * number + 1, &head));
    }
    bytes
}

#[test]
fn five_thousand_slow_streams_end_no_service() {
    let world = world();
    let before = instance(&world);
    let mut connections = Vec::new();
    for number in 0..50 {
        let mut connection = client(&world, number).expect("a connection");
        connection
            .write_all(&slow_requests(100))
            .expect("they are taken");
        connections.push(connection);
    }
    // It has seen them: the first frame of an answer is its settings.
    for connection in &mut connections {
        let mut head = [0; 9];
        connection.read_exact(&mut head).expect("an answer");
        assert_eq!(head[3], 4, "settings");
    }
    is_well(&world, &before);
    drop(connections);
    until("clients are served again", || {
        http::get(&world.live_address(), "/").is_ok_and(|answer| answer.body == "v1")
    });
}
