//! Comparison operators as vendors' search languages write them.

/// `=`, `>`, `>=`, `<`, `<=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Compare {
    /// Reads an operator.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Compare::Equal,
            ">" => Compare::Greater,
            ">=" => Compare::GreaterOrEqual,
            "<" => Compare::Less,
            "<=" => Compare::LessOrEqual,
            _ => return None,
        })
    }

    /// Splits an operator off the front of a value; without one it is equality.
    pub(crate) fn prefix(text: &str) -> (Self, &str) {
        for operator in [">=", "<=", ">", "<", "="] {
            if let Some((compare, rest)) = Self::parse(operator).zip(text.strip_prefix(operator)) {
                return (compare, rest);
            }
        }
        (Compare::Equal, text)
    }

    /// Whether `left` stands so to `right`.
    pub(crate) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::Greater => left > right,
            Compare::GreaterOrEqual => left >= right,
            Compare::Less => left < right,
            Compare::LessOrEqual => left <= right,
        }
    }
}
