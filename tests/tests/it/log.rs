//! Everything that any crate of this process logs, at every level, by `tracing` and by the facade `log`.

use std::{
    fmt::{Debug, Write},
    mem,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt};

/// Who writes down what clients send, at TRACE alone. docs/security.md says to switch them off.
pub(crate) const TELLTALES: [&str; 2] = ["axum::rejection", "tungstenite"];

/// Hears, from now on, the target and the raw text of all that is logged in this process.
pub(crate) fn listen(hear: impl Fn(&str, &str) + Send + Sync + 'static) {
    tracing_subscriber::registry().with(Ear(hear)).init();
}

struct Ear<F>(F);

impl<S, F> Layer<S> for Ear<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: Fn(&str, &str) + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        let mut line = Line::default();
        attributes.record(&mut line);
        (self.0)(attributes.metadata().target(), &line.text);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let mut line = Line::default();
        values.record(&mut line);
        (self.0)(context.metadata(id).map_or("", |metadata| metadata.target()), &line.text);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let target = mem::take(&mut line.log_target);
        (self.0)(target.as_deref().unwrap_or(event.metadata().target()), &line.text);
    }
}

/// The fields of a record, as a formatter that escapes nothing would write them.
#[derive(Default)]
struct Line {
    text: String,
    /// Whose record it is, if it came by the facade.
    log_target: Option<String>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.log_target = Some(value.to_owned());
        }
        let _ = write!(self.text, "{}={value} ", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.text, "{}={value:?} ", field.name());
    }
}
