//! Images that somebody else keeps: what is asked there, and what is told of it.

use super::*;
use crate::driver::registry::layout::Layout;
use crate::model::image::{ImageName, ImageRepository};
use crate::port::engine::Pull;

const HEADER: &str = "docker-content-digest";
const BODY: &[u8] = b"{\"schemaVersion\": 2}";

fn name(server: &Server, tag: &str) -> ImageName {
    let name = format!("{}/acme/web:{tag}", server.address);
    name.parse().expect("an image's name")
}

fn repository(server: &Server) -> ImageRepository {
    name(server, "1").repository
}

/// A registry with one image, that says its digest or does not.
async fn one_image(says: Option<String>) -> Server {
    Server::new(move |head, _| {
        let asks = head.uri.path().trim_start_matches("/v2/");
        let own = [
            format!("acme/web/manifests/{}", Digest::of(BODY)),
            "acme/web/manifests/1".to_owned(),
        ];
        if asks.is_empty() {
            return said(StatusCode::OK, "");
        }
        if !own.iter().any(|own| own == asks) {
            return said(StatusCode::NOT_FOUND, "");
        }
        let body = if head.method == http::Method::HEAD {
            b""
        } else {
            BODY
        };
        let answer = said(StatusCode::OK, body);
        match &says {
            Some(says) => with(answer, http::HeaderName::from_static(HEADER), says),
            None => answer,
        }
    })
    .await
}

#[tokio::test]
async fn a_tag_is_looked_up_without_fetching_anything() {
    let server = one_image(Some(Digest::of(BODY).to_string())).await;
    let remote = remote(None, &[]);
    let found = remote.resolve(&name(&server, "1")).await.expect("a digest");
    assert_eq!(found, Digest::of(BODY));
    remote
        .is_there(&repository(&server), &found)
        .await
        .expect("it is there");
    assert_eq!(
        server.seen.times("/manifests/"),
        1,
        "{:?}",
        server.seen.requests()
    );
    assert_eq!(server.seen.times("GET /v2/acme"), 0);
}

#[tokio::test]
async fn a_registry_that_says_no_digest_is_asked_for_the_manifest() {
    for says in [None, Some("sha512:00".to_owned()), Some(String::new())] {
        let server = one_image(says).await;
        let found = remote(None, &[]).resolve(&name(&server, "1")).await;
        assert_eq!(found.expect("a digest"), Digest::of(BODY));
    }
}

#[tokio::test]
async fn a_registry_that_knows_no_head_is_asked_for_the_manifest() {
    let server = Server::new(|head, _| match (&head.method, head.uri.path()) {
        (&http::Method::HEAD, _) => said(StatusCode::METHOD_NOT_ALLOWED, ""),
        (_, "/v2/acme/web/manifests/1") => said(StatusCode::OK, BODY),
        _ => said(StatusCode::OK, ""),
    })
    .await;
    let found = remote(None, &[]).resolve(&name(&server, "1")).await;
    assert_eq!(found.expect("a digest"), Digest::of(BODY));
}

#[tokio::test]
async fn a_manifest_of_another_time_is_told_by_what_it_is() {
    let nested = json!({"schemaVersion": 2, "manifests": []}).to_string();
    let old = json!({"schemaVersion": 1, "fsLayers": []}).to_string();
    for (inner, words) in [
        (nested, "an index in an index"),
        (old, "a manifest of schema 1"),
    ] {
        let digest = Digest::of(inner.as_bytes());
        let entries = json!([{"digest": digest, "size": inner.len()}]);
        let outer = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        let server = Server::new(move |head, _| match head.uri.path() {
            "/v2/acme/web/manifests/1" => said(StatusCode::OK, outer.clone()),
            path if path.ends_with(digest.hex()) => said(StatusCode::OK, inner.clone()),
            _ => said(StatusCode::OK, ""),
        })
        .await;
        let image = name(&server, "1").to_string().parse().expect("a reference");
        let error = remote(None, &[]).base(&image, &[]).await.expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn what_is_said_of_another_image_is_not_believed() {
    let server = one_image(Some(Digest::of(b"another").to_string())).await;
    let remote = remote(None, &[]);
    // By its digest: what comes is compared with it.
    let own = Digest::of(BODY);
    remote
        .is_there(&repository(&server), &own)
        .await
        .expect("it is there");
    let none = Digest::of(b"none");
    let error = remote.is_there(&repository(&server), &none).await;
    let said = error.expect_err("it is not there").to_string();
    assert!(said.contains("does not have it"), "{said}");
}

#[tokio::test]
async fn no_such_tag_is_told_with_the_next_step() {
    let server = one_image(None).await;
    let error = remote(None, &[]).resolve(&name(&server, "2")).await;
    let error = error.expect_err("no such tag");
    assert!(
        error.to_string().contains("there is no tag 2 of acme/web"),
        "{error}"
    );
    assert!(
        error.help().contains("skopeo list-tags"),
        "{}",
        error.help()
    );
}

#[tokio::test]
async fn a_login_goes_to_no_server_that_only_an_image_s_registry_has_named() {
    let other = Server::new(|_, _| token()).await;
    let realm = other.at("/token");
    let server = Server::new(move |_, _| bearer(&realm)).await;
    let asked = remote(Some(kim()), &[]).resolve(&name(&server, "1")).await;
    let error = asked.expect_err("refused");
    assert!(error.help().contains("auth_hosts"), "{}", error.help());
    assert_eq!(other.seen.requests(), []);

    // Somebody who has a say has named it.
    let named = [other.address.to_string()];
    let _ = remote(Some(kim()), &named)
        .resolve(&name(&server, "1"))
        .await;
    assert_eq!(
        other.seen.times("/token"),
        2,
        "and once more: it may be called back"
    );
}

#[tokio::test]
async fn help_is_about_the_image_where_the_registry_is_not_the_project_s() {
    let server = Server::new(|_, _| said(StatusCode::UNAUTHORIZED, "")).await;
    let malformed = remote(None, &[]).resolve(&name(&server, "1")).await;
    let help = malformed.expect_err("refused").help().to_owned();
    assert!(
        help.contains("the image's name") && !help.contains("registry.endpoint"),
        "{help}"
    );

    let address = server.address;
    drop(server);
    let gone: ImageName = format!(
        "127.0.0.1:{}/acme/web:1",
        address.port().wrapping_add(1).max(1)
    )
    .parse()
    .expect("a name");
    let nobody = remote(None, &[])
        .resolve(&gone)
        .await
        .expect_err("nobody is there");
    assert!(
        nobody.help().contains("whether its registry is up"),
        "{}",
        nobody.help()
    );
}

#[tokio::test]
async fn an_engine_that_fetches_by_itself_is_told_where() {
    let server = one_image(Some(Digest::of(BODY).to_string())).await;
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::beside(folder.path().join("l"), Arc::new(remote(None, &[])));
    let repository = repository(&server);
    let home = ImageHome::Elsewhere(&repository);
    assert_eq!(layout.pull(home), layout.folder());
    let layout = layout.leaving_others();
    let place = format!("{}/acme/web", server.address);
    assert_eq!(layout.pull(home), Pull::Repository(place.clone()));
    assert_eq!(layout.pull(ImageHome::Project(&web())), layout.folder());
    assert_eq!(oci(&server).pull(home), Pull::Repository(place));
    layout
        .verify(home, &Digest::of(BODY))
        .await
        .expect("it is there");
    assert!(!folder.path().join("l").exists(), "nothing was brought");
}

/// A login that is never given.
struct Never;

#[async_trait::async_trait]
impl Login for Never {
    async fn log_in(&self, _: &str) -> Result<LoggedIn, RegistryError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_look_up_of_a_tag_ends_whoever_asked_for_it() {
    let remote = Remote::new(Arc::new(Never), Trust::default());
    let name: ImageName = "127.0.0.1:1/acme/web:1".parse().expect("a name");
    let limit = std::time::Duration::from_millis(50);
    let error = remote.resolve_within(&name, limit).await;
    let error = error.expect_err("no digest").to_string();
    assert!(error.contains("no answer within 50ms"), "{error}");
}
