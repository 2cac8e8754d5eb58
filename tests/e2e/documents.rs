//! The documentation and the surface are one: what only the whole product shows (each crate checks its own pages).

use std::path::{Path, PathBuf};

use crate::seeded;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[tokio::test]
async fn every_table_has_a_page_and_every_page_a_table() {
    let scene = seeded::cascade().await;
    let query = "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables \
                 WHERE table_schema NOT IN ('information_schema', 'tripline')";
    let rows = scene.site.sql(query).await;
    let mut tables: Vec<String> = rows.iter().map(|row| format!("{}.md", row["name"].as_str().unwrap())).collect();
    tables.sort();
    let pages = std::fs::read_dir(root().join("docs/tables")).unwrap();
    let mut pages: Vec<String> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    assert!(tables.len() > 25, "{tables:?}");
    assert_eq!(tables, pages);
}

#[tokio::test]
async fn doctor_says_for_each_source_whether_it_answers() {
    let scene = seeded::cascade().await;
    let well = scene.site.run(&["doctor"]).await;
    assert_eq!(well.code(), 0, "{well:?}");
    scene.vendors.fault("sentry", "", "status:401").await;
    let ill = scene.site.run(&["doctor"]).await;
    assert_ne!(ill.code(), 0, "{ill:?}");
    let said = format!("{}{}", ill.stdout, ill.stderr);
    assert!(said.lines().any(|line| line.contains("sentry") && line.contains("401")), "{said}");
}
