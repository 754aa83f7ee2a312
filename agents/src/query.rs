//! Looks for files: which paths, and what their frontmatter says.

use serde_json::{Map, Value, json};

use crate::failure::{Class, Failure};
use crate::node::Front;

/// The most files that one look opens.
pub const MOST_FILES: usize = 2_000;
/// The most that one look finds, in bytes of JSON: it stands in the journal.
const MOST_FOUND: usize = 512 * 1024;

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Their path, in which `*` stands for any text.
    pub files: String,
    /// What their frontmatter says; of a list, one of what is in it.
    pub fields: Map<String, Value>,
}

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Its path.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// Whether that came from outside.
    pub untrusted: bool,
}

impl Query {
    /// What a step says that looks for files.
    ///
    /// # Errors
    /// Why that is nothing to look for.
    pub fn of(input: &Value) -> Result<Query, Failure> {
        let bad = |what: &str| Failure::new(Class::Permanent, what);
        let files = input["files"].as_str().unwrap_or_default().to_owned();
        if files.starts_with('*') || files.is_empty() {
            return Err(bad("`find` needs a folder to look in, such as `clients/*.md`"));
        }
        let fields = input["match"].as_object().cloned();
        Ok(Query { files, fields: fields.ok_or_else(|| bad("`match` is no map"))? })
    }

    /// What is found among files, in the order of their paths.
    ///
    /// # Errors
    /// That it is more than a journal should hold.
    pub fn among(&self, files: &[Looked]) -> Result<Value, Failure> {
        let mut all = Vec::new();
        let mut untrusted = false;
        let mut size = 0;
        for file in files {
            let Ok(front) = Front::read(&file.text) else { continue };
            let fields = front.root.to_value();
            if !self.fits(&fields) {
                continue;
            }
            untrusted |= file.untrusted;
            let found = json!({"path": file.path, "fields": fields, "body": front.body.trim()});
            size += found.to_string().len();
            all.push(found);
        }
        if size > MOST_FOUND {
            let what =
                format!("`{}` finds more than {} KiB: say more in `match`", self.files, MOST_FOUND / 1024);
            return Err(Failure::new(Class::Permanent, what));
        }
        let first = all.first().cloned().unwrap_or(Value::Null);
        let mut out = json!({"count": all.len(), "first": first, "all": all});
        if untrusted {
            out["untrusted"] = true.into();
        }
        Ok(out)
    }

    fn fits(&self, fields: &Value) -> bool {
        self.fields.iter().all(|(name, wanted)| {
            let is = fields.get(name).unwrap_or(&Value::Null);
            match wanted {
                Value::Array(any) => any.iter().any(|one| same(is, one)),
                one => same(is, one),
            }
        })
    }
}

/// Whether two values are the same as they are written: `number: 7` is what `'7'` looks for.
fn same(is: &Value, wanted: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    is == wanted || (!is.is_null() && !wanted.is_null() && text(is) == text(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(path: &str, front: &str) -> Looked {
        Looked { path: path.into(), text: format!("---\n{front}---\nHello\n"), untrusted: path.contains('u') }
    }

    #[test]
    fn fields_are_compared_as_they_are_written() {
        let files = [looked("a.md", "n: 7\nstate: open\n"), looked("b.md", "n: '7'\nstate: late\n")];
        let find =
            |fields: Value| Query::of(&json!({"files": "x/*", "match": fields})).unwrap().among(&files);
        assert_eq!(find(json!({"n": 7})).unwrap()["count"], 2);
        assert_eq!(find(json!({"n": "7", "state": ["paid", "late"]})).unwrap()["first"]["path"], "b.md");
        let none = find(json!({"n": 7, "client": "x"})).unwrap();
        assert_eq!(none, json!({"count": 0, "first": null, "all": []}));
        assert_eq!(find(json!({"client": null})).unwrap()["count"], 2);
    }

    #[test]
    fn what_came_from_outside_marks_what_is_found() {
        let query = Query::of(&json!({"files": "x/*", "match": {"n": 7}})).unwrap();
        assert_eq!(query.among(&[looked("u.md", "n: 7\n")]).unwrap()["untrusted"], true);
        assert!(query.among(&[looked("u.md", "n: 8\n")]).unwrap().get("untrusted").is_none());
        assert!(Query::of(&json!({"files": "*", "match": {}})).is_err());
    }
}
