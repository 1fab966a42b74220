//! A service of a host that speaks something else than HTTP at a port of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use crate::support::{PATIENCE, World, free_port, until};

/// A service that answers each line at `line`, with a listener for each slot.
struct Lines {
    world: World,
    host: String,
    blue: u16,
    green: u16,
}

impl Lines {
    fn new() -> Self {
        let mut world = World::new();
        let ports = "{line: {port: 7000, protocol: tcp}}".to_owned();
        world.service.insert("ports".to_owned(), ports);
        world.env.insert("LINE".to_owned(), "\"yes\"".to_owned());
        let host = world.live_address().replace(":8080", "");
        let (blue, green) = (free_port(), free_port());
        let mut lines = Self {
            world,
            host,
            blue,
            green,
        };
        lines.drain("60s");
        lines
    }

    fn drain(&mut self, drain: &str) {
        let (host, blue, green) = (&self.host, self.blue, self.green);
        self.world.staging = vec![
            "promotion: {mode: auto, probe: {linger: 50ms}}".to_owned(),
            format!(
                "traffic: {{address: {host}, limits: {{drain: {drain}, client_connections: 1000, \
                 instance_requests: 1000}}, listeners: {{web: {{ports: {{line: {{live: 7000, \
                 preview: 7001, blue: {blue}, green: {green}}}}}}}}}}}"
            ),
        ];
    }

    fn connect(&self) -> Client {
        Client::connect(&format!("{}:7000", self.host))
    }
}

/// A client's connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(BufReader::new(stream))
    }

    /// The answer to a line; nothing when the connection has ended.
    fn ask(&mut self) -> String {
        let mut answer = String::new();
        let asked = self.0.get_mut().write_all(b"?\n");
        let _ = asked.and_then(|()| self.0.read_line(&mut answer));
        answer.trim_end().to_owned()
    }

    /// Waits until the other end has ended it.
    fn has_ended(&mut self) -> bool {
        let mut rest = String::new();
        // Cut off by the router, or ended by an instance that stops.
        let read = self.0.read_line(&mut rest);
        read.map_or_else(
            |error| error.kind() == std::io::ErrorKind::ConnectionReset,
            |read| read == 0,
        )
    }
}

#[test]
fn open_connections_stay_where_they_are_until_the_drain_is_over() {
    let mut lines = Lines::new();
    lines.world.apply().code(0);
    let mut old: Vec<Client> = (0..200).map(|_| lines.connect()).collect();
    for client in &mut old {
        assert_eq!(client.ask(), "v1 ?");
    }

    lines.world.message("v2");
    lines
        .world
        .apply()
        .code(0)
        .says("Probed while switching: 0 of ");
    let mut new = lines.connect();
    assert_eq!(new.ask(), "v2 ?");
    for client in &mut old {
        assert_eq!(client.ask(), "v1 ?", "none of them was broken");
    }
    let at = |port: u16| Client::connect(&format!("127.0.0.1:{port}")).ask();
    assert_eq!(
        (at(lines.blue), at(lines.green)),
        ("v1 ?".into(), "v2 ?".into())
    );
    let preview = format!("{}:7001", lines.host);
    assert_eq!(Client::connect(&preview).ask(), "v1 ?");
    let status = lines.world.run(&["status", "--env", "staging"]).code(0);
    let (live, own) = (
        format!("tcp://{}:7000", lines.host),
        format!("127.0.0.1:{}", lines.blue),
    );
    status
        .says(&live)
        .says(&format!("tcp://{preview}"))
        .says(&own);

    let back = ["rollback", "--env", "staging", "--auto-approve"];
    lines.world.run(&back).code(0);
    assert_eq!(lines.connect().ask(), "v1 ?");
    assert_eq!(new.ask(), "v2 ?");
    for client in &mut old {
        assert_eq!(client.ask(), "v1 ?");
    }

    lines.drain("300ms");
    lines.world.message("v3");
    lines.world.apply().code(0);
    assert_eq!(lines.connect().ask(), "v3 ?");
    for client in &mut old {
        assert!(client.has_ended());
    }
    assert!(new.has_ended());
}

#[test]
fn the_listener_is_there_again_after_the_agent_was_killed() {
    let lines = Lines::new();
    lines.world.apply().code(0);
    let pid = lines.world.agent_pid().expect("it runs").to_string();
    let kill = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status();
    assert!(kill.expect("kill starts").success());
    until("the agent is gone", || lines.world.agent_pid().is_none());
    lines.world.apply().code(0);
    assert_eq!(lines.connect().ask(), "v1 ?");
}

#[test]
fn an_instance_that_does_not_listen_there_gets_no_traffic() {
    let mut lines = Lines::new();
    lines.world.apply().code(0);
    lines.world.env.remove("LINE");
    let health = "{path: /healthz, interval: 100ms, start_within: 2s}".to_owned();
    lines.world.service.insert("health".to_owned(), health);
    let said = lines.world.apply().code(1);
    assert!(said.stderr.contains("(PORT_LINE)"), "{}", said.stderr);
    assert_eq!(lines.connect().ask(), "v1 ?");
}

#[test]
fn who_has_the_address_already_is_named() {
    let lines = Lines::new();
    let address = format!("{}:7000", lines.host);
    let _taken = std::net::TcpListener::bind(&address).expect("it is free");
    let plan = lines.world.run(&["plan", "--env", "staging"]).code(0);
    plan.says(&format!("web is to listen at {address}, which it-"))
        .says("stop it, or set another address under `traffic.listeners`");
    let said = lines.world.apply().code(1);
    assert!(said.stderr.contains(&address), "{}", said.stderr);
    assert!(said.stderr.contains("taken by"), "{}", said.stderr);
}
