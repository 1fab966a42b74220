//! Heads that nobody thought of: whatever comes, the router answers or closes, and the instance
//! sees no request that a strict reader of the same bytes does not see.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::recorder::{Recorder, Seen, statuses};
use super::strict::{Read, read};
use super::support::World;

/// The ways in which lines end, and do not.
fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        40 => Just("\r\n"),
        1 => Just("\n"),
        1 => Just("\r"),
        1 => Just("\r\r\n"),
        1 => Just("\0\r\n"),
        1 => Just("\r\n "),
    ]
}

fn request_line() -> impl Strategy<Value = String> {
    let method = prop_oneof![
        6 => Just("GET"),
        6 => Just("POST"),
        1 => Just("HEAD"),
        1 => Just("get"),
        1 => Just("G(T"),
    ];
    let target = prop_oneof![
        8 => Just("/"),
        2 => Just("/a?b=%0d%0a"),
        1 => Just("http://b/x"),
        1 => Just("//b/x"),
        1 => Just("/ /"),
        1 => Just("*"),
        1 => Just("x"),
        1 => Just(""),
    ];
    let version = prop_oneof![
        12 => Just("HTTP/1.1"),
        2 => Just("HTTP/1.0"),
        1 => Just("HTTP/1.2"),
        1 => Just("http/1.1"),
        1 => Just("HTTP/1.1 "),
    ];
    (method, target, version)
        .prop_map(|(method, target, version)| format!("{method} {target} {version}"))
}

fn header() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => Just("Content-Length"),
        4 => Just("Transfer-Encoding"),
        1 => Just("transfer_encoding"),
        1 => Just("Content_Length"),
        2 => Just("Connection"),
        1 => Just("Expect"),
        1 => Just("Upgrade"),
        1 => Just("Host"),
        1 => Just("TE"),
        1 => Just("Trailer"),
        1 => Just("X-A"),
        1 => Just("X A"),
        1 => Just(""),
    ];
    let colon = prop_oneof![20 => Just(": "), 2 => Just(":"), 1 => Just(" :"), 1 => Just("\t: "), 1 => Just("")];
    let value = prop_oneof![
        6 => Just("chunked"),
        1 => Just("Chunked"),
        1 => Just("gzip, chunked"),
        1 => Just("chunked, identity"),
        1 => Just("identity"),
        1 => Just("xchunked"),
        1 => Just("\x0bchunked"),
        2 => Just("0"),
        4 => Just("3"),
        1 => Just("+3"),
        1 => Just("3, 3"),
        1 => Just("0x3"),
        1 => Just("99999999999999999999"),
        2 => Just("close"),
        1 => Just("keep-alive, Content-Length, Transfer-Encoding"),
        1 => Just("upgrade"),
        1 => Just("websocket"),
        1 => Just("100-continue"),
        1 => Just("a"),
        1 => Just("a b"),
        1 => Just("\u{e9}"),
    ];
    (name, colon, value).prop_map(|(name, colon, value)| format!("{name}{colon}{value}"))
}

fn body() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => Just("abc"),
        3 => Just("3\r\nabc\r\n0\r\n\r\n"),
        1 => Just("3;a=b\r\nabc\r\n0\r\nX-A: 1\r\n\r\n"),
        1 => Just("0\r\n\r\n"),
        1 => Just("3\nabc\n0\n\n"),
        1 => Just("-3\r\nabc\r\n0\r\n\r\n"),
        1 => Just("3\r\nabcd\r\n0\r\n\r\n"),
        1 => Just("0\r\nContent-Length: 3\n\r\n"),
        1 => Just("\r\n"),
    ];
    prop_oneof![2 => Just(String::new()), 3 => piece.prop_map(str::to_owned)]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = (request_line(), line_end());
    let host = prop_oneof![9 => Just("Host: a\r\n"), 1 => Just("")];
    let headers = proptest::collection::vec((header(), line_end()), 0..4);
    let end = line_end();
    (line, host, headers, end, body()).prop_map(|((line, end), host, headers, last, body)| {
        let headers: String = headers
            .into_iter()
            .map(|(header, end)| header + end)
            .collect();
        format!("{line}{end}{host}{headers}{last}{body}").into_bytes()
    })
}

#[test]
fn the_instance_sees_no_request_that_a_strict_reader_does_not_see() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (world, recorder) =
        runtime.block_on(async { (World::new().await, Recorder::start().await) });
    runtime.block_on(async { world.live(&[recorder.address]) });
    let mut runner = TestRunner::new(Config::with_cases(600));
    let requests = proptest::collection::vec(request(), 1..4);
    let seen = |bytes: &[u8]| {
        runtime.block_on(async {
            statuses(world.route.live, bytes).await;
            recorder.take()
        })
    };
    let result = runner.run(&requests, |requests| {
        let bytes = requests.concat();
        let there = seen(&bytes);
        let expected = read(&bytes);
        prop_assert!(
            is_part_of(&there, &expected),
            "the instance saw {there:#?}, and a strict reader sees {expected:#?} in {}",
            bytes.escape_ascii()
        );
        Ok(())
    });
    result.unwrap();
}

/// The router may refuse what the strict reader takes, and after that nothing more is seen. A body
/// may be cut short, and then the instance sees no request.
fn is_part_of(there: &[Seen], expected: &[Read]) -> bool {
    let mut expected = expected.iter();
    there.iter().all(|seen| {
        expected.any(|read| Some(seen.line()) == read.line.as_deref() && seen.body == read.body)
    })
}
