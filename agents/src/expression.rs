//! Expressions and templates in workflows: the language of minijinja, without loaders, files, clocks or chance, and with
//! bounded work, so that the same names give the same value on every device.

use std::io;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

use crate::mistake::{At, Mistakes};
use crate::node::{Data, Node};
use crate::schema::Schema;

/// The most steps of one evaluation.
const FUEL: u64 = 200_000;
/// The longest text that a template may print.
const MAX_OUTPUT: usize = 1 << 20;
/// What minijinja itself puts there.
const BUILT_IN: [&str; 4] = ["range", "dict", "namespace", "loop"];

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {what}")]
pub struct ExpressionError {
    /// The expression.
    pub text: String,
    /// What is wrong.
    pub what: String,
}

fn environment<'s>() -> Environment<'s> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(64);
    environment.remove_global("debug");
    environment.add_filter("slug", |text: &str| slug(text));
    environment
}

/// A text as part of a file's name: letters and digits in lower case, and one `-` for all between them.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c.is_alphanumeric() {
            true => out.push(c),
            false if out.is_empty() || out.ends_with('-') => {}
            false => out.push('-'),
        }
    }
    out.trim_end_matches('-').chars().take(80).collect()
}

fn failed(source: &str, error: &minijinja::Error) -> ExpressionError {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    ExpressionError { text: source.chars().take(120).collect(), what }
}

/// An expression, such as `steps.score.points > 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(String);

impl Expression {
    /// Reads an expression, checking its grammar and the names it uses.
    pub fn read(node: &Node, what: &str, names: &Names<'_>, out: &mut Mistakes) -> Option<Expression> {
        let source = match &node.data {
            Data::Scalar(Value::String(text)) => text.clone(),
            Data::Scalar(Value::Bool(it)) => it.to_string(),
            _ => {
                out.add(node.at, format!("`{what}` must be an expression, and is {}", node.kind()));
                return None;
            }
        };
        let environment = environment();
        match environment.compile_expression(&source) {
            Ok(expression) => {
                names.check(expression.undeclared_variables(true), node.at, out);
                Some(Expression(source))
            }
            Err(error) => {
                let mistake = failed(&source, &error);
                match source.contains("{{") {
                    true => {
                        out.hint(node.at, mistake.to_string(), "an expression stands without `{{` and `}}`")
                    }
                    false => out.add(node.at, mistake.to_string()),
                }
                None
            }
        }
    }

    /// Its value; what is not there has none.
    pub fn value(&self, scope: &Value) -> Result<Value, ExpressionError> {
        let environment = environment();
        let fail = |error| failed(&self.0, &error);
        let expression = environment.compile_expression(&self.0).map_err(fail)?;
        let value = expression.eval(minijinja::value::Serde(scope)).map_err(fail)?;
        let missing = |what: &str| ExpressionError { text: self.0.clone(), what: what.to_owned() };
        if value.is_undefined() {
            return Err(missing("it is not there"));
        }
        serde_json::to_value(&value).map_err(|_| missing("it cannot be kept as JSON"))
    }

    /// Whether it holds; what is not there does not.
    pub fn holds(&self, scope: &Value) -> Result<bool, ExpressionError> {
        let environment = environment();
        let fail = |error| failed(&self.0, &error);
        let expression = environment.compile_expression(&self.0).map_err(fail)?;
        Ok(expression.eval(minijinja::value::Serde(scope)).map_err(fail)?.is_true())
    }

    /// Its source.
    pub fn source(&self) -> &str {
        &self.0
    }
}

/// A value with places to fill in: `{{ input.client }}` alone keeps its type, within other text it is printed.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Nothing to fill in.
    Fixed(Value),
    /// One expression.
    Value(Expression),
    /// A text with places.
    Text(String),
    /// A list.
    List(Vec<Template>),
    /// A map.
    Map(Vec<(String, Template)>),
}

impl Template {
    /// Reads a template, checking the grammar and names of all in it.
    pub fn read(node: &Node, names: &Names<'_>, out: &mut Mistakes) -> Template {
        match &node.data {
            Data::Scalar(Value::String(text)) => Template::read_text(text, node.at, names, out),
            Data::Scalar(value) => Template::Fixed(value.clone()),
            Data::List(items) => {
                Template::List(items.iter().map(|item| Template::read(item, names, out)).collect())
            }
            Data::Map(entries) => Template::Map(
                entries
                    .iter()
                    .map(|(key, node)| (key.name.clone(), Template::read(node, names, out)))
                    .collect(),
            ),
        }
    }

    fn read_text(text: &str, at: At, names: &Names<'_>, out: &mut Mistakes) -> Template {
        let fixed = || Template::Fixed(Value::String(text.to_owned()));
        if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
            return fixed();
        }
        let environment = environment();
        match environment.template_from_str(text) {
            Ok(template) => names.check(template.undeclared_variables(true), at, out),
            Err(error) => {
                out.add(at, failed(text, &error).to_string());
                return fixed();
            }
        }
        let inside = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        match inside.filter(|inside| !inside.contains("}}") && !inside.starts_with('-')) {
            Some(inside) if environment.compile_expression(inside).is_ok() => {
                Template::Value(Expression(inside.trim().to_owned()))
            }
            _ => Template::Text(text.to_owned()),
        }
    }

    /// The value with all places filled in.
    pub fn fill(&self, scope: &Value) -> Result<Value, ExpressionError> {
        Ok(match self {
            Template::Fixed(value) => value.clone(),
            Template::Value(expression) => expression.value(scope)?,
            Template::Text(source) => Value::String(render(source, scope)?),
            Template::List(items) => items.iter().map(|item| item.fill(scope)).collect::<Result<_, _>>()?,
            Template::Map(entries) => {
                let fill = |(name, template): &(String, Template)| Ok((name.clone(), template.fill(scope)?));
                Value::Object(entries.iter().map(fill).collect::<Result<_, ExpressionError>>()?)
            }
        })
    }

    /// The same, as text: what is no text is printed.
    pub fn fill_text(&self, scope: &Value) -> Result<String, ExpressionError> {
        Ok(match self.fill(scope)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

/// Prints a template; at most a mebibyte.
pub fn render(source: &str, scope: &Value) -> Result<String, ExpressionError> {
    let environment = environment();
    let fail = |error: minijinja::Error| failed(source, &error);
    let template = environment.template_from_str(source).map_err(fail)?;
    let mut out = Bounded(Vec::new());
    template.render_captured_to(minijinja::value::Serde(scope), &mut out).map_err(fail)?;
    String::from_utf8(out.0).map_err(|_| ExpressionError {
        text: source.chars().take(120).collect(),
        what: "it prints what is no text".into(),
    })
}

/// A buffer that refuses more than a template may print.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("it prints more than a mebibyte"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The names that an expression may use.
#[derive(Debug, Clone, Default)]
pub struct Names<'n> {
    /// Names of values.
    pub roots: Vec<String>,
    /// What may follow `steps.`.
    pub steps: Vec<String>,
    /// What `input` is.
    pub input: Option<&'n Schema>,
}

impl Names<'_> {
    fn check(&self, used: impl IntoIterator<Item = String>, at: At, out: &mut Mistakes) {
        let mut used: Vec<String> = used.into_iter().collect();
        used.sort();
        for name in used {
            let mut parts = name.split('.');
            let (root, member) = (parts.next().unwrap_or_default(), parts.next());
            if BUILT_IN.contains(&root) {
                continue;
            }
            if !self.roots.iter().any(|known| known == root) {
                let hint = format!("known here: {}", self.roots.join(", "));
                out.hint(at, format!("there is no `{root}` here"), hint);
                continue;
            }
            match (root, member, self.input) {
                ("steps", Some(step), _) if !self.steps.iter().any(|known| known == step) => {
                    out.add(at, format!("`steps.{step}` names no step that is known here"));
                }
                ("input", Some(property), Some(input)) if !input.knows(property) => {
                    let known: Vec<&str> = input.names().collect();
                    let hint = format!("it has {}", known.join(", "));
                    out.hint(at, format!("the input has no `{property}`"), hint);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Front;
    use serde_json::json;

    fn template(yaml: &str) -> (Template, Vec<String>) {
        let front = Front::read(&format!("---\nx: {yaml}\n---\n")).unwrap();
        let mut out = Mistakes::default();
        let names =
            Names { roots: vec!["input".into(), "steps".into()], steps: vec!["draft".into()], input: None };
        let template = Template::read(front.root.get("x").unwrap(), &names, &mut out);
        (template, out.into_vec().into_iter().map(|it| it.what).collect())
    }

    #[test]
    fn one_expression_keeps_its_type() {
        let scope = json!({"input": {"n": 3, "who": "Bram"}, "steps": {"draft": {"text": "hi"}}});
        let (it, mistakes) =
            template("{a: '{{ input.n }}', b: 'to {{ input.who | upper }}', c: ['{{ steps.draft }}', 1]}");
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(it.fill(&scope).unwrap(), json!({"a": 3, "b": "to BRAM", "c": [{"text": "hi"}, 1]}));
    }

    #[test]
    fn grammar_and_names_are_checked() {
        assert_eq!(
            template("'{{ steps.drafd.text }}'").1,
            ["`steps.drafd` names no step that is known here"]
        );
        assert_eq!(template("'{{ now }}'").1, ["there is no `now` here"]);
        assert_eq!(template("'{{ input.'").1.len(), 1);
        assert!(template("'{% for x in range(3) %}{{ x }}{{ loop.index }}{% endfor %}'").1.is_empty());
    }

    #[test]
    fn what_is_not_there_and_what_never_ends_is_an_error() {
        let scope = json!({"input": {}});
        assert!(template("'{{ input.x }}'").0.fill(&scope).is_err());
        assert!(template("'a {{ input.x }}'").0.fill(&scope).is_err());
        for bomb in [
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
            "{% for a in range(9999) %}{{ 'x' * 1000000 }}{% endfor %}",
        ] {
            assert!(render(bomb, &scope).is_err(), "{bomb}");
        }
    }
}
