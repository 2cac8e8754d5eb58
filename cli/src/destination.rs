//! Where a command's output goes: standard output, or a file that is there only once it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// See the module. Dropped without [`Destination::keep`], a file is not left behind, and one that was there stays.
pub(crate) enum Destination {
    Stdout(BufWriter<Stdout>),
    File { written: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Destination {
    /// Standard output, or a file beside `path` that takes its place in the end.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        let failed = |error: io::Error| Failure::file(path, &error);
        if path.is_dir() {
            return Err(Failure::new(format!("{} is a directory", path.display())).hint("--output names a file"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut new = tempfile::Builder::new();
        new.prefix(".tripline-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any file that is created: what the umask leaves of it.
            new.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let written = BufWriter::new(new.tempfile_in(folder).map_err(failed)?);
        Ok(Self::File { written, path: path.to_owned() })
    }

    /// The output is whole.
    pub(crate) fn keep(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut out) => out.flush().map_err(|error| Failure::file(Path::new("standard output"), &error)),
            Self::File { written, path } => {
                let failed = |error: &io::Error| Failure::file(&path, error);
                let file = written.into_inner().map_err(|error| failed(error.error()))?;
                let kept: File = file.persist(&path).map_err(|error| failed(&error.error))?;
                kept.sync_all().map_err(|error| failed(&error))
            }
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { written, .. } => written.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { written, .. } => written.flush(),
        }
    }
}
