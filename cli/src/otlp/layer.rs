//! What this process does, from the spans of `tracing`.

use std::fmt;

use aios_agents::kernel::{Mark, Stretch};
use aios_vault::chance::{now_ms, random};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::send;

/// Who hears of spans.
pub struct Spans;

/// What is known of a span that has begun.
struct Begun(Stretch);

struct Marks<'m>(&'m mut Vec<Mark>);

impl Marks<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.retain(|(key, _)| *key != field.name());
        self.0.push((field.name(), value));
    }
}

impl Visit for Marks<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// Random bytes; never only zeros, which would be no id.
fn id<const N: usize>() -> [u8; N] {
    let mut out = [1; N];
    if let Ok(noise) = random() {
        out.copy_from_slice(&noise[..N]);
        out[0] |= 1;
    }
    out
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id_of: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id_of) else { return };
        let around = span.parent().and_then(|parent| {
            parent.extensions().get::<Begun>().map(|Begun(around)| (around.trace, around.id))
        });
        let mut stretch = Stretch {
            trace: around.map_or_else(id, |(trace, _)| trace),
            id: id(),
            parent: around.map(|(_, parent)| parent),
            name: span.name().to_owned(),
            begin: now_ms(),
            end: 0,
            marks: Vec::new(),
            error: None,
        };
        attributes.record(&mut Marks(&mut stretch.marks));
        span.extensions_mut().insert(Begun(stretch));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(Begun(stretch)) = span.extensions_mut().get_mut::<Begun>() {
            values.record(&mut Marks(&mut stretch.marks));
        }
    }

    /// A span in which something went wrong is one that failed.
    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let Some(span) = cx.event_span(event) else { return };
        if let Some(Begun(stretch)) = span.extensions_mut().get_mut::<Begun>() {
            stretch.error.get_or_insert_with(|| "error".into());
        }
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(&id) else { return };
        if let Some(Begun(mut stretch)) = span.extensions_mut().remove::<Begun>() {
            stretch.end = now_ms().max(stretch.begin);
            if let Some((_, kind)) = stretch.marks.iter().find(|(key, _)| *key == "error.type") {
                stretch.error = Some(kind.as_str().unwrap_or("error").to_owned());
            }
            send([stretch]);
        }
    }
}
