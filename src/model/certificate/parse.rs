//! The parts of a certificate (RFC 5280 §4.1) that say for whom it is and for how long.

use std::net::IpAddr;

use yasna::models::TaggedDerValue;
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag, TagClass, parse_der};

/// How many of a certificate's parts come before its validity: its number, how it is signed, who
/// has signed it. Its version may come before them.
const BEFORE_VALIDITY: usize = 3;
/// How a version begins, as DER has it.
const VERSION: u8 = 0xa0;
/// How the extensions begin.
const EXTENSIONS: u8 = 0xa3;
/// What names the extension with the names: 2.5.29.17.
const NAMES: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x11];
/// The tag of a host's name.
const DNS_NAME: Tag = context(2);
/// The tag of an address.
const IP_ADDRESS: Tag = context(7);

const fn context(tag_number: u64) -> Tag {
    Tag {
        tag_class: TagClass::ContextSpecific,
        tag_number,
    }
}

/// What is looked at.
pub struct Parsed {
    /// The hosts and addresses that it is for.
    pub names: Vec<String>,
    /// When it begins, in seconds since 1970.
    pub from: i64,
    /// When it ends.
    pub until: i64,
}

/// Reads a certificate in DER.
pub fn certificate(der: &[u8]) -> ASN1Result<Parsed> {
    let parts = items(der)?;
    let signed = items(part(&parts, 0)?)?;
    let first = usize::from(part(&signed, 0)?.first() == Some(&VERSION));
    let validity = items(part(&signed, first + BEFORE_VALIDITY)?)?;

    let extensions = signed
        .last()
        .filter(|last| last.first() == Some(&EXTENSIONS));
    Ok(Parsed {
        names: extensions.map_or_else(|| Ok(Vec::new()), |der| names(der))?,
        from: seconds(part(&validity, 0)?)?,
        until: seconds(part(&validity, 1)?)?,
    })
}

// The methods themselves are for one lifetime, and what they are given to wants any.
fn whole(reader: BERReader<'_, '_>) -> ASN1Result<Vec<u8>> {
    reader.read_der()
}

fn bytes(reader: BERReader<'_, '_>) -> ASN1Result<Vec<u8>> {
    reader.read_bytes()
}

fn tagged(reader: BERReader<'_, '_>) -> ASN1Result<TaggedDerValue> {
    reader.read_tagged_der()
}

/// What a sequence has in it.
fn items(der: &[u8]) -> ASN1Result<Vec<Vec<u8>>> {
    parse_der(der, |reader| reader.collect_sequence_of(whole))
}

fn part(items: &[Vec<u8>], at: usize) -> ASN1Result<&[u8]> {
    let part = items.get(at).map(Vec::as_slice);
    part.ok_or_else(|| ASN1Error::new(ASN1ErrorKind::Eof))
}

fn seconds(der: &[u8]) -> ASN1Result<i64> {
    parse_der(der, |reader| {
        if reader.lookahead_tag()? == TAG_UTCTIME {
            return Ok(reader.read_utctime()?.datetime().unix_timestamp());
        }
        Ok(reader.read_generalized_time()?.datetime().unix_timestamp())
    })
}

fn names(extensions: &[u8]) -> ASN1Result<Vec<String>> {
    let all = parse_der(extensions, |reader| {
        reader.read_tagged(context(3), |inside| inside.collect_sequence_of(whole))
    })?;
    for extension in all {
        let parts = items(&extension)?;
        if part(&parts, 0)? != NAMES {
            continue;
        }
        // Whether it is critical may stand before its value.
        let value = part(&parts, parts.len() - 1)?;
        let value = parse_der(value, bytes)?;
        let names = parse_der(&value, |reader| reader.collect_sequence_of(tagged))?;
        return Ok(names.iter().filter_map(name).collect());
    }
    Ok(Vec::new())
}

/// A name that a client can ask for.
fn name(name: &TaggedDerValue) -> Option<String> {
    let value = name.value();
    match name.tag() {
        DNS_NAME => Some(str::from_utf8(value).ok()?.to_owned()),
        IP_ADDRESS if value.len() == 4 => {
            Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?).to_string())
        }
        IP_ADDRESS => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?).to_string()),
        _ => None,
    }
}
