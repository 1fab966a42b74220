//! What an instance sees of a request, and a client of a response.

use hyper::Response;
use hyper::header::HeaderValue;

use super::support::{Instance, World, raw, text};

#[tokio::test]
async fn an_instance_sees_the_client_and_not_its_connection() {
    let (world, instance) = (World::new().await, Instance::mirror().await);
    world.live(&[instance.address]);
    let get = "GET http://shop.test/a?b HTTP/1.1\r\nhost: other\r\nconnection: close, x-mine\r\nx-mine: 1\r\n\
               keep-alive: timeout=5\r\nproxy-authorization: x\r\nte: gzip\r\nx-forwarded-for: 9.9.9.9\r\n\r\n";
    let seen = raw(world.route.live, get).await;
    let has = |line: &str| seen.lines().any(|seen| seen == line);
    assert!(has("GET /a?b") && has("host: shop.test"), "{seen}");
    assert!(has("x-forwarded-for: 9.9.9.9, 127.0.0.1"), "{seen}");
    assert!(
        has("x-forwarded-proto: http") && has("x-forwarded-host: shop.test"),
        "{seen}"
    );
    assert!(seen.contains("x-request-id: "), "{seen}");
    for gone in [
        "x-mine",
        "keep-alive",
        "proxy-authorization",
        "\nte: ",
        "connection: close, x-mine",
    ] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let (world, instance) = (World::new().await, Instance::mirror().await);
    world.live(&[instance.address]);
    let id = async |line: &str| {
        let get = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{line}\r\n");
        let seen = raw(world.route.live, &get).await;
        seen.lines()
            .find_map(|line| line.strip_prefix("x-request-id: ").map(str::to_owned))
            .unwrap()
    };
    assert_eq!(id("x-request-id: mine\r\n").await, "mine");
    let (one, two) = (id("").await, id("").await);
    assert!(one.len() > 16 && one != two, "{one} {two}");
}

#[tokio::test]
async fn a_client_sees_nothing_of_the_instances_connection() {
    let world = World::new().await;
    let instance = Instance::serving(|_| async {
        let mut response = Response::new(text("a"));
        let headers = response.headers_mut();
        headers.insert("connection", HeaderValue::from_static("x-inner"));
        headers.insert("x-inner", HeaderValue::from_static("1"));
        headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
        headers.insert("x-outer", HeaderValue::from_static("1"));
        response
    })
    .await;
    world.live(&[instance.address]);
    let headers = world.get("/").await.headers;
    assert!(headers.contains_key("x-outer"));
    for gone in ["connection", "x-inner", "keep-alive"] {
        assert!(!headers.contains_key(gone), "{gone} in {headers:?}");
    }
}
