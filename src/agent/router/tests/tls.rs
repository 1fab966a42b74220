//! TLS below HTTP: the same limits for whoever stalls, and the same word to the service.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Bytes;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::support::{Instance, World, key, soon};
use crate::agent::Descriptors;
use crate::agent::router::Options;
use crate::model::certificate::{CertificateFiles, CertificateSource, Tls};
use crate::model::limits::Limits;
use crate::model::{ByteSize, Period};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// A world whose route has TLS, and what its clients connect with.
struct Secured {
    world: World,
    connector: TlsConnector,
    _folder: TempDir,
}

impl Secured {
    async fn with(limits: Limits, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key_pair = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key_pair).unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("site.pem"), certificate.pem()).unwrap();
        std::fs::write(path("site.key"), key_pair.serialize_pem()).unwrap();

        let mut world = World::start(limits, options).await;
        world.route.tls = Some(Tls {
            certificates: vec![CertificateSource::Files(CertificateFiles {
                certificate: path("site.pem"),
                key: path("site.key"),
            })],
            hsts: Some(Period::from_secs(60)),
        });
        world.router.open(key("web"), &world.route).await.unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            world,
            connector: TlsConnector::from(Arc::new(config)),
            _folder: folder,
        }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.world.route.live).await.unwrap();
        let host = ServerName::try_from("shop.test").unwrap();
        soon(self.connector.connect(host, stream)).await.unwrap()
    }

    async fn is_let_go(&self, instance: &Instance) {
        let (within, all) = (Duration::from_secs(30), [instance.address]);
        assert!(
            self.world.router.drained(&all, within).await,
            "it is still in use"
        );
    }
}

async fn is_asked(instance: &Instance) {
    let asked = async {
        while instance.requests() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(asked).await;
}

#[tokio::test]
async fn a_service_is_told_of_https_and_a_browser_of_hsts_at_the_live_listener() {
    let secured = Secured::with(Limits::default(), Options::default()).await;
    let instance = Instance::mirror().await;
    secured
        .world
        .switch(&[instance.address], &[instance.address]);
    let mut stream = secured.connect().await;
    let close = b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    stream.write_all(close).await.unwrap();
    let mut told = String::new();
    soon(stream.read_to_string(&mut told)).await.unwrap();
    assert!(told.contains("x-forwarded-proto: https\n"), "{told}");
    assert!(
        told.contains("strict-transport-security: max-age=60\r\n"),
        "{told}"
    );

    let preview = TcpStream::connect(secured.world.route.preview)
        .await
        .unwrap();
    let host = ServerName::try_from("shop.test").unwrap();
    let mut stream = soon(secured.connector.connect(host, preview))
        .await
        .unwrap();
    stream.write_all(close).await.unwrap();
    let mut told = String::new();
    soon(stream.read_to_string(&mut told)).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(
        !told.contains("strict-transport"),
        "a preview is not the host: {told}"
    );
}

#[tokio::test]
async fn a_response_that_is_not_read_lets_the_instance_go() {
    let limits = Limits {
        min_rate: ByteSize::from_mib(1 << 20),
        min_rate_over: Period::from_millis(50),
        ..Limits::default()
    };
    let secured = Secured::with(limits, Options::default()).await;
    let instance = Instance::serving(|_| async {
        let frames = futures_util::stream::repeat_with(|| {
            let data = Bytes::from(vec![b'a'; 64 << 10]);
            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(data))
        });
        Response::new(BodyExt::boxed(http_body_util::StreamBody::new(frames)))
    })
    .await;
    secured.world.live(&[instance.address]);
    let mut stream = secured.connect().await;
    stream.write_all(GET).await.unwrap();
    is_asked(&instance).await;
    secured.is_let_go(&instance).await;
}

#[tokio::test]
async fn who_has_said_good_bye_and_takes_nothing_is_given_up() {
    let limits = Limits {
        response_timeout: Period::from_millis(50),
        ..Limits::default()
    };
    let secured = Secured::with(limits, Options::default()).await;
    let instance = Instance::of_events().await;
    secured.world.live(&[instance.address]);
    let mut stream = secured.connect().await;
    stream.write_all(GET).await.unwrap();
    let mut byte = [0];
    soon(stream.read_exact(&mut byte)).await.unwrap();
    stream.shutdown().await.unwrap();
    secured.is_let_go(&instance).await;
}

#[tokio::test]
async fn handshakes_that_stall_make_room_for_who_goes_on() {
    // 28 places for live listeners.
    let limits = Limits {
        header_timeout: Period::from_secs(3600),
        ..Limits::default()
    };
    let options = Options {
        descriptors: Descriptors::limited_to(128),
        ..Options::default()
    };
    let secured = Secured::with(limits, options).await;
    let instance = Instance::named("here").await;
    secured.world.live(&[instance.address]);
    let mut stalled = Vec::new();
    for number in 1..=40 {
        let socket = TcpSocket::new_v4().unwrap();
        let own = format!("127.1.0.{number}:0");
        socket.bind(own.parse().unwrap()).unwrap();
        let mut stream = socket.connect(secured.world.route.live).await.unwrap();
        stream.write_all(&[22, 3, 1]).await.unwrap();
        stalled.push(stream);
    }

    let mut stream = secured.connect().await;
    stream.write_all(GET).await.unwrap();
    let mut head = [0; 15];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // The oldest had to go.
    let end = soon(stalled[0].read(&mut [0])).await;
    assert!(!matches!(end, Ok(1..)), "{end:?}");
}
