//! Those who are told of runs, played: a server that takes requests over HTTP and keeps them, and a
//! mail server that speaks SMTP as RFC 5321, 4954 and 3207 say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// What is answered: a status, header lines, and a body.
pub type Answer = (u16, String, String);

/// A server that keeps what it is asked.
#[derive(Clone)]
pub struct Receiver {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Receiver {
    /// Answers every request by this, which sees what came before it, too.
    pub fn start(answer: impl Fn(&Asked, &[Asked]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &kept, &*answer));
            }
        });
        Self {
            address: format!("http://{address}"),
            asked,
        }
    }

    /// One that takes everything.
    pub fn obliging() -> Self {
        Self::start(|_, _| (204, String::new(), String::new()))
    }

    /// Slack's API, for one bot with this token in the channel `C1`.
    pub fn slack(token: &'static str) -> Self {
        Self::start(move |asked, before| slack(token, asked, before))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("kept").clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }
}

/// What Slack answers: always 200, and whether it did it in the body.
pub fn slack(token: &str, asked: &Asked, before: &[Asked]) -> Answer {
    let refused = |error: &str| {
        let body = json!({"ok": false, "error": error});
        (200, String::new(), body.to_string())
    };
    if asked.headers.get("authorization") != Some(&format!("Bearer {token}")) {
        return refused("invalid_auth");
    }
    let body = asked.json();
    if body["channel"] != "C1" {
        return refused("channel_not_found");
    }
    let ts = match asked.path.as_str() {
        "/chat.postMessage" => format!("17.{}", before.len()),
        "/chat.update" => body["ts"].as_str().expect("a message").to_owned(),
        _ => return refused("unknown_method"),
    };
    let body = json!({"ok": true, "channel": "C1", "ts": ts});
    (200, String::new(), body.to_string())
}

fn serve(
    mut stream: TcpStream,
    kept: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, &[Asked]) -> Answer,
) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    while let Some(asked) = read_request(&mut reader) {
        let before = {
            let mut kept = kept.lock().expect("kept");
            kept.push(asked.clone());
            kept[..kept.len() - 1].to_vec()
        };
        let (status, lines, body) = answer(&asked, &before);
        let length = body.len();
        let text = format!("HTTP/1.1 {status} .\r\n{lines}content-length: {length}\r\n\r\n{body}");
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().expect("a length")];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        path: first.split(' ').nth(1)?.to_owned(),
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

/// A letter, as it was taken.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    pub from: String,
    pub to: Vec<String>,
    pub user: Option<String>,
    pub encrypted: bool,
    pub text: String,
}

/// A mail server.
#[derive(Clone)]
pub struct Mail {
    pub address: String,
    letters: Letters,
}

/// Where letters are kept.
#[derive(Clone)]
enum Letters {
    /// By the one that is played.
    Played(Arc<Mutex<Vec<Letter>>>),
    /// By the real one (`tests/mail/up`): a file each, of which so many were there before.
    Files(PathBuf, usize),
}

impl Mail {
    /// One that takes letters from who logs in as `ship` with this password, or from everybody
    /// without one. With a certificate it takes no password before TLS.
    pub fn start(password: Option<&'static str>, tls: Option<(&Path, &Path)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let tls = tls.map(|(chain, key)| config(chain, key));
        let letters: Arc<Mutex<Vec<Letter>>> = Arc::default();
        let kept = Arc::clone(&letters);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, tls) = (Arc::clone(&kept), tls.clone());
                std::thread::spawn(move || {
                    let mut talk = Talk {
                        kept: &kept,
                        password,
                        letter: Letter::default(),
                    };
                    talk.open(stream, tls);
                });
            }
        });
        Self {
            address,
            letters: Letters::Played(letters),
        }
    }

    /// The real one where `SHIPIT_TEST_MAIL` names one with this password, else one that is played.
    pub fn real_or_played(password: &'static str) -> Self {
        let Ok(named) = std::env::var("SHIPIT_TEST_MAIL") else {
            return Self::start(Some(password), None);
        };
        let (address, folder) = named.trim().split_once(' ').expect("ADDRESS FOLDER");
        let there = files(Path::new(folder)).len();
        Self {
            address: address.to_owned(),
            letters: Letters::Files(folder.into(), there),
        }
    }

    pub fn letters(&self) -> Vec<Letter> {
        match &self.letters {
            Letters::Played(letters) => letters.lock().expect("kept").clone(),
            Letters::Files(folder, before) => {
                let files = files(folder).into_iter().skip(*before);
                files.map(|path| letter(&path)).collect()
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let paths = entries.map(|entry| entry.path());
    let is_letter = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    let mut paths: Vec<PathBuf> = paths.filter(is_letter).collect();
    paths.sort();
    paths
}

fn letter(path: &Path) -> Letter {
    let text = std::fs::read(path).expect("a letter");
    let kept: Value = serde_json::from_slice(&text).expect("JSON");
    let word = |key: &str| kept[key].as_str().unwrap_or_default().to_owned();
    let to = kept["to"].as_array().expect("a list");
    Letter {
        from: word("from"),
        to: to
            .iter()
            .filter_map(|to| Some(to.as_str()?.to_owned()))
            .collect(),
        user: kept["user"].as_str().map(str::to_owned),
        encrypted: false,
        text: word("text"),
    }
}

fn config(chain: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(chain).expect("a chain");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key for it");
    Arc::new(config)
}

/// One connection.
struct Talk<'a> {
    kept: &'a Mutex<Vec<Letter>>,
    password: Option<&'static str>,
    letter: Letter,
}

/// What a command has brought about.
enum Next {
    Goes,
    Encrypts,
    Ends,
}

impl Talk<'_> {
    fn open(&mut self, mut stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n");
        let offers_tls = tls.is_some();
        if !matches!(self.talk(&mut stream, offers_tls), Some(Next::Encrypts)) {
            return;
        }
        let connection = ServerConnection::new(tls.expect("it was offered")).expect("a session");
        self.letter = Letter {
            encrypted: true,
            ..Letter::default()
        };
        self.talk(&mut StreamOwned::new(connection, stream), false);
    }

    fn talk(&mut self, stream: &mut (impl Read + Write), offers_tls: bool) -> Option<Next> {
        loop {
            let line = line(stream)?;
            match self.command(stream, &line, offers_tls)? {
                Next::Goes => {}
                next => return Some(next),
            }
        }
    }

    fn command(
        &mut self,
        stream: &mut (impl Read + Write),
        line: &str,
        offers_tls: bool,
    ) -> Option<Next> {
        let upper = line.to_ascii_uppercase();
        let may = self.password.is_none() || self.letter.user.is_some();
        let answer = if upper.starts_with("EHLO ") {
            let extension = if offers_tls { "STARTTLS" } else { "AUTH PLAIN" };
            format!("250-mail.example.com\r\n250-8BITMIME\r\n250 {extension}")
        } else if upper == "STARTTLS" && offers_tls {
            write!(stream, "220 go ahead\r\n").ok()?;
            return Some(Next::Encrypts);
        } else if let Some(proof) = line.strip_prefix("AUTH PLAIN ") {
            self.log_in(proof, offers_tls)
        } else if upper.starts_with("MAIL FROM:<") && may {
            self.letter.from = inside(line)?;
            self.letter.to.clear();
            "250 ok".to_owned()
        } else if upper.starts_with("RCPT TO:<") && !self.letter.from.is_empty() {
            let to = inside(line)?;
            if to.starts_with("nobody@") {
                "550 5.1.1 there is no such user".to_owned()
            } else {
                self.letter.to.push(to);
                "250 ok".to_owned()
            }
        } else if upper == "DATA" && !self.letter.to.is_empty() {
            write!(stream, "354 go on\r\n").ok()?;
            self.letter.text = data(stream)?;
            self.kept.lock().expect("kept").push(self.letter.clone());
            "250 ok".to_owned()
        } else if upper == "QUIT" {
            let _ = write!(stream, "221 bye\r\n");
            return Some(Next::Ends);
        } else if upper == "NOOP" || upper == "RSET" {
            "250 ok".to_owned()
        } else if may {
            "503 5.5.1 out of turn".to_owned()
        } else {
            "530 5.7.0 log in first".to_owned()
        };
        write!(stream, "{answer}\r\n").ok()?;
        Some(Next::Goes)
    }

    fn log_in(&mut self, proof: &str, offers_tls: bool) -> String {
        let wanted = format!("\0ship\0{}", self.password.unwrap_or_default());
        let proof = BASE64_STANDARD.decode(proof).unwrap_or_default();
        if offers_tls {
            return "538 5.7.11 not without TLS".to_owned();
        }
        if proof != wanted.as_bytes() {
            return "535 5.7.8 wrong".to_owned();
        }
        self.letter.user = Some("ship".to_owned());
        "235 welcome".to_owned()
    }
}

fn inside(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// A line without its end, byte by byte: what follows is not this one's to read.
fn line(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    bytes.truncate(bytes.len() - 2);
    String::from_utf8(bytes).ok()
}

/// A letter up to the line that is a dot; a dot that was doubled is one.
fn data(stream: &mut impl Read) -> Option<String> {
    let mut text = String::new();
    loop {
        let line = line(stream)?;
        if line == "." {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push('\n');
    }
}
