//! Spans as OTLP has them in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use aios_agents::kernel::Stretch;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

/// The body of a request that exports spans.
pub fn encode(service: &str, stretches: &[Stretch]) -> Value {
    let spans: Vec<Value> = stretches.iter().map(span).collect();
    let resource = [("service.name", service), ("service.version", env!("CARGO_PKG_VERSION"))];
    let resource: Vec<Value> = resource.map(|(key, value)| attribute(key, &value.into())).to_vec();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "aios", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
    }]})
}

fn span(it: &Stretch) -> Value {
    // Whole numbers of 64 bits are text in protobuf's JSON.
    let nanos = |ms: u64| ms.saturating_mul(1_000_000).to_string();
    let mut out = json!({
        "traceId": HEXLOWER.encode(&it.trace),
        "spanId": HEXLOWER.encode(&it.id),
        "name": it.name,
        "kind": 1,
        "startTimeUnixNano": nanos(it.begin),
        "endTimeUnixNano": nanos(it.end),
        "attributes": it.marks.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
        "status": {},
    });
    if let Some(parent) = &it.parent {
        out["parentSpanId"] = HEXLOWER.encode(parent).into();
    }
    if let Some(error) = &it.error {
        out["status"] = json!({"code": 2, "message": error});
    }
    out
}

fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Number(number) if !number.is_f64() => json!({"intValue": number.to_string()}),
        Value::Number(number) => json!({"doubleValue": number}),
        Value::Bool(it) => json!({"boolValue": it}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": key, "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_64_bits_are_text_and_ids_are_hex() {
        let stretch = Stretch {
            trace: [0xab; 16],
            id: [1; 8],
            parent: Some([2; 8]),
            name: "invoke_agent writer".into(),
            begin: 1_790_000_000_000,
            end: 1_790_000_000_001,
            marks: vec![("gen_ai.usage.input_tokens", 7.into()), ("gen_ai.agent.name", "writer".into())],
            error: Some("budget".into()),
        };
        let body = encode("aios", &[stretch]);
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "ab".repeat(16));
        assert_eq!(
            (&span["spanId"], &span["parentSpanId"]),
            (&"01".repeat(8).into(), &"02".repeat(8).into())
        );
        assert_eq!(span["startTimeUnixNano"], "1790000000000000000");
        assert_eq!(span["attributes"][0]["value"], json!({"intValue": "7"}));
        assert_eq!(span["status"], json!({"code": 2, "message": "budget"}));
    }
}
