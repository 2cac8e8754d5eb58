//! GitHub's webhook from outside: what it asks for is scored once, however often it asks.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tripline_simulator::{Scenario, default_anchor};

use crate::harness::{Serve, Site, Vendors, Write, until};

pub(crate) const SECRET: &str = "webhook-e2e";

/// One delivery, signed as GitHub does it; the answer's status and body.
pub(crate) async fn deliver(serve: &Serve, id: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let request = serve.client.post(format!("{}/api/github/webhook", serve.url));
    let request = request
        .header("content-type", "application/json")
        .header("x-github-event", "pull_request")
        .header("x-github-delivery", id)
        .header("x-hub-signature-256", signature);
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn ten_deliveries_about_one_pull_request_give_one_score_and_one_comment() {
    let vendors = Vendors::with(&Scenario::ALL, default_anchor()).await;
    let mut site = Site::over(&vendors);
    site.set("GITHUB_WEBHOOK_SECRET", SECRET);
    let account = vendors.account().clone();
    let repository = format!("{}/{}", account.owner, account.repo);
    let serve = site.serve(default_anchor()).await;
    let numbers = site
        .sql(&format!(
            "SELECT number FROM github.pulls WHERE owner = '{}' AND repo = '{}' ORDER BY number DESC LIMIT 1",
            account.owner, account.repo
        ))
        .await;
    let number = numbers[0]["number"].as_u64().unwrap();
    // The history of files, once: scores rest on it.
    until("the history to be measured", async || {
        let answer = serve.post("/api/v1/jobs/risk_history/run", &json!({})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let named = format!("{repository}#{number}");
    let scored = async || -> usize {
        let runs = serve.items("/api/v1/jobs/pr_risk/runs").await;
        runs.iter()
            .filter(|run| run["status"] != "running")
            .map(|run| run["detail"].to_string().matches(&named).count())
            .sum()
    };
    let mut told: Vec<Value> = Vec::new();
    for round in 0..10 {
        // Each says something new, as pushes do, and has an id and a signature of its own.
        let body = json!({"action": "synchronize", "number": number, "after": format!("{round:040}"),
            "repository": {"full_name": repository}});
        let (status, answer) = deliver(&serve, &format!("{round:08}-2222-3333-4444-555555555555"), &body).await;
        assert_eq!((status, &answer["status"]), (202, &json!("queued")), "{answer}");
        until(&format!("score {round}"), async || (scored().await > round).then_some(())).await;
        let rows = site.sql("SELECT number, head_sha, score, complete, report FROM agent.risk_scores").await;
        let [row] = rows.as_slice() else { panic!("{rows:#?}") };
        let report: Value = serde_json::from_str(row["report"].as_str().unwrap()).unwrap();
        told.push(json!([
            row["number"],
            row["head_sha"],
            row["score"],
            row["complete"],
            report["points"],
            report["files"]
        ]));
    }
    assert_eq!(told[0][0], number);
    assert_eq!(told[0][3], true, "{}", told[0]);
    assert!(told.iter().all(|score| score == &told[0]), "{told:#?}");
    let comments = async || -> Vec<Write> {
        let of_pull = format!("/repos/{repository}/issues/{number}/comments");
        let writes = vendors.writes().await.into_iter();
        writes
            .filter(|write| write.source == "github" && write.path.contains("/comments"))
            .inspect(|write| {
                assert_eq!(
                    (write.method.as_str(), write.path.as_str()),
                    ("POST", of_pull.as_str()),
                    "it says the same"
                );
            })
            .collect()
    };
    let found = until("the comment", async || {
        let found = comments().await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].body["body"].as_str().unwrap().contains("/100"), "{found:#?}");
    assert!(serve.terminate().await.success());
    assert_eq!(comments().await.len(), 1, "nothing came after");
}
