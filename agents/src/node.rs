//! The frontmatter of a file as YAML, every value with its place.

use std::fmt;

use aios_core::markdown;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::options::{MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned, alias_limits, budget, options};

use crate::mistake::{At, Mistake, Mistakes, nearest};

/// The most bytes of frontmatter that are read.
const MAX_FRONT: usize = 256 * 1024;
/// How deep collections may lie in each other.
const MAX_DEPTH: usize = 48;

/// A YAML value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its place in the file.
    pub at: At,
    /// What it is.
    pub data: Data,
}

/// A YAML value; a map keeps the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Text, a number, a boolean or nothing.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its place in the file.
    pub at: At,
    /// The key.
    pub name: String,
}

/// The frontmatter of a file and the prose after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Front {
    /// The frontmatter.
    pub root: Node,
    /// The prose.
    pub body: String,
}

impl Front {
    /// Reads the frontmatter of a file.
    pub fn read(text: &str) -> Result<Front, Mistake> {
        let parts = markdown::split(text);
        let mistake = |at, what: String| Mistake { at, what, hint: None };
        if !parts.has_front() {
            let what = markdown::front_problem(text).unwrap_or_else(|| "there is no frontmatter".to_owned());
            let line = line_named(&what);
            return Err(Mistake {
                at: At { line: line.unwrap_or(1), column: 1 },
                what: without_line(&what),
                hint: Some(
                    "the file begins with a line `---`, then `type: ...`, and a line `---` ends it".into(),
                ),
            });
        }
        let yaml: String = parts.entries.iter().map(|entry| entry.value.raw()).collect();
        if yaml.len() > MAX_FRONT {
            return Err(mistake(At::START, format!("the frontmatter is longer than {MAX_FRONT} bytes")));
        }
        let options = options! {
            with_snippet: false,
            strict_booleans: true,
            merge_keys: MergeKeyPolicy::AsOrdinary,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
            budget: budget! {
                max_depth: MAX_DEPTH,
                flow_nesting_limit: MAX_DEPTH,
                max_recorded_anchor_events: 10_000,
                enforce_alias_anchor_ratio: false,
            },
            alias_limits: alias_limits! { max_total_replayed_events: 10_000 },
        };
        let found: Result<Option<Node>, _> = serde_saphyr::from_str_with_options(&yaml, options);
        match found {
            Ok(Some(root)) => Ok(Front { root, body: parts.body }),
            Ok(None) => {
                let data = Data::Map(Vec::new());
                Ok(Front { root: Node { at: At::START, data }, body: parts.body })
            }
            Err(error) => {
                let at = error.location().map_or(At { line: 2, column: 1 }, |location| place(&location));
                let what = error.to_string();
                let what = what.lines().next().unwrap_or_default();
                let what = what.split(" at line ").next().unwrap_or_default();
                Err(mistake(at, what.replace(char::is_control, " ")))
            }
        }
    }
}

/// The line that a message of the codec begins with.
fn line_named(what: &str) -> Option<u64> {
    what.strip_prefix("line ")?.split(':').next()?.parse().ok()
}

fn without_line(what: &str) -> String {
    match (line_named(what), what.split_once(": ")) {
        (Some(_), Some((_, rest))) => rest.to_owned(),
        _ => what.to_owned(),
    }
}

/// A place in the file: the YAML begins in its second line.
fn place(location: &Location) -> At {
    At { line: location.line() + 1, column: location.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Data>::deserialize(deserializer)?;
        Ok(Node { at: place(&spanned.referenced), data: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyData)
    }
}

struct AnyData;

impl<'de> Visitor<'de> for AnyData {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        Data::deserialize(deserializer)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Data, E> {
        Ok(Data::Scalar(it.into()))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Data, E> {
        Ok(Data::Scalar(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Data, E> {
        Ok(Data::Scalar(it.into()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Data, E> {
        Ok(Data::Scalar(serde_json::Number::from_f64(it).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, it: &str) -> Result<Data, E> {
        Ok(Data::Scalar(it.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Data, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = list.next_element()? {
            out.push(item);
        }
        Ok(Data::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut out = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key { at: place(&key.referenced), name: key.value };
            out.push((key, map.next_value()?));
        }
        Ok(Data::Map(out))
    }
}

impl Node {
    /// What kind of value it is, for people.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Scalar(Value::Null) => "nothing",
            Data::Scalar(Value::Bool(_)) => "a boolean",
            Data::Scalar(Value::Number(_)) => "a number",
            Data::Scalar(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// Its text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The same value without places; of a key that stands twice, which the reader refuses, the last.
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(items) => items.iter().map(Node::to_value).collect(),
            Data::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), node.to_value())).collect())
            }
        }
    }

    /// The value of a key, if it is a map that has the key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Text; a mistake and nothing if it is something else.
    pub fn text(&self, what: &str, out: &mut Mistakes) -> Option<String> {
        let text = match &self.data {
            Data::Scalar(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        self.expect(text, what, "text", out)
    }

    /// A whole number from `least` to `most`.
    pub fn whole(&self, what: &str, least: u64, most: u64, out: &mut Mistakes) -> Option<u64> {
        let number = match &self.data {
            Data::Scalar(Value::Number(number)) => {
                number.as_u64().filter(|number| (least..=most).contains(number))
            }
            _ => None,
        };
        if number.is_none() {
            out.add(self.at, format!("`{what}` must be a whole number from {least} to {most}"));
        }
        number
    }

    /// A boolean.
    pub fn boolean(&self, what: &str, out: &mut Mistakes) -> Option<bool> {
        let it = match &self.data {
            Data::Scalar(Value::Bool(it)) => Some(*it),
            _ => None,
        };
        self.expect(it, what, "true or false", out)
    }

    /// The items of a list; one value alone is a list of one.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// A list.
    pub fn list(&self, what: &str, out: &mut Mistakes) -> Option<&[Node]> {
        let list = match &self.data {
            Data::List(items) => Some(items.as_slice()),
            _ => None,
        };
        self.expect(list, what, "a list", out)
    }

    /// The entries of a map.
    pub fn map(&self, what: &str, out: &mut Mistakes) -> Option<&[(Key, Node)]> {
        let map = match &self.data {
            Data::Map(entries) => Some(entries.as_slice()),
            _ => None,
        };
        self.expect(map, what, "a map", out)
    }

    fn expect<T>(&self, found: Option<T>, what: &str, kind: &str, out: &mut Mistakes) -> Option<T> {
        if found.is_none() {
            out.add(self.at, format!("`{what}` must be {kind}, and is {}", self.kind()));
        }
        found
    }

    /// Notes every key of the map that is not known.
    pub fn only(&self, of: &str, known: &[&str], out: &mut Mistakes) {
        let Data::Map(entries) = &self.data else { return };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let what = format!("{of} has no key `{}`", key.name);
            match nearest(&key.name, known.iter().copied()) {
                Some(near) => out.hint(key.at, what, format!("`{near}` is meant?")),
                None => out.hint(key.at, what, format!("it may have {}", known.join(", "))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_places() {
        let text = "---\n# why\ntype: workflow\non: yes\nsteps:\n  a:\n    b: [1, two]\n---\nProse\n";
        let front = Front::read(text).unwrap();
        assert_eq!(front.body, "Prose\n");
        let list = front.root.get("steps").and_then(|it| it.get("a")).and_then(|it| it.get("b")).unwrap();
        assert_eq!(list.to_value(), json!([1, "two"]));
        assert_eq!(list.at, At { line: 7, column: 8 });
        assert_eq!(list.items()[1].at, At { line: 7, column: 12 });
        assert_eq!(front.root.get("on").unwrap().as_text(), Some("yes"));
        let Data::Map(entries) = &front.root.data else { panic!() };
        assert_eq!(entries[2].0.at, At { line: 5, column: 1 });
    }

    #[test]
    fn what_is_no_yaml_is_one_mistake_with_its_place() {
        for (text, line) in [
            ("no front\n", 1),
            ("---\na: 1\nb\n---\n", 3),
            ("---\na: 1\nb: c: d\n---\n", 3),
            ("---\na:\n  b: 1\n  b: 2\n---\n", 4),
            ("---\na: [1\n---\n", 2),
        ] {
            let mistake = Front::read(text).unwrap_err();
            assert!(mistake.at.line.abs_diff(line) <= 1, "{text:?}: {mistake:?}");
        }
        assert!(Front::read(&format!("---\na: {}\n---\n", "[".repeat(100_000))).is_err());
    }
}
