//! What the name of a field says about its value.
//!
//! Owns the one list of names under which senders put content, and of those under which they put names. Must hold: a name is
//! known in every spelling senders have for it (`input_text`, `inputText`, `gen_ai.input.text` ends in `text`); names of ids,
//! counts and models are no content.

/// What a field holds, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a person, a model or a tool said. Hash and length are named by the stem, by the field itself where there is none;
    /// with `figures`, a number or a flag is no content (`result: true`, `value: 7`).
    Content { stem: Option<&'static str>, figures: bool },
    /// A name that may have white space in it (`tool_name`).
    Name,
    /// The kind of an error.
    ErrorType,
    /// A hash (`…_hash`).
    Hash,
    /// A length (`…_length`).
    Length,
    /// Anything else: a text in it is kept if it looks like an identifier.
    Other,
}

/// Longest word that is in one of the lists, and longest name in the list of [`stem`], without `_` and `-`.
const LONGEST: usize = 24;

/// What a field of this name holds.
pub(super) fn kind(key: &str) -> Kind {
    // What the SDKs send with every event, first.
    match key {
        "tool_name" | "tools" | "model" | "index_name" | "signal_name" | "source" | "policy_name" | "span_name"
        | "agent_name" | "source_file" | "field_path" | "file_path" | "project_root" => return Kind::Name,
        "success" | "latency_ms" | "prompt_tokens" | "completion_tokens" | "reasoning_tokens" | "finish_reason"
        | "exit_reason" | "total_steps" | "tool_call_count" | "step_index" | "result_count" | "top_score"
        | "injection_signal" | "meta" | "status" | "session_id" | "call_id" => return Kind::Other,
        "output_length" => return Kind::Length,
        _ => {}
    }
    if names_error_type(key) {
        return Kind::ErrorType;
    }
    // Of a dotted name the last part counts that is no number (`gen_ai.prompt.0.content`).
    let parts = key.rsplit('.');
    let name = parts.clone().find(|part| !part.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or(key);
    if let Some((stem, figures)) = stem(name) {
        return Kind::Content { stem: Some(stem), figures };
    }
    let mut seen = Seen::default();
    let mut rest = name;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        seen.note(word);
    }
    match seen {
        Seen { last: Word::Hash, .. } => Kind::Hash,
        Seen { last: Word::Length, .. } => Kind::Length,
        Seen { last: Word::Attribute, .. } | Seen { content: false, .. } => Kind::Other,
        Seen { .. } => Kind::Content { stem: None, figures: true },
    }
}

/// Whether a name is that of the kind of an error, in any spelling (`error_type`, `errorType`, `error.type`, `exception.type`).
fn names_error_type(key: &str) -> bool {
    let mut letters = key.bytes().rev().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase());
    b"epyt".iter().all(|letter| letters.next() == Some(*letter)) && {
        let before: [u8; 9] = std::array::from_fn(|_| letters.next().unwrap_or_default());
        before.starts_with(b"rorre") || before == *b"noitpecxe"
    }
}

/// The stem that hash and length of a content are named by (`output_text` → `output`: `output_hash`, `output_length`), and
/// whether a figure in its place is none; case, `_` and `-` do not count.
///
/// Source: the keys in which SDK 0.5.7 sends raw text (facts/dunetrace.md §1.4), and the names others give them.
fn stem(name: &str) -> Option<(&'static str, bool)> {
    let mut plain = [0_u8; LONGEST];
    let mut length = 0;
    for byte in name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')) {
        *plain.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    Some(match std::str::from_utf8(plain.get(..length)?).ok()? {
        "inputtext" | "input" | "userinput" | "inputs" => ("input", false),
        "systemprompt" | "systeminstructions" | "instructions" => ("system_prompt", false),
        "prompt" | "prompts" | "userprompt" => ("prompt", false),
        "args" | "arguments" | "toolargs" | "toolarguments" | "toolinput" | "kwargs" => ("args", false),
        "output" | "outputtext" | "outputs" | "tooloutput" | "toolresult" => ("output", false),
        "completion" | "completions" => ("completion", false),
        "response" | "responsetext" => ("response", false),
        "query" | "querytext" => ("query", false),
        "question" | "questions" => ("question", false),
        "answer" | "answers" | "finalanswer" => ("answer", false),
        "content" | "contents" => ("content", false),
        "text" | "body" => ("text", false),
        "result" | "results" => ("result", true),
        "documents" | "chunks" => ("documents", true),
        "message" | "messages" | "usermessage" | "systemmessage" | "assistantmessage" => ("message", true),
        "history" | "chathistory" | "conversation" => ("history", true),
        "transcript" | "transcription" => ("transcript", true),
        "error" | "errormessage" | "exception" | "exceptionmessage" => ("error", true),
        "traceback" | "stacktrace" => ("stack_trace", true),
        "rawmessage" => ("raw_message", true),
        "reasoning" | "thinking" | "thought" | "thoughts" => ("reasoning", true),
        "observation" | "observations" => ("observation", true),
        "value" => ("value", true),
        // What edits and terminals bring.
        "diff" | "patch" => ("diff", true),
        "code" | "snippet" => ("code", true),
        "stdout" => ("stdout", true),
        "stderr" => ("stderr", true),
        "before" | "oldtext" => ("before", true),
        "after" | "newtext" => ("after", true),
        // What a policy of an SDK compared.
        "actual" => ("actual", true),
        "expected" => ("expected", true),
        _ => return None,
    })
}

/// What the words of a name say together.
#[derive(Debug, Default)]
struct Seen {
    /// One of them is a word for content.
    content: bool,
    last: Word,
}

impl Seen {
    fn note(&mut self, word: &str) {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        if word.is_empty() {
            return;
        }
        self.last = Word::of(word);
        self.content |= self.last == Word::Content;
    }
}

/// What one word of a name says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Word {
    Content,
    Attribute,
    Hash,
    Length,
    #[default]
    Other,
}

impl Word {
    fn of(word: &str) -> Self {
        let mut lower = [0_u8; LONGEST];
        let Some(lower) = lower.get_mut(..word.len()) else { return Self::Other };
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        match std::str::from_utf8(lower).unwrap_or_default() {
            "hash" | "digest" | "sha" | "sha1" | "sha256" | "md" => Self::Hash,
            "length" | "len" => Self::Length,
            // A name that ends in one of these tells something about a content, not the content: `prompt_version`.
            "id" | "ids" | "uuid" | "key" | "name" | "names" | "type" | "types" | "kind" | "class" | "model"
            | "models" | "version" | "format" | "language" | "lang" | "locale" | "encoding" | "mime" | "status"
            | "state" | "code" | "role" | "level" | "priority" | "mode" | "provider" | "schema" | "category"
            | "severity" | "size" | "bytes" | "chars" | "tokens" | "count" | "counts" | "total" | "number" | "num"
            | "index" | "idx" | "position" | "offset" | "rate" | "ratio" | "score" | "scores" | "cost" | "price"
            | "ms" | "sec" | "seconds" | "time" | "at" | "timestamp" | "date" | "latency" | "duration" | "limit"
            | "max" | "min" | "budget" | "threshold" | "truncated" | "estimated" | "cached" | "enabled" | "file"
            | "path" | "url" | "uri" | "line" | "column" => Self::Attribute,
            "input" | "inputs" | "prompt" | "prompts" | "output" | "outputs" | "content" | "contents" | "text"
            | "texts" | "message" | "messages" | "query" | "queries" | "question" | "questions" | "answer"
            | "answers" | "response" | "responses" | "completion" | "completions" | "result" | "results"
            | "transcript" | "transcripts" | "transcription" | "utterance" | "utterances" | "speech" | "caption"
            | "captions" | "body" | "note" | "notes" | "comment" | "comments" | "remark" | "remarks" | "feedback"
            | "reasoning" | "thinking" | "thought" | "thoughts" | "observation" | "observations" | "instruction"
            | "instructions" | "document" | "documents" | "doc" | "docs" | "passage" | "passages" | "chunk"
            | "chunks" | "snippet" | "snippets" | "preview" | "excerpt" | "quote" | "args" | "arguments" | "kwargs"
            | "params" | "parameters" | "stdout" | "stderr" | "diff" | "patch" | "html" | "markdown" | "sql"
            | "statement" | "summary" | "description" | "explanation" | "rationale" | "reply" | "replies" | "delta"
            | "deltas" | "choices" | "history" | "conversation" | "chat" | "dialog" | "dialogue" | "traceback"
            | "stacktrace" | "exception" | "error" | "errors" | "value" | "values" | "email" | "translation"
            | "generated" | "raw" => Self::Content,
            _ => Self::Other,
        }
    }
}

/// The next word of a name and what follows it: words end at what is no letter or digit, and where capitals say so
/// (`rawOutput`, `LLMOutput`).
fn next_word(name: &str) -> Option<(&str, &str)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let bytes = name.as_bytes();
    let start = bytes.iter().position(|byte| is_part(*byte))?;
    let mut end = start + 1;
    while let Some(byte) = bytes.get(end).copied().filter(|byte| is_part(*byte)) {
        let before = bytes.get(end - 1).copied().unwrap_or_default();
        let next = bytes.get(end + 1).copied().unwrap_or_default();
        let begins = !before.is_ascii_uppercase() || next.is_ascii_lowercase();
        if byte.is_ascii_uppercase() && begins {
            break;
        }
        end += 1;
    }
    Some((name.get(start..end)?, name.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem_of(key: &str) -> Option<&'static str> {
        match kind(key) {
            Kind::Content { stem, .. } => stem,
            _ => None,
        }
    }

    #[test]
    fn a_name_is_known_in_every_spelling() {
        for key in ["input_text", "inputText", "INPUT-TEXT", "inputtext", "run.input_text", "a.input_text.0"] {
            assert_eq!(stem_of(key), Some("input"), "{key}");
        }
        assert_eq!(stem_of("gen_ai.prompt"), Some("prompt"));
        for (key, expected) in [("answer", "answer"), ("chat_history", "history"), ("toolResult", "output")] {
            assert_eq!(stem_of(key), Some(expected), "{key}");
        }
    }

    #[test]
    fn what_is_nearly_such_a_name_is_content_too() {
        for key in [
            "prompt_text",
            "full_prompt",
            "rawInput",
            "raw_output",
            "input_preview",
            "output-preview",
            "generated_text",
            "answer_text",
            "instruction",
            "parameters",
            "params",
            "request_body",
            "response_body",
            "page_content",
            "document",
            "passages",
            "memory_content",
            "memory_value",
            "old_value",
            "newValue",
            "delta",
            "choices",
            "reply",
            "summary",
            "utterance",
            "speech",
            "stdout",
            "stderr",
            "code",
            "diff",
            "note",
            "LLMOutput",
            "prompt2",
        ] {
            assert!(matches!(kind(key), Kind::Content { .. }), "{key}: {:?}", kind(key));
        }
    }

    #[test]
    fn names_of_ids_counts_and_models_are_no_content() {
        for key in [
            "output_tokens",
            "input_tokens",
            "observation_id",
            "trace_id",
            "result_count",
            "prompt_version",
            "promptName",
            "content_type",
            "message_role",
            "response_code",
            "error_code",
            "input_text_truncated",
            "provider",
            "url",
            "finish_reason",
            "matched_patterns",
            "operator",
            "decided_by",
            "approval_id",
            "",
            ".",
            "größe",
            "0",
            "a_name_that_is_longer_than_any_in_the_list",
        ] {
            assert_eq!(kind(key), Kind::Other, "{key}");
        }
        for key in ["output_hash", "argsHash", "error_sha256"] {
            assert_eq!(kind(key), Kind::Hash, "{key}");
        }
        for key in ["output_length", "args_original_length", "inputLength"] {
            assert_eq!(kind(key), Kind::Length, "{key}");
        }
        for key in ["error_type", "errorType", "error.type", "exception.type", "dunetrace.error_type"] {
            assert_eq!(kind(key), Kind::ErrorType, "{key}");
        }
        for key in ["tool_name", "model", "tools"] {
            assert_eq!(kind(key), Kind::Name, "{key}");
        }
    }
}
