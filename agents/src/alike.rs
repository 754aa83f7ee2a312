//! What is the same in effects that are alike, and what differs: all of it, so that nobody consents to what they were not shown.

use serde::Serialize;
use serde_json::Value;

use crate::event::Content;

/// What stands in place of the part of a text that differs.
const GAP: &str = "[…]";

/// Effects side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alike {
    /// What is the same in all, by the name of the part; where a text is partly the same, with a gap.
    pub same: Vec<(String, String)>,
    /// The parts that differ.
    pub parts: Vec<String>,
    /// What each has there.
    pub rows: Vec<Vec<String>>,
}

/// Lays effects side by side.
pub fn compare(contents: &[&Content]) -> Alike {
    let all: Vec<Vec<(String, String)>> = contents.iter().map(|content| parts(content)).collect();
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut out = Alike { same: Vec::new(), parts: Vec::new(), rows: vec![Vec::new(); contents.len()] };
    for name in names {
        let of = |parts: &'_ [(String, String)]| -> String {
            parts.iter().find(|(other, _)| other == name).map(|(_, text)| text.clone()).unwrap_or_default()
        };
        let texts: Vec<String> = all.iter().map(|parts| of(parts)).collect();
        if texts.iter().all(|text| Some(text) == texts.first()) {
            out.same.push((name.clone(), texts.into_iter().next().unwrap_or_default()));
            continue;
        }
        let (before, after) = common(&texts);
        if before + after > 0 {
            let first = &texts[0];
            let text = format!("{}{GAP}{}", &first[..before], &first[first.len() - after..]);
            out.same.push((name.clone(), text));
        }
        out.parts.push(name.clone());
        for (row, text) in out.rows.iter_mut().zip(&texts) {
            row.push(text[before..text.len() - after].to_owned());
        }
    }
    out
}

/// The parts of what is sent, as texts.
fn parts(content: &Content) -> Vec<(String, String)> {
    let mut out = vec![
        ("capability".to_owned(), content.capability.clone()),
        ("target".to_owned(), content.target.clone()),
    ];
    out.extend(content.amount.map(|amount| ("amount".to_owned(), amount.to_string())));
    out.extend(content.agent.clone().map(|agent| ("agent".to_owned(), agent)));
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match &content.args {
        Value::Object(args) => out.extend(args.iter().map(|(name, value)| (name.clone(), text(value)))),
        Value::Null => {}
        other => out.push(("args".to_owned(), text(other))),
    }
    out
}

/// How many bytes of all texts are the same at the start, and then at the end: whole words, and only where that is more than a few.
fn common(texts: &[String]) -> (usize, usize) {
    /// What is shorter is read sooner than put together.
    const SHORT: usize = 60;
    let Some((first, rest)) = texts.split_first() else { return (0, 0) };
    if texts.iter().all(|text| text.len() <= SHORT) {
        return (0, 0);
    }
    let starts = |end: usize| rest.iter().all(|text| text.starts_with(&first[..end]));
    let words = first.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8());
    let before = words.clone().take_while(|end| starts(*end)).last().unwrap_or(0);
    let least = texts.iter().map(String::len).min().unwrap_or(0);
    let ends = |from: usize| rest.iter().all(|text| text.ends_with(&first[from..]));
    let from = words.map(|end| end - 1).filter(|from| first.is_char_boundary(*from));
    let fits = |from: &usize| first.len() - from + before <= least && *from >= before;
    let after = from.filter(fits).find(|from| ends(*from)).map_or(0, |from| first.len() - from);
    (before, after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mail(target: &str, text: &str) -> Content {
        Content {
            capability: "mail.send".into(),
            target: target.into(),
            args: json!({"subject": "Bill", "text": text}),
            amount: None,
            agent: None,
            tags: Vec::new(),
        }
    }

    #[test]
    fn what_differs_stands_in_rows_and_the_rest_once() {
        let long = |name: &str| {
            format!(
                "Dear {name}, your bill of last month is still open. Please pay it within a week, thank you."
            )
        };
        let (ann, bob) = (mail("ann", &long("Ann")), mail("bob", &long("Bob")));
        let found = compare(&[&ann, &bob]);
        assert_eq!(found.parts, ["target", "text"]);
        assert_eq!(found.rows, [["ann", "Ann,"], ["bob", "Bob,"]]);
        assert!(found.same.contains(&("subject".into(), "Bill".into())));
        let text = found.same.iter().find(|(name, _)| name == "text").unwrap();
        assert!(text.1.starts_with("Dear […] your bill"), "{text:?}");
    }

    proptest! {
        /// With what is the same, each row gives back all that its effect sends.
        #[test]
        fn nothing_is_hidden(texts in proptest::collection::vec("([a-cé]{1,3}[ \u{2003}\n]){0,40}", 1..4)) {
            let contents: Vec<Content> = texts.iter().map(|text| mail("x", text)).collect();
            let found = compare(&contents.iter().collect::<Vec<_>>());
            let same = found.same.iter().find(|(name, _)| name == "text").map(|(_, text)| text.as_str());
            let column = found.parts.iter().position(|name| name == "text");
            for (row, text) in found.rows.iter().zip(&texts) {
                let own = match (same, column) {
                    (Some(same), Some(column)) => same.replace(GAP, &row[column]),
                    (Some(same), None) => same.to_owned(),
                    (None, Some(column)) => row[column].clone(),
                    (None, None) => String::new(),
                };
                prop_assert_eq!(&own, text);
            }
        }
    }
}
