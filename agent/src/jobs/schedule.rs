//! Cron expressions: when a job is due.
//!
//! Owns: parsing and the instants an expression names, in UTC or in another time zone. Five fields (minutes first) mean
//! second 0. In a zone with daylight saving time 09:00 is 09:00 by its clocks, whatever the offset of the day.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

/// A cron expression, in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Tz,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Schedule {
    /// Reads an expression of 5 fields, or 6 with seconds first.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        let text = match fields {
            5 => format!("0 {}", text.trim()),
            6 => text.trim().to_owned(),
            _ => return Err(format!("it has {fields} fields")),
        };
        let parser = CronParser::builder().seconds(Seconds::Required).build();
        let cron = parser.parse(&text).map_err(|error| error.to_string())?;
        Ok(Self { text, cron, zone: Tz::UTC })
    }

    /// The same expression by the clocks of a time zone.
    #[must_use]
    pub fn in_zone(mut self, zone: Tz) -> Self {
        self.zone = zone;
        self
    }

    /// The time zone.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The expression with six fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first instant after `after`; `None` when there is none within the calendar.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Instants are whole seconds; croner would carry a fraction over into the next one.
        let after = after.with_nanosecond(0)?.with_timezone(&self.zone);
        Some(self.cron.find_next_occurrence(&after, false).ok()?.with_timezone(&Utc))
    }

    /// The last instant at or before `at`.
    #[must_use]
    pub fn last_at(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let second = at.with_nanosecond(0)?.with_timezone(&self.zone);
        Some(self.cron.find_previous_occurrence(&second, true).ok()?.with_timezone(&Utc))
    }

    /// The instants in `(after, until]`, in order, at most `limit`.
    #[must_use]
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>, limit: usize) -> Vec<DateTime<Utc>> {
        let mut ticks = Vec::new();
        let mut at = after;
        while ticks.len() < limit {
            match self.next_after(at) {
                Some(next) if next <= until && next > at => {
                    ticks.push(next);
                    at = next;
                }
                _ => break,
            }
        }
        ticks
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn five_and_six_fields_name_the_same_instants() {
        let (five, six) = (Schedule::parse("*/15 * * * *").unwrap(), Schedule::parse("0 */15 * * * *").unwrap());
        assert_eq!(five, six);
        let ticks = five.between(at("2026-11-20T10:00:00Z"), at("2026-11-20T10:45:00Z"), 10);
        assert_eq!(ticks, [at("2026-11-20T10:15:00Z"), at("2026-11-20T10:30:00Z"), at("2026-11-20T10:45:00Z")]);
    }

    #[test]
    fn the_last_instant_is_at_or_before() {
        let quarter = Schedule::parse("*/15 * * * *").unwrap();
        assert_eq!(quarter.last_at(at("2026-11-20T10:15:00Z")), Some(at("2026-11-20T10:15:00Z")));
        assert_eq!(quarter.last_at(at("2026-11-20T10:15:00.5Z")), Some(at("2026-11-20T10:15:00Z")));
        assert_eq!(quarter.last_at(at("2026-11-20T10:14:59.999Z")), Some(at("2026-11-20T10:00:00Z")));
    }

    #[test]
    fn the_next_instant_is_a_whole_second_whatever_the_time_before_it() {
        let schedule = Schedule::parse("10 */15 * * * *").unwrap();
        let tick = at("2026-11-20T10:15:10Z");
        for before in
            ["2026-11-20T10:15:09.999999Z", "2026-11-20T10:15:09Z", "2026-11-20T10:00:10Z", "2026-11-20T10:00:10.5Z"]
        {
            assert_eq!(schedule.next_after(at(before)), Some(tick), "{before}");
        }
        assert_eq!(schedule.next_after(tick), Some(at("2026-11-20T10:30:10Z")));
        assert_eq!(schedule.next_after(at("2026-11-20T10:15:10.000001Z")), Some(at("2026-11-20T10:30:10Z")));
    }

    #[test]
    fn nine_in_the_morning_is_nine_by_the_clocks_of_the_zone_in_summer_and_in_winter() {
        let monday = Schedule::parse("0 0 9 * * MON").unwrap().in_zone(chrono_tz::Europe::Berlin);
        // The clocks go back on Sunday, 25 October 2026, and forward on Sunday, 28 March 2027.
        let ticks = monday.between(at("2026-10-18T00:00:00Z"), at("2026-11-03T00:00:00Z"), 9);
        assert_eq!(ticks, [at("2026-10-19T07:00:00Z"), at("2026-10-26T08:00:00Z"), at("2026-11-02T08:00:00Z")]);
        assert_eq!(monday.next_after(at("2027-03-23T00:00:00Z")), Some(at("2027-03-29T07:00:00Z")));
        assert_eq!(monday.last_at(at("2027-03-29T06:59:59Z")), Some(at("2027-03-22T08:00:00Z")));
        let apia = Schedule::parse("0 0 9 * * MON").unwrap().in_zone(chrono_tz::Pacific::Apia);
        assert_eq!(apia.last_at(at("2026-11-22T21:00:00Z")), Some(at("2026-11-22T20:00:00Z")));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "* * *", "99 * * * *", "a b c d e", "* * * * * * * *"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
