//! What it means that a provider refuses.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

use crate::failure::{Class, Failure};
use crate::span::Millis;

/// The longest time that is waited because a provider says so.
const LONGEST: Millis = 60 * 60_000;
/// How much of a provider's words is kept.
const WORDS: usize = 200;

/// What is told of a question that a model cannot see at once.
const TOO_LONG: &str = "what it is asked is too long";

/// Whether a provider refused a question for its length.
pub fn is_too_long(failure: &Failure) -> bool {
    failure.class == Class::Permanent && failure.what.starts_with(TOO_LONG)
}

/// What a status and a body that are no answer mean. `after` is the header `Retry-After`, `now` the time by which it is read.
///
/// What a provider says about a key is not repeated: some repeat the key.
pub fn refusal(status: u16, after: Option<&str>, body: &str, now: Millis) -> Failure {
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let error = value.get("error").filter(|it| !it.is_null()).unwrap_or(&value);
    let code = codes(error);
    let words = words(error);
    let wait = after.and_then(|after| wait(after, now));
    let (class, what) = match status {
        401 | 403 => (Class::Denied, "it refuses the key".to_owned()),
        402 => (Class::Budget, format!("there is no money left: {words}")),
        429 if code.contains("insufficient_quota") => (Class::Budget, format!("no quota is left: {words}")),
        429 => (Class::RateLimited, format!("too many calls: {words}")),
        408 | 409 | 425 | 500..=599 => (Class::Transient, format!("it answers {status}: {words}")),
        _ if is_long(&code, &words) => (Class::Permanent, format!("{TOO_LONG}: {words}")),
        _ => (Class::Permanent, format!("it answers {status}: {words}")),
    };
    Failure { class, what: what.trim_end_matches(": ").to_owned(), wait }
}

/// What an error in the middle of a stream means.
pub fn told(error: &Value) -> Failure {
    let code = codes(error);
    if is_long(&code, &words(error)) {
        return Failure::new(
            Class::Permanent,
            format!("{TOO_LONG}: {}", words(error)).trim_end_matches(": "),
        );
    }
    let class = match code.as_str() {
        code if code.contains("insufficient_quota") => Class::Budget,
        code if code.contains("rate_limit") => Class::RateLimited,
        code if code.contains("authentication") || code.contains("permission") => Class::Denied,
        code if code.contains("invalid_request") || code.contains("invalid_prompt") => Class::Permanent,
        _ => Class::Transient,
    };
    let words = if class == Class::Denied { "the key is refused".to_owned() } else { words(error) };
    Failure::new(class, format!("it failed in the middle of its answer: {words}").trim_end_matches(": "))
}

fn codes(error: &Value) -> String {
    let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", part("type"), part("code"))
}

fn words(error: &Value) -> String {
    let text = error.as_str().or_else(|| error.get("message").and_then(Value::as_str)).unwrap_or_default();
    text.chars().take(WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_long(code: &str, words: &str) -> bool {
    let words = words.to_lowercase();
    code.contains("context_length")
        || ["too long", "context length", "context window", "maximum context"]
            .iter()
            .any(|it| words.contains(it))
}

/// How long to wait: seconds, or a date (RFC 9110, 10.2.3).
fn wait(after: &str, now: Millis) -> Option<Millis> {
    let after = after.trim();
    let wait = match after.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => (seconds * 1000.0).min(LONGEST as f64) as u64,
        Ok(_) => return None,
        Err(_) => {
            let at: Timestamp = rfc2822::DateTimeParser::new().parse_timestamp(after).ok()?;
            u64::try_from(at.as_millisecond()).ok()?.saturating_sub(now)
        }
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_refusal_has_its_class() {
        let class = |status, body: &str| refusal(status, None, body, 0).class;
        assert_eq!(
            class(401, r#"{"error":{"message":"Incorrect API key provided: sk-abc"}}"#),
            Class::Denied
        );
        assert_eq!(class(429, r#"{"error":{"type":"insufficient_quota"}}"#), Class::Budget);
        assert_eq!(class(429, "{}"), Class::RateLimited);
        assert_eq!(class(529, "<html>"), Class::Transient);
        assert_eq!(class(400, r#"{"error":{"message":"prompt is too long: 9 tokens"}}"#), Class::Permanent);
        assert!(!refusal(401, None, r#"{"error":{"message":"sk-abc"}}"#, 0).what.contains("sk-abc"));
    }

    #[test]
    fn what_is_too_long_is_told_from_what_is_wrong() {
        let long = |status, body: &str| is_too_long(&refusal(status, None, body, 0));
        for body in [
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
        ] {
            assert!(long(400, body), "{body}");
            let error: Value = serde_json::from_str(body).unwrap();
            assert!(is_too_long(&told(&error["error"])), "{body}");
        }
        assert!(!long(400, r#"{"error":{"message":"what it is asked is too short"}}"#));
        assert!(!long(500, r#"{"error":{"message":"prompt is too long"}}"#));
        assert!(!is_too_long(&told(&json!({"message": "overloaded"}))));
    }

    #[test]
    fn the_time_to_wait_is_seconds_or_a_date_and_bounded() {
        let wait = |after| refusal(429, Some(after), "", 1_790_000_000_000).wait;
        assert_eq!(wait("2"), Some(2000));
        assert_eq!(wait("0.5"), Some(500));
        assert_eq!(wait("99999999999"), Some(LONGEST));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-3"), None);
        assert_eq!(wait("Mon, 21 Sep 2026 14:13:25 GMT"), Some(5000));
    }
}
