//! Nothing acknowledged is lost and nothing doubled, whatever step of sealing fails, and whether or not the process ends
//! there.

use super::*;
use crate::ingest::{IngestError, Receipt, Shelf};
use crate::sqlite::OpenMode;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Which step fails, and whether it takes effect before it does.
#[derive(Debug, Default)]
struct Plan {
    /// Steps until the one that fails; 0 and below: none.
    left: AtomicI64,
    after_effect: AtomicBool,
}

impl Plan {
    fn fail_at(&self, step: i64, after_effect: bool) {
        self.after_effect.store(after_effect, Ordering::SeqCst);
        self.left.store(step, Ordering::SeqCst);
    }

    /// A step is made; whether it fails.
    fn step(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "it was planned".into() }
}

/// A local folder that fails when the plan says.
#[derive(Debug)]
struct Faulty {
    inner: Arc<LocalFileSystem>,
    plan: Arc<Plan>,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !self.plan.step() {
            return self.inner.put_opts(location, payload, options).await;
        }
        if self.plan.after_effect.load(Ordering::SeqCst) {
            self.inner.put_opts(location, payload, options).await?;
        }
        Err(broken())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, plan) = (Arc::clone(&self.inner), Arc::clone(&self.plan));
        let delete = move |location: Result<Path>| {
            let (inner, plan) = (Arc::clone(&inner), Arc::clone(&plan));
            async move {
                let location = location?;
                let fails = plan.step();
                if !fails || plan.after_effect.load(Ordering::SeqCst) {
                    inner.delete(&location).await?;
                }
                if fails { Err(broken()) } else { Ok(location) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A store whose files and commits fail by plan.
struct World {
    folder: tempfile::TempDir,
    plan: Arc<Plan>,
    store: Option<SqliteStore>,
    sent: i64,
    expected: BTreeSet<String>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Send events, again until they are acknowledged.
    Send(i64),
    Maintain,
    /// End and begin again.
    Restart,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("segments")).unwrap();
        let mut world = Self { folder, plan: Arc::default(), store: None, sent: 0, expected: BTreeSet::new() };
        world.restart().await;
        world
    }

    async fn restart(&mut self) {
        // The old store must be gone before the new one takes its lock.
        self.store = None;
        let segments = self.folder.path().join("segments");
        let inner = Arc::new(LocalFileSystem::new_with_prefix(&segments).unwrap());
        let faulty = Faulty { inner, plan: Arc::clone(&self.plan) };
        let shelf = Shelf::local_through(segments, Arc::new(faulty));
        let store = SqliteStore::open_with_shelf(self.folder.path().join("state.db"), OpenMode::Serve, shelf).unwrap();
        let plan = Arc::clone(&self.plan);
        // The hook is there even if this very commit is the one that fails.
        let _ =
            store.write("planning failures", move |tx| Ok(tx.connection.commit_hook(Some(move || plan.step()))?)).await;
        self.store = Some(store);
    }

    fn store(&self) -> &SqliteStore {
        self.store.as_ref().unwrap()
    }

    /// Sends until it is acknowledged: one step fails at most.
    async fn send(&mut self, events: &[WireEvent], restarts: bool) -> Receipt {
        match self.store().store().events.accept(&scope(), arrival(), events.to_vec()).await {
            Ok(receipt) => receipt,
            Err(IngestError::Full { .. }) => {
                if restarts {
                    self.restart().await;
                }
                accept(&self.store().store(), events.to_vec()).await
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn take(&mut self, step: &Step, restarts: bool) {
        match step {
            Step::Send(count) => {
                let events = numbered(self.sent, self.sent + count);
                self.sent += count;
                let receipt = self.send(&events, restarts).await;
                assert_eq!((receipt.accepted + receipt.duplicates) as i64, *count);
                self.expected.extend(events.iter().filter_map(|event| event.event_id.clone()));
                // A sender that did not hear the answer sends again.
                assert_eq!(self.send(&events, restarts).await.duplicates as i64, *count);
            }
            Step::Maintain => {
                if self.store().maintain_events(later(), &at_once(20)).await.is_err() && restarts {
                    self.restart().await;
                }
            }
            Step::Restart => self.restart().await,
        }
    }

    async fn check(&self) {
        let kept = everything(self.store()).await;
        let ids: BTreeSet<String> = kept.iter().filter_map(|event| event.event_id.clone()).collect();
        assert_eq!(ids, self.expected, "nothing acknowledged is lost, nothing else is there");
        let seqs: Vec<i64> = kept.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=kept.len() as i64).collect::<Vec<_>>(), "nothing is there twice");
    }

    /// Without failures what is left over is cleared away.
    async fn settle(&mut self) {
        self.plan.fail_at(0, false);
        for _ in 0..3 {
            self.store().maintain_events(later(), &at_once(20)).await.unwrap();
        }
        self.check().await;
        let [log, segments, garbage] = counts(self.store()).await;
        assert_eq!((log, garbage), (0, 0));
        let shelf = LocalFileSystem::new_with_prefix(self.folder.path().join("segments")).unwrap();
        assert_eq!(shelf.list(None).count().await as i64, segments, "no file is left that nothing names");
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(1..30_i64).prop_map(Step::Send), Just(Step::Maintain), Just(Step::Restart)];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_failure_at_any_step_loses_nothing_and_doubles_nothing(
        steps in steps(), fail_at in 1..40_i64, after_effect in any::<bool>(), restarts in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            world.plan.fail_at(fail_at, after_effect);
            for step in &steps {
                world.take(step, restarts).await;
                world.check().await;
            }
            world.settle().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_step_of_a_seal_and_a_compaction_may_fail() {
    for after_effect in [false, true] {
        for restarts in [false, true] {
            for fail_at in 1..60 {
                let mut world = World::new().await;
                for _ in 0..8 {
                    world.take(&Step::Send(7), false).await;
                }
                world.plan.fail_at(fail_at, after_effect);
                world.take(&Step::Maintain, restarts).await;
                let failed = world.plan.left.load(Ordering::SeqCst) < 1;
                world.check().await;
                world.settle().await;
                if !failed {
                    break;
                }
                assert!(fail_at < 59, "the steps have an end");
            }
        }
    }
}
