//! Whether each line of an HTTP/1 head ends as RFC 9112 §2.2 has it, with CR and LF.
//!
//! hyper takes a bare LF for the end of a line, as that section allows. A proxy in front that does
//! not would see one header where this router sees two, and a client could smuggle the second past
//! it. hyper cannot be told, so what comes is read along here, far enough to know where heads are;
//! in a head, a bare LF becomes a byte that hyper refuses.
//!
//! A byte of a body is never touched: where the two readings could differ, this one ends, and so
//! does the connection, with the answer to that request. Behind a request that asks for another
//! protocol, heads are read and nothing is spoiled until it is answered: what comes may be bytes of
//! the other protocol.

/// The longest line that is kept in pieces. No header that says where a body ends is longer.
const LONGEST_KEPT: usize = 256;
/// No header's line may have it (RFC 9110 §5.5).
const SPOILED: u8 = 0;

/// Reads along what a client sends.
#[derive(Debug)]
pub struct LineEnds {
    place: Place,
    /// The line so far, as long as it is short.
    line: Vec<u8>,
    last: u8,
    /// How many heads have come, and the last of them that asks for another protocol.
    heads: u64,
    asks: Option<u64>,
    /// The request that is still coming asks for another protocol. Until all of it has come, its
    /// lines are like those of any other.
    is_asking: bool,
    /// The request that is still coming is the last one that hyper reads.
    is_last: bool,
    /// The head behind which no other can be found.
    lost: Option<u64>,
}

/// Where in the bytes of a client this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a head, of which this is known.
    Head(Known),
    /// In a body that has so many bytes left.
    Body(u64),
    /// In a body of chunks.
    Chunked(Chunk),
    /// It cannot be said: hyper reads no other head, or the connection ends before it does.
    Lost,
}

/// What a head has said so far of the body behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing; not even its first line has come.
    Begins,
    /// Nothing.
    NoBody,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunks,
    /// Chunks, and a length, which chunks overrule: hyper reads nothing behind such a body (RFC
    /// 9112 §6.1).
    ChunksAndLength,
    /// Something else, or two things.
    Unclear,
}

/// Where in a body of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the line that says how long it is.
    Size,
    /// So many bytes are left, the line's end behind them among them.
    Data(u64),
    /// In the lines behind the last one.
    Trailers,
}

impl LineEnds {
    /// Behind these first bytes of a connection.
    pub fn after(bytes: &[u8]) -> Self {
        let mut ends = Self {
            place: Place::Head(Known::Begins),
            line: Vec::new(),
            last: 0,
            heads: 0,
            asks: None,
            is_asking: false,
            is_last: false,
            lost: None,
        };
        ends.check(&mut bytes.to_vec(), 0);
        ends
    }

    /// The request, counted from one, with whose answer the connection has to end: what comes
    /// behind it cannot be told from a body.
    pub const fn lost(&self) -> Option<u64> {
        self.lost
    }

    /// Reads on, and spoils each bare LF of a head. So many requests have been answered, and none
    /// of them with another protocol.
    pub fn check(&mut self, mut bytes: &mut [u8], answered: u64) {
        if self.asks.is_some_and(|asks| asks <= answered) {
            self.asks = None;
        }

        while !bytes.is_empty() {
            let read = match self.place {
                Place::Lost => return,
                Place::Body(left) => {
                    let (read, left) = skip(bytes, left);
                    self.place = match left {
                        0 => Place::Head(Known::Begins),
                        _ => Place::Body(left),
                    };
                    read
                }
                Place::Chunked(Chunk::Data(left)) => {
                    let (read, left) = skip(bytes, left);
                    self.place = Place::Chunked(match left {
                        0 => Chunk::Size,
                        _ => Chunk::Data(left),
                    });
                    read
                }
                Place::Head(_) | Place::Chunked(Chunk::Size | Chunk::Trailers) => {
                    self.read_line(bytes)
                }
            };
            bytes = &mut bytes[read..];
        }
    }

    /// Reads up to a line's end, or as much of it as has come.
    fn read_line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            return bytes.len();
        };

        let before = end.checked_sub(1).map_or(self.last, |index| bytes[index]);
        if before != b'\r' {
            if self.asks.is_some() {
                self.lost = self.asks;
            } else if self.place != Place::Chunked(Chunk::Size) {
                // hyper refuses one behind a chunk's length by itself.
                bytes[end] = SPOILED;
            }
            self.place = Place::Lost;
            return bytes.len();
        }

        if self.line.is_empty() {
            self.ended(&bytes[..end]);
        } else {
            self.keep(&bytes[..end]);
            let line = std::mem::take(&mut self.line);
            self.ended(&line);
            self.line = line;
            self.line.clear();
        }

        self.last = b'\n';
        end + 1
    }

    /// Of a line that is too long the beginning is kept, which says that it is.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.last = *last;
        }
        let room = (LONGEST_KEPT + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// A whole line, with its CR when it is not too long.
    fn ended(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.place = match self.place {
            Place::Head(known) => self.head_line(known, line),
            Place::Chunked(Chunk::Size) => chunk_size(line),
            Place::Chunked(Chunk::Trailers) if line.is_empty() => self.chunks_ended(),
            place => place,
        };
        if self.place == Place::Lost {
            self.lost = Some(self.heads);
        }
    }

    /// Where the next line is, after this one of a head.
    fn head_line(&mut self, known: Known, line: &[u8]) -> Place {
        if known != Known::Begins {
            if line.is_empty() {
                self.heads += 1;
                self.is_last = known == Known::ChunksAndLength;
            } else if is_named(line, b"upgrade") {
                self.is_asking = true;
            }
        }
        let place = head_line(known, line);
        if line.is_empty() && !matches!(place, Place::Chunked(_)) {
            self.request_ended();
        }
        place
    }

    /// Where the next line is, after the last one of a body of chunks.
    fn chunks_ended(&mut self) -> Place {
        self.request_ended();
        if self.is_last {
            Place::Lost
        } else {
            Place::Head(Known::Begins)
        }
    }

    /// No other line of the request comes.
    fn request_ended(&mut self) {
        if std::mem::take(&mut self.is_asking) {
            self.asks = Some(self.heads);
        }
    }
}

/// Whether this is the header with this name.
fn is_named(line: &[u8], name: &[u8]) -> bool {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    line[..colon].trim_ascii().eq_ignore_ascii_case(name)
}

/// How many of the bytes belong to what has so many left, and how many it has left then.
fn skip(bytes: &[u8], left: u64) -> (usize, u64) {
    let read = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (read, left - read as u64)
}

/// Where the next line is, after this one of a head.
fn head_line(known: Known, line: &[u8]) -> Place {
    if line.is_empty() {
        return match known {
            Known::Begins | Known::NoBody | Known::Length(0) => Place::Head(Known::Begins),
            Known::Length(length) => Place::Body(length),
            Known::Chunks | Known::ChunksAndLength => Place::Chunked(Chunk::Size),
            Known::Unclear => Place::Lost,
        };
    }
    if known == Known::Begins {
        // What follows such a request's head may be no HTTP.
        return Place::Head(if line.starts_with(b"CONNECT ") {
            Known::Unclear
        } else {
            Known::NoBody
        });
    }
    Place::Head(header(known, line))
}

fn header(known: Known, line: &[u8]) -> Known {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let (name, value) = (&line[..colon], line[colon..].trim_ascii_start());
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
    let is = |other: &[u8]| name.trim_ascii().eq_ignore_ascii_case(other);
    if is(b"content-length") {
        let length = str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        return match (known, length) {
            // hyper no longer looks at it.
            (Known::Chunks | Known::ChunksAndLength, _) => Known::ChunksAndLength,
            (Known::NoBody, Some(length)) => Known::Length(length),
            (Known::Length(one), Some(other)) if one == other => known,
            _ => Known::Unclear,
        };
    }

    if is(b"transfer-encoding") {
        let chunked = value.eq_ignore_ascii_case(b"chunked");
        return match known {
            Known::NoBody if chunked => Known::Chunks,
            Known::Length(_) if chunked => Known::ChunksAndLength,
            _ => Known::Unclear,
        };
    }

    known
}

/// Where the next bytes are, after the line that says how long a chunk is.
fn chunk_size(line: &[u8]) -> Place {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let rest = line[digits..].trim_ascii_start();
    let size = str::from_utf8(&line[..digits])
        .ok()
        .filter(|_| rest.is_empty() || rest.starts_with(b";"))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(0) => Place::Chunked(Chunk::Trailers),
        Some(size) => match size.checked_add(2) {
            Some(data) => Place::Chunked(Chunk::Data(data)),
            None => Place::Lost,
        },
        None => Place::Lost,
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    let whole = read(bytes, bytes.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(read(bytes, piece), whole, "in pieces of {piece}");
    }
    // Nothing but line ends becomes something else.
    let changed = bytes.iter().zip(&whole).filter(|(own, now)| own != now);
    assert!(changed.into_iter().all(|pair| pair == (&b'\n', &SPOILED)));
}

/// Reads this along in pieces of this length.
#[cfg(any(test, fuzzing))]
fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut ends = LineEnds::after(b"");
    let mut bytes = bytes.to_vec();
    for piece in bytes.chunks_mut(piece) {
        ends.check(piece, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spoiled(text: &str, at: &str) -> Vec<u8> {
        let at = text.find(at).unwrap() + at.len() - 1;
        let mut bytes = text.as_bytes().to_vec();
        assert_eq!(bytes[at], b'\n');
        bytes[at] = SPOILED;
        bytes
    }

    #[test]
    fn a_bare_line_feed_of_a_head_is_spoiled_wherever_the_head_is() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let fixed = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n\n\n\n";
        let chunks = "POST / HTTP/1.1\r\ntransfer-encoding: \
                      chunked\r\n\r\n3;a=b\r\n\n\n\n\r\n0\r\nx: y\r\n\r\n";
        for before in [
            "",
            "\r\n",
            get,
            fixed,
            chunks,
            &[fixed, chunks, get].concat(),
        ] {
            for bad in [
                "GET / HTTP/1.1\nhost: a\r\n\r\n",
                "GET / HTTP/1.1\r\nx: a\ny: b\r\n\r\n",
                "GET / HTTP/1.1\r\nhost: a\n\r\n",
                "GET / HTTP/1.1\r\nhost: a\r\n\n",
                "GET / HTTP/1.1\r\nupgrade: websocket\r\n\n",
                "GET / HTTP/1.1\r\nupgrade: websocket\r\nhost: a\ny: b\r\n\r\n",
                "\nGET / HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\nupgrade: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\n\r\n",
                "GET / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: \
                 y\n\r\n",
                "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\nx: \
                 y\n\r\n",
            ] {
                let text = [before, bad].concat();
                let first = bad
                    .as_bytes()
                    .windows(2)
                    .position(|pair| pair[1] == b'\n' && pair[0] != b'\r');
                let at = before.len() + first.map_or(0, |index| index + 1);
                let mut expected = text.as_bytes().to_vec();
                expected[at] = SPOILED;
                for piece in 1..=text.len() {
                    let seen = read(text.as_bytes(), piece);
                    assert_eq!(seen, expected, "{text:?} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn behind_a_change_that_was_not_made_heads_are_read_as_before() {
        let ask = b"GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n";
        let bad = "GET / HTTP/1.1\r\nx: a\ny: b\r\n\r\n";
        let mut ends = LineEnds::after(ask);
        let mut bytes = bad.as_bytes().to_vec();
        ends.check(&mut bytes, 1);
        assert_eq!(bytes, spoiled(bad, "x: a\n"));
        assert_eq!(ends.lost(), None);
    }

    #[test]
    fn what_may_be_another_protocol_ends_the_connection_when_it_is_not() {
        let get = b"GET / HTTP/1.1\r\n\r\n";
        let ask = b"GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n";
        let bad = b"GET / HTTP/1.1\r\nx: a\ny: b\r\n\r\n";
        let ends = LineEnds::after(&[&get[..], ask, get].concat());
        assert_eq!(ends.lost(), None, "whatever it is, it hides nothing");
        let ends = LineEnds::after(&[&get[..], ask, get, bad].concat());
        assert_eq!(ends.lost(), Some(2));
        let other = b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n";
        let ends = LineEnds::after(&[&get[..], other, bad].concat());
        assert_eq!(ends.lost(), Some(2));
    }

    #[test]
    fn what_may_be_no_head_is_left_alone() {
        let unclear = [
            "GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n\n\n",
            "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n\n\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n\n\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n\n\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n\n\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n\n\n",
        ];
        for text in unclear {
            assert_eq!(read(text.as_bytes(), 7), text.as_bytes(), "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nx: {}\ny: z\r\n\r\n", "a".repeat(1000));
        assert_eq!(read(long.as_bytes(), 7), spoiled(&long, "aa\n"));
    }

    proptest! {
        /// Whatever bodies have in them, however they come: not a byte of a right request is
        /// touched.
        #[test]
        fn no_byte_of_a_right_request_is_touched(
            requests in proptest::collection::vec(request(), 1..5),
            piece in 1_usize..200,
        ) {
            let bytes = requests.concat();
            prop_assert_eq!(read(&bytes, piece), bytes);
        }

        #[test]
        fn no_bytes_make_it_fall_over(
            requests in proptest::collection::vec(request(), 1..4),
            at in any::<proptest::sample::Index>(),
            wrong in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = requests.concat();
            let at = at.index(bytes.len());
            bytes.splice(at..at, wrong);
            hostile(&bytes);
        }
    }

    fn request() -> impl Strategy<Value = Vec<u8>> {
        let body =
            proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..80);
        let chunks = proptest::collection::vec(body.clone(), 0..4);
        prop_oneof![
            Just(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            Just(b"GET /a HTTP/1.0\r\n\r\n".to_vec()),
            body.prop_map(|body| {
                let head = format!("PUT / HTTP/1.1\r\nContent-Length:{}\r\n\r\n", body.len());
                [head.as_bytes(), &body].concat()
            }),
            chunks.prop_map(|chunks| {
                let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n".to_vec();
                let one = |chunk: &Vec<u8>| {
                    [format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
                };
                let full = chunks.iter().filter(|chunk| !chunk.is_empty());
                [
                    head,
                    full.flat_map(one).collect(),
                    b"0\r\nx: y\r\n\r\n".to_vec(),
                ]
                .concat()
            }),
        ]
    }
}
