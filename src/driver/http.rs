//! The client that servers are spoken to with (registries, Vault, Amazon), and what all of them
//! keep to: a limit of time for a connection, nothing said of where a request comes from, a bound
//! on what is read, and the proxies that the environment names, but none to this very machine.
//!
//! Redirects, certificates and limits of time for answers are each driver's own. Start with
//! [`client`].

mod proxies;

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Response};

use crate::driver::http::proxies::Proxies;
use crate::files;
use crate::model::chain;

/// How long a connection may take, with its TLS.
pub(in crate::driver) const CONNECT: Duration = Duration::from_secs(5);

/// The largest file of certificates, in bytes.
const CERTIFICATES: u64 = 1 << 20;

/// A client for a server, to which its driver adds what it needs.
pub(in crate::driver) fn client() -> ClientBuilder {
    client_by(|name| std::env::var(name).ok())
}

fn client_by(variable: impl Fn(&str) -> Option<String>) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("shipit/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .connect_timeout(CONNECT)
        // The library's own reading of the environment, which knows nothing of this machine.
        .no_proxy();
    Proxies::read(variable)
        .usable()
        .fold(builder, ClientBuilder::proxy)
}

/// Why a request came to nobody: the innermost reasons without the address, which is said already
/// or nobody's business, and the proxy that it went through.
pub(in crate::driver) fn cause(error: &reqwest::Error) -> String {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), chain);
    match way(error) {
        Some(way) => format!("{cause} ({way})"),
        None => cause,
    }
}

/// Which way a request went that came to nobody, if that is worth a word.
pub(in crate::driver) fn way(error: &reqwest::Error) -> Option<String> {
    let url = error.url().filter(|_| error.is_connect())?;
    Proxies::read(|name| std::env::var(name).ok()).way(url)
}

/// Why a body was not read.
#[derive(Debug)]
pub(in crate::driver) enum BodyFault {
    /// There is more of it than may be read.
    TooLarge,
    /// It did not come to its end.
    Broken(reqwest::Error),
}

/// A whole body, when it has no more bytes than this.
pub(in crate::driver) async fn body(
    mut answer: Response,
    limit: usize,
) -> Result<Vec<u8>, BodyFault> {
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(BodyFault::Broken)? {
        if bytes.len() + part.len() > limit {
            return Err(BodyFault::TooLarge);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The certificates of a file in PEM; an error when there are none.
pub(in crate::driver) fn certificates(file: &Path) -> io::Result<Vec<Certificate>> {
    let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let bundle = files::read(file, CERTIFICATES)?;
    let found = Certificate::from_pem_bundle(&bundle).map_err(|error| wrong(chain(&error)))?;
    if found.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request with this text; says where it listens.
    async fn server(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let byte = stream.read_u8().await.expect("a whole request");
                    request.push(byte);
                }
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address.to_string()
    }

    async fn got(variables: &[(&str, &str)], url: &str) -> String {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let client = client_by(look_up).build().expect("a client");
        match client.get(url).send().await {
            Ok(answer) => answer.text().await.expect("a text"),
            Err(_) => "nothing".to_owned(),
        }
    }

    #[tokio::test]
    async fn this_machine_is_spoken_to_directly_and_others_through_the_proxy() {
        let (direct, proxy) = (server("direct").await, server("proxy").await);
        let port = direct.rsplit_once(':').expect("a port").1;
        let proxy = format!("http://{proxy}");
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            let variables = [(name, proxy.as_str()), ("NO_PROXY", "direct.invalid")];
            for host in ["127.0.0.1", "localhost"] {
                let url = format!("http://{host}:{port}/");
                assert_eq!(got(&variables, &url).await, "direct", "{name}, {host}");
            }
            let other = "http://registry.invalid/";
            assert_eq!(got(&variables, other).await, "proxy", "{name}");
            let excepted = "http://direct.invalid/";
            assert_eq!(got(&variables, excepted).await, "nothing", "{name}");
        }

        let of_https = [("HTTPS_PROXY", proxy.as_str())];
        let plain = got(&of_https, "http://registry.invalid/").await;
        assert_eq!(plain, "nothing", "it is for the other scheme alone");
    }

    #[tokio::test]
    async fn a_header_of_somebody_elses_names_no_proxy() {
        let proxy = format!("http://{}", server("proxy").await);
        let other = "http://registry.invalid/";
        let of_header = [("HTTP_PROXY", proxy.as_str()), ("REQUEST_METHOD", "GET")];
        assert_eq!(got(&of_header, other).await, "nothing");
        let small = [("http_proxy", proxy.as_str()), ("REQUEST_METHOD", "GET")];
        assert_eq!(got(&small, other).await, "proxy");
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_bound() {
        let url = format!("http://{}", server("twelve bytes").await);
        let read = async |limit: usize| {
            let client = client_by(|_| None).build().expect("a client");
            body(client.get(&url).send().await.expect("an answer"), limit).await
        };
        assert_eq!(read(12).await.expect("it fits"), b"twelve bytes");
        assert!(matches!(read(11).await, Err(BodyFault::TooLarge)));
    }

    #[test]
    fn a_file_without_a_certificate_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "no certificate\n").expect("written");
        let error = certificates(&file).expect_err("there is none");
        assert_eq!(error.to_string(), "there is no certificate in it");
    }
}
