//! Where files of sealed events are kept: an object store, a local folder by default.
//!
//! Owns putting, opening and removing files. Must hold: `Shelf::put` answers after the file is on disk, name and
//! content (the local object store does not wait for the disk by itself); a file is never changed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::StoreError;

/// Bytes of remote files that are kept for reading; the longest unused go first.
const MOST_CACHED: u64 = 4 << 30;

/// The place. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shelf {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    /// Made when it is first needed: a reader makes no folder.
    local: Mutex<Option<Arc<dyn ObjectStore>>>,
}

#[derive(Debug)]
enum Kind {
    Local(PathBuf),
    Remote { store: Arc<dyn ObjectStore>, cache: PathBuf },
}

impl Shelf {
    /// A folder, which is made (for its owner only) when the first file is put there.
    #[must_use]
    pub fn local(folder: impl Into<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { kind: Kind::Local(folder.into()), local: Mutex::default() }) }
    }

    /// Any object store; files are fetched into `cache` to be read.
    #[must_use]
    pub fn remote(store: Arc<dyn ObjectStore>, cache: impl Into<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { kind: Kind::Remote { store, cache: cache.into() }, local: Mutex::default() }) }
    }

    /// S3-compatible storage, `s3://BUCKET` or `s3://BUCKET/PREFIX`; files are fetched into `cache` to be read. `option` is
    /// asked for what else is to be known, by the names of the AWS tools (`AWS_REGION`, `AWS_ENDPOINT_URL`,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).
    ///
    /// # Errors
    /// `Invalid` for another kind of address, a storage that cannot be set up, or a build without the feature `s3`.
    pub fn s3(
        url: &str,
        cache: impl Into<PathBuf>,
        option: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StoreError> {
        let invalid = |reason: String| StoreError::invalid("TRIPLINE_EVENTS_URL", reason);
        let rest = url.strip_prefix("s3://").ok_or_else(|| invalid("it must begin with s3://".to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(invalid("it names no bucket".to_owned()));
        }
        let store = s3_store(bucket, &option).map_err(invalid)?;
        let store: Arc<dyn ObjectStore> = match prefix.trim_matches('/') {
            "" => store,
            prefix => Arc::new(object_store::prefix::PrefixStore::new(store, prefix)),
        };
        Ok(Self::remote(store, cache))
    }

    /// A folder behind an object store that does more than the plain one; for tests.
    #[cfg(test)]
    pub(crate) fn local_through(folder: PathBuf, store: Arc<dyn ObjectStore>) -> Self {
        Self { inner: Arc::new(Inner { kind: Kind::Local(folder), local: Mutex::new(Some(store)) }) }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.inner.kind {
            Kind::Local(folder) => folder.display().to_string(),
            Kind::Remote { store, .. } => store.to_string(),
        }
    }

    fn store(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let folder = match &self.inner.kind {
            Kind::Remote { store, .. } => return Ok(Arc::clone(store)),
            Kind::Local(folder) => folder,
        };
        let mut local = self.inner.local.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*local {
            return Ok(Arc::clone(store));
        }
        make_private(folder)?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(folder, &error))?;
        Ok(Arc::clone(local.insert(Arc::new(store))))
    }

    /// Puts a file; it is on disk when this returns.
    pub(super) async fn put(&self, path: &str, content: Bytes) -> Result<(), StoreError> {
        let at = object_store::path::Path::from(path);
        let put = self.store()?.put(&at, PutPayload::from(content)).await;
        put.map_err(|error| failed(Path::new(path), &error))?;
        if let Kind::Local(folder) = &self.inner.kind {
            let (folder, file) = (folder.clone(), folder.join(path));
            let synced = tokio::task::spawn_blocking(move || sync(&folder, &file)).await;
            synced.map_err(|_| StoreError::Internal { doing: "waiting for a file to be on disk" })??;
        }
        Ok(())
    }

    /// Removes a file; one that is not there is removed already.
    pub(super) async fn remove(&self, path: &str) -> Result<(), StoreError> {
        let at = object_store::path::Path::from(path);
        match self.store()?.delete(&at).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(Path::new(path), &error)),
        }
        if let Kind::Remote { cache, .. } = &self.inner.kind {
            // The copy may never have been made.
            let _ = tokio::fs::remove_file(cache.join(name_of(path))).await;
        }
        Ok(())
    }

    /// Opens a file for reading. Blocks, on a thread of the runtime's that may.
    pub(super) fn open(&self, path: &str) -> Result<File, StoreError> {
        let (store, cache) = match &self.inner.kind {
            Kind::Local(folder) => {
                let file = folder.join(path);
                return File::open(&file).map_err(|error| failed(&file, &error));
            }
            Kind::Remote { store, cache } => (store, cache),
        };
        let copy = cache.join(name_of(path));
        if let Ok(file) = File::open(&copy) {
            // Marks it as used; the copy is as good without.
            let _ = file.set_modified(std::time::SystemTime::now());
            return Ok(file);
        }
        make_private(cache)?;
        let at = object_store::path::Path::from(path);
        let content = tokio::runtime::Handle::current().block_on(async { store.get(&at).await?.bytes().await });
        let content = content.map_err(|error| failed(Path::new(path), &error))?;
        let next = cache.join(format!("{}.{}", name_of(path), uuid::Uuid::new_v4().simple()));
        std::fs::write(&next, &content).map_err(|error| failed(&next, &error))?;
        std::fs::rename(&next, &copy).map_err(|error| failed(&copy, &error))?;
        trim(cache, MOST_CACHED);
        File::open(&copy).map_err(|error| failed(&copy, &error))
    }
}

#[cfg(feature = "s3")]
fn s3_store(bucket: &str, option: &impl Fn(&str) -> Option<String>) -> Result<Arc<dyn ObjectStore>, String> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
    for (name, key) in [
        ("AWS_REGION", AmazonS3ConfigKey::Region),
        ("AWS_ENDPOINT_URL", AmazonS3ConfigKey::Endpoint),
        ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
        ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ] {
        if let Some(value) = option(name) {
            builder = builder.with_config(key, value);
        }
    }
    // A storage of one's own on the local network may speak plain HTTP; what is addressed says so itself.
    let is_plain = option("AWS_ENDPOINT_URL").is_some_and(|url| url.starts_with("http://"));
    let store = builder.with_allow_http(is_plain).build().map_err(|error| error.to_string())?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "s3"))]
fn s3_store(_: &str, _: &impl Fn(&str) -> Option<String>) -> Result<Arc<dyn ObjectStore>, String> {
    Err("this build keeps events in a local folder only; build it with `--features s3`".to_owned())
}

/// The last part of a path; unique, since it has a random part.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::File { path: path.to_path_buf(), message: error.to_string() }
}

fn make_private(folder: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| failed(folder, &error))
}

/// Waits until a file and the folders down to it are on disk.
fn sync(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let synced = |path: &Path| File::open(path)?.sync_all();
    synced(file).map_err(|error| failed(file, &error))?;
    for parent in file.ancestors().skip(1) {
        synced(parent).map_err(|error| failed(parent, &error))?;
        if parent == folder {
            break;
        }
    }
    Ok(())
}

/// Removes the longest unused copies beyond a size. What cannot be removed stays.
fn trim(cache: &Path, most: u64) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    let mut copies: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    copies.sort();
    let mut size: u64 = copies.iter().map(|(_, size, _)| size).sum();
    for (_, length, path) in copies {
        if size <= most {
            return;
        }
        // A reader that has it open keeps what it opened.
        if std::fs::remove_file(path).is_ok() {
            size -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use std::io::Read;

    fn text(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn a_file_of_any_object_store_is_put_opened_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        for shelf in [
            Shelf::local(folder.path().join("local")),
            Shelf::remote(Arc::new(InMemory::new()), folder.path().join("cache")),
        ] {
            shelf.put("default/20260101/a-1.parquet", Bytes::from_static(b"rows")).await.unwrap();
            for _ in 0..2 {
                let shelf = shelf.clone();
                let opened = tokio::task::spawn_blocking(move || shelf.open("default/20260101/a-1.parquet"));
                assert_eq!(text(opened.await.unwrap().unwrap()), "rows");
            }
            for _ in 0..2 {
                shelf.remove("default/20260101/a-1.parquet").await.unwrap();
            }
            let opened = tokio::task::spawn_blocking(move || shelf.open("default/20260101/a-1.parquet"));
            assert!(opened.await.unwrap().is_err());
        }
    }

    #[test]
    fn an_address_that_is_none_of_a_bucket_is_refused() {
        for url in ["", "events", "https://bucket", "s3://", "s3:///prefix"] {
            let error = Shelf::s3(url, "cache", |_| None).unwrap_err();
            assert!(error.to_string().starts_with("TRIPLINE_EVENTS_URL: "), "{url}: {error}");
        }
    }

    #[test]
    fn the_longest_unused_copies_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for age in 0..5_u64 {
            let path = folder.path().join(age.to_string());
            std::fs::write(&path, [0; 100]).unwrap();
            let modified = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000 - age);
            File::open(&path).unwrap().set_modified(modified).unwrap();
        }
        trim(folder.path(), 250);
        let left: Vec<_> = (0..5).filter(|age| folder.path().join(age.to_string()).exists()).collect();
        assert_eq!(left, [0, 1]);
    }
}
