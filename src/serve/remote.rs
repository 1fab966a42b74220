//! gRPC for commands of other machines: TLS 1.3, and a certificate of the server's own authority on
//! both sides. Whether a client may is asked at each call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::model::client::{Client, Proof};
use crate::model::job::JobNumber;
use crate::ops::doors::clients::{Clients, Issued, fingerprint};
use crate::ops::doors::intake::{Command, Taken, command};
use crate::ops::doors::{Asker, DoorError, Doors, jobs};
use crate::proto::server_v1::serve_server::{Serve, ServeServer};
use crate::proto::server_v1::{
    JobReply, JobRequest, ListReply, ListRequest, LogReply, LogRequest, TriggerReply,
    TriggerRequest,
};

/// How many connections there are at once.
const CONNECTIONS: usize = 256;

/// How long a client may take to prove itself.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long to wait when the system has no descriptor for a client.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The largest message.
const LARGEST: usize = 64 << 10;

/// The most jobs of an answer.
const MOST: usize = 1_000;

/// What accepts connections, with the server's certificate and its authority.
pub(super) fn acceptor(issued: &Issued) -> Result<TlsAcceptor, String> {
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes());
    let authority = CertificateDer::from_pem_slice(issued.authority.as_bytes());
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    // One without a certificate is told so in words, which TLS has none for.
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| error.to_string())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.map_err(|error| error.to_string())?],
            key.map_err(|error| error.to_string())?,
        )
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until it is told to stop.
pub(super) async fn listen(
    doors: Arc<Doors>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    stop: CancellationToken,
) {
    let (proven, streams) = mpsc::channel(16);
    let letting_in = tokio::spawn(let_in(listener, acceptor, proven));
    let clients = Clients::of(&doors.config.data);
    let service = ServeServer::new(Remote { doors, clients }).max_decoding_message_size(LARGEST);
    let serving = tonic::transport::Server::builder()
        .timeout(Duration::from_secs(30))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(streams), stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the remote listener has ended");
    }
    letting_in.abort();
}

async fn let_in(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    proven: mpsc::Sender<std::io::Result<Proven>>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let (Ok(place), Ok((stream, _))) = (place, listener.accept().await) else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let (acceptor, proven) = (acceptor.clone(), proven.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                let certificates = stream.get_ref().1.peer_certificates();
                let first = certificates.and_then(|all| all.first());
                let who = Who(first.map(|certificate| fingerprint(certificate)));
                let _ = proven
                    .send(Ok(Proven {
                        stream,
                        who,
                        _place: place,
                    }))
                    .await;
            }
        });
    }
}

/// The fingerprint of a connection's certificate; none: it has shown none.
#[derive(Debug, Clone)]
struct Who(Option<String>);

/// A connection whose handshake is done.
struct Proven {
    stream: TlsStream<TcpStream>,
    who: Who,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Connected for Proven {
    type ConnectInfo = Who;

    fn connect_info(&self) -> Who {
        self.who.clone()
    }
}

impl AsyncRead for Proven {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Proven {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Remote {
    doors: Arc<Doors>,
    clients: Clients,
}

impl Remote {
    /// Who asks. It is looked up at each call: a client that is revoked is none from then on.
    fn client<T>(&self, request: &Request<T>) -> Result<Client, Status> {
        let who = request
            .extensions()
            .get::<Who>()
            .and_then(|who| who.0.clone());
        let fingerprint = who.ok_or_else(|| {
            Status::unauthenticated(
                "no certificate was shown: `shipit client issue` on the server's machine makes one",
            )
        })?;
        let found = self.clients.valid(Proof::Certificate, &fingerprint);
        let found = found.map_err(|error| status(&error))?;
        found.ok_or_else(|| {
            Status::unauthenticated("this certificate is of no client of this server")
        })
    }
}

fn status(error: &DoorError) -> Status {
    match error {
        DoorError::Unknown(reason) => Status::not_found(reason),
        DoorError::Impossible(reason) => Status::failed_precondition(reason),
        DoorError::Forbidden(reason) => Status::permission_denied(reason),
        DoorError::Queue(_) | DoorError::Runner(_) | DoorError::Setup { .. } => {
            tracing::error!(%error, "a call was not served");
            Status::unavailable("it cannot be stored now: ask again")
        }
    }
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

fn taken(taken: &Taken) -> Response<TriggerReply> {
    Response::new(TriggerReply {
        taken_json: json(taken),
    })
}

#[tonic::async_trait]
impl Serve for Remote {
    async fn trigger(
        &self,
        request: Request<TriggerRequest>,
    ) -> Result<Response<TriggerReply>, Status> {
        let client = self.client(&request)?;
        let TriggerRequest {
            project,
            environment,
            reference,
        } = request.into_inner();
        let invalid =
            |error: crate::model::name::NameError| Status::invalid_argument(error.to_string());
        let named = Some(environment).filter(|name| !name.is_empty());
        let asked = Command {
            project: project.parse().map_err(invalid)?,
            environment: named
                .map(|name| name.parse().map_err(invalid))
                .transpose()?,
            reference: Some(reference).filter(|name| !name.is_empty()),
        };
        let result = command(&self.doors, &asked, &Asker::Client(&client)).await;
        result
            .map(|result| taken(&result))
            .map_err(|error| status(&error))
    }

    async fn log(&self, request: Request<LogRequest>) -> Result<Response<LogReply>, Status> {
        let client = self.client(&request)?;
        let LogRequest { job, from } = request.into_inner();
        let asker = Asker::Client(&client);
        let piece = jobs::log(
            &self.doors,
            JobNumber(job),
            from,
            &asker,
            jobs::Patience::Waits,
        );
        let piece = piece.await.map_err(|error| status(&error))?;
        Ok(Response::new(LogReply {
            text: piece.text,
            next: piece.next,
            job_json: json(&piece.job),
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let client = self.client(&request)?;
        let last = usize::try_from(request.into_inner().last)
            .unwrap_or(MOST)
            .min(MOST);
        let jobs = jobs::list(&self.doors, last, &Asker::Client(&client)).await;
        let jobs = jobs.map_err(|error| status(&error))?;
        Ok(Response::new(ListReply {
            jobs_json: jobs.iter().map(json).collect(),
        }))
    }

    async fn cancel(&self, request: Request<JobRequest>) -> Result<Response<JobReply>, Status> {
        let client = self.client(&request)?;
        let number = JobNumber(request.into_inner().job);
        let job = jobs::cancel(&self.doors, number, &Asker::Client(&client)).await;
        let job = job.map_err(|error| status(&error))?;
        Ok(Response::new(JobReply {
            job_json: json(&job),
        }))
    }

    async fn retry(&self, request: Request<JobRequest>) -> Result<Response<TriggerReply>, Status> {
        let client = self.client(&request)?;
        let number = JobNumber(request.into_inner().job);
        let result = jobs::retry(&self.doors, number, &Asker::Client(&client)).await;
        result
            .map(|result| taken(&result))
            .map_err(|error| status(&error))
    }
}
