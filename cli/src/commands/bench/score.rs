//! Matching what was found with what is labelled, and the figures.
//!
//! Must hold: a true positive has the label's class and entity and overlaps `[starts_at, ends_at + one period]`; another
//! class on a labelled incident's feature counts neither way.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::truth::{CLASSES, Label, PERIOD, Truth};
use crate::terminal;

/// One time that an incident was open.
#[derive(Debug, Clone)]
pub(super) struct Episode {
    /// What makes two episodes one incident.
    pub(super) id: String,
    pub(super) class: String,
    pub(super) entity: String,
    /// When it was opened.
    pub(super) opened: DateTime<Utc>,
    /// From when until when it was seen. Of windows that were judged late (a source was down) it is their time that counts, not
    /// when they were judged.
    pub(super) first: DateTime<Utc>,
    pub(super) last: DateTime<Utc>,
    /// Suspects, best first.
    pub(super) suspects: Vec<String>,
    /// The change that is called the cause.
    pub(super) culprit: Option<String>,
}

/// What became of one label or one false incident.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    class: String,
    entity: String,
    /// `found`, `missed`, `false` or `other class`.
    verdict: &'static str,
    starts_at: DateTime<Utc>,
    delay_minutes: Option<f64>,
    /// From 1.
    culprit_rank: Option<usize>,
}

impl Verdict {
    pub(super) fn text(&self) -> String {
        let delay = self.delay_minutes.map_or_else(String::new, |delay| format!(", after {delay:.0} min"));
        let rank = self.culprit_rank.map_or_else(String::new, |rank| format!(", culprit ranked {rank}"));
        format!("{} {} {} '{}'{delay}{rank}", self.starts_at.format("%F %R"), self.verdict, self.class, self.entity)
    }
}

#[derive(Debug, Default)]
struct Counts {
    labelled: u64,
    found: u64,
    false_incidents: u64,
    neither: u64,
    duplicates: u64,
    delays_minutes: Vec<f64>,
    culprits: u64,
    top_1: u64,
    top_3: u64,
    named: u64,
    named_right: u64,
}

/// Everything that was counted, over all histories.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_class: BTreeMap<&'static str, Counts>,
    quiet_weeks: f64,
    false_in_quiet: u64,
}

fn overlaps(episode: &Episode, label: &Label) -> bool {
    episode.first <= label.ends_at + PERIOD && label.starts_at <= episode.last
}

/// The same change: commits may be cut short, other ids are compared whole.
fn same_change(one: &str, other: &str) -> bool {
    if one.contains(':') || other.contains(':') {
        return one == other;
    }
    one.len() >= 7 && other.len() >= 7 && (one.starts_with(other) || other.starts_with(one))
}

impl Tally {
    /// Counts one history; `episodes` are what was found in it.
    pub(super) fn add(&mut self, truth: &Truth, mut episodes: Vec<Episode>) -> Vec<Verdict> {
        episodes.sort_by_key(|episode| episode.opened);
        let mut verdicts = Vec::new();
        let mut matched = BTreeSet::new();
        self.quiet_weeks += truth.quiet_weeks();
        for label in &truth.incidents {
            let Some(class) = CLASSES.into_iter().find(|class| *class == label.class) else { continue };
            let counts = self.by_class.entry(class).or_default();
            counts.labelled += 1;
            let mine: Vec<(usize, &Episode)> = episodes
                .iter()
                .enumerate()
                .filter(|(_, e)| e.class == label.class && e.entity == label.entity && overlaps(e, label))
                .collect();
            matched.extend(mine.iter().map(|(index, _)| *index));
            let mut verdict = Verdict {
                class: label.class.clone(),
                entity: label.entity.clone(),
                verdict: "missed",
                starts_at: label.starts_at,
                delay_minutes: None,
                culprit_rank: None,
            };
            if let Some(sha) = label.culprit_sha.as_ref().or(label.culprit.as_ref()) {
                counts.culprits += u64::from(!mine.is_empty());
                if let Some((_, first)) = mine.first() {
                    let rank = first.suspects.iter().position(|suspect| same_change(suspect, sha));
                    counts.top_1 += u64::from(rank == Some(0));
                    counts.top_3 += u64::from(rank.is_some_and(|rank| rank < 3));
                    verdict.culprit_rank = rank.map(|rank| rank + 1);
                    counts.named += u64::from(first.culprit.is_some());
                    counts.named_right += u64::from(first.culprit.as_deref().is_some_and(|c| same_change(c, sha)));
                }
            }
            if let Some((_, first)) = mine.first() {
                verdict.verdict = "found";
                counts.found += 1;
                let delay = (first.opened - label.starts_at).num_seconds().max(0) as f64 / 60.0;
                counts.delays_minutes.push(delay);
                verdict.delay_minutes = Some(delay);
                let distinct: BTreeSet<&str> = mine.iter().map(|(_, episode)| episode.id.as_str()).collect();
                counts.duplicates += distinct.len() as u64 - 1;
            }
            verdicts.push(verdict);
        }
        for (index, episode) in episodes.iter().enumerate() {
            if matched.contains(&index) {
                continue;
            }
            let Some(class) = CLASSES.into_iter().find(|class| *class == episode.class) else { continue };
            let of_other_class = truth.incidents.iter().any(|label| {
                label.class != episode.class
                    && (label.entity == episode.entity || label.feature.as_deref() == Some(episode.entity.as_str()))
            });
            let counts = self.by_class.entry(class).or_default();
            let verdict = if of_other_class {
                counts.neither += 1;
                "other class"
            } else {
                counts.false_incidents += 1;
                let under_way = truth.incidents.iter().any(|label| overlaps(episode, label));
                self.false_in_quiet += u64::from(!under_way);
                "false"
            };
            verdicts.push(Verdict {
                class: episode.class.clone(),
                entity: episode.entity.clone(),
                verdict,
                starts_at: episode.first,
                delay_minutes: None,
                culprit_rank: None,
            });
        }
        verdicts
    }

    pub(super) fn table(&self) -> Table {
        let mut all = Counts::default();
        let mut classes = Vec::new();
        for class in CLASSES {
            let empty = Counts::default();
            let counts = self.by_class.get(class).unwrap_or(&empty);
            classes.push(Line::of(class, counts));
            all.add(counts);
        }
        classes.push(Line::of("all", &all));
        let weeks = self.quiet_weeks;
        Table {
            classes,
            quiet_weeks: weeks,
            false_incidents_per_quiet_week: (weeks > 0.0).then(|| self.false_in_quiet as f64 / weeks),
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.labelled += other.labelled;
        self.found += other.found;
        self.false_incidents += other.false_incidents;
        self.neither += other.neither;
        self.duplicates += other.duplicates;
        self.delays_minutes.extend(&other.delays_minutes);
        self.culprits += other.culprits;
        self.top_1 += other.top_1;
        self.top_3 += other.top_3;
        self.named += other.named;
        self.named_right += other.named_right;
    }
}

/// The figures. A share of nothing is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    classes: Vec<Line>,
    quiet_weeks: f64,
    false_incidents_per_quiet_week: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Line {
    class: &'static str,
    labelled: u64,
    found: u64,
    false_incidents: u64,
    /// Of another class on a labelled feature: they count neither way.
    neither: u64,
    recall: Option<f64>,
    precision: Option<f64>,
    median_delay_minutes: Option<f64>,
    culprit_top_1: Option<f64>,
    culprit_top_3: Option<f64>,
    /// Of the changes that were called the cause, those that were.
    culprit_precision: Option<f64>,
    duplicates_per_incident: Option<f64>,
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Line {
    fn of(class: &'static str, counts: &Counts) -> Self {
        let mut delays = counts.delays_minutes.clone();
        delays.sort_by(f64::total_cmp);
        Self {
            class,
            labelled: counts.labelled,
            found: counts.found,
            false_incidents: counts.false_incidents,
            neither: counts.neither,
            recall: share(counts.found, counts.labelled),
            precision: share(counts.found, counts.found + counts.false_incidents),
            median_delay_minutes: delays.get(delays.len() / 2).copied(),
            culprit_top_1: share(counts.top_1, counts.culprits),
            culprit_top_3: share(counts.top_3, counts.culprits),
            culprit_precision: share(counts.named_right, counts.named),
            duplicates_per_incident: share(counts.duplicates, counts.found),
        }
    }
}

impl Table {
    pub(super) fn text(&self) -> String {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let rows = self.classes.iter().map(|line| {
            vec![
                line.class.to_owned(),
                format!("{}/{}", line.found, line.labelled),
                figure(line.recall),
                figure(line.precision),
                line.median_delay_minutes.map_or_else(|| "-".to_owned(), |delay| format!("{delay:.0} min")),
                figure(line.culprit_top_1),
                figure(line.culprit_top_3),
                figure(line.duplicates_per_incident),
                line.false_incidents.to_string(),
            ]
        });
        let header = ["class", "found", "recall", "precision", "delay", "top-1", "top-3", "duplicates", "false"];
        let quiet = self.false_incidents_per_quiet_week;
        format!(
            "{}\nfalse incidents per quiet week: {} ({:.1} weeks)",
            terminal::table(&header, rows.collect()),
            figure(quiet),
            self.quiet_weeks
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should stop at once")]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_768_000_000 + minute * 60, 0).unwrap()
    }

    fn truth() -> Truth {
        let label = Label {
            class: "cost_spike".to_owned(),
            starts_at: at(100),
            ends_at: at(160),
            entity: "f".to_owned(),
            culprit_sha: Some("abcdef0123".to_owned()),
            culprit: None,
            feature: None,
        };
        Truth {
            owner: "o".to_owned(),
            repo: "r".to_owned(),
            sentry_project: None,
            sentry_org: None,
            clock_start: at(0),
            clock_end: at(1000),
            incidents: vec![label],
            outages: Vec::new(),
        }
    }

    fn episode(id: &str, class: &str, entity: &str, first: i64) -> Episode {
        Episode {
            id: id.to_owned(),
            class: class.to_owned(),
            entity: entity.to_owned(),
            opened: at(first),
            first: at(first),
            last: at(first + 30),
            suspects: vec!["1111111".to_owned(), "abcdef0123".to_owned()],
            culprit: None,
        }
    }

    fn all(episodes: Vec<Episode>) -> Line {
        let mut tally = Tally::default();
        tally.add(&truth(), episodes);
        tally.table().classes.pop().unwrap()
    }

    #[test]
    fn class_entity_and_time_make_a_true_positive() {
        let line = all(vec![episode("1", "cost_spike", "f", 110)]);
        assert_eq!((line.recall, line.precision, line.median_delay_minutes), (Some(1.0), Some(1.0), Some(10.0)));
        assert_eq!((line.culprit_top_1, line.culprit_top_3), (Some(0.0), Some(1.0)));
        for wrong in [episode("1", "cost_spike", "g", 110), episode("1", "cost_spike", "f", 176)] {
            let line = all(vec![wrong]);
            assert_eq!((line.recall, line.precision), (Some(0.0), Some(0.0)));
        }
        assert_eq!(all(vec![episode("1", "cost_spike", "f", 175)]).recall, Some(1.0));
    }

    #[test]
    fn what_was_found_in_a_window_that_was_judged_late_is_found_after_a_long_delay() {
        let mut late = episode("1", "cost_spike", "f", 110);
        late.opened = at(700);
        let line = all(vec![late]);
        assert_eq!((line.recall, line.precision, line.median_delay_minutes), (Some(1.0), Some(1.0), Some(600.0)));
    }

    #[test]
    fn a_cause_that_is_no_commit_is_found_by_its_whole_id() {
        let rank = |suspects: [&str; 2]| {
            let mut truth = truth();
            truth.incidents[0].culprit_sha = None;
            truth.incidents[0].culprit = Some("prompt:writer@8".to_owned());
            let mut found = episode("1", "cost_spike", "f", 110);
            found.suspects = suspects.map(str::to_owned).to_vec();
            let mut tally = Tally::default();
            tally.add(&truth, vec![found]);
            tally.table().classes.pop().unwrap().culprit_top_1
        };
        assert_eq!(rank(["prompt:writer@8", "abcdef0123"]), Some(1.0));
        assert_eq!(rank(["prompt:writer@80", "prompt:writer@8"]), Some(0.0));
    }

    #[test]
    fn another_class_on_the_feature_counts_neither_way() {
        let line = all(vec![episode("1", "cost_spike", "f", 110), episode("2", "error_cascade", "f", 110)]);
        assert_eq!((line.precision, line.false_incidents, line.neither), (Some(1.0), 0, 1));
    }

    #[test]
    fn a_second_incident_of_one_condition_is_a_duplicate_and_a_reopened_one_is_not() {
        let twice = |id| all(vec![episode("1", "cost_spike", "f", 110), episode(id, "cost_spike", "f", 150)]);
        assert_eq!(twice("2").duplicates_per_incident, Some(1.0));
        assert_eq!(twice("1").duplicates_per_incident, Some(0.0));
    }
}
