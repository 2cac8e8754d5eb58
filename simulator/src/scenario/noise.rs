//! Ordinary life around the traffic: commits, deploys, errors nobody minds, talk.
//!
//! Must hold: nothing here is the cause of anything. Commits with prompt-like words in the last two
//! days touch unrelated files; errors are rare by day and keep away from incidents.

use rand::Rng;

use super::background::{is_weekend, local_hour};
use super::effects::Window;
use super::plan::{File, LAST_HOURS, Plan, Say, Trouble};
use super::random::{self, pick};
use crate::time::{DAY, HOUR, MINUTE, Micros, SECOND};

/// Message and files of ordinary commits. The first eight are the ones with prompt-like words; every
/// fifth follows the one before, so that the revert comes right after what it reverts.
const WORK: [(&str, &[&str]); 36] = [
    ("Fix typo in the cookie consent prompt", &["web/consent/banner.tsx"]),
    ("Move mail template helpers to their own module", &["mail/templates/helpers.py", "mail/send.py"]),
    ("Upgrade the payment system client", &["payments/client.py", "payments/requirements.txt"]),
    ("Data model: drop unused warehouse column", &["db/migrations/0141_warehouse.sql", "db/models.py"]),
    ("Prompt for confirmation before emptying a basket", &["web/basket/empty.tsx"]),
    ("Template for invoices: larger totals", &["mail/templates/invoice.html"]),
    ("System metrics: export queue depth", &["ops/metrics/queues.py"]),
    ("Model car category gets its own page", &["web/categories/model_cars.tsx"]),
    ("Cache category pages for five minutes", &["web/categories/cache.ts"]),
    ("Speed up basket totals", &["services/basket/totals.py", "services/basket/tests/test_totals.py"]),
    ("Search: boost products in stock", &["services/search/boost.py"]),
    ("Split order export into pages", &["jobs/export/orders.py"]),
    ("Retry image uploads twice", &["media/upload.py"]),
    ("Revert \"Cache category pages for five minutes\"", &["web/categories/cache.ts"]),
    ("Bump node to the current LTS", &[".nvmrc", "web/Dockerfile"]),
    ("Add index on orders.created_at", &["db/migrations/0140_orders_index.sql"]),
    ("Header: fix focus order", &["web/header/nav.tsx"]),
    ("Log carrier answers at debug level", &["services/shipping/carriers.py"]),
    ("Vouchers: reject expired codes earlier", &["services/vouchers/check.py"]),
    ("Fewer queries on the account page", &["services/accounts/views.py"]),
    ("Footer: link to accessibility statement", &["web/footer/links.tsx"]),
    ("Nightly batch: write a summary line", &["jobs/reviews/nightly.py"]),
    ("Address form: validate postcodes per country", &["web/address/form.tsx", "services/addresses/postcodes.py"]),
    ("Ignore bots in search statistics", &["services/search/stats.py"]),
    ("Copywriter: tidy logging", &["services/copywriter/logging.py"]),
    ("Checkout: rename quote fields", &["services/checkout/fields.py"]),
    ("Inventory tool: type annotations", &["tools/inventory/types.py"]),
    ("Catalog agent: unit tests for the planner", &["agents/catalog/tests/test_planner.py"]),
    ("Support replies: count categories", &["services/support/metrics.py"]),
    ("Docs: how to run the shop locally", &["docs/local.md"]),
    ("Docs: on-call rota for December", &["docs/oncall.md"]),
    ("Remove dead code in feeds", &["services/feeds/old.py"]),
    ("Tests: freeze time in basket suite", &["services/basket/tests/conftest.py"]),
    ("Images: serve AVIF where supported", &["media/formats.py"]),
    ("Rate limit newsletter sign-ups", &["services/newsletter/limit.py"]),
    ("Wishlist: keep order of items", &["services/wishlist/store.py"]),
];

/// Commits of the last hours: minutes before the end, message, files. None is deployed with a culprit.
const DECOYS: [(i64, &str, &[&str]); 14] = [
    (640, "Docs: where logs are kept", &["docs/logs.md"]),
    (628, "Search: smaller result payload", &["services/search/payload.py"]),
    (560, "Lint rule for prompt strings in the web client", &["web/.eslintrc.json"]),
    (531, "Refactor mail template loader tests", &["mail/tests/test_loader.py"]),
    (487, "Docs: prompt writing guide", &["docs/prompts.md"]),
    (452, "Update wording on the system status page", &["web/status/page.tsx"]),
    (418, "Bump the model registry client", &["ml/registry/requirements.txt"]),
    (370, "Header: sticky on small screens", &["web/header/sticky.tsx"]),
    (318, "Rename prompt fixtures of the web tests", &["web/tests/fixtures.ts"]),
    (259, "Docs: spelling in the README", &["README.md"]),
    (205, "Voucher template: new colours", &["mail/templates/voucher.html"]),
    (168, "Basket: show saved amount", &["web/basket/saved.tsx"]),
    (72, "Docs: system diagram of the warehouse", &["docs/warehouse.md"]),
    (41, "Tests: model factories for addresses", &["services/addresses/tests/factories.py"]),
];

/// Deploys of the last hours: minutes before the end, and which decoy (by its minutes).
const DECOY_DEPLOYS: [(i64, i64); 3] = [(620, 628), (364, 370), (200, 205)];

/// Errors that are always there: kind, value, project, file, function.
const ORDINARY: [(&str, &str, usize, &str, &str); 9] = [
    ("ConnectionResetError", "[Errno 104] Connection reset by peer", 0, "services/feeds/pull.py", "fetch_feed"),
    ("TypeError", "Cannot read properties of null (reading 'focus')", 1, "web/search/box.tsx", "onOpen"),
    ("IntegrityError", "duplicate key value violates unique constraint", 0, "services/wishlist/store.py", "add"),
    ("ChunkLoadError", "Loading chunk 42 failed", 1, "web/app/loader.ts", "load"),
    ("UnicodeDecodeError", "'utf-8' codec can't decode byte 0xe9", 0, "jobs/export/orders.py", "read_row"),
    (
        "ValueError",
        "postcode does not match country <b>&amp; *region*</b>",
        0,
        "services/addresses/postcodes.py",
        "check",
    ),
    ("NetworkError", "Failed to fetch", 1, "web/api/client.ts", "request"),
    ("TimeoutError", "carrier did not answer within 5s", 0, "services/shipping/carriers.py", "quote"),
    ("KeyError", "'weight'", 2, "jobs/reviews/nightly.py", "summarise"),
];

const TALK: [(&str, &str); 26] = [
    ("engineering", "Who reviews the address form today?"),
    ("engineering", "Main is green again, go ahead and merge"),
    ("engineering", "Reminder: architecture round at 15:00"),
    ("engineering", "The new index cut the order page to 80 ms :tada:"),
    ("engineering", "Rolling restart of the workers is done"),
    ("backend", "Replication lag is back to normal after the import"),
    ("backend", "Does anybody still use the old feed format?"),
    ("backend", "I moved the carrier timeouts to config"),
    ("backend", "Nightly batch finished, 1,904 digests"),
    ("backend", "Queue depth looks fine to me"),
    ("alerts", "[OK] disk usage on db-2 below 70 %"),
    ("alerts", "[OK] certificate renewed for shop.example"),
    ("alerts", "[INFO] backup finished in 14 m"),
    ("alerts", "[INFO] deploy finished, all health checks green"),
    ("support", "Customer asks for a printed invoice again"),
    ("support", "Two people could not find the voucher field on iOS"),
    ("support", "Quiet morning so far"),
    ("support", "Please add the new returns address to the macros"),
    ("random", "Lunch: ramen or falafel?"),
    ("random", "There is cake in the kitchen"),
    ("random", "New cat pictures in the shared album"),
    ("random", "Who left the blue umbrella?"),
    ("incidents", "Weekly check: nothing open here"),
    ("incidents", "False alarm from the probe in Lyon, muted it"),
    ("incidents", "Post-mortem notes of last month are in the wiki"),
    ("incidents", "Thanks everyone, closing this one <3 & _good work_ *all* `done` ~old~ > quote"),
];

/// Writes nine days of ordinary life.
pub(crate) fn plan(plan: &mut Plan) {
    commits(plan);
    decoys(plan);
    troubles(plan);
    talk(plan);
}

/// A small harmless change of a file.
fn small_change(name: &str) -> File {
    File::patched(name, " unchanged\n+better\n-good\n unchanged")
}

fn commits(plan: &mut Plan) {
    let mut rng = random::part(plan.seed, "commits");
    let mut next = 0;
    let mut at = plan.start() + 20 * MINUTE;
    let mut last_code: Option<String> = None;
    let mut last_deploy_hour = -1;
    while at < plan.anchor - LAST_HOURS {
        let hour = local_hour(plan, at);
        let working = (9..18).contains(&hour) && !is_weekend(plan, at);
        if working {
            let two_days = at > plan.anchor - 2 * DAY - LAST_HOURS;
            // Close to the incidents only changes far from their files.
            let (message, files) = loop {
                let Some(work) = WORK.get(next % WORK.len()) else {
                    return;
                };
                next += 5;
                let (_, files) = work;
                let near = ["services/copywriter", "services/checkout", "tools/", "agents/", "services/support"];
                let is_near = files.iter().any(|file| near.iter().any(|dir| file.starts_with(dir)));
                if !(two_days && is_near) {
                    break *work;
                }
            };
            let files: Vec<File> = files.iter().map(|name| small_change(name)).collect();
            let is_docs = files.iter().all(|file| file.name.starts_with("docs/"));
            let author = rng.random_range(0..8);
            let sha = plan.commit(&format!("work {at}"), at, author, message, files);
            if let (false, Some(commit)) = (rng.random_bool(0.75), plan.commits.last_mut()) {
                commit.reviewed = false;
            }
            if !is_docs {
                last_code = Some(sha);
            }
            // Three deploys on a working day, each of the newest code.
            if matches!(hour, 11 | 14 | 16) && hour != last_deploy_hour {
                last_deploy_hour = hour;
                if let Some(sha) = last_code.take() {
                    plan.deploy(&sha, at + 11 * MINUTE, author);
                }
            }
        }
        at += rng.random_range(38..71) * MINUTE + rng.random_range(0..60) * SECOND;
    }
}

fn decoys(plan: &mut Plan) {
    for (index, (minutes, message, files)) in DECOYS.into_iter().enumerate() {
        let files = files.iter().map(|name| small_change(name)).collect();
        let at = plan.ago(minutes);
        plan.commit(&format!("decoy {minutes}"), at, index + 3, message, files);
    }
    for (at, of) in DECOY_DEPLOYS {
        let sha = plan.sha(&format!("decoy {of}"));
        plan.deploy(&sha, plan.ago(at), 4);
    }
}

/// When ordinary errors happen: some every night, a few spread over a day.
fn error_times(plan: &Plan) -> Vec<Micros> {
    let mut rng = random::part(plan.seed, "errors");
    let mut times = Vec::new();
    let mut at = plan.start() + 25 * MINUTE;
    while at < plan.anchor {
        times.push(at);
        let night = (0..5).contains(&local_hour(plan, at));
        at += if night { rng.random_range(34..52) * MINUTE } else { rng.random_range(175..260) * MINUTE }
            + rng.random_range(0..60) * SECOND;
    }
    times.retain(|at| !plan.calm.iter().any(|(from, to)| (from..to).contains(&at)));
    times
}

fn troubles(plan: &mut Plan) {
    let times = error_times(plan);
    let mut rng = random::part(plan.seed, "which error");
    let mut seen: Vec<Vec<Micros>> = vec![Vec::new(); ORDINARY.len()];
    for (index, at) in times.iter().enumerate() {
        // Every kind shows itself early on; later ones are not new.
        let which = if index < ORDINARY.len() { index } else { rng.random_range(0..ORDINARY.len()) };
        if let Some(seen) = seen.get_mut(which) {
            seen.push(*at);
        }
    }
    for (index, (seen, (kind, value, project, file, function))) in seen.into_iter().zip(ORDINARY).enumerate() {
        // Nothing a tool does may look connected with an error that is new.
        if let Some(first) = seen.first() {
            plan.effects.quiet_tools.push((Window { from: first - 7 * MINUTE, to: first + MINUTE }, None));
        }
        plan.troubles.push(Trouble {
            kind: kind.to_owned(),
            value: value.to_owned(),
            project,
            level: if index % 4 == 3 { "warning" } else { "error" },
            filename: file.to_owned(),
            function: function.to_owned(),
            transaction: format!("/{}", file.split('/').nth(1).unwrap_or_default()),
            release_sha: None,
            seen,
            status: match index {
                2 => "resolved",
                6 => "ignored",
                _ => "unresolved",
            },
        });
    }
}

fn talk(plan: &mut Plan) {
    let mut rng = random::part(plan.seed, "talk");
    let mut at = plan.start() + 9 * MINUTE;
    while at < plan.anchor {
        if (8..19).contains(&local_hour(plan, at))
            && let Some((channel, text)) = pick(&mut rng, &TALK)
        {
            let person = rng.random_range(0..8);
            let replies = if rng.random_bool(0.2) {
                vec![(person + 1, "+1".to_owned()), (person + 2, "on it".to_owned())]
            } else {
                Vec::new()
            };
            plan.says.push(Say {
                at: at + rng.random_range(0..999) * 1000,
                channel,
                person,
                text: (*text).to_owned(),
                replies,
            });
        }
        at += rng.random_range(9..27) * MINUTE;
    }
    debug_assert!(at > plan.anchor - HOUR, "talk goes on until the end");
}
