//! What is not known speaks for nobody.

use super::*;
use crate::testing::{at, minutes};

fn onset() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

fn commit(sha: &str, live_at: DateTime<Utc>, live_by: LiveBy, files: Option<&str>) -> Commit {
    Commit {
        landed: Landed { sha: sha.to_owned(), live_at, live_by, is_head: true },
        message: "Change".to_owned(),
        author: None,
        committed_at: live_at,
        merges: false,
        files: files.map(|file| vec![(file.to_owned(), 10)]),
        pull_request: None,
        url: None,
    }
}

/// A document that was merged just after the onset, and the change of a retry that was deployed ten minutes before.
fn facts(unknown: &[&str]) -> Facts {
    let is_known = |evidence: &str| !unknown.contains(&evidence);
    let (has_deployments, has_files) = (is_known("deployments"), is_known("commit_files"));
    let live_by = if has_deployments { LiveBy::Deployment } else { LiveBy::Commit };
    let docs = if has_deployments { LiveBy::NotDeployed } else { LiveBy::Commit };
    Facts {
        onset: onset(),
        onset_is_exact: false,
        commits: vec![
            commit("aaaaaaaa", onset() + minutes(2), docs, has_files.then_some("guide/intro.md")),
            commit("bbbbbbbb", onset() - minutes(10), live_by, has_files.then_some("svc/retry.py")),
        ],
        seen: Vec::new(),
        has_deployments,
        calls: Some(Vec::new()),
        frames: if is_known("issue_events") { BTreeSet::from(["svc/retry.py".to_owned()]) } else { BTreeSet::new() },
        releases: BTreeSet::new(),
        has_errors: is_known("issue_events"),
        link_weight: 0.25,
        names: vec!["assist".to_owned()],
        unknown: unknown.iter().map(|evidence| (*evidence).to_owned()).collect(),
    }
}

#[test]
fn a_suspect_is_no_likelier_because_less_is_known_of_it() {
    let whole = rank(&facts(&[]));
    assert_eq!(whole[0].id, "bbbbbbbb");
    assert!(whole[0].score >= LIKELY, "{whole:?}");
    let score = |suspects: &[Suspect], id: &str| suspects.iter().find(|suspect| suspect.id == id).unwrap().score;
    for unknown in [
        &["deployments"][..],
        &["commit_files"],
        &["issue_events"],
        &["deployments", "commit_files"],
        &["deployments", "commit_files", "issue_events"],
    ] {
        let ranked = rank(&facts(unknown));
        assert!(score(&ranked, "bbbbbbbb") <= whole[0].score, "{unknown:?}: {ranked:?}");
        assert!(score(&ranked, "aaaaaaaa") < LIKELY, "{unknown:?}: {ranked:?}");
    }
    let blind = rank(&facts(&["deployments", "commit_files", "issue_events"]));
    let said: Vec<&str> = blind[0].parts.iter().map(|part| part.reason.as_str()).collect();
    assert!(said.contains(&"unknown: deployments could not be read"), "{said:?}");
    assert!(blind[0].score < LIKELY, "whoever it is, it is a lead");
}
