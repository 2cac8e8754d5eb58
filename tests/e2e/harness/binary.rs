//! Where the binary is, and that it is the one that belongs to the sources.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

const HINT: &str = "run `cargo build --bin tripline` first (`make rust-test` does), or set TRIPLINE_BIN";

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("TRIPLINE_BIN") {
            return PathBuf::from(named);
        }
        // target/debug/deps/e2e-0123 stands beside target/debug/tripline.
        let own = std::env::current_exe().unwrap();
        let folder = own.ancestors().nth(2).unwrap();
        let binary = folder.join(format!("tripline{}", std::env::consts::EXE_SUFFIX));
        assert!(binary.exists(), "there is no binary at {}; {HINT}", binary.display());
        refuse_if_stale(&binary);
        binary
    })
}

/// Fails when a source is newer than the binary: a test of yesterday's product proves nothing.
fn refuse_if_stale(binary: &Path) {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let Ok(listing) = std::fs::read_to_string(binary.with_extension("d")) else { return };
    let built = modified(binary).unwrap_or(SystemTime::UNIX_EPOCH);
    let sources = listing.split_once(": ").map(|(_, sources)| sources).unwrap_or_default();
    for source in sources.replace("\\ ", "\u{0}").split_whitespace().map(|path| path.replace('\u{0}', " ")) {
        if modified(Path::new(&source)).is_some_and(|changed| changed > built) {
            panic!("{source} is newer than the binary; {HINT}");
        }
    }
}
