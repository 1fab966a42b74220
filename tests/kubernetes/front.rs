//! A server of the tests' own in front of a real one, in a thread of its own.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A client of what is behind.
pub type Behind = Client<HttpConnector, Full<Bytes>>;

/// The server; it ends with this.
pub struct Front {
    pub address: SocketAddr,
    stop: tokio_util::sync::CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Front {
    /// A server that answers so.
    pub fn start<B, F>(
        answer: impl Fn(Behind, Request<Incoming>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response<B>, std::io::Error>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("an address");
        let stop = tokio_util::sync::CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let client = Client::builder(TokioExecutor::new())
                    .pool_max_idle_per_host(0)
                    .build_http();
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        () = token.cancelled() => return,
                    };
                    let Ok((socket, _)) = accepted else { continue };
                    let (client, answer) = (client.clone(), answer.clone());
                    let service =
                        hyper::service::service_fn(move |request| answer(client.clone(), request));
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service);
                    tokio::spawn(async move {
                        let _ = served.await;
                    });
                }
            });
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}
