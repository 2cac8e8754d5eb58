//! An event's payload, read tolerantly: a field that is missing or of another type is absent; a numeric text is a number.
//!
//! One struct for all kinds of events: the kinds share their field names. Unknown fields are skipped without being read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The fields that a run is built from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Payload<'a> {
    #[serde(borrow)]
    pub(super) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(super) args_hash: Text<'a>,
    #[serde(borrow)]
    pub(super) model: Text<'a>,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) output_hash: Text<'a>,
    #[serde(borrow)]
    pub(super) error_hash: Text<'a>,
    #[serde(borrow)]
    pub(super) error_type: Text<'a>,
    #[serde(borrow)]
    pub(super) exit_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) input_hash: Text<'a>,
    #[serde(borrow)]
    pub(super) index_name: Text<'a>,
    #[serde(borrow)]
    pub(super) query_hash: Text<'a>,
    pub(super) prompt_tokens: Whole,
    pub(super) completion_tokens: Whole,
    pub(super) reasoning_tokens: Whole,
    pub(super) latency_ms: Whole,
    pub(super) output_length: Whole,
    pub(super) result_count: Whole,
    pub(super) top_score: Number,
    pub(super) success: Truth,
    pub(super) tools: Texts,
    pub(super) injection_signal: Nested<Injection>,
}

/// What the client found in a run's input before it hashed it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Injection {
    pub(super) matched_pattern_count: Whole,
    pub(super) matched_patterns: Texts,
    pub(super) input_length: Whole,
}

impl<'a> Payload<'a> {
    /// Reads a payload. What is no JSON object has no fields.
    pub(super) fn read(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// A text, if it is one; an empty text is none.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

/// A whole number, if it is one: a number with digits behind the point is rounded.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Whole(pub(super) Option<i64>);

/// A finite number, if it is one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Number(pub(super) Option<f64>);

/// True or false, if it is either.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Truth(pub(super) Option<bool>);

/// The texts of a list; `None` when it is no list.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Option<Vec<String>>);

/// An object, if it is one.
#[derive(Debug)]
pub(super) struct Nested<T>(pub(super) Option<T>);

impl<T> Default for Nested<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// A visitor that takes anything: by default, and for what it does not care about, it returns the empty value.
macro_rules! tolerant {
    ($type:ty, $visitor:ident, [$($life:lifetime)?], { $($methods:tt)* }) => {
        struct $visitor<'a>(PhantomData<&'a ()>);

        impl<'de> Visitor<'de> for $visitor<'de> {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Default::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Default::default())
            }

            $($methods)*
        }
    };
}

macro_rules! skips_lists {
    () => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
}

macro_rules! skips_scalars {
    () => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
}

fn text_of(value: Cow<'_, str>) -> Text<'_> {
    Text((!value.is_empty()).then_some(value))
}

tolerant!(Text<'de>, TextVisitor, ['de], {
    skips_lists!();
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Text(None))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Text(Some(number.to_string().into())))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Text(Some(number.to_string().into())))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Text(Some(number.to_string().into())))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text_of(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text_of(Cow::Owned(text.to_owned())))
    }
});

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

tolerant!(Number, NumberVisitor, [], {
    skips_lists!();
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Number(None))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Number(Some(number as f64)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Number(Some(number as f64)))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number(Some(number).filter(|number| number.is_finite())))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Number(text.trim().parse().ok().filter(|number: &f64| number.is_finite())))
    }
});

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor(PhantomData))
    }
}

/// The whole number nearest to a float, where there is one.
fn rounded(number: f64) -> Option<i64> {
    // Beyond this a float is no exact whole number any more.
    (number.is_finite() && number.abs() < 9_007_199_254_740_992.0).then(|| number.round() as i64)
}

tolerant!(Whole, WholeVisitor, [], {
    skips_lists!();
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Whole(None))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Whole(Some(number)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Whole(i64::try_from(number).ok()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Whole(rounded(number)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let text = text.trim();
        Ok(Whole(text.parse().ok().or_else(|| text.parse().ok().and_then(rounded))))
    }
});

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor(PhantomData))
    }
}

tolerant!(Truth, TruthVisitor, [], {
    skips_lists!();
    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Truth(Some(truth)))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Truth(None))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Truth(None))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Truth(None))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Truth(text.parse().ok()))
    }
});

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TruthVisitor(PhantomData))
    }
}

tolerant!(Texts, TextsVisitor, [], {
    skips_scalars!();
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<Text<'de>>()? {
            texts.extend(text.0.map(Cow::into_owned));
        }
        Ok(Texts(Some(texts)))
    }
});

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor(PhantomData))
    }
}

struct NestedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NestedVisitor<T> {
    type Value = Nested<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Nested(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|value| Nested(Some(value)))
    }

    skips_lists!();
    skips_scalars!();
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NestedVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_type_costs_that_field_and_nothing_else() {
        let payload = Payload::read(
            r#"{"tool_name": {"a": [1]}, "success": "true", "latency_ms": "12.6", "output_length": [3],
                "prompt_tokens": null, "result_count": 3.0, "top_score": "0.5", "tools": ["a", 7, null, {}, "b"],
                "model": "g\u00e9", "something": {"else": [1, 2]}, "args_hash": ""}"#,
        );
        assert_eq!(payload.tool_name.as_str(), None);
        assert_eq!(payload.success.0, Some(true));
        assert_eq!(payload.latency_ms.0, Some(13));
        assert_eq!(payload.prompt_tokens.0, None);
        assert_eq!(payload.result_count.0, Some(3));
        assert_eq!(payload.top_score.0, Some(0.5));
        assert_eq!(payload.tools.0.unwrap(), ["a", "7", "b"]);
        assert_eq!(payload.model.as_str(), Some("gé"));
        assert_eq!(payload.args_hash.as_str(), None);
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for text in ["", "[]", "null", "7", "\"x\"", "{", "{\"injection_signal\": 5}"] {
            let payload = Payload::read(text);
            assert!(payload.tool_name.0.is_none() && payload.injection_signal.0.is_none(), "{text}");
        }
    }

    #[test]
    fn the_injection_signal_is_read() {
        let payload = Payload::read(
            r#"{"injection_signal": {"matched_pattern_count": 2, "matched_patterns": ["a", "b"], "input_length": 40}}"#,
        );
        let injection = payload.injection_signal.0.unwrap();
        assert_eq!((injection.matched_pattern_count.0, injection.input_length.0), (Some(2), Some(40)));
        assert_eq!(injection.matched_patterns.0.unwrap(), ["a", "b"]);
    }
}
