//! An agent that counts the words in files: which files it is given as a text such as `"notes/*.md"`, what it gives is
//! `{"files": 2, "words": 57}`.

mod bindings;

use bindings::{read, search};

/// Does the work.
fn work(input: &str) -> Result<String, String> {
    let files = input.trim().strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let files = files.ok_or("it takes a text, such as \"notes/*.md\"")?;
    let (mut count, mut words) = (0, 0);
    // Nothing that is like that is none to count.
    for path in search(files, "").unwrap_or_default().lines() {
        words += words_in(path)?;
        count += 1;
    }
    Ok(format!("{{\"files\": {}, \"words\": {}}}", count, words))
}

/// The words of a file, which is read in parts.
fn words_in(path: &str) -> Result<usize, String> {
    let (mut line, mut words) = (1, 0);
    loop {
        let text = read(path, line)?;
        if text.is_empty() {
            return Ok(words);
        }
        words += text.split_whitespace().count();
        line += text.lines().count() as u32;
    }
}
