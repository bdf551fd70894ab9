//! Writing for people and for programs: results on stdout, everything else on stderr.

use serde::Serialize;
use std::io::{self, Write};

/// Tells the person at the terminal. Nothing can be done when even that fails.
pub(crate) fn say(text: impl AsRef<str>) {
    let mut line = String::from("brig: ");
    line.push_str(text.as_ref());
    line.push('\n');
    // One write, so that lines of several threads stay whole.
    drop(io::stderr().write_all(line.as_bytes()));
}

/// Writes a result. A reader that has gone away is not a failure: it has seen what it wanted.
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_bytes(text.as_bytes())
}

/// The same for bytes.
pub(crate) fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes one object on one line.
pub(crate) fn print_json(object: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(object)?;
    line.push(b'\n');
    Ok(print_bytes(&line)?)
}

/// Text of somebody else, safe for a terminal: control characters are shown, not obeyed.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Columns as wide as their widest cell; the last one is never padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let pad = widths[column] - cell.chars().count() + 2;
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a".into(), "bb".into(), "c".into()],
            vec!["ååå".into(), "b".into(), "c".into()],
        ];
        assert_eq!(table(&rows), "a    bb  c\nååå  b   c\n");
    }

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        assert_eq!(visible("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
    }
}
