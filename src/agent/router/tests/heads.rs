//! Heads of HTTP/1 as nobody should send them, byte for byte: what the client is told, and what the
//! instance sees.

use super::recorder::{Recorder, Seen, statuses};
use super::support::World;

/// What becomes of a case.
enum Then {
    /// The client is told this, and the instance sees nothing.
    Refused(u16),
    /// The instance sees requests with these lines and bodies, and each is answered.
    Seen(&'static [(&'static str, &'static str)]),
    /// The same, and then the client is told this.
    SeenThenRefused(&'static [(&'static str, &'static str)], u16),
}

use Then::{Refused, Seen as SeenAs, SeenThenRefused};

const GET: &[(&str, &str)] = &[("GET / HTTP/1.1", "")];

#[tokio::test]
async fn the_client_is_told_and_the_instance_sees_what_is_right() {
    let (world, recorder) = (World::new().await, Recorder::start().await);
    world.live(&[recorder.address]);
    let mut wrong = Vec::new();
    let cases = [
        lengths(),
        codings(),
        chunks(),
        lines(),
        targets(),
        hosts(),
        sizes(),
    ];
    for (name, bytes, then) in cases.into_iter().flatten() {
        let told = statuses(world.route.live, &bytes).await;
        let seen: Vec<Seen> = recorder.take();
        let lines: Vec<(&str, String)> = seen
            .iter()
            .map(|seen| {
                (
                    seen.line(),
                    String::from_utf8_lossy(&seen.body).into_owned(),
                )
            })
            .collect();
        let (expected, last) = match &then {
            Refused(status) => (&[][..], Some(*status)),
            SeenAs(expected) => (*expected, None),
            SeenThenRefused(expected, status) => (*expected, Some(*status)),
        };
        let statuses: Vec<u16> = expected.iter().map(|_| 200).chain(last).collect();
        let same = lines.len() == expected.len()
            && lines
                .iter()
                .zip(expected)
                .all(|((line, body), other)| (*line, body.as_str()) == *other);
        if told != statuses || !same {
            wrong.push(format!(
                "{name}: told {told:?}, not {statuses:?}; seen {lines:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

type Case = (&'static str, Vec<u8>, Then);

/// A POST with these headers, this body, and a second request behind it.
fn post(headers: &str, rest: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n{rest}").into_bytes()
}

/// A GET with these header lines.
fn get(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
}

const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn lengths() -> Vec<Case> {
    let chunked = &[("POST / HTTP/1.1", "")];
    vec![
        (
            "length and chunks: chunks win, and the connection ends",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                SMUGGLED,
            ),
            SeenAs(chunked),
        ),
        (
            "chunks and length: the same",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                SMUGGLED,
            ),
            SeenAs(chunked),
        ),
        (
            "two lengths",
            post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"),
            Refused(400),
        ),
        (
            "the same length twice is one",
            post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"),
            SeenAs(&[("POST / HTTP/1.1", "ab")]),
        ),
        (
            "a list of lengths",
            post("Content-Length: 2, 2\r\n", "ab"),
            Refused(400),
        ),
        (
            "a length with a sign",
            post("Content-Length: +2\r\n", "ab"),
            Refused(400),
        ),
        (
            "a negative length",
            post("Content-Length: -1\r\n", "ab"),
            Refused(400),
        ),
        (
            "a length in hex",
            post("Content-Length: 0x2\r\n", "ab"),
            Refused(400),
        ),
        ("no length", post("Content-Length:\r\n", "ab"), Refused(400)),
        (
            "a length that overflows",
            post("Content-Length: 18446744073709551617\r\n", "a"),
            Refused(400),
        ),
        (
            "a blank before the colon",
            post("Content-Length : 2\r\n", "ab"),
            Refused(400),
        ),
    ]
}

fn codings() -> Vec<Case> {
    vec![
        (
            "xchunked",
            post("Transfer-Encoding: xchunked\r\n", SMUGGLED),
            Refused(400),
        ),
        (
            "chunked is not the last",
            post("Transfer-Encoding: chunked, identity\r\n", SMUGGLED),
            Refused(400),
        ),
        (
            "another coding below chunks",
            post("Transfer-Encoding: gzip, chunked\r\n", SMUGGLED),
            Refused(501),
        ),
        (
            "the coding that does nothing, on a line of its own",
            post(
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
                SMUGGLED,
            ),
            Refused(501),
        ),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked, chunked\r\n", SMUGGLED),
            Refused(400),
        ),
        (
            "a quoted coding",
            post("Transfer-Encoding: \"chunked\"\r\n", SMUGGLED),
            Refused(400),
        ),
        (
            "a vertical tab",
            post("Transfer-Encoding: \x0bchunked\r\n", SMUGGLED),
            Refused(400),
        ),
        (
            "chunks in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            Refused(400),
        ),
        (
            "another expectation",
            post("Expect: x\r\nContent-Length: 2\r\n", "ab"),
            Refused(417),
        ),
        (
            "an expectation that is met",
            get("Expect: 100-continue\r\n"),
            SeenAs(GET),
        ),
        (
            "two requests at once",
            [get(""), get("")].concat(),
            SeenAs(&[("GET / HTTP/1.1", ""), ("GET / HTTP/1.1", "")]),
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = |rest: &str| post("Transfer-Encoding: chunked\r\n", rest);
    let one = &[("POST / HTTP/1.1", "abc")];
    vec![
        ("a chunk", chunked("3\r\nabc\r\n0\r\n\r\n"), SeenAs(one)),
        (
            "an extension goes",
            chunked("3;a=b\r\nabc\r\n0\r\n\r\n"),
            SeenAs(one),
        ),
        (
            "a trailer",
            chunked("3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n"),
            SeenAs(one),
        ),
        (
            "a length of 0x3",
            chunked("0x3\r\nabc\r\n0\r\n\r\n"),
            Refused(400),
        ),
        (
            "a negative length",
            chunked("-3\r\nabc\r\n0\r\n\r\n"),
            Refused(400),
        ),
        (
            "a length that overflows",
            chunked("fffffffffffffffff\r\na"),
            Refused(400),
        ),
        (
            "no line end behind it",
            chunked("3\r\nabcd\r\n0\r\n\r\n"),
            Refused(400),
        ),
        (
            "a bare line feed behind its length",
            chunked("3\nabc\r\n0\r\n\r\n"),
            Refused(400),
        ),
        (
            "a bare line feed in an extension",
            chunked("3;a\nb\r\nabc\r\n0\r\n\r\n"),
            Refused(400),
        ),
    ]
}

const THREE: &[(&str, &str)] = &[GET[0], GET[0], GET[0]];
const ASKS: &str = "Connection: upgrade\r\nUpgrade: x\r\n";

fn lines() -> Vec<Case> {
    vec![
        ("a folded line", get("X-A: 1\r\n 2\r\n"), Refused(400)),
        (
            "a folded line with a tab",
            get("X-A: 1\r\n\t2\r\n"),
            Refused(400),
        ),
        (
            "a bare carriage return",
            get("X-A: 1\rX-B: 2\r\n"),
            Refused(400),
        ),
        (
            "a bare line feed in a value",
            get("X-A: 1\nX-B: 2\r\n"),
            Refused(400),
        ),
        (
            "bare line feeds alone",
            b"GET / HTTP/1.1\nHost: a\n\n".to_vec(),
            Refused(400),
        ),
        (
            "a bare line feed in the second head",
            [get(""), get("X-A: 1\nX-B: 2\r\n")].concat(),
            SeenThenRefused(GET, 400),
        ),
        (
            "a bare line feed in the head behind a body",
            [
                post("Content-Length: 2\r\n", "\n\n"),
                get("X-A: 1\nX-B: 2\r\n"),
            ]
            .concat(),
            SeenThenRefused(&[("POST / HTTP/1.1", "\n\n")], 400),
        ),
        (
            "a change that is not made",
            [get("Upgrade: x\r\n"), get(ASKS), get("")].concat(),
            SeenAs(THREE),
        ),
        (
            "a bare line feed behind what could have been a change",
            [get("Upgrade: x\r\n"), get("X-A: 1\nX-B: 2\r\n")].concat(),
            SeenAs(GET),
        ),
        (
            "a bare line feed behind a change that is not made",
            [get(ASKS), get("X-A: 1\nX-B: 2\r\n")].concat(),
            SeenAs(GET),
        ),
        (
            "a bare line feed behind an expectation",
            [get("Expect: 100-continue\r\n"), get("X-A: 1\nX-B: 2\r\n")].concat(),
            SeenThenRefused(GET, 400),
        ),
        (
            "a bare line feed behind a body that is not read",
            [
                post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
                get("X-A: 1\nX-B: 2\r\n"),
            ]
            .concat(),
            Refused(501),
        ),
        (
            "a bare line feed behind a tunnel that is not made",
            [
                b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_vec(),
                get("X-A: 1\nX-B: 2\r\n"),
            ]
            .concat(),
            Refused(405),
        ),
        ("a zero byte", get("X-A: 1\0\r\n"), Refused(400)),
        ("a blank in a name", get("X A: 1\r\n"), Refused(400)),
        (
            "a blank before a name",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("no colon", get("X-A\r\n"), Refused(400)),
        ("an empty name", get(": 1\r\n"), Refused(400)),
        (
            "an empty line before it",
            [b"\r\n".to_vec(), get("")].concat(),
            SeenAs(GET),
        ),
        (
            "a version that is not there",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("no version", b"GET /\r\n\r\n".to_vec(), Refused(400)),
        (
            "two blanks",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            Refused(400),
        ),
    ]
}

fn targets() -> Vec<Case> {
    let to = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    vec![
        (
            "a form that names a host",
            to("http://b/x?y"),
            SeenAs(&[("GET /x?y HTTP/1.1", "")]),
        ),
        (
            "a form that names a user",
            to("http://u:p@b/x"),
            SeenAs(&[("GET /x HTTP/1.1", "")]),
        ),
        (
            "a fragment goes",
            to("/x#y"),
            SeenAs(&[("GET /x HTTP/1.1", "")]),
        ),
        (
            "percent signs stay",
            to("/%2e%2e/%00"),
            SeenAs(&[("GET /%2e%2e/%00 HTTP/1.1", "")]),
        ),
        (
            "dots stay",
            to("/a/../b"),
            SeenAs(&[("GET /a/../b HTTP/1.1", "")]),
        ),
        ("no slash", to("x"), Refused(400)),
        ("angle brackets", to("/<x>"), Refused(400)),
        ("a backtick", to("/`x`"), Refused(400)),
        ("every server", to("*"), Refused(400)),
        ("another host's name", to("x:80"), Refused(400)),
        (
            "bytes that are no text",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            Refused(400),
        ),
        (
            "a tunnel",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n".to_vec(),
            Refused(405),
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let host = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes();
    vec![
        ("no host", host(""), Refused(400)),
        ("two hosts", host("Host: a\r\nHost: b\r\n"), Refused(400)),
        (
            "the same host twice",
            host("Host: a\r\nHost: a\r\n"),
            Refused(400),
        ),
        ("an empty host", host("Host:\r\n"), Refused(400)),
        ("a host with a blank", host("Host: a b\r\n"), Refused(400)),
        (
            "a host with a path",
            host("Host: a/../@evil?x#y\r\n"),
            Refused(400),
        ),
        ("a host with a user", host("Host: u@a\r\n"), Refused(400)),
        ("two hosts in one", host("Host: a,b\r\n"), Refused(400)),
        (
            "a host with a wrong port",
            host("Host: a:b\r\n"),
            Refused(400),
        ),
        ("an address", host("Host: [::1]:80\r\n"), SeenAs(GET)),
        (
            "no host in HTTP/1.0",
            b"GET / HTTP/1.0\r\n\r\n".to_vec(),
            SeenAs(GET),
        ),
        (
            "a target with a host, and none besides",
            b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(),
            Refused(400),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let many = "X-A: 1\r\n".repeat(130);
    let long = format!("X-A: {}\r\n", "a".repeat(2 << 20));
    vec![
        ("130 headers", get(&many), Refused(431)),
        ("two megabytes in one", get(&long), Refused(431)),
        (
            "a target of 70 kilobytes",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)).into_bytes(),
            Refused(431),
        ),
    ]
}
