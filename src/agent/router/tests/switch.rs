//! The switch, with traffic on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Notify, oneshot};

use super::support::{Answer, Client, Instance, World, key, piecewise, request, scope, soon, text};
use crate::agent::router::Table;
use crate::model::Period;
use crate::model::limits::Limits;

#[tokio::test]
async fn a_kept_connection_reaches_the_new_instance_after_a_switch() {
    let world = World::new().await;
    let (blue, green) = (
        Instance::named("blue").await,
        Instance::named("green").await,
    );
    let mut client = world.client().await;
    world.live(&[blue.address]);
    assert_eq!(client.get("/").await.text, "blue");
    world.live(&[green.address]);
    assert_eq!(client.get("/").await.text, "green", "the same connection");
    assert!(!client.sender.is_closed());
}

#[tokio::test]
async fn a_held_request_goes_on_as_soon_as_an_instance_is_ready() {
    let limits = Limits {
        hold: Period::from_secs(20),
        ..Limits::default()
    };
    let (world, instance) = (World::with(limits).await, Instance::named("blue").await);
    let mut client = world.client().await;
    let held = tokio::spawn(async move { client.get("/").await.text });
    let active_table = world.router.shared.registry.active_table(&scope());
    soon(async {
        while active_table.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.router.set(&scope(), Table::default());
    world.live(&[instance.address]);
    assert_eq!(soon(held).await.unwrap(), "blue");
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_the_old_instance_and_is_counted() {
    let world = World::new().await;
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&arrived), Arc::clone(&go));
    let old = Instance::serving(move |_| {
        let (arrived, go) = gate.clone();
        async move {
            arrived.notify_one();
            go.notified().await;
            Response::new(text("old"))
        }
    })
    .await;
    let new = Instance::named("new").await;
    world.live(&[old.address]);
    let mut client = world.client().await;
    let slow = tokio::spawn(async move { client.get("/").await.text });
    soon(arrived.notified()).await;
    world.live(&[new.address]);
    assert_eq!(world.get("/").await.text, "new");
    assert_eq!(world.router.in_flight(old.address), 1);
    assert!(
        !world
            .router
            .drained(&[old.address], Duration::from_millis(20))
            .await
    );
    let drained = {
        let (router, old) = (world.router.clone(), old.address);
        async move { router.drained(&[old], Duration::from_secs(20)).await }
    };
    let drained = tokio::spawn(drained);
    go.notify_one();
    assert_eq!(soon(slow).await.unwrap(), "old");
    assert!(soon(drained).await.unwrap());
    assert_eq!(world.router.in_flight(old.address), 0);
}

#[tokio::test]
async fn a_body_that_still_streams_is_in_flight() {
    let world = World::new().await;
    let (end, ended) = oneshot::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(Some(ended)));
    let old = Instance::serving(move |_| {
        let ended = ended.lock().unwrap().take();
        async move {
            let frames = futures_util::stream::unfold((0, ended), |(count, ended)| async move {
                if count == 1 {
                    let _ = ended?.await;
                    return None;
                }
                Some((Ok(Frame::data(Bytes::from_static(b"first"))), (1, ended)))
            });
            Response::new(BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(
                frames,
            )))))
        }
    })
    .await;
    world.live(&[old.address]);
    let mut client = world.client().await;
    let mut response = client
        .try_send(request(Method::GET, "/", text("")))
        .await
        .unwrap();
    let first = soon(response.frame()).await.unwrap().unwrap();
    assert_eq!(first.data_ref().unwrap(), "first");
    world.live(&[]);
    assert_eq!(world.router.in_flight(old.address), 1);
    end.send(()).unwrap();
    assert_eq!(Answer::of(response).await.text, "");
    assert!(
        world
            .router
            .drained(&[old.address], Duration::from_secs(20))
            .await
    );
}

/// `BoxBody` asks for `Sync`; nobody polls a stream from two threads.
struct SyncStream<S>(S);

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        std::pin::Pin::new(&mut self.0).poll_next(context)
    }
}

#[tokio::test]
async fn an_upload_that_the_instance_answered_early_is_in_flight_until_it_ends() {
    let world = World::new().await;
    let instance = Instance::serving(|request: Request<Incoming>| async {
        tokio::spawn(request.into_body().collect());
        Response::new(text("early"))
    })
    .await;
    world.live(&[instance.address]);
    let (pieces, body) = piecewise();
    let mut client = world.client().await;
    pieces.send(Bytes::from_static(b"begun")).await.unwrap();
    assert_eq!(
        client.send(request(Method::POST, "/", body)).await.text,
        "early"
    );
    assert_eq!(world.router.in_flight(instance.address), 1);
    drop(pieces);
    assert!(
        world
            .router
            .drained(&[instance.address], Duration::from_secs(20))
            .await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_upload_fails_across_fifty_switches_and_no_drained_instance_is_asked() {
    let world = World::with(Limits {
        hold: Period::from_secs(20),
        ..Limits::default()
    })
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            tokio::spawn(upload_until(
                world.route.live,
                Arc::clone(&done),
                Arc::clone(&answered),
                number,
            ))
        })
        .collect();
    let mut live = Instance::echo().await;
    world.live(&[live.address]);
    for _ in 0..50 {
        let seen = answered.load(Ordering::SeqCst);
        let next = Instance::echo().await;
        world.live(&[next.address]);
        let old = std::mem::replace(&mut live, next);
        assert!(
            world
                .router
                .drained(&[old.address], Duration::from_secs(20))
                .await
        );
        // Its connections end with it: a request that comes now would fail.
        drop(old);
        soon(async {
            while answered.load(Ordering::SeqCst) < seen + 8 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    done.store(true, Ordering::SeqCst);
    for client in clients {
        soon(client).await.unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) >= 400);
}

/// Uploads in pieces on one connection, and reads everything back.
async fn upload_until(
    live: std::net::SocketAddr,
    done: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    number: usize,
) {
    let mut client = Client::connect(live).await;
    let mut round = 0;
    while !done.load(Ordering::SeqCst) {
        let (pieces, body) = piecewise();
        let sending = tokio::spawn(async move {
            for piece in 0..4 {
                pieces
                    .send(Bytes::from(format!("{number}-{round}-{piece};")))
                    .await
                    .unwrap();
            }
        });
        let answer = client.send(request(Method::POST, "/", body)).await;
        sending.await.unwrap();
        let sent = (0..4)
            .map(|piece| format!("{number}-{round}-{piece};"))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!((answer.status, answer.text), (StatusCode::OK, sent));
        answered.fetch_add(1, Ordering::SeqCst);
        round += 1;
    }
}

#[tokio::test]
async fn idle_connections_to_an_instance_end_when_it_leaves_the_table() {
    let world = World::new().await;
    let closed = Arc::new(Notify::new());
    let told = Arc::clone(&closed);
    let old = super::support::RawInstance::serving(move |_, mut stream| {
        let told = Arc::clone(&told);
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            super::support::read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            told.notify_one();
        }
    })
    .await;
    world.live(&[old.address]);
    assert_eq!(world.get("/").await.status, StatusCode::OK);
    world.live(&[]);
    soon(closed.notified()).await;
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish_and_takes_no_new_ones() {
    let world = World::new().await;
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&arrived), Arc::clone(&go));
    let instance = Instance::serving(move |_| {
        let (arrived, go) = gate.clone();
        async move {
            arrived.notify_one();
            go.notified().await;
            Response::new(text("finished"))
        }
    })
    .await;
    world.live(&[instance.address]);
    let mut client = world.client().await;
    let slow = tokio::spawn(async move { client.get("/").await.text });
    soon(arrived.notified()).await;
    let router = world.router.clone();
    let shutdown = tokio::spawn(async move { router.shutdown(Duration::from_secs(20)).await });
    tokio::task::yield_now().await;
    go.notify_one();
    assert_eq!(soon(slow).await.unwrap(), "finished");
    soon(shutdown).await.unwrap();
    let refused = world
        .router
        .open(key("web"), &world.route)
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            crate::agent::router::RouteError::ShuttingDown { .. }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn a_shutdown_cuts_what_does_not_end() {
    let world = World::new().await;
    let instance = Instance::serving(|_| std::future::pending::<Response<_>>()).await;
    world.live(&[instance.address]);
    let mut client = world.client().await;
    let stuck = tokio::spawn(async move {
        client
            .try_send(request(Method::GET, "/", text("")))
            .await
            .is_err()
    });
    soon(async {
        while world.router.in_flight(instance.address) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(world.router.shutdown(Duration::from_millis(20))).await;
    assert!(soon(stuck).await.unwrap());
    assert!(
        world
            .router
            .drained(&[instance.address], Duration::from_secs(20))
            .await
    );
}
