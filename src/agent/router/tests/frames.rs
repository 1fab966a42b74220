//! Heads of HTTP/2 as nobody should send them, frame by frame: what the client is told, and what
//! the instance sees.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::recorder::{Recorder, Seen as Request};
use super::support::{World, soon};

type Field = (&'static str, &'static str);

const METHOD: Field = (":method", "GET");
const POST: Field = (":method", "POST");
const SCHEME: Field = (":scheme", "http");
const PATH: Field = (":path", "/raw");
const AUTHORITY: Field = (":authority", "a");

/// What becomes of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// The client gets no answer of the service's, and the instance sees nothing.
    Refused,
    /// The instance sees one request with this line, and its answer is passed on.
    Seen(&'static str),
}

use Then::{Refused, Seen};

struct Case {
    name: &'static str,
    head: Vec<Field>,
    body: Option<&'static str>,
    then: Then,
}

fn case(name: &'static str, head: &[Field], body: Option<&'static str>, then: Then) -> Case {
    Case {
        name,
        head: head.to_vec(),
        body,
        then,
    }
}

/// A GET with one more field.
fn with(name: &'static str, field: Field, then: Then) -> Case {
    case(name, &[METHOD, SCHEME, PATH, AUTHORITY, field], None, then)
}

/// A POST that says how long its body is.
fn post(name: &'static str, lengths: &[&'static str], body: &'static str) -> Case {
    let mut head = vec![POST, SCHEME, PATH, AUTHORITY];
    head.extend(lengths.iter().map(|length| ("content-length", *length)));
    case(name, &head, Some(body), Refused)
}

fn fields() -> Vec<Case> {
    vec![
        with("plain", ("x-a", "1"), Seen("GET /raw HTTP/1.1")),
        with("CR LF in a value", ("x-a", "1\r\nX-Inj: 2"), Refused),
        with("LF in a value", ("x-a", "1\nX-Inj: 2"), Refused),
        with("CR in a value", ("x-a", "1\rX-Inj: 2"), Refused),
        with("NUL in a value", ("x-a", "1\0"), Refused),
        with("CR LF in a name", ("x-a: 1\r\nx-inj", "2"), Refused),
        with("capitals in a name", ("X-A", "2"), Refused),
        with("a colon in a name", ("x-a:b", "2"), Refused),
        with("no name", ("", "2"), Refused),
        with("a coding", ("transfer-encoding", "chunked"), Refused),
        with("a connection", ("connection", "close"), Refused),
        with("an upgrade", ("upgrade", "websocket"), Refused),
        with("a kept connection", ("keep-alive", "1"), Refused),
        with(
            "a proxy's connection",
            ("proxy-connection", "close"),
            Refused,
        ),
        with("another coding of trailers", ("te", "gzip"), Refused),
    ]
}

fn bodies() -> Vec<Case> {
    let smuggled = "GET /smug HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = [
        POST,
        SCHEME,
        PATH,
        AUTHORITY,
        ("transfer-encoding", "chunked"),
    ];
    vec![
        post("a length that is too small", &["3"], "abcdef"),
        post("a length that is too large", &["10"], "abc"),
        post("no length, and a request as the body", &["0"], smuggled),
        post("two lengths", &["3", "6"], "abcdef"),
        post("two equal lengths", &["3", "3"], "abcdef"),
        post("a length with a sign", &["+6"], "abcdef"),
        case("a coding and a body", &chunked, Some(smuggled), Refused),
        case(
            "a body without a length",
            &[POST, SCHEME, PATH, AUTHORITY],
            Some("hello"),
            Seen("POST /raw HTTP/1.1"),
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let to = |authority| [METHOD, SCHEME, PATH, (":authority", authority)];
    vec![
        with("a Host beside", ("host", "evil"), Seen("GET /raw HTTP/1.1")),
        case(
            "two Hosts",
            &[METHOD, SCHEME, PATH, ("host", "a"), ("host", "b")],
            None,
            Refused,
        ),
        case("no host at all", &[METHOD, SCHEME, PATH], None, Refused),
        case(
            "a user in the host",
            &to("u:p@a"),
            None,
            Seen("GET /raw HTTP/1.1"),
        ),
        case("a space in the host", &to("a b/c"), None, Refused),
    ]
}

fn targets() -> Vec<Case> {
    let get = |path| [METHOD, SCHEME, (":path", path), AUTHORITY];
    let as_method = |method| [(":method", method), SCHEME, PATH, AUTHORITY];
    let by_scheme = [METHOD, (":scheme", "http://x/?"), PATH, AUTHORITY];
    let tunnel = [(":method", "CONNECT"), (":authority", "127.0.0.1:22")];
    let extended = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        SCHEME,
        PATH,
        AUTHORITY,
    ];
    let get_smuggled = "GET /x HTTP/1.1\r\nA: b\r\n\r\nGET";
    vec![
        case(
            "a request in the path",
            &get("/raw HTTP/1.1\r\nX: y"),
            None,
            Refused,
        ),
        case("a space in the path", &get("/raw x"), None, Refused),
        case("a path without a slash", &get("raw"), None, Refused),
        case("no path", &get(""), None, Refused),
        case("a star", &get("*"), None, Refused),
        case(
            "a request in the method",
            &as_method(get_smuggled),
            None,
            Refused,
        ),
        case("no method", &as_method(""), None, Refused),
        case("a request in the scheme", &by_scheme, None, Refused),
        case("a tunnel", &tunnel, None, Refused),
        case("an extended CONNECT", &extended, None, Refused),
        case(
            "a pseudo-header twice",
            &[METHOD, SCHEME, PATH, AUTHORITY, (":path", "/x")],
            None,
            Refused,
        ),
        case(
            "a pseudo-header after a header",
            &[("x-a", "1"), METHOD, SCHEME, PATH, AUTHORITY],
            None,
            Refused,
        ),
        case(
            "a pseudo-header of answers",
            &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")],
            None,
            Refused,
        ),
    ]
}

#[tokio::test]
async fn no_frame_makes_a_request_that_its_client_did_not_send() {
    let (world, recorder) = (World::new().await, Recorder::start().await);
    world.live(&[recorder.address]);
    let mut wrong = Vec::new();
    for case in [fields(), bodies(), hosts(), targets()]
        .into_iter()
        .flatten()
    {
        let is_answered = soon(is_answered(world.route.live, &case)).await;
        let seen = recorder.take();
        let lines: Vec<&str> = seen.iter().map(Request::line).collect();
        assert!(
            seen.iter().all(|seen| seen.header("host") == ["a"]),
            "{}: {seen:?}",
            case.name
        );
        let is_right = match case.then {
            Refused => !is_answered && lines.is_empty(),
            Seen(line) => is_answered && lines == [line],
        };
        if !is_right {
            wrong.push(format!(
                "{}: answered {is_answered}, seen {lines:?}",
                case.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` in the static table of HPACK (RFC 7541, appendix A).
const OK: u8 = 0x88;

/// Whether the service's own answer comes back. A stream or a connection that is ended is none.
async fn is_answered(address: SocketAddr, case: &Case) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let head: Vec<u8> = case.head.iter().flat_map(|field| literal(*field)).collect();
    let last = if case.body.is_none() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | last, 1, &head));
    if let Some(body) = case.body {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    // A router that refuses may close before it has read all.
    let _ = stream.write_all(&bytes).await;

    loop {
        let Some((kind, number, payload)) = read(&mut stream).await else {
            return false;
        };
        match (kind, number) {
            (HEADERS, 1) => return payload.first() == Some(&OK),
            (RESET, 1) | (GO_AWAY, _) => return false,
            _ => {}
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
    let mut payload = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], number, payload))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes()[..], payload].concat()
}

/// A field that is in no table (RFC 7541, 6.2.2), as it is: nothing is encoded.
fn literal((name, value): Field) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "one byte says how long it is");
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}
