//! Puts the command centre, as `web/ui` was built, into the binary. Without it the binary says how to get it.
//!
//! Must hold: a plain `cargo build` works without Node, and nothing is built here. The files are copied, so that a build of
//! the pages that runs meanwhile does not take them away.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What the browser is told a file is.
fn content_type(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "png" => "image/png",
        _ => return None,
    })
}

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // The folder is always there (its .gitignore is), so nothing is rebuilt while it does not change.
    let built = root.join("ui/dist");
    println!("cargo:rerun-if-changed={}", built.display());
    println!("cargo:rerun-if-changed=build.rs");
    let app = built.join("app");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut code = String::from(
        "/// Name, content type, text, and the same compressed with gzip.\npub(super) static FILES: &[File] = &[\n",
    );
    if app.join("index.html").is_file() {
        let copies = out.join("ui");
        fs::create_dir_all(&copies)?;
        for folder in [app.clone(), app.join("assets")] {
            list(&folder, &copies, &mut code)?;
        }
    }
    code.push_str("];\n");
    fs::write(out.join("ui.rs"), code)
}

fn list(folder: &Path, copies: &Path, code: &mut String) -> io::Result<()> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(content_type) = content_type(name) else { continue };
        let copy = copies.join(name);
        fs::copy(&path, &copy)?;
        let zipped = path.with_file_name(format!("{name}.gz"));
        let gzip = if zipped.is_file() {
            let copy = copies.join(format!("{name}.gz"));
            fs::copy(&zipped, &copy)?;
            format!("Some(include_bytes!({copy:?}))")
        } else {
            "None".to_owned()
        };
        let line = writeln!(
            code,
            "    File {{ name: {name:?}, content_type: {content_type:?}, plain: include_bytes!({copy:?}), gzip: {gzip} }},"
        );
        line.map_err(io::Error::other)?;
    }
    Ok(())
}
