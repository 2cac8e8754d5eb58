use super::*;
use crate::govern::testing::{House, noon};

#[tokio::test]
async fn a_flood_of_refusals_adds_a_bounded_number_of_rows_and_one_count() {
    let house = House::new().await;
    let log = RefusalLog::new(house.store.clone(), house.scope.clone());
    for second in 0..50 {
        for _ in 0..10 {
            log.refused("unknown", "slack.actions", "forged", noon() + TimeDelta::seconds(second)).await.unwrap();
        }
    }
    assert_eq!(house.record("webhook.refused").await.len(), PER_MINUTE as usize);
    assert_eq!(house.record("webhook.refusals_counted").await.len(), 0);
    // The next one, in the next minute, writes the count of the first.
    log.refused("unknown", "slack.actions", "stale", noon() + TimeDelta::seconds(61)).await.unwrap();
    let counted = house.record("webhook.refusals_counted").await;
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].entry.detail.value().unwrap()["count_by_reason"], serde_json::json!({"forged": 480}));
    assert_eq!(house.record("webhook.refused").await.len(), PER_MINUTE as usize + 1);
}

#[tokio::test]
async fn a_flush_writes_the_count_once_and_buys_no_more_rows() {
    let house = House::new().await;
    let log = RefusalLog::new(house.store.clone(), house.scope.clone());
    for _ in 0..PER_MINUTE + 5 {
        log.refused("unknown", "slack.actions", "forged", noon()).await.unwrap();
    }
    for _ in 0..3 {
        log.flush("slack.actions", noon()).await.unwrap();
    }
    log.refused("unknown", "slack.actions", "forged", noon()).await.unwrap();
    assert_eq!(house.record("webhook.refusals_counted").await.len(), 1);
    assert_eq!(house.record("webhook.refused").await.len(), PER_MINUTE as usize);
}
