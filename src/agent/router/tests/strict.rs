//! The strictest reading of a client's bytes: what it does not understand ends it.

/// A request as an instance should see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Method, path and HTTP/1.1. None without a path: such a request is for no instance, and the
    /// next one begins behind it.
    pub line: Option<String>,
    pub body: Vec<u8>,
}

/// All requests, up to the first thing that is not right.
pub fn read(mut bytes: &[u8]) -> Vec<Read> {
    let mut all = Vec::new();
    while let Some((read, rest, more)) = one(bytes) {
        all.push(read);
        if !more {
            break;
        }
        bytes = rest;
    }
    all
}

fn one(mut bytes: &[u8]) -> Option<(Read, &[u8], bool)> {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let (line, mut bytes) = line(bytes)?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = path(target);
    if words.next().is_some() || !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return None;
    }

    let mut headers = Vec::new();
    loop {
        let (line, rest) = self::line(bytes)?;
        bytes = rest;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        {
            return None;
        }
        headers.push((
            name.to_ascii_lowercase(),
            value.trim_matches([' ', '\t']).to_owned(),
        ));
    }
    let values = |wanted: &str| -> Vec<&str> {
        let own = headers.iter().filter(|(name, _)| name == wanted);
        own.map(|(_, value)| value.as_str()).collect()
    };

    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let (body, rest) = if codings.is_empty() {
        match lengths[..] {
            [] => (Vec::new(), bytes),
            [first, ..] if lengths.iter().all(|other| *other == first) => {
                let length = first
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then_some(first)?;
                let (body, rest) = bytes.split_at_checked(length.parse().ok()?)?;
                (body.to_vec(), rest)
            }
            _ => return None,
        }
    } else if codings.len() == 1
        && codings[0].eq_ignore_ascii_case("chunked")
        && version == "HTTP/1.1"
    {
        chunks(bytes)?
    } else {
        return None;
    };

    let asks = |wanted: &str| {
        values("connection").iter().any(|value| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case(wanted))
        })
    };
    let both = !lengths.is_empty() && !codings.is_empty();
    let more = !both && !asks("close") && (version == "HTTP/1.1" || asks("keep-alive"));
    let line = path.map(|path| format!("{method} {path} HTTP/1.1"));
    Some((Read { line, body }, rest, more))
}

/// A line that ends with CR and LF and has neither in it.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &bytes[..end];
    if line.iter().any(|byte| b"\r\n\0\x0b".contains(byte)) {
        return None;
    }
    // What is no text is no matter here.
    Some((str::from_utf8(line).ok()?, &bytes[end + 2..]))
}

fn path(target: &str) -> Option<&str> {
    if let Some(rest) = target.strip_prefix("http://") {
        return rest.find('/').map(|slash| &rest[slash..]);
    }
    target.starts_with('/').then_some(target)
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (line, rest) = line(bytes)?;
        let size = line.split_once(';').map_or(line, |(size, _)| size);
        let hex = size
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then_some(size)?;
        let size = usize::from_str_radix(hex, 16).ok()?;
        if size == 0 {
            bytes = rest;
            break;
        }
        let (data, rest) = rest.split_at_checked(size)?;
        body.extend_from_slice(data);
        bytes = rest.strip_prefix(b"\r\n")?;
    }
    loop {
        let (line, rest) = line(bytes)?;
        bytes = rest;
        if line.is_empty() {
            return Some((body, bytes));
        }
    }
}
