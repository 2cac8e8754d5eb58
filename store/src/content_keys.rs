//! The names under which senders put content: what people and models wrote.
//!
//! Owns the one list. Does not own what becomes of it ([`crate::ingest`], [`crate::sessions`]).
//!
//! Must hold: a name is known in every spelling senders have for it (`input_text`, `inputText`, `gen_ai.input.text` ends in
//! `text`); names of ids, counts and models are not in the list.

/// Longest name in the list, without `_` and `-`.
const LONGEST: usize = 20;

/// The stem that hash and length of a content are named by (`output_text` → `output`: `output_hash`, `output_length`), for a
/// key that holds content. Of a dotted key the last part counts; case, `_` and `-` do not.
///
/// Source: the keys in which SDK 0.5.7 sends raw text (facts/dunetrace.md §1.4), and the names others give them.
pub(crate) fn stem(key: &str) -> Option<&'static str> {
    let name = key.rsplit('.').next().unwrap_or(key);
    let mut plain = [0_u8; LONGEST];
    let mut length = 0;
    for byte in name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')) {
        *plain.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    Some(match std::str::from_utf8(plain.get(..length)?).ok()? {
        "inputtext" | "input" | "userinput" | "inputs" => "input",
        "systemprompt" | "systeminstructions" | "instructions" => "system_prompt",
        "prompt" | "prompts" | "userprompt" => "prompt",
        "args" | "arguments" | "toolargs" | "toolarguments" | "toolinput" | "kwargs" => "args",
        "output" | "outputtext" | "outputs" | "tooloutput" | "toolresult" => "output",
        "completion" | "completions" => "completion",
        "response" | "responsetext" => "response",
        "result" | "results" => "result",
        "query" | "querytext" => "query",
        "question" | "questions" => "question",
        "answer" | "answers" | "finalanswer" => "answer",
        "content" | "contents" => "content",
        "documents" | "chunks" => "documents",
        "message" | "messages" | "usermessage" | "systemmessage" | "assistantmessage" => "message",
        "history" | "chathistory" | "conversation" => "history",
        "text" | "body" => "text",
        "transcript" | "transcription" => "transcript",
        "error" | "errormessage" | "exception" | "exceptionmessage" => "error",
        "traceback" | "stacktrace" => "stack_trace",
        "rawmessage" => "raw_message",
        "reasoning" | "thinking" | "thought" | "thoughts" => "reasoning",
        "observation" | "observations" => "observation",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn a_name_is_known_in_every_spelling() {
        for key in ["input_text", "inputText", "INPUT-TEXT", "inputtext", "run.input_text"] {
            assert_eq!(stem(key), Some("input"), "{key}");
        }
        assert_eq!(stem("gen_ai.prompt"), Some("prompt"));
        for (key, expected) in [("answer", "answer"), ("chat_history", "history"), ("toolResult", "output")] {
            assert_eq!(stem(key), Some(expected), "{key}");
        }
    }

    #[test]
    fn names_of_ids_counts_and_models_are_no_content() {
        for key in [
            "tool_name",
            "model",
            "output_length",
            "output_hash",
            "input_tokens",
            "observation_id",
            "trace_id",
            "error_type",
            "result_count",
            "",
            ".",
            "a_name_that_is_longer_than_any_in_the_list",
            "größe",
        ] {
            assert_eq!(stem(key), None, "{key}");
        }
    }
}
