//! What the models of the simulated projects cost: Langfuse infers costs from such a table when a
//! generation comes without any.

/// USD per token of input and of output; `None` for a model Langfuse would not know.
pub(crate) fn price_of(model: &str) -> Option<(f64, f64)> {
    const PER_MILLION: [(&str, f64, f64); 9] = [
        ("gpt-4o-mini", 0.15, 0.6),
        ("gpt-4o", 2.5, 10.0),
        ("gpt-4.1-mini", 0.4, 1.6),
        ("gpt-4.1", 2.0, 8.0),
        ("gpt-4-turbo", 10.0, 30.0),
        ("gpt-4", 30.0, 60.0),
        ("claude-opus", 15.0, 75.0),
        ("claude-sonnet", 3.0, 15.0),
        ("claude-haiku", 0.8, 4.0),
    ];
    PER_MILLION
        .iter()
        .filter(|(prefix, ..)| model.starts_with(prefix))
        .max_by_key(|(prefix, ..)| prefix.len())
        .map(|(_, input, output)| (input / 1e6, output / 1e6))
}
