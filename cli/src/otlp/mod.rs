//! Spans over OTLP, where that is configured: what this process does, and each run of a workflow when it ends, from its journal.
//!
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` says where to, as JSON over HTTP; `OTEL_EXPORTER_OTLP_HEADERS` what goes along, `OTEL_SERVICE_NAME` what it is
//! called there. Nothing waits for whoever gets them, and nothing fails because nobody does.

mod encode;
mod layer;
mod post;

use std::sync::OnceLock;
use std::time::Duration;

use aios_agents::kernel::Stretch;

pub use layer::Spans;
use post::Post;

/// How long the end of the process waits for what is on its way.
const PATIENCE: Duration = Duration::from_secs(2);

static POST: OnceLock<Option<Post>> = OnceLock::new();

/// Begins, where it is configured; the layer that hears of spans then.
pub fn begin() -> Option<Spans> {
    POST.get_or_init(|| Post::configured(|name| std::env::var(name).ok())).as_ref().map(|_| Spans)
}

/// Whether anybody is told.
pub fn is_on() -> bool {
    POST.get().is_some_and(Option::is_some)
}

/// Sends spans, some time.
pub fn send(stretches: impl IntoIterator<Item = Stretch>) {
    if let Some(Some(post)) = POST.get() {
        stretches.into_iter().for_each(|it| post.send(it));
    }
}

/// Waits until all is sent, and not for long.
pub fn end() {
    if let Some(Some(post)) = POST.get() {
        post.flush(PATIENCE);
    }
}
