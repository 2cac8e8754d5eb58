//! Block Kit, as far as Slack refuses messages for it, and finding a button in a message.

use serde_json::{Value, json};

const MAX_BLOCKS: usize = 50;

/// Checks blocks against Slack's documented limits.
///
/// # Errors
/// With what Slack would list under `response_metadata.messages`.
pub(crate) fn check(blocks: &Value) -> Result<(), String> {
    let blocks = blocks.as_array().ok_or("must be an array of blocks")?;
    if blocks.len() > MAX_BLOCKS {
        return Err(format!("no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"));
    }
    for (index, block) in blocks.iter().enumerate() {
        check_block(block).map_err(|why| format!("{why} [json-pointer:/blocks/{index}]"))?;
    }
    Ok(())
}

fn check_block(block: &Value) -> Result<(), String> {
    let kind = block.get("type").and_then(Value::as_str).ok_or("missing required field: type")?;
    if length(block, "block_id") > 255 {
        return Err("must be no more than 255 characters: block_id".to_owned());
    }
    match kind {
        "section" => {
            if block.get("text").is_none() && block.get("fields").is_none() {
                return Err("missing required field: text or fields".to_owned());
            }
            if let Some(text) = block.get("text") {
                check_text(text, 3000)?;
            }
            let fields = list(block, "fields");
            if fields.len() > 10 {
                return Err("no more than 10 items allowed: fields".to_owned());
            }
            fields.iter().try_for_each(|field| check_text(field, 2000))
        }
        "header" => check_text(block.get("text").ok_or("missing required field: text")?, 150),
        "context" => {
            let elements = list(block, "elements");
            if elements.is_empty() || elements.len() > 10 {
                return Err("must have between 1 and 10 elements".to_owned());
            }
            Ok(())
        }
        "actions" => {
            let elements = list(block, "elements");
            if elements.is_empty() || elements.len() > 25 {
                return Err("must have between 1 and 25 elements".to_owned());
            }
            elements.iter().try_for_each(check_element)
        }
        "divider" | "image" | "rich_text" | "markdown" | "input" | "file" | "video" | "table" => Ok(()),
        other => Err(format!("unsupported type: {other}")),
    }
}

fn check_element(element: &Value) -> Result<(), String> {
    let kind = element.get("type").and_then(Value::as_str).ok_or("missing required field: type")?;
    for (key, most) in [("action_id", 255), ("value", 2000), ("url", 3000)] {
        if length(element, key) > most {
            return Err(format!("must be no more than {most} characters: {key}"));
        }
    }
    if kind != "button" {
        return Ok(());
    }
    let style = element.get("style").and_then(Value::as_str).unwrap_or("primary");
    if !["primary", "danger"].contains(&style) {
        return Err(format!("unsupported style: {style}"));
    }
    check_text(element.get("text").ok_or("missing required field: text")?, 75)
}

fn check_text(text: &Value, most: usize) -> Result<(), String> {
    let kind = text.get("type").and_then(Value::as_str).unwrap_or_default();
    if !["plain_text", "mrkdwn"].contains(&kind) {
        return Err("text must be plain_text or mrkdwn".to_owned());
    }
    match length(text, "text") {
        0 => Err("must be more than 0 characters: text".to_owned()),
        count if count > most => Err(format!("must be no more than {most} characters: text")),
        _ => Ok(()),
    }
}

fn length(value: &Value, key: &str) -> usize {
    value.get(key).and_then(Value::as_str).map_or(0, |text| text.chars().count())
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Gives every block an id, as Slack does.
pub(crate) fn with_ids(blocks: Value) -> Value {
    let Value::Array(blocks) = blocks else {
        return blocks;
    };
    blocks
        .into_iter()
        .enumerate()
        .map(|(index, mut block)| {
            if let Some(object) = block.as_object_mut() {
                object.entry("block_id").or_insert_with(|| json!(format!("b{index:03}")));
            }
            block
        })
        .collect()
}

/// The element with an action id, and the id of its block.
pub(crate) fn find_action(blocks: &Value, action_id: &str) -> Option<(Value, String)> {
    blocks.as_array()?.iter().find_map(|block| {
        let accessory = block.get("accessory").into_iter();
        let element = list(block, "elements")
            .iter()
            .chain(accessory)
            .find(|element| element.get("action_id").and_then(Value::as_str) == Some(action_id))?;
        let block_id = block.get("block_id").and_then(Value::as_str).unwrap_or_default();
        Some((element.clone(), block_id.to_owned()))
    })
}
