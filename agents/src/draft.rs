//! What an effect would send as a text that a person changes: frontmatter with target, amount and arguments, and the
//! argument `text` below it as it is.

use serde_json::{Map, Value};

use crate::event::Content;
use crate::mistake::{At, Mistake, Mistakes};
use crate::money::Money;
use crate::node::{Front, Node};

/// The argument that is written as prose.
const TEXT: &str = "text";

/// The text that stands for what is sent.
pub fn write(content: &Content) -> String {
    let mut out = format!("---\ntarget: {}\n", Value::from(content.target.as_str()));
    if let Some(amount) = content.amount {
        out.push_str(&format!("amount: \"{amount}\"\n"));
    }
    let mut body = None;
    match &content.args {
        Value::Object(args) => {
            body = args.get(TEXT).and_then(Value::as_str);
            let rest = args.iter().filter(|(name, _)| body.is_none() || *name != TEXT);
            let rest: Vec<String> =
                rest.map(|(name, value)| format!("  {}: {value}\n", Value::from(name.as_str()))).collect();
            let none = if rest.is_empty() { " {}" } else { "" };
            out.push_str(&format!("args:{none}\n{}", rest.concat()));
        }
        other => out.push_str(&format!("args: {other}\n")),
    }
    out.push_str("---\n");
    if let Some(body) = body {
        out.push_str(body);
        // Editors end the last line.
        out.push_str(if body.ends_with('\n') { "" } else { "\n" });
    }
    out
}

/// What is sent after a person has changed the text of `content`. What is done, by whom, and what policies know it by stays.
///
/// # Errors
/// What is wrong with the text, each with its place.
pub fn read(text: &str, content: &Content) -> Result<Content, Vec<Mistake>> {
    let front = Front::read(text).map_err(|mistake| vec![mistake])?;
    let mut out = Mistakes::default();
    let changed = changed(&front, content, &mut out);
    match (changed, out.count()) {
        (Some(changed), 0) => Ok(changed),
        _ => Err(out.into_vec()),
    }
}

fn changed(front: &Front, content: &Content, out: &mut Mistakes) -> Option<Content> {
    let root = &front.root;
    root.map("the frontmatter", out)?;
    root.only("what is sent", &["target", "amount", "args"], out);
    let target = match root.get("target") {
        Some(target) => target.text("target", out)?,
        None => {
            out.hint(At::START, "it has no `target`", "write `target: ` and to whom or what it goes");
            return None;
        }
    };
    let amount = match root.get("amount").map(|node| (node.at, Money::of(&node.to_value()))) {
        None => None,
        Some((_, Ok(amount))) => Some(amount),
        Some((at, Err(error))) => {
            out.add(at, error.to_string());
            return None;
        }
    };
    let mut args = root.get("args").map_or_else(|| Value::Object(Map::new()), Node::to_value);
    let before = content.args.get(TEXT).and_then(Value::as_str);
    match (&mut args, before) {
        (Value::Object(args), Some(before)) if !args.contains_key(TEXT) => {
            args.insert(TEXT.to_owned(), body(&front.body, before).into());
        }
        _ if front.body.trim().is_empty() => {}
        _ => {
            let hint = "what is sent stands in `args`";
            out.hint(At::START, "nothing is sent of what stands below the frontmatter", hint);
            return None;
        }
    }
    Some(Content { target, amount, args, ..content.clone() })
}

/// The prose, without the line end that an editor has put there.
fn body<'b>(body: &'b str, before: &str) -> &'b str {
    match before.ends_with('\n') {
        true => body,
        false => body.strip_suffix('\n').unwrap_or(body),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mail(args: Value) -> Content {
        let tags = vec!["offer".to_owned()];
        Content {
            capability: "mail.send".into(),
            target: "ann@example.org".into(),
            args,
            amount: Some(Money(1250)),
            agent: Some("writer".into()),
            tags,
        }
    }

    #[test]
    fn prose_stands_below_and_the_rest_above() {
        let content = mail(json!({"subject": "A: bill", "text": "Dear Ann,\n\npay."}));
        let text = write(&content);
        assert_eq!(
            text,
            "---\ntarget: \"ann@example.org\"\namount: \"12.50\"\nargs:\n  \"subject\": \"A: bill\"\n---\nDear Ann,\n\npay.\n"
        );
        let changed = read(&text.replace("pay", "please pay").replace("12.50", "13"), &content).unwrap();
        assert_eq!(changed.args, json!({"subject": "A: bill", "text": "Dear Ann,\n\nplease pay."}));
        assert_eq!((changed.amount, changed.tags), (Some(Money(1300)), content.tags));
    }

    #[test]
    fn mistakes_have_places() {
        let content = mail(json!({"text": "x"}));
        for (text, what) in [
            ("Dear Ann", "there is no frontmatter"),
            ("---\nto: ann\n---\nx\n", "`to`"),
            ("---\ntarget: 5\n---\nx\n", "target"),
            ("---\ntarget: a\namount: dear\n---\nx\n", "no amount of money"),
        ] {
            let mistakes = read(text, &content).unwrap_err();
            assert!(mistakes.iter().any(|it| it.what.contains(what)), "{text}: {mistakes:?}");
        }
        let file = Content { args: json!("x"), ..mail(Value::Null) };
        assert!(read("---\ntarget: a\nargs: x\n---\nlost words\n", &file).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~äé\n\"\\\\']{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z: -]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What nobody changed is what it was, to the byte that consent is bound to.
        #[test]
        fn what_is_written_is_read(
            args in value(),
            text in proptest::option::of("[a-zé# \r\n-]{0,20}"),
            target in "[ -~ü]{0,12}",
            amount in proptest::option::of(any::<u64>().prop_map(Money)),
        ) {
            let mut content = Content { target, amount, ..mail(args) };
            if let (Some(text), Value::Object(args)) = (text, &mut content.args) {
                args.insert("text".into(), text.into());
            }
            prop_assert_eq!(read(&write(&content), &content), Ok(content));
        }
    }
}
