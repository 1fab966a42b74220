//! What clients of all kinds may send.

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::io::AsyncWriteExt;

use super::support::{
    Answer, AnyBody, Instance, RawInstance, World, over_http_2, raw, read_head, request, soon, text,
};

#[tokio::test]
async fn http_1_and_http_2_reach_the_instance() {
    let (world, instance) = (World::new().await, Instance::echo().await);
    world.live(&[instance.address]);
    let post = |body: &'static str| request(Method::POST, "http://shop.test/", text(body));
    assert_eq!(world.client().await.send(post("one")).await.text, "one");
    assert_eq!(over_http_2(world.route.live, post("two")).await.text, "two");
}

#[tokio::test]
async fn live_and_preview_lead_to_their_own_instances() {
    let world = World::new().await;
    let (blue, green) = (
        Instance::named("blue").await,
        Instance::named("green").await,
    );
    world.switch(&[blue.address], &[green.address]);
    assert_eq!(world.get("/").await.text, "blue");
    let mut preview = super::support::Client::connect(world.route.preview).await;
    assert_eq!(preview.get("/").await.text, "green");
}

#[tokio::test]
async fn a_head_has_the_length_and_no_body() {
    let (world, instance) = (World::new().await, Instance::named("12345").await);
    world.live(&[instance.address]);
    let mut client = world.client().await;
    let head = client.send(request(Method::HEAD, "/", text(""))).await;
    assert_eq!(
        (head.text.as_str(), &head.headers["content-length"]),
        ("", &HeaderValue::from(5))
    );
    assert_eq!(
        client.get("/").await.text,
        "12345",
        "the connection is in step"
    );
}

#[tokio::test]
async fn an_http_1_0_client_gets_an_answer_that_ends_with_the_connection() {
    let world = World::new().await;
    let instance = Instance::serving(|_| async {
        let chunks = ["a", "b"].map(|text| Ok(Frame::data(text.into())));
        Response::new(StreamBody::new(futures_util::stream::iter(chunks)).boxed())
    })
    .await;
    world.live(&[instance.address]);
    let answer = raw(world.route.live, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nab"),
        "{answer}"
    );
    assert!(!answer.contains("chunked"), "{answer}");
}

/// A body in chunks, with a trailer after it.
fn with_trailer(data: Bytes, trailers: HeaderMap) -> AnyBody {
    let frames = [Ok(Frame::data(data)), Ok(Frame::trailers(trailers))];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let world = World::new().await;
    let instance = Instance::serving(|request: Request<Incoming>| async {
        let sent = request.into_body().collect().await.unwrap();
        let trailers = sent.trailers().cloned().unwrap_or_default();
        let mut response = Response::new(with_trailer(sent.to_bytes(), trailers));
        response
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("x-sum"));
        response
    })
    .await;
    world.live(&[instance.address]);
    let trailers =
        HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))]);
    let mut request = request(Method::POST, "/", with_trailer("data".into(), trailers));
    request
        .headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    request
        .headers_mut()
        .insert("trailer", HeaderValue::from_static("x-sum"));
    let mut client = world.client().await;
    let response = client.try_send(request).await.unwrap();
    let received = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(
        received
            .trailers()
            .map(|trailers| trailers["x-sum"].clone()),
        Some("7".parse().unwrap())
    );
}

/// Answers with the names that stood in the trailers, and in `Trailer`.
async fn naming_trailers(request: Request<Incoming>) -> Response<AnyBody> {
    let announced = request.headers().get("trailer").cloned();
    let sent = request.into_body().collect().await.unwrap();
    let trailers = sent.trailers().cloned().unwrap_or_default();
    let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
    let names = format!("{announced:?} {}", names.join(","));
    Response::new(with_trailer(names.into(), HeaderMap::new()))
}

#[tokio::test]
async fn trailers_tell_a_service_nothing_of_who_asked() {
    let world = World::new().await;
    let instance = Instance::serving(naming_trailers).await;
    world.live(&[instance.address]);
    let names = [
        "x-forwarded-for",
        "remote-user",
        "x_real_ip",
        "cookie",
        "x-sum",
    ];
    let trailers: HeaderMap = names
        .iter()
        .map(|name| (name.parse().unwrap(), HeaderValue::from_static("6.6.6.6")))
        .collect();
    let mut request = request(Method::POST, "/", with_trailer("data".into(), trailers));
    let announced = HeaderValue::from_str(&names.join(", ")).unwrap();
    request.headers_mut().insert("trailer", announced);

    let mut client = world.client().await;
    let response = client.try_send(request).await.unwrap();
    let received = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(received.to_bytes(), "Some(\"x-sum\") x-sum");
}

#[tokio::test]
async fn a_get_with_chunks_keeps_its_body() {
    let (world, instance) = (World::new().await, Instance::echo().await);
    world.live(&[instance.address]);
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: \
               chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = raw(world.route.live, get).await;
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_reaches_no_instance_in_two_ways() {
    let (world, instance) = (World::new().await, Instance::mirror().await);
    world.live(&[instance.address]);
    let send = async |head: &str, body: &str| {
        raw(
            world.route.live,
            &format!("POST / HTTP/1.1\r\n{head}connection: close\r\n\r\n{body}"),
        )
        .await
    };
    let both = send(
        "host: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\n",
    )
    .await;
    assert!(
        both.starts_with("HTTP/1.1 400") || !both.contains("content-length: 4"),
        "{both}"
    );
    let lengths = send(
        "host: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n",
        "aaaaa",
    )
    .await;
    assert!(lengths.starts_with("HTTP/1.1 400"), "{lengths}");
    assert!(send("", "").await.starts_with("HTTP/1.1 400"), "no host");
    assert!(
        send("host: a\r\nhost: b\r\n", "")
            .await
            .starts_with("HTTP/1.1 400"),
        "two hosts"
    );
}

#[tokio::test]
async fn a_connect_is_refused() {
    let (world, instance) = (World::new().await, Instance::named("never").await);
    world.live(&[instance.address]);
    let answer = raw(
        world.route.live,
        "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert_eq!(instance.requests(), 0);
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_is_told_to_go_on() {
    let (world, instance) = (World::new().await, Instance::echo().await);
    world.live(&[instance.address]);
    let post = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: \
                100-continue\r\ncontent-length: 2\r\n\r\nhi";
    let answer = raw(world.route.live, post).await;
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
}

#[tokio::test]
async fn an_answer_of_another_version_is_given_in_the_clients() {
    let (world, instance) = (World::new().await, Instance::named("a").await);
    world.live(&[instance.address]);
    let response = world
        .client()
        .await
        .try_send(request(Method::GET, "/", text("")))
        .await
        .unwrap();
    assert_eq!(response.version(), Version::HTTP_11);
    let answer = Answer::of(response).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "a"));
}

#[tokio::test]
async fn a_response_with_two_lengths_is_passed_on_with_one() {
    let world = World::new().await;
    let instance = RawInstance::serving(|_, mut stream| async move {
        read_head(&mut stream).await;
        let both = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: \
                     chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        stream.write_all(both).await.unwrap();
    })
    .await;
    world.live(&[instance.address]);
    let answer = world.get("/").await;
    assert_eq!(
        (answer.text.as_str(), answer.headers.get("content-length")),
        ("ok", None)
    );
}
