//! What models cost, for calls that come without a price: those of the runs that agents send to Tripline.
//!
//! Owns: the shape of `model_prices`, its checks, and the form in which a query file gets it. Must hold: a model that no pattern
//! names has no price, which is not a price of nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tripline_engine::Param;

/// The most that a million tokens may cost, in US dollars.
const MOST_USD: f64 = 1_000_000.0;
/// The longest pattern, in characters.
const LONGEST: usize = 200;

/// US dollars for a million tokens of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Of the prompt, 0 to 1000000.
    pub input: f64,
    /// Of the answer, 0 to 1000000.
    pub output: f64,
}

/// Prices by pattern: the model's name, in which `*` stands for anything.
pub type ModelPrices = BTreeMap<String, ModelPrice>;

/// What is wrong with prices: the key, its value, and what is allowed.
pub(crate) type Wrong = (String, String, String);

/// Checks every pattern and figure.
pub(crate) fn check(prices: &ModelPrices) -> Result<(), Wrong> {
    for (pattern, price) in prices {
        let is_name = !pattern.trim().is_empty() && pattern.chars().count() <= LONGEST;
        if !is_name || pattern.chars().any(char::is_control) {
            let allowed = format!("the name of a model, or a pattern such as gpt-4o*, of 1 to {LONGEST} characters");
            return Err(("model_prices".to_owned(), format!("'{}'", pattern.escape_debug()), allowed));
        }
        for (key, usd) in [("input", price.input), ("output", price.output)] {
            if !(0.0..=MOST_USD).contains(&usd) {
                let allowed = format!("US dollars per million tokens, from 0 to {MOST_USD}");
                return Err((format!("model_prices.{pattern}.{key}"), usd.to_string(), allowed));
            }
        }
    }
    Ok(())
}

/// The prices as a query file gets them: a list of texts, each the price of a token of the prompt, of one of the answer, and a
/// pattern for `LIKE` in lower case, with tabs between.
pub(crate) fn param(prices: &ModelPrices) -> Param {
    let row = |(pattern, price): (&String, &ModelPrice)| {
        format!("{:e}\t{:e}\t{}", price.input / 1e6, price.output / 1e6, like(pattern))
    };
    Param::TextList(prices.iter().map(row).collect())
}

fn like(pattern: &str) -> String {
    let mut like = String::new();
    for letter in pattern.trim().to_lowercase().chars() {
        match letter {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', letter]),
            other => like.push(other),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn prices_outside_of_what_can_be_are_refused_with_their_place() {
        for (bad, why) in [
            (r#"{"m": {"input": -1, "output": 2}}"#, "model_prices.m.input is -1"),
            (r#"{"m": {"input": 1, "output": 2000000}}"#, "model_prices.m.output is 2000000"),
            (r#"{" ": {"input": 1, "output": 2}}"#, "a pattern such as gpt-4o*"),
            (r#"{"m\t": {"input": 1, "output": 2}}"#, "a pattern such as gpt-4o*"),
            (r#"{"m": {"input": 1}}"#, "output"),
            (r#"{"m": {"input": 1, "output": 2, "cached": 3}}"#, "cached"),
            (r#"{"m": {"input": "1", "output": 2}}"#, "invalid type"),
        ] {
            let error = Settings::from_json(&format!(r#"{{"model_prices": {bad}}}"#), "settings.json").unwrap_err();
            assert!(error.to_string().contains(why), "{bad}: {error}");
        }
        let good = Settings::from_json(r#"{"model_prices": {"m": {"input": 0, "output": 2.5}}}"#, "x").unwrap();
        assert_eq!(good.model_prices["m"], ModelPrice { input: 0.0, output: 2.5 });
    }

    #[test]
    fn a_pattern_has_no_wildcard_but_the_star() {
        assert_eq!((like("GPT-4o*").as_str(), like("my_model%").as_str()), ("gpt-4o%", "my\\_model\\%"));
    }
}
