//! The state of environments, kept for clients on several machines: documents with versions, each
//! written over the version that its writer has read. What is in them is the client's business.
//!
//! A document is a file; its version is the digest of its content. Writes come one after the other,
//! and a reader sees the old content or the new one, whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tonic::{Response, Status};

use crate::agent::answer::Answer;
use crate::files;
use crate::model::Digest;
use crate::proto::v1;

/// The largest document.
const LIMIT: u64 = 12 << 20;

/// How many names a key may have, and how long each may be.
const DEEPEST: usize = 8;
const LONGEST: usize = 128;

/// Documents in a folder.
pub(super) struct Documents {
    folder: PathBuf,
    /// One write at a time: what is compared is what is replaced.
    writing: Mutex<()>,
}

/// What must be there for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    Any,
    Absent,
    Version(String),
}

impl Documents {
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            writing: Mutex::new(()),
        }
    }

    /// A document and its version; none when there is none.
    pub fn read(&self, key: &str) -> io::Result<Option<(Vec<u8>, String)>> {
        let content = files::read_if_there(&self.path(key)?, LIMIT)?;
        Ok(content.map(|content| {
            let version = version(&content);
            (content, version)
        }))
    }

    /// Writes a document, durably. Gives its version since; none when what is there is another one.
    pub fn write(&self, key: &str, content: &[u8], over: &Over) -> io::Result<Option<String>> {
        if content.len() as u64 > LIMIT {
            return Err(io::Error::other(format!(
                "it has more than {} MiB",
                LIMIT >> 20
            )));
        }
        let path = self.path(key)?;
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.read(key)?.map(|(_, version)| version);
        let holds = match over {
            Over::Any => true,
            Over::Absent => found.is_none(),
            Over::Version(version) => found.as_ref() == Some(version),
        };
        if !holds {
            return Ok(None);
        }
        if let Some(folder) = path.parent() {
            files::private_folder(folder)?;
        }
        files::replace(&path, content)?;
        Ok(Some(version(content)))
    }

    /// One that is not there is deleted already.
    pub fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.path(key)?;
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Folders that are empty since.
        let above = path.ancestors().skip(1);
        for folder in above.take_while(|folder| folder.starts_with(&self.folder)) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The keys of the documents in a folder and in those below it, sorted.
    pub fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let top = self.path(folder.trim_end_matches('/'))?;
        let mut keys = Vec::new();
        let mut folders = vec![top];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if is_none(&error) => continue,
                other => other?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    keys.extend(self.key(&entry.path()));
                }
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// The key of a file; none of one that is none, as what a write has beside it.
    fn key(&self, path: &Path) -> Option<String> {
        let key = path.strip_prefix(&self.folder).ok()?.to_str()?;
        is_key(key).then(|| key.to_owned())
    }

    fn path(&self, key: &str) -> io::Result<PathBuf> {
        if is_key(key) {
            return Ok(self.folder.join(key));
        }
        let reason = format!("`{}` is no key of a document", key.escape_debug());
        Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
    }
}

/// Works on documents beside the calls of others. What is begun is done.
async fn on<T: Send + 'static>(
    documents: &Arc<Documents>,
    work: impl FnOnce(&Documents) -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let documents = Arc::clone(documents);
    let done = tokio::task::spawn_blocking(move || work(&documents)).await;
    let done = done.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Status::invalid_argument(error.to_string()),
        _ => Status::internal(format!("the agent's documents: {error}")),
    })
}

pub(super) async fn read(
    documents: &Arc<Documents>,
    request: v1::ReadDocumentRequest,
) -> Answer<v1::ReadDocumentReply> {
    let found = on(documents, move |documents| documents.read(&request.key)).await?;
    let document = found.map(|(content, version)| v1::Document { content, version });
    Ok(Response::new(v1::ReadDocumentReply { document }))
}

pub(super) async fn write(
    documents: &Arc<Documents>,
    request: v1::WriteDocumentRequest,
) -> Answer<v1::WriteDocumentReply> {
    use v1::write_document_request::Over as Asked;

    let v1::WriteDocumentRequest { key, content, over } = request;
    let over = match over {
        Some(Asked::Any(true)) => Over::Any,
        Some(Asked::Absent(true)) => Over::Absent,
        Some(Asked::Version(version)) => Over::Version(version),
        _ => {
            return Err(Status::invalid_argument(
                "it does not say over what to write",
            ));
        }
    };
    let written = on(documents, move |documents| {
        documents.write(&key, &content, &over)
    });
    let version = written.await?;
    Ok(Response::new(v1::WriteDocumentReply { version }))
}

pub(super) async fn delete(
    documents: &Arc<Documents>,
    request: v1::DeleteDocumentRequest,
) -> Answer<v1::Done> {
    on(documents, move |documents| documents.delete(&request.key)).await?;
    Ok(Response::new(v1::Done {}))
}

pub(super) async fn list(
    documents: &Arc<Documents>,
    request: v1::ListDocumentsRequest,
) -> Answer<v1::ListDocumentsReply> {
    let keys = on(documents, move |documents| documents.list(&request.folder)).await?;
    Ok(Response::new(v1::ListDocumentsReply { keys }))
}

fn is_none(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn version(content: &[u8]) -> String {
    Digest::of(content).hex().to_owned()
}

fn is_key(key: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = |name: &str| {
        (1..=LONGEST).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_plain)
    };
    key.split('/').count() <= DEEPEST && key.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_over_the_version_that_was_read_and_no_other() {
        let top = tempfile::tempdir().expect("a folder");
        let documents = Documents::new(top.path().join("documents"));
        let write = |content: &[u8], over| {
            let written = documents.write("shop/staging/state.json", content, &over);
            written.expect("no fault")
        };
        assert_eq!(write(b"1", Over::Version("x".to_owned())), None);
        let first = write(b"1", Over::Absent).expect("written");
        assert_eq!(write(b"2", Over::Absent), None);
        let second = write(b"2", Over::Version(first.clone())).expect("written");
        assert_eq!(write(b"3", Over::Version(first)), None);
        let found = documents.read("shop/staging/state.json").expect("read");
        assert_eq!(found, Some((b"2".to_vec(), second)));
        write(b"4", Over::Any).expect("written");

        documents
            .write("shop/staging/journal/a/00001", b"e", &Over::Any)
            .expect("written");
        let listed = |folder: &str| documents.list(folder).expect("listed");
        assert_eq!(
            listed("shop/staging/journal/"),
            ["shop/staging/journal/a/00001"]
        );
        assert_eq!(listed("shop").len(), 2);
        documents
            .delete("shop/staging/journal/a/00001")
            .expect("gone");
        documents
            .delete("shop/staging/journal/a/00001")
            .expect("it is gone already");
        assert_eq!(listed("shop"), ["shop/staging/state.json"]);
        assert!(!top.path().join("documents/shop/staging/journal").exists());
    }

    #[test]
    fn a_key_leads_nowhere_else() {
        let top = tempfile::tempdir().expect("a folder");
        let documents = Documents::new(top.path().join("documents"));
        for key in [
            "",
            "..",
            "a/../../b",
            "/etc/passwd",
            "a//b",
            "a/.b",
            "a b",
            "a\0b",
        ] {
            assert!(documents.read(key).is_err(), "{key:?}");
            assert!(documents.write(key, b"x", &Over::Any).is_err(), "{key:?}");
            assert!(documents.delete(key).is_err(), "{key:?}");
        }
        assert_eq!(fs::read_dir(top.path()).expect("a folder").count(), 0);
    }
}
