//! The ports of a service: which get traffic, what they may be called, and what is refused.

use super::{GOOD, faults, project};
use crate::config::schema::ServiceConfig;
use crate::model::port::Protocol;

const CLUSTER: &str = "registry: {kind: oci, endpoint: localhost}\ncluster: {kind: kubernetes}\n\
                       traffic: {kind: service}\n";

/// The service `web` without a port of its own, on a cluster.
fn base() -> String {
    format!("{}{CLUSTER}", GOOD.replace("    port: 8080\n", ""))
}

fn web(environment: &str) -> ServiceConfig {
    let mut project = project(&base(), environment).expect("valid");
    let (_, mut staging) = project.environments.pop_first().expect("one");
    staging.services.pop_first().expect("one").1
}

/// The port that gets the traffic, and the others.
fn shown(environment: &str) -> (Option<String>, Vec<String>) {
    let web = web(environment);
    let traffic = web.traffic_port();
    let traffic = traffic.map(|(name, port)| format!("{name} {}", port.number));
    let others = web.other_ports().into_iter().map(|(name, port)| {
        let tcp = if port.protocol == Protocol::Tcp {
            " tcp"
        } else {
            ""
        };
        format!("{name} {}{tcp}", port.number)
    });
    (traffic, others.collect())
}

#[test]
fn one_port_gets_the_traffic_and_the_others_have_names() {
    for (ports, traffic, others) in [
        ("{port: 8080}", Some("http 8080"), vec![]),
        ("{ports: {http: 8080}}", Some("http 8080"), vec![]),
        (
            "{port: 8080, ports: {metrics: 9090}}",
            Some("http 8080"),
            vec!["metrics 9090"],
        ),
        (
            "{ports: {http: {port: 8080}, db: {port: 5432, protocol: tcp}}}",
            Some("http 8080"),
            vec!["db 5432 tcp"],
        ),
        (
            "{port: web, ports: {web: 1, http: 65535}}",
            Some("web 1"),
            vec!["http 65535"],
        ),
        (
            "{port: none, ports: {metrics: 9090}}",
            None,
            vec!["metrics 9090"],
        ),
        ("{port: none}", None, vec![]),
        ("{}", None, vec![]),
    ] {
        let found = shown(&format!("services: {{web: {ports}}}"));
        assert_eq!(found.0.as_deref(), traffic, "{ports}");
        assert_eq!(found.1, others, "{ports}");
    }
}

#[test]
fn what_no_port_can_be_is_refused_where_it_is_written() {
    for (service, wanted) in [
        (
            "{ports: {http: 0}}",
            "1:32: services.web.ports.http: 0 is not a port | write a number from 1 to 65535",
        ),
        (
            "{ports: {http: 70000}}",
            "services.web.ports.http: this is the number 70000, and a port from 1 to 65535, or a \
             map",
        ),
        (
            "{port: 70000}",
            "services.web.port: this is the number 70000, and a port from 1 to 65535, the name",
        ),
        (
            "{ports: {http: {port: 65536}}}",
            "services.web.ports.http.port: this is the number 65536",
        ),
        (
            "{ports: {http: {}}}",
            "services.web.ports.http: the key `port` is missing",
        ),
        (
            "{ports: {http: {port: 1, protocl: tcp}}}",
            "1:42: services.web.ports.http.protocl: unknown key `protocl` | did you mean \
             `protocol`?",
        ),
        (
            "{ports: {http: {port: 1, protocol: udp}}}",
            "services.web.ports.http.protocol: unknown value `udp` | the values here are: http, \
             tcp",
        ),
        (
            "{ports: [8080]}",
            "services.web.ports: this is a list, and a map is needed",
        ),
        (
            "{ports: {abcdefghijklmnop: 1}}",
            "`abcdefghijklmnop` has 16 characters, and a port's name has 1 to 15",
        ),
        (
            "{ports: {8080: 8080}}",
            "`8080` is no port's name: a-z, 0-9 and single dashes",
        ),
        ("{ports: {none: 1}}", "`none` is no port's name"),
        (
            "{port: 8080, ports: {http: 9090}}",
            "1:44: services.web.ports.http: `port` is the one that is called `http` | keep one",
        ),
        (
            "{port: 8080, ports: {metrics: 8080}}",
            "services.web.ports.metrics: 8080 is `port` already",
        ),
        (
            "{port: none, ports: {a: 1, b: {port: 1, protocol: tcp}}}",
            "services.web.ports.b: 1 is `a` already",
        ),
        (
            "{port: metric, ports: {metrics: 9090}}",
            "1:24: services.web.port: there is no port `metric` under `ports` | did you mean \
             `metrics`?",
        ),
        (
            "{ports: {metrics: 9090}}",
            "services.web.ports: nothing says which of its ports gets the traffic | call it \
             `http`, or write `port: metrics`; `port: none` for a service that gets none",
        ),
        (
            "{port: db, ports: {db: {port: 5432, protocol: tcp}}, health: {path: /up}}",
            "services.web.health.path: its port `db` answers no HTTP | take the path out",
        ),
        (
            "{port: http, ports: {http: 80, db: {port: 5432, protocol: tcp}}, health: {path: /up, \
             liveness: {path: /alive, port: db}}}",
            "services.web.health.liveness.path: its port `db` answers no HTTP",
        ),
        (
            "{port: 8080, health: {path: /up, port: admin}}",
            "services.web.health.port: web has no port `admin` | the ports here are: http",
        ),
        (
            "{port: 8080, health: {run: [a], port: http}}",
            "services.web.health.port: a command under `run` asks no port | take the key out",
        ),
        (
            "{port: 8080, health: {liveness: {port: http}}}",
            "services.web.health.liveness.port: a port of its own goes with a `path`",
        ),
        (
            "{port: none, ports: {metrics: 9090}, health: {path: /up}}",
            "services.web.health: a service without a port has no path to ask",
        ),
    ] {
        let found = faults(&base(), &format!("services: {{web: {service}}}"));
        assert_eq!(found.len(), 1, "{service}: {found:#?}");
        assert!(found[0].contains(wanted), "{service}: {}", found[0]);
    }
}

#[test]
fn what_is_not_http_comes_in_by_a_service_or_by_the_router_of_a_host() {
    let db = "services: {web: {port: db, ports: {db: {port: 5432, protocol: tcp}}}}\n";
    let host = GOOD.replace("    port: 8080\n", "");
    project(&host, db).expect("the router of a host leads to it");

    for (rest, wanted) in [
        (
            "promotion: {before: [{http: {path: /}}]}",
            "promotion.before.0: its port `db` answers no HTTP | write `tcp: {}`",
        ),
        (
            "traffic: {kind: ingress, entries: {web: {host: db.example.com}}}",
            "traffic.entries.web.host: what is not HTTP has no host and no path",
        ),
        (
            "traffic: {kind: gateway, gateway: {name: a}, entries: {web: {path: /db}}}",
            "traffic.entries.web.path: what is not HTTP has no host and no path",
        ),
    ] {
        let found = faults(&base(), &format!("{db}{rest}\n"));
        assert_eq!(found.len(), 1, "{rest}: {found:#?}");
        assert!(found[0].contains(wanted), "{rest}: {}", found[0]);
    }
    let good = "traffic: {kind: ingress, entries: {web: {annotations: {a: b}}}}\n\
                promotion: {before: [{tcp: {}}]}\n";
    project(&base(), &format!("{db}{good}")).expect("valid");
}

#[test]
fn a_further_port_of_a_host_has_the_listeners_that_are_written() {
    let host = format!("{GOOD}    ports: {{metrics: 9090, db: {{port: 5432, protocol: tcp}}}}\n");
    let traffic = |ports: &str| {
        format!("traffic: {{address: 10.0.0.1, listeners: {{web: {{ports: {{{ports}}}}}}}}}\n")
    };
    let text = traffic(
        "metrics: {address: 10.0.0.2, live: 9090, blue: 9092}, db: {live: 5432, preview: 5433}",
    );
    let project = project(&host, &text).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let (name, web) = staging.services.iter().next().expect("one");
    let listeners = staging.listeners(name, web).expect("a host's");
    let shown: Vec<String> = listeners.each().iter().map(shown_address).collect();
    assert_eq!(
        shown,
        [
            "- Http live 10.0.0.1:8080",
            "- Http preview 127.0.0.1:8081",
            "db Tcp live 10.0.0.1:5432",
            "db Tcp preview 127.0.0.1:5433",
            "metrics Http live 10.0.0.2:9090",
            "metrics Http blue 127.0.0.1:9092",
        ]
    );

    for (ports, wanted) in [
        (
            "",
            "services.web.ports.db.protocol: nothing leads to this port | write `traffic: \
             {listeners: {web: {ports: {db: {live: 5432}}}}}`, or take it out here with `ports: \
             {db: null}`",
        ),
        (
            "db: {}",
            "traffic.listeners.web.ports.db: nothing listens here | write `live`, or `blue`",
        ),
        (
            "db: {live: 0}",
            "traffic.listeners.web.ports.db.live: 0 is not a port",
        ),
        (
            "db: {blue: 5432, address: 10.0.0.2}",
            "traffic.listeners.web.ports.db.address: it is the live listener's, and there is none",
        ),
        (
            "db: {live: 5432}, metric: {live: 1}",
            "traffic.listeners.web.ports.metric: web has no port `metric` | did you mean \
             `metrics`?",
        ),
        (
            "db: {live: 5432}, http: {live: 1}",
            "traffic.listeners.web.ports.http: `http` is the port of web with the traffic",
        ),
        (
            "db: {live: 8080}",
            "traffic.listeners.web.ports.db.live: 10.0.0.1:8080 would be live of db of web in \
             staging, and is live of web in staging already",
        ),
    ] {
        let found = faults(&host, &traffic(ports));
        assert_eq!(found.len(), 1, "{ports}: {found:#?}");
        assert!(found[0].contains(wanted), "{ports}: {}", found[0]);
    }
}

fn shown_address(it: &crate::model::route::ListenAddress<'_>) -> String {
    let port = it.port.map_or("-", |port| port.as_str());
    format!("{port} {:?} {} {}", it.protocol, it.listener, it.address)
}

#[test]
fn nginx_leads_to_http_alone() {
    let slots = "blue: 9001, green: 9002";
    let host = format!("{GOOD}    ports: {{db: {{port: 5432, protocol: tcp}}}}\n");
    let further = format!(
        "traffic: {{kind: nginx, listeners: {{web: {{{slots}, ports: {{db: {{live: 5432}}}}}}}}}}\n"
    );
    let found = faults(&host, &further);
    let wanted = "traffic.listeners.web.ports.db: nginx has the traffic here, and leads to one \
                  HTTP port of a service | take it out, or write `traffic: {kind: embedded}`";
    assert!(found.len() == 1 && found[0].contains(wanted), "{found:#?}");

    let host = GOOD.replace("    port: 8080\n", "");
    let db = format!(
        "services: {{web: {{port: db, ports: {{db: {{port: 5432, protocol: tcp}}}}}}}}\n\
         traffic: {{kind: nginx, listeners: {{web: {{{slots}}}}}}}\n"
    );
    let found = faults(&host, &db);
    let wanted = "traffic.kind: nginx has the traffic here, and `db` of web speaks no HTTP";
    assert!(found.len() == 1 && found[0].contains(wanted), "{found:#?}");
}

#[test]
fn a_check_names_a_port_besides_the_one_with_the_traffic() {
    let checked = |check: &str| {
        let shipit = format!("{GOOD}    ports: {{metrics: 9090}}\n");
        faults(&shipit, &format!("promotion: {{before: [{check}]}}"))
    };
    let shipit = format!("{GOOD}    ports: {{metrics: 9090}}\n");
    let check = "promotion: {before: [{http: {path: /m, service: web, port: metrics}}]}";
    project(&shipit, check).expect("valid");
    for (check, said) in [
        ("{http: {path: /m, port: metrics}}", "no service is named"),
        ("{tcp: {service: web, port: http}}", "with the traffic"),
        (
            "{tcp: {service: web, port: metric}}",
            "did you mean `metrics`?",
        ),
        (
            "{tcp: {service: wib, port: metrics}}",
            "there is no service wib",
        ),
    ] {
        let found = checked(check);
        assert!(
            found.len() == 1 && found[0].contains(said),
            "{check}: {found:?}"
        );
    }
}

/// What asks for a port that could not be read says nothing that is not said already.
#[test]
fn a_port_that_cannot_be_read_is_one_fault() {
    let promotion =
        "promotion: {before: [http: {service: web, path: /x}], after: [http: {path: /}]}\n";
    for (port, found) in [
        ("port: 80.5", "services.web.port: this is the number 80.5"),
        ("port: -1", "services.web.port: this is the number -1"),
        (
            "ports: {http: 99999}",
            "services.web.ports.http: this is the number 99999",
        ),
        (
            "ports: {http: {prot: 1}}",
            "services.web.ports.http.prot: unknown key `prot`",
        ),
    ] {
        let good = GOOD.replace("port: 8080", port);
        let found_all = faults(&format!("{good}{promotion}"), "");
        let [one] = found_all.as_slice() else {
            panic!("{port}: {found_all:?}");
        };
        assert!(one.contains(found), "{port}: {one}");
    }
}
