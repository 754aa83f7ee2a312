use std::collections::BTreeMap;

use serde_json::json;

use super::super::{Message, Stop, Usage};
use super::*;
use crate::failure::Class;

fn item(key: &str, maybe_sent: Option<Millis>) -> Item {
    let request = Request {
        model: "m".into(),
        system: "Be brief".into(),
        messages: vec![Message::User(format!("a question called {key}"))],
        tools: Vec::new(),
        schema: None,
        most: 10,
    };
    Item { key: key.into(), request, maybe_sent }
}

fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, after: None, body: body.to_string().into_bytes(), at: 1_000_000 }
}

fn said<S: std::fmt::Debug, E>(next: Next<S, E>) -> S {
    match next {
        Next::Say(next) => next,
        Next::Over(_) => panic!("it is over"),
    }
}

fn value(exchange: &Exchange) -> Value {
    serde_json::from_slice(&exchange.body.as_ref().expect("a body").1).expect("JSON")
}

#[test]
fn openais_batch_is_a_file_of_lines() {
    for (api, endpoint) in [(Api::Chat, "/v1/chat/completions"), (Api::Responses, "/v1/responses")] {
        let sending = Sending::new(api, vec![item("k1", None), item("k2", None)]);
        let upload = sending.say();
        assert_eq!(upload.path, "/files");
        let (kind, form) = upload.body.clone().unwrap();
        let form = String::from_utf8(form).unwrap();
        let mark = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let parts: Vec<&str> = form.split(&format!("--{mark}")).collect();
        assert_eq!((parts.len(), parts[0], parts[3]), (4, "", "--\r\n"));
        assert_eq!(parts[1], "\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n");
        let (head, lines) = parts[2].split_once("\r\n\r\n").unwrap();
        assert!(head.contains("name=\"file\"; filename=\"batch.jsonl\""), "{head}");
        let lines: Vec<Value> = lines.trim().lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!((&lines[1]["custom_id"], &lines[1]["method"]), (&json!("k2"), &json!("POST")));
        assert_eq!((&lines[0]["url"], &lines[0]["body"]["model"]), (&json!(endpoint), &json!("m")));
        assert_eq!(
            (&lines[0]["body"]["stream"], &lines[0]["body"]["stream_options"]),
            (&Value::Null, &Value::Null)
        );
        let making = said(sending.heard(&reply(200, json!({"id": "file-1"}))).unwrap());
        assert_eq!(making.say().path, "/batches");
        assert_eq!(
            value(&making.say()),
            json!({"input_file_id": "file-1", "endpoint": endpoint, "completion_window": "24h", "metadata": {"aios-0": "k1 k2"}})
        );
        let sent = making.heard(&reply(200, json!({"id": "batch_9", "status": "validating"}))).unwrap();
        let all = BTreeMap::from([("k1".into(), "batch_9".into()), ("k2".into(), "batch_9".into())]);
        assert_eq!(sent, Next::Over(all));
    }
}

#[test]
fn anthropics_batch_is_one_request() {
    let sending = Sending::new(Api::Anthropic, vec![item("k1", Some(5))]);
    let making = sending.say();
    assert_eq!(making.path, "/v1/messages/batches");
    let body = value(&making);
    assert_eq!(body["requests"][0]["custom_id"], "k1");
    assert_eq!(
        (&body["requests"][0]["params"]["max_tokens"], &body["requests"][0]["params"]["stream"]),
        (&json!(10), &Value::Null)
    );
    let sent = sending.heard(&reply(200, json!({"id": "msgbatch_1"}))).unwrap();
    assert_eq!(sent, Next::Over(BTreeMap::from([("k1".into(), "msgbatch_1".into())])));
}

#[test]
fn what_may_have_been_sent_is_looked_for_first() {
    let now = 1_790_000_000_000;
    let sending =
        Sending::new(Api::Chat, vec![item("k1", Some(now)), item("k2", Some(now)), item("k3", None)]);
    assert_eq!(sending.say(), Exchange { path: "/batches?limit=100".into(), body: None });
    let batch = |id: &str, keys: &str, at: Millis| json!({"id": id, "created_at": at / 1000, "metadata": {"aios-0": keys, "else": "k2"}});
    let page = json!({"data": [batch("b3", "x y", now), batch("b2", "k0 k1", now)], "has_more": true});
    let sending = said(sending.heard(&reply(200, &page)).unwrap());
    assert_eq!(sending.say().path, "/batches?limit=100&after=b2");
    // What is older than the question cannot have it.
    let page = json!({"data": [batch("b1", "z", now - 3_600_000)], "has_more": true});
    let sending = said(sending.heard(&reply(200, &page)).unwrap());
    let form = String::from_utf8(sending.say().body.unwrap().1).unwrap();
    assert!(!form.contains("called k1") && form.contains("called k2") && form.contains("called k3"));
    let making = said(sending.heard(&reply(200, json!({"id": "file-1"}))).unwrap());
    let Next::Over(sent) = making.heard(&reply(200, json!({"id": "b4"}))).unwrap() else { panic!() };
    assert_eq!((sent["k1"].as_str(), sent["k2"].as_str(), sent["k3"].as_str()), ("b2", "b4", "b4"));
    // All are found: nothing is sent.
    let sending = Sending::new(Api::Chat, vec![item("k1", Some(now))]);
    let page = json!({"data": [batch("b2", "k1", now)], "has_more": true});
    assert!(matches!(sending.heard(&reply(200, &page)).unwrap(), Next::Over(_)));
    // Who does not list them now leaves open whether it was sent.
    for status in [400, 403, 429, 500] {
        let refused = Sending::new(Api::Chat, vec![item("k1", Some(now))]).heard(&reply(status, "{}"));
        assert!(matches!(refused, Err(Refused::Failed(it)) if it.class == Class::Transient), "{status}");
    }
    // Who lists none may make one.
    let sending = Sending::new(Api::Chat, vec![item("k1", Some(now))]);
    assert_eq!(said(sending.heard(&reply(405, "")).unwrap()).say().path, "/files");
}

#[test]
fn who_refuses_a_batch_has_none_or_failed() {
    for api in [Api::Chat, Api::Responses, Api::Anthropic] {
        let refused = |status, body: Value| {
            Sending::new(api, vec![item("k", None)]).heard(&reply(status, body)).unwrap_err()
        };
        for status in [404, 405, 501] {
            assert_eq!(refused(status, json!({})), Refused::Unknown, "{api:?}");
        }
        for (status, class) in [
            (401, Class::Denied),
            (429, Class::RateLimited),
            (500, Class::Transient),
            (400, Class::Permanent),
        ] {
            let Refused::Failed(failure) = refused(status, json!({})) else { panic!("{status}") };
            assert_eq!(failure.class, class, "{api:?}");
        }
        // A name that would lead elsewhere is none.
        for id in ["", "../x", "a?b", "a b"] {
            assert!(matches!(refused(200, json!({"id": id})), Refused::Failed(_)), "{api:?} {id}");
        }
    }
}

fn chat(text: &str) -> Value {
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
}

#[test]
fn what_came_of_each_question_has_its_class() {
    let looking = Looking::new(Api::Chat, "b1");
    assert_eq!(looking.say(), Exchange { path: "/batches/b1".into(), body: None });
    for status in ["validating", "in_progress", "finalizing", "cancelling", "something"] {
        let works = looking.clone().heard(&reply(200, json!({"status": status}))).unwrap();
        assert_eq!(works, Next::Over(Seen::Works), "{status}");
    }
    let over = json!({"status": "expired", "output_file_id": "o1", "error_file_id": "e1"});
    let first = said(looking.clone().heard(&reply(200, &over)).unwrap());
    assert_eq!(first.say().path, "/files/o1/content");
    let line = |key: &str, status: u16, body: Value| {
        format!(
            "{}\n",
            json!({"custom_id": key, "response": {"status_code": status, "body": body}, "error": null})
        )
    };
    let text = [
        line("fine", 200, chat("Hi")),
        "no JSON\n".into(),
        line("odd", 200, json!({})),
        line("fine", 200, chat("twice")),
    ]
    .concat();
    let second = said(first.heard(&reply(200, text)).unwrap());
    assert_eq!(second.say().path, "/files/e1/content");
    let long = json!({"error": {"message": "x", "code": "context_length_exceeded"}});
    let late = json!({"custom_id": "late", "response": null, "error": {"code": "batch_expired", "message": "too late"}});
    let text = [
        line("wrong", 400, json!({"error": {"message": "bad schema"}})),
        line("busy", 503, json!({})),
        line("long", 400, long),
        format!("{late}\n"),
    ]
    .concat();
    let Next::Over(Seen::Over { mut came, rest }) = second.heard(&reply(200, text)).unwrap() else {
        panic!()
    };
    assert_eq!(rest, "the batch expired");
    let Some(Came::Answered(answer)) = came.remove("fine") else { panic!() };
    assert_eq!((answer.text.as_str(), answer.stop), ("Hi", Stop::End));
    assert_eq!(answer.usage, Some(Usage { input: 9, output: 4, cached: 0 }));
    assert!(matches!(&came["odd"], Came::Failed(it) if it.class == Class::InvalidOutput), "{came:?}");
    assert!(
        matches!(&came["wrong"], Came::Failed(it) if it.class == Class::Permanent && it.what.contains("bad schema"))
    );
    assert!(matches!((&came["busy"], &came["long"]), (Came::Left(_), Came::Left(_))), "asked directly");
    assert_eq!(came["late"], Came::Left("too late".into()));
    // What is there is not thrown away for a look that failed.
    assert_eq!(looking.clone().heard(&reply(500, "")).unwrap_err().class, Class::Transient);
    let gone = looking.clone().heard(&reply(404, "")).unwrap();
    assert!(matches!(gone, Next::Over(Seen::Over { came, .. }) if came.is_empty()));
    let failed = json!({"status": "failed", "errors": {"data": [{"message": "bad line"}]}});
    let Next::Over(Seen::Over { rest, .. }) = looking.heard(&reply(200, failed)).unwrap() else { panic!() };
    assert_eq!(rest, "the batch failed: bad line");
}

#[test]
fn anthropics_results_lie_where_the_key_was_given_for() {
    let looking = Looking::new(Api::Anthropic, "msgbatch_1");
    assert_eq!(looking.say().path, "/v1/messages/batches/msgbatch_1");
    let works = json!({"processing_status": "in_progress", "results_url": null});
    assert_eq!(looking.clone().heard(&reply(200, works)).unwrap(), Next::Over(Seen::Works));
    let ended = json!({"processing_status": "ended", "results_url": "https://elsewhere.example/x"});
    let reading = said(looking.heard(&reply(200, ended)).unwrap());
    assert_eq!(reading.say().path, "/v1/messages/batches/msgbatch_1/results");
    let message = json!({"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 4}});
    let error = |kind: &str| json!({"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": "no"}}});
    let lines: String = [
        ("fine", json!({"type": "succeeded", "message": message})),
        ("wrong", error("invalid_request_error")),
        ("busy", error("overloaded_error")),
        ("late", json!({"type": "expired"})),
        ("off", json!({"type": "canceled"})),
    ]
    .iter()
    .map(|(key, result)| format!("{}\n", json!({"custom_id": key, "result": result})))
    .collect();
    let Next::Over(Seen::Over { came, .. }) = reading.heard(&reply(200, lines)).unwrap() else { panic!() };
    assert!(matches!(&came["fine"], Came::Answered(it) if it.text == "Hi"), "{came:?}");
    assert!(matches!(&came["wrong"], Came::Failed(it) if it.class == Class::Permanent), "{came:?}");
    for key in ["busy", "late", "off"] {
        assert!(matches!(came[key], Came::Left(_)), "{key}: {came:?}");
    }
}

#[test]
fn questions_wait_for_others_and_never_too_long() {
    let mut tray = Tray::default();
    assert_eq!((tray.due(), tray.take(u64::MAX)), (None, vec![]));
    tray.put("a", 10, 1, 1_000);
    tray.put("a", 10, 2, 1_900);
    tray.put("b", 10, 3, 1_500);
    assert_eq!((tray.due(), tray.take(999)), (Some(1_000), vec![]));
    tray.retain(|item| *item != 1);
    assert_eq!(tray.take(1_000), vec![("a", vec![2])]);
    assert_eq!(tray.take(2_000), vec![("b", vec![3])]);
    // A full one goes at once, and none is fuller than full, or too long.
    (0..=MOST).for_each(|n| tray.put("a", 1, n, 5_000));
    let sizes: Vec<usize> = tray.take(0).iter().map(|(_, batch)| batch.len()).collect();
    assert_eq!(sizes, [MOST, 1]);
    (0..3).for_each(|n| tray.put("a", MOST_BYTES / 2 + 1, n, 5_000));
    assert_eq!(tray.take(5_000).len(), 3);
}

#[test]
fn a_batch_is_looked_at_less_and_less_often() {
    let (since, first) = (1_000_000, 60_000);
    assert_eq!(look_again(since, since, first), Some(since + first));
    let (mut at, mut looks) = (since, 0);
    while let Some(next) = look_again(since, at, first) {
        assert!(next - at <= RAREST && (next - at >= first || next == since + LONGEST));
        (at, looks) = (next, looks + 1);
    }
    assert_eq!(at, since + LONGEST, "then it is asked directly");
    assert!(looks < 200, "{looks} looks in a day");
    assert_eq!(look_again(since, since, 3_600_000), Some(since + 3_600_000), "as rarely as its file says");
    // Who slept for a week looks once more before that.
    assert_eq!(look_again(since, since + 7 * LONGEST, first), None);
}

#[test]
fn a_batch_is_given_up_by_its_name() {
    assert_eq!(Api::Chat.withdrawal("b1").unwrap().path, "/batches/b1/cancel");
    assert_eq!(Api::Anthropic.withdrawal("b1").unwrap().path, "/v1/messages/batches/b1/cancel");
    assert_eq!(Api::Chat.withdrawal("b1/../x"), None);
}

/// Whatever is answered is no reason to fall over.
#[test]
fn anything_may_be_answered() {
    let bodies: [&[u8]; 9] = [
        b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b"{\"data\":[7,{\"id\":7,\"metadata\":{\"aios-0\":7}}],\"has_more\":true}",
        b"{\"id\":\"b\",\"status\":\"completed\",\"output_file_id\":\"../x\",\"errors\":7,\"processing_status\":\"ended\"}",
        b"{\"custom_id\":7}\n{\"custom_id\":\"k\"}\n{\"custom_id\":\"k\",\"response\":{\"status_code\":99999,\"body\":7},\"result\":7}\n\n",
    ];
    let replies =
        || bodies.iter().flat_map(|body| [200, 204, 302, 500].map(|status| (status, body.to_vec())));
    for api in [Api::Chat, Api::Responses, Api::Anthropic] {
        for (status, body) in replies() {
            let reply = Reply { status, after: Some("soon".into()), body, at: 0 };
            let sending = Sending::new(api, vec![item("k", Some(0))]);
            if let Ok(Next::Say(next)) = sending.heard(&reply) {
                assert!(next.say().path.starts_with('/'));
                let _ = next.heard(&reply);
            }
            if let Ok(Next::Say(next)) = Looking::new(api, "b").heard(&reply) {
                for (status, body) in replies() {
                    let _ = next.clone().heard(&Reply { status, after: None, body, at: 0 });
                }
            }
        }
    }
}
