//! Spans go to whoever collects them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use aios_tests::office::Office;
use serde_json::Value;

/// A collector on loopback, which hands on what it gets.
fn collector() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (came, out) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            loop {
                let (mut head, mut length) = (String::new(), 0);
                while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
                for line in head.lines() {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                }
                let mut body = vec![0; length];
                if length == 0 || reader.read_exact(&mut body).is_err() {
                    break;
                }
                let _ = came.send((head, serde_json::from_slice(&body).expect("JSON")));
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                if reader.get_mut().write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    (address, out)
}

fn spans(came: &Receiver<(String, Value)>) -> Vec<Value> {
    let bodies = came.try_iter().inspect(|(head, _)| {
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        assert!(head.to_ascii_lowercase().contains("api-key: open sesame"), "{head}");
    });
    let spans = bodies.flat_map(|(_, body)| {
        assert_eq!(body["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"], "office");
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default()
    });
    spans.collect()
}

fn named<'s>(spans: &'s [Value], name: &str) -> &'s Value {
    let found = spans.iter().find(|span| span["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
}

fn mark<'s>(span: &'s Value, key: &str) -> Option<&'s Value> {
    let marks = span["attributes"].as_array().into_iter().flatten();
    let mut values = marks.filter(|mark| mark["key"] == key);
    values.find_map(|mark| mark["value"].as_object()?.values().next())
}

#[test]
fn a_run_is_a_trace_at_the_collector_and_a_deaf_one_stops_nothing() {
    let office = Office::new(&[("workflows/greet.md", super::GREET), ("agents/writer.md", super::WRITER)]);
    let (address, came) = collector();
    let run = |args: &[&str], address: &str| {
        let mut command = office.command(args, "");
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("OTEL_SERVICE_NAME", "office");
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=open sesame");
        command.output().expect("aios runs")
    };
    let out = run(&["run", "greet", "--task", "one", "--input", "client=ann"], &address);
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    let began = spans(&came);
    let command = named(&began, "command");
    assert_eq!(mark(command, "aios.command"), Some(&"run".into()));
    let work = named(&began, "work");
    assert_eq!((&work["traceId"], &work["parentSpanId"]), (&command["traceId"], &command["spanId"]));
    named(&began, "record");
    assert!(began.iter().all(|span| span["name"] != "invoke_workflow greet"), "it is not over");

    let key = office.asks("one").expect("it asks");
    assert!(run(&["approve", &key], &address).status.success());
    let ended = spans(&came);
    let whole = named(&ended, "invoke_workflow greet");
    assert_eq!(mark(whole, "gen_ai.workflow.name"), Some(&"greet".into()));
    assert_eq!(mark(whole, "aios.outcome"), Some(&"done".into()));
    let draft = named(&ended, "invoke_agent writer");
    assert_eq!(mark(draft, "gen_ai.agent.name"), Some(&"writer".into()));
    assert_eq!((&draft["traceId"], &draft["parentSpanId"]), (&whole["traceId"], &whole["spanId"]));
    let sent = named(&ended, "execute_tool mail.send");
    assert_eq!(mark(sent, "gen_ai.tool.name"), Some(&"mail.send".into()));
    let told = serde_json::to_string(&[began, ended]).expect("JSON");
    assert!(!told.contains("ann@example.org") && !told.contains("Dear"), "nothing that was said: {told}");

    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("an address");
    let out = run(&["run", "greet", "--task", "two", "--input", "client=bob"], &format!("http://{gone}"));
    assert_eq!(out.status.code(), Some(3), "{out:?}");
}
