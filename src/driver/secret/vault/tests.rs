use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::login::Life;
use super::*;
use crate::model::secret::{AppRole, Credential, VaultAuth};

/// A Vault that is asked for logins alone.
struct Server {
    address: String,
    /// Path and token of each request.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    /// Told when one has come that is not answered.
    hanging: Arc<Notify>,
}

/// How it answers a renewal.
#[derive(Clone, Copy)]
enum Renewals {
    Refused,
    Dropped,
    Hanging,
}

impl Server {
    async fn start(renewals: Renewals) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            address: format!("http://{}", listener.local_addr().expect("bound")),
            asked: Arc::default(),
            hanging: Arc::default(),
        };
        let (asked, hanging) = (Arc::clone(&server.asked), Arc::clone(&server.hanging));
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (path, token) = request(&mut stream).await;
                asked.lock().expect("asked").push((path.clone(), token));
                let answer = match (path.as_str(), renewals) {
                    ("auth/token/renew-self", Renewals::Dropped) => continue,
                    ("auth/token/renew-self", Renewals::Hanging) => {
                        kept.push(stream);
                        hanging.notify_one();
                        continue;
                    }
                    ("auth/token/renew-self", Renewals::Refused) => "403 Forbidden",
                    ("auth/approle/login", _) => "200 OK",
                    _ => "204 No Content",
                };
                let body = r#"{"auth": {"client_token": "new", "lease_duration": 60}}"#;
                let text = format!(
                    "HTTP/1.1 {answer}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        server
    }

    /// The tokens with which this was asked.
    fn tokens(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("asked");
        let asked = asked.iter().filter(|(known, _)| known == path);
        asked.map(|(_, token)| token.clone()).collect()
    }
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("a whole head"));
    }
    let head = String::from_utf8(bytes).expect("a text");
    let value = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let length = value("content-length").map_or(0, |text| text.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a whole body");
    let path = head.split(' ').nth(1).expect("a path");
    let path = path.trim_start_matches("/v1/").to_owned();
    (path, value("x-vault-token").unwrap_or_default())
}

/// A Vault with a token that has lived for so many of its sixty seconds.
async fn vault(server: &Server, folder: &tempfile::TempDir, seconds: u64) -> Vault {
    std::fs::write(folder.path().join("secret-id"), "canary").expect("written");
    let role = AppRole {
        role_id: "shop".to_owned(),
        secret_id: Credential::File("secret-id".into()),
        wrapped: false,
        mount: None,
    };
    let named = VaultServer {
        address: Some(server.address.clone()),
        auth: Some(VaultAuth::Approle(role)),
        ..VaultServer::default()
    };
    let vault = Vault::new(folder.path().to_path_buf(), named, Redactor::default());
    let age = Duration::from_secs(seconds);
    let life = Life {
        since: Instant::now().checked_sub(age).expect("the machine is up"),
        length: Duration::from_mins(1),
        renewable: true,
        failed: None,
    };
    vault.session.lock().await.login = Login::Made(Token {
        text: "old".to_owned(),
        owner: Owner::Own(life),
    });
    vault
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_now_is_used_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Renewals::Dropped).await;
    let waning = vault(&server, &folder, 40).await;
    assert_eq!(waning.token().await, Ok("old".to_owned()));
    let tried = server.tokens("auth/token/renew-self").len();
    assert!(tried > 0);
    assert_eq!(waning.token().await, Ok("old".to_owned()));
    let again = server.tokens("auth/token/renew-self").len();
    assert_eq!(again, tried, "not for each secret");
    assert_eq!(server.tokens("auth/approle/login"), [""; 0]);

    let over = vault(&server, &folder, 61).await;
    assert_eq!(over.token().await, Ok("new".to_owned()));
}

#[tokio::test]
async fn a_token_that_another_came_for_is_given_back_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Renewals::Refused).await;
    let vault = vault(&server, &folder, 40).await;
    assert_eq!(vault.token().await, Ok("new".to_owned()));
    vault.close().await;
    let mut revoked = server.tokens("auth/token/revoke-self");
    revoked.sort();
    assert_eq!(revoked, ["new", "old"]);
}

#[tokio::test]
async fn who_gives_up_waiting_forgets_no_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Renewals::Hanging).await;
    let vault = vault(&server, &folder, 40).await;
    let mut waiting = Box::pin(vault.token());
    tokio::select! {
        _ = &mut waiting => panic!("nobody answers"),
        () = server.hanging.notified() => {}
    }
    assert!(poll!(&mut waiting).is_pending());
    drop(waiting);
    vault.close().await;
    assert_eq!(server.tokens("auth/token/revoke-self"), ["old"]);
}
