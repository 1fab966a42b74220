//! Registries that break off, or call back a token before its time.

use std::sync::atomic::AtomicUsize;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};

use super::*;
use crate::driver::registry::oci::auth::Access;

/// A registry whose layer `0123456789` breaks off once in the middle; `again` is what it answers
/// then, by the range that is asked for.
async fn that_breaks_off(again: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
    let broken = AtomicUsize::new(0);
    Server::new(move |head, _| {
        if !head.uri.path().contains("/blobs/") {
            return said(StatusCode::OK, "{}");
        }
        if broken.fetch_add(1, Ordering::SeqCst) > 0 {
            let range = head.headers.get(RANGE).map(HeaderValue::to_str);
            return again(range.transpose().expect("text").unwrap_or("all"));
        }
        let half = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"01234")))]);
        // It is sent before it breaks off: nothing more is ready then.
        let end = futures_util::stream::once(tokio::task::yield_now());
        let half = half.chain(end.filter_map(|()| std::future::ready(None)));
        let answer = Response::new(BodyExt::boxed(StreamBody::new(half)));
        with(answer, CONTENT_LENGTH, "10")
    })
    .await
}

/// What comes of fetching it, and how often it was asked for.
async fn fetched(server: &Server) -> (Result<String, RegistryError>, usize) {
    let layer = Blob {
        media_type: String::new(),
        digest: Digest::of(b"0123456789"),
        size: 10,
        file: None,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("layer");
    let (remote, image) = (remote(None, &[]), image(server));
    let open = remote.open(&image, Access::Pull).await.expect("open");
    let fetched = super::super::fetch::fetch(&open, &image, &layer, &to).await;
    let text = fetched.map(|()| std::fs::read_to_string(&to).expect("a file"));
    (text, server.seen.times("/blobs/"))
}

fn part(range: &'static str, text: &'static str) -> Answer {
    with(
        said(StatusCode::PARTIAL_CONTENT, text),
        CONTENT_RANGE,
        range,
    )
}

#[tokio::test]
async fn a_layer_that_breaks_off_goes_on_where_it_was() {
    let server = that_breaks_off(|range| match range {
        "bytes=5-" => part("bytes 5-9/10", "56789"),
        other => panic!("{other} was asked for"),
    });
    let (text, times) = fetched(&server.await).await;
    assert_eq!((text.expect("fetched").as_str(), times), ("0123456789", 2));
}

#[tokio::test]
async fn where_no_part_is_given_it_begins_again() {
    let refusals: [(fn() -> Answer, usize); 3] = [
        (|| said(StatusCode::OK, "0123456789"), 2),
        (|| part("bytes 0-4/10", "01234"), 3),
        (|| said(StatusCode::RANGE_NOT_SATISFIABLE, ""), 3),
    ];
    for (refusal, requests) in refusals {
        let server = that_breaks_off(move |range| match range {
            "all" => said(StatusCode::OK, "0123456789"),
            _ => refusal(),
        });
        let (text, times) = fetched(&server.await).await;
        let text = text.expect("fetched");
        assert_eq!((text.as_str(), times), ("0123456789", requests));
    }
}

#[tokio::test]
async fn parts_that_do_not_fit_together_are_fetched_as_a_whole_once_more() {
    let server = that_breaks_off(|range| match range {
        "all" => said(StatusCode::OK, "0123456789"),
        _ => part("bytes 5-9/10", "other"),
    });
    let (text, times) = fetched(&server.await).await;
    assert_eq!((text.expect("fetched").as_str(), times), ("0123456789", 3));

    let server = that_breaks_off(|range| match range {
        "all" => said(StatusCode::OK, "and others"),
        _ => part("bytes 5-9/10", "other"),
    });
    let (text, times) = fetched(&server.await).await;
    let is_corrupt = matches!(text, Err(RegistryError::Corrupt { .. }));
    assert!(is_corrupt && times == 3, "{text:?}, {times}");
}

/// A registry that takes the newest token alone.
async fn of_the_newest_token(issued: Arc<AtomicUsize>) -> Server {
    Server::new(move |head, _| {
        let newest = || format!("Bearer tok{}", issued.load(Ordering::SeqCst));
        let shown = head.headers.get(AUTHORIZATION);
        match head.uri.path() {
            "/token" => {
                let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
                said(StatusCode::OK, format!("{{\"token\": \"tok{number}\"}}"))
            }
            _ if shown.is_some_and(|shown| *shown == *newest()) => said(StatusCode::OK, "{}"),
            _ => bearer(&format!(
                "http://{}/token",
                head.headers["host"].to_str().expect("text")
            )),
        }
    })
    .await
}

#[tokio::test]
async fn a_token_that_is_called_back_is_changed_for_another_one() {
    let issued = Arc::new(AtomicUsize::new(0));
    let server = of_the_newest_token(Arc::clone(&issued)).await;
    let remote = remote(Some(kim()), &[]);
    let open = remote
        .open(&image(&server), Access::Push)
        .await
        .expect("open");
    let there = async || {
        let what = || "asking".to_owned();
        let (image, wire) = (image(&server), &open.wire);
        open.again(what, || wire.has_manifest(&image)).await
    };
    assert!(there().await.expect("asked"));
    issued.fetch_add(1, Ordering::SeqCst);
    assert!(there().await.expect("asked"));
    assert_eq!(server.seen.times("GET /token"), 2);

    let again = remote
        .open(&image(&server), Access::Push)
        .await
        .expect("open");
    let image = image(&server);
    let there = again.wire.has_manifest(&image).await;
    assert!(there.expect("asked"), "the new one is kept");
    assert_eq!(server.seen.times("GET /token"), 2);
}

#[tokio::test]
async fn a_registry_that_takes_no_token_is_asked_for_one_more_and_then_believed() {
    let server = Server::new(|head, _| match head.uri.path() {
        "/token" => token(),
        _ => bearer(&format!(
            "http://{}/token",
            head.headers["host"].to_str().expect("text")
        )),
    })
    .await;
    let reason = refused(&server, &remote(Some(kim()), &[])).await;
    assert!(reason.contains("does not let this login in"), "{reason}");
    assert_eq!(server.seen.times("GET /token"), 2);
}
