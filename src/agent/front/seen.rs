//! Whether what stands in front of the slots is as an agent has left it: files of proxies, and keys
//! of etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use crate::agent::front::etcd;
use crate::agent::front::nginx::Mark;
use crate::files;
use crate::model::drift::MovedField;
use crate::model::route::{Publication, Route};
use crate::model::{LiveTraffic, ServiceName};

/// The largest file that is compared, in bytes: what an agent writes is much less.
const LARGEST: u64 = 16 << 20;

/// What is not as it was written, by service, and what could not be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::agent) struct Seen {
    pub moved: BTreeMap<ServiceName, Vec<MovedField>>,
    pub unseen: Vec<String>,
}

/// Looks at what stands in front of these routes, while traffic goes there.
pub(in crate::agent) async fn look(
    routes: &BTreeMap<ServiceName, Route>,
    mark: &Mark,
    to: LiveTraffic,
) -> Seen {
    let mut seen = Seen::default();
    let keys = keys(routes, to).await;
    seen.unseen
        .extend(keys.values().filter_map(|key| key.as_ref().err()).cloned());

    for (service, route) in routes {
        let Some(listeners) = route.listeners() else {
            continue;
        };
        let mut moved = Vec::new();
        if let Some(proxy) = listeners.proxy.as_deref() {
            match file(&proxy.config, mark.in_text(proxy, to).as_bytes()) {
                Ok(field) => moved.extend(field),
                Err(reason) => seen.unseen.push(reason),
            }
        }
        let key = listeners.publish.as_ref().and_then(|key| keys.get(key));
        if let Some(Ok(Some(field))) = key {
            moved.push(field.clone());
        }

        if !moved.is_empty() {
            seen.moved.insert(service.clone(), moved);
        }
    }
    seen
}

type Keys<'a> = BTreeMap<&'a Publication, Result<Option<MovedField>, String>>;

/// What became of the keys. All are asked for at once, and one that several services have only once:
/// a plan waits for this.
async fn keys(routes: &BTreeMap<ServiceName, Route>, to: LiveTraffic) -> Keys<'_> {
    let listeners = routes.values().filter_map(Route::listeners);
    let publications = listeners.filter_map(|listeners| listeners.publish.as_ref());
    let publications: BTreeSet<&Publication> = publications.collect();
    let found = publications.iter().map(|publication| key(publication, to));
    let found = futures_util::future::join_all(found).await;
    publications.into_iter().zip(found).collect()
}

/// A file against what was written into it.
pub(in crate::agent) fn file(path: &Path, wanted: &[u8]) -> Result<Option<MovedField>, String> {
    let field = path.display().to_string();
    let was = Some("as shipit wrote it".to_owned());
    let there = match files::read(path, LARGEST) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Some(MovedField {
                field,
                was,
                is: None,
                by: None,
                at: None,
            }));
        }
        Err(error) => return Err(format!("{field}: {error}")),
    };
    if there == wanted {
        return Ok(None);
    }

    let line = first_difference(wanted, &there);
    let about = std::fs::metadata(path).ok();
    Ok(Some(MovedField {
        field,
        was,
        is: Some(format!("another text from line {line} on")),
        by: about.as_ref().and_then(owner),
        at: about.as_ref().and_then(changed_at),
    }))
}

/// The number of the first line that differs. What stands there may be a secret of somebody's.
fn first_difference(one: &[u8], other: &[u8]) -> usize {
    let lines = |text: &[u8]| -> Vec<Vec<u8>> {
        let lines = text.split(|byte| *byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    };
    let (one, other) = (lines(one), lines(other));
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    same + 1
}

/// Whoever owns a file that this user has written once. An editor of this user's own leaves no name.
fn owner(about: &std::fs::Metadata) -> Option<String> {
    let is_own = about.uid() == rustix::process::geteuid().as_raw();
    (!is_own).then(|| format!("user {}", about.uid()))
}

/// When a file was written last.
pub(in crate::agent) fn changed_at(about: &std::fs::Metadata) -> Option<Timestamp> {
    Timestamp::from_second(about.mtime()).ok()
}

async fn key(publication: &Publication, to: LiveTraffic) -> Result<Option<MovedField>, String> {
    let there = etcd::read(publication).await?;
    let wanted = to.as_str();
    Ok((there.as_deref() != Some(wanted)).then(|| MovedField {
        field: publication.key.clone(),
        was: Some(wanted.to_owned()),
        is: there,
        by: None,
        at: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_is_told_with_its_line_and_no_text_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.conf");
        let look = || file(&path, b"one\ntwo\nthree\n");
        let gone = look().expect("seen").expect("it moved");
        assert_eq!((gone.is, gone.at), (None, None));

        std::fs::write(&path, "one\ntwo\nthree\n").expect("written");
        assert_eq!(look(), Ok(None));
        std::fs::write(&path, "one\nsecret 2\nthree\n").expect("written");
        let moved = look().expect("seen").expect("it moved");
        assert_eq!(moved.is.as_deref(), Some("another text from line 2 on"));
        assert!(moved.at.is_some() && moved.by.is_none(), "{moved:?}");
        std::fs::write(&path, "one\ntwo\nthree\nfour\n").expect("written");
        let more = look().expect("seen").expect("it moved");
        assert_eq!(more.is.as_deref(), Some("another text from line 4 on"));

        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("a folder");
        assert!(look().is_err(), "what cannot be read is not as it was");

        // Nobody writes into it: who opens it to read waits.
        std::fs::remove_dir(&path).expect("removed");
        let name = std::ffi::CString::new(path.to_str().expect("text")).expect("a name");
        rustix::fs::mkfifoat(rustix::fs::CWD, &name, rustix::fs::Mode::RUSR).expect("a pipe");
        assert!(look().expect_err("no file").contains("it is a pipe"));
    }
}
