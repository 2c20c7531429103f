//! One socket that is live in a channel.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    delivery::{Delivery, GapReason},
    entry::{PublishedEvent, Shape, StreamEntry},
    expiry::{Alarms, Expiry},
    filter::{self, EventFilter, FilterInput, Panicked},
    log::Recovery,
    position::Position,
    subscriber::Subscriber,
};
use crate::metrics;

/// A live subscription.
#[derive(Debug)]
pub(super) struct ActiveSubscription {
    pub(super) subscriber: Subscriber,
    pub(super) outcome: Recovery,
    pub(super) since_subscribe: bool,
    /// What decides which events the socket is sent, if not all of them.
    pub(super) filter: Option<Arc<dyn EventFilter>>,
    /// Tells it from the next subscription of the same socket.
    pub(super) joining: u64,
    /// The newest of the requests that subscribed.
    pub(super) request: u64,
    /// Behind a filter, the offset that the client was told of last.
    pub(super) told: u64,
    /// That of the type by which it subscribed.
    pub(super) shape: Option<Shape>,
    /// When it ends.
    pub(super) expiry: Option<Expiry>,
}

/// After how many events that were not for it a client behind a filter is told how far it is.
pub(super) const UNTOLD: u64 = 64;

impl ActiveSubscription {
    /// Another request subscribed: the later of both ends is the end.
    pub(super) fn extend(&mut self, end: Option<Instant>, end_at: impl FnOnce(Instant, &Subscriber) -> Expiry) {
        if self.expiry.as_ref().is_some_and(|expiry| end.is_none_or(|end| end > expiry.time())) {
            self.expiry = end.map(|end| end_at(end, &self.subscriber));
        }
    }

    /// Sends an entry of the channel, or what the filter makes of it.
    pub(super) fn send(&mut self, copy: &StreamEntry, alarms: &Arc<Alarms>) {
        if copy.leaves_out(self.subscriber.identity()) {
            return;
        }
        if copy.target().is_foreign_to(self.shape) {
            return self.miss(copy, alarms);
        }
        let Some(filter) = &self.filter else { return self.subscriber.send_copy(copy, &copy.entry.message) };
        match filter::pass(&**filter, &FilterInput::of(&copy.entry, false)) {
            Ok(Some(message)) => {
                self.told = copy.offset();
                self.subscriber.send_copy(copy, &message);
            }
            Ok(None) if copy.offset() >= self.told + UNTOLD => {
                self.told = copy.offset();
                self.subscriber.send(&Delivery::Advance { channel: copy.channel(), offset: self.told });
            }
            Ok(None) => {}
            Err(Panicked) => {
                self.told = copy.offset();
                self.withhold(copy.channel(), copy.position(), alarms);
            }
        }
    }

    /// Another server published this by another type of channel: what it is, these subscribers may not be meant to read.
    fn miss(&mut self, copy: &StreamEntry, alarms: &Arc<Alarms>) {
        let channel = &**copy.channel();
        tracing::error!(channel, "event withheld: two types of channel share this name, on two servers");
        self.withhold(channel, copy.position(), alarms);
    }

    /// The subscriber is not sent an event up to this position: that is a gap.
    fn withhold(&mut self, channel: &str, top: Option<&Position>, alarms: &Arc<Alarms>) {
        self.outcome = Recovery::Gap;
        let Some(top) = top else { return };
        if self.subscriber.client().is_some() {
            metrics::gap();
        }
        alarms.gap(&self.subscriber, channel, top, GapReason::Missed);
    }

    /// Sends an entry that has no position, after the last that has one.
    pub(super) fn send_uncounted(
        &mut self,
        entry: &PublishedEvent,
        channel: &str,
        top: &Position,
        alarms: &Arc<Alarms>,
    ) {
        if entry.leaves_out(self.subscriber.identity()) {
            return;
        }
        let Some(filter) = &self.filter else { return self.subscriber.send_uncounted(entry, &entry.message) };
        match filter::pass(&**filter, &FilterInput::of(entry, false)) {
            Ok(Some(message)) => self.subscriber.send_uncounted(entry, &message),
            Ok(None) => {}
            Err(Panicked) => self.withhold(channel, Some(top), alarms),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::{EncodedEvent, History, Target, broker::mock::Backend, expiry::JITTER, testing::Hub};

    /// A channel of this name, by a type of this shape.
    fn room(shape: Option<u32>) -> Target {
        let name: Arc<str> = "room:staff".into();
        Target { channel: name.clone(), stream: name, history: History::of(10), shape: shape.map(Shape) }
    }

    const ROOM: Option<u32> = Some(1);
    const STAFF: Option<u32> = Some(2);

    async fn publish(hub: &Hub, to: Target, text: &str) {
        hub.registry().publish(vec![to], EncodedEvent::of_test("said", text), Vec::new()).await;
    }

    fn server(backend: &Backend) -> Hub {
        let hub = Hub::default();
        hub.cluster().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
        assert!(hub.registry().end_outage(hub.registry().outage()));
        hub
    }

    /// A client of ours, and one that knows no gaps, live in a channel.
    async fn members(hub: &Hub, channel: &Target) -> [(Subscriber, UnboundedReceiver<String>); 2] {
        let [mut ours, stock] =
            [Some("ada"), None].map(|client| Subscriber::of_test(client.unwrap_or("stock"), client));
        for (subscriber, _) in [&ours, &stock] {
            hub.registry().connect(subscriber);
            hub.registry().add(subscriber, channel.clone(), None).await.unwrap();
        }
        assert!(ours.1.recv().await.unwrap().starts_with(r#"["$join""#));
        [ours, stock]
    }

    #[tokio::test(start_paused = true)]
    async fn event_of_another_server_and_type_is_a_gap() {
        let backend = Backend::default();
        let (here, there) = (server(&backend), server(&backend));
        let [(_ada, mut ours), (stock, mut heard)] = members(&here, &room(ROOM)).await;
        publish(&there, room(STAFF), "secret").await;
        let gap: Vec<serde_json::Value> = serde_json::from_str(&ours.recv().await.unwrap()).unwrap();
        assert_eq!((&gap[0], &gap[1], &gap[3]), (&"$gap".into(), &"room:staff".into(), &1.into()));
        tokio::time::sleep(JITTER).await;
        assert!(stock.is_gone(), "a client that knows no gaps is disconnected");
        assert!(heard.try_recv().is_err());
        // The channel goes on, for its own type and for `Untyped`.
        publish(&here, room(ROOM), "hello").await;
        publish(&here, room(None), "untyped").await;
        assert_eq!(ours.recv().await.unwrap(), r#"["$","room:staff",2,"said","hello"]"#);
        assert_eq!(ours.recv().await.unwrap(), r#"["$","room:staff",3,"said","untyped"]"#);
    }

    #[tokio::test]
    async fn replay_of_another_type_is_a_gap() {
        let backend = Backend::default();
        let (here, there) = (server(&backend), server(&backend));
        let [(ada, mut ours), _stock] = members(&here, &room(ROOM)).await;
        let start = here.registry().joined(&ada, "room:staff").unwrap().0;
        here.registry().leave_all(&ada);
        publish(&there, room(STAFF), "secret").await;
        while here.registry().find("room:staff").unwrap().lock().log.top().offset < 1 {
            tokio::task::yield_now().await;
        }
        let (back, mut wire) = Subscriber::of_test("back", Some("ada"));
        here.registry().add(&back, room(ROOM), Some(&start)).await.unwrap();
        let frames: Vec<_> = std::iter::from_fn(|| wire.try_recv().ok()).collect();
        assert!(frames.iter().any(|frame| frame.starts_with(r#"["$gap""#)), "{frames:?}");
        assert!(frames.iter().all(|frame| !frame.contains("secret")), "{frames:?}");
        assert!(ours.try_recv().is_err());
    }
}
