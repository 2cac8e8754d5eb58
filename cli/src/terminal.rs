//! The one place that prints: a closed pipe ends the output, not the program.

use std::io::Write;

/// A line on standard output.
pub(crate) fn line(text: &str) {
    // A reader that has gone away is no error of ours.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line on standard error.
pub(crate) fn error_line(text: &str) {
    // As above.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Rows of text as an aligned table.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}
