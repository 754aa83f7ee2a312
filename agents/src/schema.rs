//! What an input may be: the part of JSON Schema (2020-12) that a form needs. A keyword that is not known is a
//! mistake, so nothing that is written is left unchecked.

use serde_json::Value;

use crate::mistake::Mistakes;
use crate::node::Node;

const KEYWORDS: [&str; 15] = [
    "type",
    "title",
    "description",
    "default",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "minLength",
];

/// A type of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Number,
    Integer,
    Boolean,
    Null,
}

impl Kind {
    const NAMES: [(&str, Kind); 7] = [
        ("object", Kind::Object),
        ("array", Kind::Array),
        ("string", Kind::String),
        ("number", Kind::Number),
        ("integer", Kind::Integer),
        ("boolean", Kind::Boolean),
        ("null", Kind::Null),
    ];

    fn name(self) -> &'static str {
        Kind::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    fn has(self, value: &Value) -> bool {
        match self {
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::String => value.is_string(),
            Kind::Number => value.is_number(),
            Kind::Integer => value.is_i64() || value.is_u64(),
            Kind::Boolean => value.is_boolean(),
            Kind::Null => value.is_null(),
        }
    }
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schema {
    kinds: Vec<Kind>,
    choices: Option<Vec<Value>>,
    properties: Vec<(String, Schema)>,
    required: Vec<String>,
    closed: bool,
    items: Option<Box<Schema>>,
    count: (Option<u64>, Option<u64>),
    range: (Option<f64>, Option<f64>),
    min_length: Option<u64>,
    default: Option<Value>,
}

/// Where a value is not what its schema says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Misfit {
    /// The place in the value, such as `input.client` or `input.items[2]`.
    pub path: String,
    /// What is wrong there.
    pub what: String,
}

impl Schema {
    /// Reads a schema.
    pub fn read(node: &Node, out: &mut Mistakes) -> Schema {
        let mut schema = Schema::default();
        if node.map("schema", out).is_none() {
            return schema;
        }
        node.only("a schema", &KEYWORDS, out);
        if let Some(kinds) = node.get("type") {
            for kind in kinds.items() {
                match kind.as_text().and_then(|text| {
                    Kind::NAMES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind)
                }) {
                    Some(kind) => schema.kinds.push(kind),
                    None => {
                        let names: Vec<&str> = Kind::NAMES.iter().map(|(name, _)| *name).collect();
                        out.hint(kind.at, "that is no type", format!("it may be {}", names.join(", ")));
                    }
                }
            }
        }
        schema.choices = match (node.get("enum"), node.get("const")) {
            (Some(choices), _) => {
                choices.list("enum", out).map(|items| items.iter().map(Node::to_value).collect())
            }
            (None, Some(only)) => Some(vec![only.to_value()]),
            (None, None) => None,
        };
        if let Some(entries) = node.get("properties").and_then(|it| it.map("properties", out)) {
            schema.properties =
                entries.iter().map(|(key, node)| (key.name.clone(), Schema::read(node, out))).collect();
        }
        if let Some(names) = node.get("required").and_then(|it| it.list("required", out)) {
            for name in names {
                let Some(text) = name.text("required", out) else { continue };
                if !schema.properties.iter().any(|(property, _)| *property == text) {
                    out.add(name.at, format!("`{text}` is required and is none of the properties"));
                }
                schema.required.push(text);
            }
        }
        let closed = node.get("additionalProperties").and_then(|it| it.boolean("additionalProperties", out));
        schema.closed = closed == Some(false);
        schema.items = node.get("items").map(|it| Box::new(Schema::read(it, out)));
        let whole = |name: &str, out: &mut Mistakes| {
            node.get(name).and_then(|it| it.whole(name, 0, u64::from(u32::MAX), out))
        };
        schema.count = (whole("minItems", out), whole("maxItems", out));
        schema.min_length = whole("minLength", out);
        let number = |name: &str, out: &mut Mistakes| {
            let node = node.get(name)?;
            let number = node.to_value().as_f64();
            if number.is_none() {
                out.add(node.at, format!("`{name}` must be a number, and is {}", node.kind()));
            }
            number
        };
        schema.range = (number("minimum", out), number("maximum", out));
        if let Some(default) = node.get("default") {
            let value = default.to_value();
            for misfit in schema.misfits("default", &value) {
                out.add(default.at, misfit.to_string());
            }
            schema.default = Some(value);
        }
        schema
    }

    /// Whether it says anything of the property `name`: an input that is not declared is not there.
    pub fn knows(&self, name: &str) -> bool {
        self.properties.is_empty() || self.properties.iter().any(|(property, _)| property == name)
    }

    /// The names of the properties.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.properties.iter().map(|(name, _)| name.as_str())
    }

    /// The value with the defaults of what it lacks.
    pub fn complete(&self, value: Value) -> Value {
        let Value::Object(mut map) = value else { return value };
        for (name, schema) in &self.properties {
            match map.remove(name) {
                Some(present) => {
                    map.insert(name.clone(), schema.complete(present));
                }
                None => {
                    if let Some(default) = &schema.default {
                        map.insert(name.clone(), default.clone());
                    }
                }
            }
        }
        Value::Object(map)
    }

    /// Of a map with more in it, what the properties ask for; all where there are none.
    pub fn pick(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) if !self.properties.is_empty() => {
                let wanted = |name: &str| self.properties.iter().any(|(property, _)| property == name);
                let kept = map.iter().filter(|(name, _)| wanted(name));
                Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
            other => other.clone(),
        }
    }

    /// A text as the type that the property `name` asks for: what a command line gives is text.
    pub fn typed(&self, name: &str, text: &str) -> Value {
        let as_text = Value::String(text.to_owned());
        let Some((_, schema)) = self.properties.iter().find(|(property, _)| property == name) else {
            return as_text;
        };
        if schema.kinds.is_empty() || schema.kinds.contains(&Kind::String) {
            return as_text;
        }
        serde_json::from_str(text).unwrap_or(as_text)
    }

    /// As [`Schema::pick`], with texts as the types that are asked for.
    pub fn pick_typed(&self, value: &Value) -> Value {
        let mut picked = self.pick(value);
        for (name, value) in picked.as_object_mut().into_iter().flatten() {
            if let Value::String(text) = value {
                *value = self.typed(name, text);
            }
        }
        picked
    }

    /// All that is wrong with a value; `path` is its name.
    pub fn misfits(&self, path: &str, value: &Value) -> Vec<Misfit> {
        let mut out = Vec::new();
        self.find_misfits(path, value, &mut out);
        out
    }

    fn find_misfits(&self, path: &str, value: &Value, out: &mut Vec<Misfit>) {
        let mut add = |what: String| out.push(Misfit { path: path.to_owned(), what });
        if !self.kinds.is_empty() && !self.kinds.iter().any(|kind| kind.has(value)) {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
            add(format!("must be of type {}, and is {}", kinds.join(" or "), shown(value)));
            return;
        }
        if let Some(choices) = &self.choices
            && !choices.contains(value)
        {
            let choices: Vec<String> = choices.iter().map(shown).collect();
            add(format!("must be one of {}, and is {}", choices.join(", "), shown(value)));
        }
        if let Some(number) = value.as_f64() {
            let (least, most) = self.range;
            if let Some(least) = least.filter(|least| number < *least) {
                add(format!("must be at least {least}, and is {number}"));
            }
            if let Some(most) = most.filter(|most| number > *most) {
                add(format!("must be at most {most}, and is {number}"));
            }
        }
        if let (Value::String(text), Some(least)) = (value, self.min_length)
            && (text.chars().count() as u64) < least
        {
            add(format!("must have at least {least} characters"));
        }
        if let Value::Array(items) = value {
            let (least, most) = self.count;
            let count = items.len() as u64;
            if least.is_some_and(|least| count < least) || most.is_some_and(|most| count > most) {
                add(format!("has {count} items, too few or too many"));
            }
            for (n, item) in items.iter().enumerate() {
                if let Some(schema) = &self.items {
                    schema.find_misfits(&format!("{path}[{n}]"), item, out);
                }
            }
        }
        if let Value::Object(map) = value {
            for name in self.required.iter().filter(|name| !map.contains_key(*name)) {
                out.push(Misfit { path: format!("{path}.{name}"), what: "is missing".into() });
            }
            for (name, value) in map {
                let place = format!("{path}.{name}");
                match self.properties.iter().find(|(property, _)| property == name) {
                    Some((_, schema)) => schema.find_misfits(&place, value, out),
                    None if self.closed => out.push(Misfit { path: place, what: "is not known".into() }),
                    None => {}
                }
            }
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Front;
    use serde_json::json;

    fn schema(yaml: &str) -> (Schema, Vec<String>) {
        let front = Front::read(&format!("---\n{yaml}---\n")).unwrap();
        let mut out = Mistakes::default();
        let schema = Schema::read(&front.root, &mut out);
        (schema, out.into_vec().into_iter().map(|it| format!("{} {}", it.at, it.what)).collect())
    }

    #[test]
    fn values_are_held_to_it() {
        let (schema, mistakes) = schema(
            "type: object\nrequired: [client]\nadditionalProperties: false\nproperties:\n  client: {type: string, minLength: 2}\n  days: {type: integer, minimum: 1, default: 14}\n  to: {type: array, items: {enum: [a, b]}, maxItems: 2}\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let good = schema.complete(json!({"client": "Bram"}));
        assert_eq!(good, json!({"client": "Bram", "days": 14}));
        assert_eq!(schema.misfits("input", &good), vec![]);
        let bad = json!({"days": 0, "to": ["a", "c"], "x": 1});
        let misfits: Vec<String> =
            schema.misfits("input", &bad).iter().map(std::string::ToString::to_string).collect();
        assert_eq!(
            misfits,
            [
                "input.client: is missing",
                "input.days: must be at least 1, and is 0",
                "input.to[1]: must be one of \"a\", \"b\", and is \"c\"",
                "input.x: is not known",
            ]
        );
        assert_eq!(
            [schema.typed("days", "3"), schema.typed("client", "3"), schema.typed("days", "soon")],
            [json!(3), json!("3"), json!("soon")]
        );
    }

    #[test]
    fn mistakes_have_places() {
        let (_, mistakes) = schema(
            "type: objekt\nrequired: [x]\nproperties:\n  n: {type: integer, default: soon, pattern: a}\n",
        );
        assert_eq!(
            mistakes,
            [
                "2:7 that is no type",
                "3:12 `x` is required and is none of the properties",
                "5:31 default: must be of type integer, and is \"soon\"",
                "5:37 a schema has no key `pattern`",
            ]
        );
    }
}
