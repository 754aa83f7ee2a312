//! A JSON value that is read back as it was written, to the last bit of each number.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// A value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Exact {
    Null,
    Bool(bool),
    Whole(u64),
    Negative(i64),
    /// The bits of a number with a fraction.
    Fraction(u64),
    Text(String),
    List(Vec<Exact>),
    Map(Vec<(String, Exact)>),
}

impl From<Value> for Exact {
    fn from(value: Value) -> Exact {
        match value {
            Value::Null => Exact::Null,
            Value::Bool(it) => Exact::Bool(it),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => Exact::Whole(whole),
                (None, Some(negative)) => Exact::Negative(negative),
                (None, None) => Exact::Fraction(number.as_f64().unwrap_or_default().to_bits()),
            },
            Value::String(text) => Exact::Text(text),
            Value::Array(items) => Exact::List(items.into_iter().map(Exact::from).collect()),
            Value::Object(map) => Exact::Map(map.into_iter().map(|(key, it)| (key, it.into())).collect()),
        }
    }
}

impl From<Exact> for Value {
    fn from(exact: Exact) -> Value {
        match exact {
            Exact::Null => Value::Null,
            Exact::Bool(it) => it.into(),
            Exact::Whole(it) => it.into(),
            Exact::Negative(it) => it.into(),
            Exact::Fraction(bits) => {
                Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
            }
            Exact::Text(it) => it.into(),
            Exact::List(items) => items.into_iter().map(Value::from).collect(),
            Exact::Map(map) => {
                Value::Object(map.into_iter().map(|(key, it)| (key, it.into())).collect::<Map<_, _>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_back_to_the_last_bit() {
        let values =
            json!([null, true, 0, u64::MAX, -1, i64::MIN, 0.1, 5e-324, 1e300, "é", {"a": [], "b": {}}]);
        let bytes = postcard::to_stdvec(&Exact::from(values.clone())).unwrap();
        let read: Exact = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(Value::from(read), values);
    }
}
