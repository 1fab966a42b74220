//! What an instance sees of a request, and a client of a response.

use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::io::AsyncWriteExt;

use super::support::{
    Answer, Instance, RawInstance, World, key, over_http_2, raw, read_head, request, text,
};
use crate::model::TrustedProxies;

#[tokio::test]
async fn an_instance_sees_the_client_and_not_its_connection() {
    let (world, instance) = (World::new().await, Instance::mirror().await);
    world.live(&[instance.address]);
    let get = "GET http://shop.test/a?b HTTP/1.1\r\nhost: other\r\nconnection: close, \
               x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-authorization: x\r\nte: \
               gzip\r\nx-forwarded-for: 9.9.9.9\r\n\r\n";
    let seen = raw(world.route.live, get).await;
    let has = |line: &str| seen.lines().any(|seen| seen == line);
    assert!(has("GET /a?b") && has("host: shop.test"), "{seen}");
    assert!(has("x-forwarded-for: 127.0.0.1"), "{seen}");
    assert!(has("x-real-ip: 127.0.0.1"), "{seen}");
    assert!(
        has("x-forwarded-proto: http") && has("x-forwarded-host: shop.test"),
        "{seen}"
    );
    assert!(seen.contains("x-request-id: "), "{seen}");
    assert!(has("x-mine: 1"), "a client takes nothing away: {seen}");
    for gone in [
        "keep-alive",
        "proxy-authorization",
        "\nte: ",
        "connection: close, x-mine",
    ] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[tokio::test]
async fn a_trusted_proxys_word_reaches_the_instance_and_a_changed_route_takes_it_back() {
    let (mut world, instance) = (World::new().await, Instance::mirror().await);
    world.live(&[instance.address]);
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
               x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\ntrue-client-ip: \
               9.9.9.9\r\n\r\n";
    let claims = [
        "9.9.9.9, 127.0.0.1",
        "x-forwarded-proto: https",
        "true-client-ip",
    ];

    world.route.trusted_proxies = ["127.0.0.0/8".parse().unwrap()].into_iter().collect();
    world.router.open(key("web"), &world.route).await.unwrap();
    let seen = raw(world.route.live, get).await;
    for claim in claims {
        assert!(seen.contains(claim), "{claim} in {seen}");
    }

    world.route.trusted_proxies = TrustedProxies::nobody();
    world.router.open(key("web"), &world.route).await.unwrap();
    let seen = raw(world.route.live, get).await;
    for claim in claims {
        assert!(!seen.contains(claim), "{claim} in {seen}");
    }
}

#[tokio::test]
async fn a_coding_that_is_not_taken_off_is_not_passed_on_either_way() {
    let world = World::new().await;
    let instance = RawInstance::serving(|_, mut stream| async move {
        read_head(&mut stream).await;
        let coded =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        stream.write_all(coded).await.unwrap();
    })
    .await;
    world.live(&[instance.address]);
    let answer = world.get("/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

/// An instance that answers each request with these bytes and closes.
async fn that_says(answer: &'static str) -> (World, RawInstance) {
    let world = World::new().await;
    let instance = RawInstance::serving(move |_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    world.live(&[instance.address]);
    (world, instance)
}

#[tokio::test]
async fn an_instance_of_another_version_changes_nothing_for_its_clients() {
    let (world, _instance) = that_says("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let mut client = world.client().await;
    for _ in 0..2 {
        let get = request(Method::GET, "/", text(""));
        let answer = client.try_send(get).await.expect("the connection stays");
        assert_eq!(answer.version(), Version::HTTP_11);
        assert_eq!(Answer::of(answer).await.text, "ok");
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_or_for_nothing_ends_no_stream() {
    for (said, text_of) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", ""),
    ] {
        let (world, _instance) = that_says(said).await;
        let get = Request::get("http://shop.test/").body(text("")).unwrap();
        let answer = over_http_2(world.route.live, get).await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.text, text_of, "{said}");
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

#[tokio::test]
async fn a_body_that_is_broken_before_anything_was_sent_is_a_bad_gateway() {
    for said in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    ] {
        let (world, _instance) = that_says(said).await;
        let answer = world.get("/").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{said:?}");
    }
}
