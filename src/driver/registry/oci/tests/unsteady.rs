//! Registries that break off, or call back a token before its time.

use std::sync::atomic::AtomicUsize;

use http::header::CONTENT_LENGTH;

use super::*;
use crate::driver::registry::oci::auth::Access;

#[tokio::test]
async fn a_layer_that_breaks_off_is_fetched_again() {
    let broken = AtomicUsize::new(0);
    let server = Server::new(move |head, _| {
        if !head.uri.path().contains("/blobs/") {
            return said(StatusCode::OK, "{}");
        }
        if broken.fetch_add(1, Ordering::SeqCst) > 0 {
            return said(StatusCode::OK, "0123456789");
        }
        let half = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"01234")))]);
        let answer = Response::new(BodyExt::boxed(StreamBody::new(half)));
        with(answer, CONTENT_LENGTH, "10")
    })
    .await;
    let layer = Blob {
        media_type: String::new(),
        digest: Digest::of(b"0123456789"),
        size: 10,
        file: None,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("layer");
    let remote = remote(None, &[]);
    let open = remote
        .open(&image(&server), Access::Pull)
        .await
        .expect("open");
    let fetched = super::super::fetch::fetch(&open, &image(&server), &layer, &to).await;
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_eq!(server.seen.times("/blobs/"), 2);
    assert_eq!(std::fs::read(&to).expect("a file"), b"0123456789");
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
