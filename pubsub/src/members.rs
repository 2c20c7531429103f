//! The active subscriptions of one channel: most of them are sent an entry together.

use std::{fmt, sync::Arc};

use super::{
    active::ActiveSubscription,
    delivery::Delivery,
    entry::{Shape, StreamEntry},
    environment::HashMap,
    expiry::Alarms,
    subscriber::Group,
};

/// The active subscriptions of a channel, by the ids of their subscribers.
#[derive(Default)]
pub(super) struct Members {
    by_id: HashMap<String, Member>,
    /// Those of one shape and without a filter, which are all sent the same.
    group: Option<Together>,
}

struct Member {
    subscription: ActiveSubscription,
    /// Where it is in the group; none if it is sent entries alone.
    place: Option<usize>,
}

struct Together {
    group: Box<dyn Group>,
    shape: Option<Shape>,
    members: usize,
}

impl Members {
    pub(super) fn get(&self, id: &str) -> Option<&ActiveSubscription> {
        self.by_id.get(id).map(|member| &member.subscription)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut ActiveSubscription> {
        self.by_id.get_mut(id).map(|member| &mut member.subscription)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ActiveSubscription> {
        self.by_id.values().map(|member| &member.subscription)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ActiveSubscription> {
        self.by_id.values_mut().map(|member| &mut member.subscription)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn insert(&mut self, subscription: ActiveSubscription) {
        let id = subscription.subscriber.id().to_owned();
        self.remove(&id);
        let place = self.group_with(&subscription);
        self.by_id.insert(id, Member { subscription, place });
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(Member { place: Some(place), .. }) = self.by_id.remove(id) else { return };
        if let Some(together) = &mut self.group {
            together.group.remove(place);
            together.members -= 1;
        }
    }

    /// Sends an entry of the channel to each subscriber.
    pub(super) fn send(&mut self, copy: &StreamEntry, alarms: &Arc<Alarms>) {
        let together = self.group.as_mut().filter(|together| together.takes(copy));
        let mut grouped = 0;
        if let Some(Together { group, members, .. }) = together {
            let (channel, offset, message) = (copy.channel(), copy.offset(), &copy.entry.message);
            group.deliver(&Delivery::Entry { channel, offset, message });
            grouped = *members;
        }
        if grouped == self.by_id.len() {
            return;
        }
        for member in self.by_id.values_mut().filter(|member| grouped == 0 || member.place.is_none()) {
            member.subscription.send(copy, alarms);
        }
    }

    /// The place of a subscription in the group, which begins with the first that may be in one.
    fn group_with(&mut self, subscription: &ActiveSubscription) -> Option<usize> {
        let ActiveSubscription { filter: None, subscriber, shape, .. } = subscription else { return None };
        if self.group.is_none() {
            self.group = subscriber.group().map(|group| Together { group, shape: *shape, members: 0 });
        }
        let together = self.group.as_mut().filter(|together| together.shape == *shape)?;
        let place = together.group.add(subscriber)?;
        together.members += 1;
        Some(place)
    }
}

impl Together {
    /// Whether an entry is for all members, and none of them may have had it from another channel.
    fn takes(&self, copy: &StreamEntry) -> bool {
        let entry = &copy.entry;
        self.members > 0
            && !copy.repeated
            && entry.except.is_empty()
            && entry.destinations.len() == 1
            && !copy.target().is_foreign_to(self.shape)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{EncodedEvent, History, Shape, Target, subscriber::Subscriber, testing::Hub};

    fn room(shape: u32) -> Target {
        Target { channel: "room".into(), stream: "room".into(), history: History::NONE, shape: Some(Shape(shape)) }
    }

    fn lobby() -> Target {
        Target { channel: "lobby".into(), stream: "lobby".into(), history: History::NONE, shape: None }
    }

    #[tokio::test]
    async fn grouped_and_alone_receive_the_same_of_every_publish() {
        let hub = Hub::default();
        let mut all = Vec::new();
        for n in 0..20 {
            // Of both dialects, of two types, some of them alone.
            let (subscriber, wire) = Subscriber::of_test(&n.to_string(), (n % 2 == 0).then_some("client"));
            let to = if n < 15 { room(1) } else { Target { shape: None, ..room(1) } };
            hub.registry().add(&subscriber, to, None).await.unwrap();
            hub.registry().add(&subscriber, lobby(), None).await.unwrap();
            all.push((subscriber, wire));
        }
        let publish = async |to: Vec<Target>, text: &str, except: &[&Subscriber]| {
            let except = except.iter().map(|subscriber| subscriber.excluded()).collect();
            hub.registry().publish(to, EncodedEvent::of_test("said", text), except).await;
        };
        publish(vec![room(1)], "all", &[]).await;
        publish(vec![room(1)], "but one", &[&all[1].0]).await;
        publish(vec![room(1), lobby()], "both", &[]).await;
        hub.registry().leave_all(&all[3].0);
        publish(vec![room(1)], "last", &[]).await;
        for (n, (_, wire)) in all.iter_mut().enumerate() {
            let packets: Vec<_> = std::iter::from_fn(|| wire.try_recv().ok()).collect();
            let heard = |text: &str| packets.iter().filter(|packet| packet.contains(&format!(r#""{text}""#))).count();
            assert_eq!(
                ["all", "but one", "both", "last"].map(heard),
                match n {
                    1 => [1, 0, 1, 1],
                    3 => [1, 1, 1, 0],
                    // One secret: the client of a socket that is left out is left out on all of its sockets.
                    _ => [1, 1, 1, 1],
                },
                "{n}: {packets:?}"
            );
        }
    }

    #[tokio::test]
    async fn event_of_another_type_reaches_no_member_of_a_group() {
        let hub = Hub::default();
        let (subscriber, mut wire) = Subscriber::of_test("1", None);
        hub.registry().add(&subscriber, room(1), None).await.unwrap();
        hub.registry().publish(vec![room(2)], EncodedEvent::of_test("said", "secret"), Vec::new()).await;
        assert!(wire.try_recv().is_err());
    }
}
