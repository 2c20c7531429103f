//! Which type of channel each name belongs to: the first that used it.

use std::{
    any::type_name,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use catamaran_pubsub::{Shape, Target};

use super::channel::{Channel, RawChannel};

/// How many names are remembered without a subscriber.
const IDLE_NAMES: usize = 4096;
/// How many names are looked at for each new one, to find one without a subscriber.
const LOOKS: usize = 4;

/// The name of a channel belongs to another type.
///
/// Two types share a name where one pattern has a parameter and the other a text: `"room:{id}"` with the id `staff`, and
/// `"room:staff"`. Subscribers of the one would receive the events of the other, so the first type that uses a name keeps
/// it, as long as it has subscribers and for some time after. As a response, also by `?` in an action, it is a 500 with the
/// code `channel_conflict`; the log has the names of both types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the channel name {name:?} belongs to `{first}` (pattern {first_pattern:?}), and `{second}` (pattern \
     {second_pattern:?}) gives the same name: give one of the two a pattern that the other cannot give, such as \
     {example:?}"
)]
#[non_exhaustive]
pub struct ChannelConflict {
    /// The name that both types give.
    pub name: String,
    /// The type that used the name first.
    pub first: &'static str,
    /// The type that was refused.
    pub second: &'static str,
    first_pattern: &'static str,
    second_pattern: &'static str,
    /// A pattern that the second type could have.
    example: String,
}

/// A type of channel, as far as two can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    name: &'static str,
    pattern: &'static str,
}

impl Kind {
    /// The channels of resources.
    pub(super) const RESOURCE: Self = Self { name: "a resource of `catamaran-resources`", pattern: "{identity}" };

    /// None for `RawChannel`, which may have the name of any other.
    pub(super) fn of<C: Channel + ?Sized>() -> Option<Self> {
        let name = type_name::<C>();
        (name != type_name::<RawChannel>()).then_some(Self { name, pattern: C::PATTERN })
    }

    fn conflict(self, second: Self, name: &str) -> ChannelConflict {
        let last = second.name.rsplit("::").next().unwrap_or(second.name);
        ChannelConflict {
            name: name.to_owned(),
            first: self.name,
            second: second.name,
            first_pattern: self.pattern,
            second_pattern: second.pattern,
            example: format!("{}:{}", last.to_lowercase(), second.pattern),
        }
    }
}

/// What tells a type from those of other servers: its pattern without the names of its fields, as a number. None for `RawChannel`.
///
/// The name of a type would not do. It changes with its module, and a rolling restart has servers of both versions.
pub(super) fn shape_of<C: Channel + ?Sized>() -> Option<Shape> {
    Kind::of::<C>().map(|_| const { shape_of_pattern(C::PATTERN) })
}

/// A hash (FNV-1a) of what is outside of braces, and of the braces.
const fn shape_of_pattern(pattern: &str) -> Shape {
    let (bytes, mut hash) = (pattern.as_bytes(), 0x811c_9dc5_u32);
    let (mut in_braces, mut i) = (false, 0);
    while i < bytes.len() {
        if bytes[i] == b'}' {
            in_braces = false;
        }
        if !in_braces {
            hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        }
        if bytes[i] == b'{' {
            in_braces = true;
        }
        i += 1;
    }
    Shape(hash)
}

/// The types of the names that are in use, and of the last ones that were.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    kinds: HashMap<Arc<str>, Named>,
    /// The order in which names are looked at when there are too many.
    order: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Named {
    kind: Kind,
    stream: Arc<str>,
}

impl Names {
    /// Gives a name to the first type that asks for it. `in_use` says of a stream and a channel whether anybody is subscribed.
    pub(super) fn claim(
        &self,
        target: &Target,
        kind: Kind,
        in_use: impl Fn(&str, &str) -> bool,
    ) -> Result<(), ChannelConflict> {
        let mut known = self.lock();
        if let Some(Named { kind: first, .. }) = known.kinds.get(&target.channel) {
            return if *first == kind { Ok(()) } else { Err(first.conflict(kind, &target.channel)) };
        }
        for _ in 0..LOOKS {
            if known.order.len() < IDLE_NAMES {
                break;
            }
            known.look_at_next(&in_use);
        }
        known.kinds.insert(target.channel.clone(), Named { kind, stream: target.stream.clone() });
        known.order.push_back(target.channel.clone());
        Ok(())
    }

    /// Two channels share a name, and one of them is a `RawChannel`, which has no stream of its type's own.
    pub(super) fn stream_conflict(&self, target: &Target) -> ChannelConflict {
        let untyped = Kind { name: type_name::<RawChannel>(), pattern: RawChannel::PATTERN };
        let named = self.lock().kinds.get(&target.channel).map(|named| (named.kind, named.stream.clone()));
        match named {
            Some((kind, stream)) if stream == target.stream => untyped.conflict(kind, &target.channel),
            Some((kind, _)) => kind.conflict(untyped, &target.channel),
            None => untyped.conflict(untyped, &target.channel),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets the next name in turn, unless it is in use.
    fn look_at_next(&mut self, in_use: impl Fn(&str, &str) -> bool) {
        let Some(name) = self.order.pop_front() else { return };
        if self.kinds.get(&name).is_some_and(|named| in_use(&named.stream, &name)) {
            self.order.push_back(name);
        } else {
            self.kinds.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, Hub, MembersError, PublishError, RawEvent, SubscribeError, test::TestSocket};

    /// `#[channel("room:{id}")]` with an id that is any text.
    struct Room(&'static str);
    /// `#[channel("room:staff")]`
    struct Staff;
    /// As `Room`, on a stream that all of its channels share.
    struct Shared(&'static str);

    impl Channel for Room {
        type Event = RawEvent;
        const PATTERN: &'static str = "room:{0}";
        const HISTORY: History = History::of(10);

        fn name(&self) -> String {
            format!("room:{}", self.0)
        }
    }

    impl Channel for Staff {
        type Event = RawEvent;
        const PATTERN: &'static str = "room:staff";
        const HISTORY: History = History::of(10);

        fn name(&self) -> String {
            "room:staff".to_owned()
        }
    }

    impl Channel for Shared {
        type Event = RawEvent;
        const PATTERN: &'static str = "room:{0}";
        const HISTORY: History = History::of(10);
        const STREAM: Option<&'static str> = Some("rooms");

        fn name(&self) -> String {
            format!("room:{}", self.0)
        }
    }

    fn said(text: &str) -> RawEvent {
        RawEvent::new("said", text).unwrap()
    }

    fn is_staff(conflict: &ChannelConflict) -> bool {
        conflict.name == "room:staff" && conflict.first.ends_with("::Room") && conflict.second.ends_with("::Staff")
    }

    /// Every way to use a channel, each with the error that it gave.
    async fn uses<C: Channel<Event = RawEvent>>(hub: &Hub, channel: &C) -> Vec<Option<ChannelConflict>> {
        fn members<T>(result: Result<T, MembersError>) -> Option<ChannelConflict> {
            match result {
                Err(MembersError::Conflict(conflict)) => Some(conflict),
                _ => None,
            }
        }
        fn publish<T>(result: Result<T, PublishError>) -> Option<ChannelConflict> {
            match result {
                Err(PublishError::Conflict(conflict)) => Some(conflict),
                _ => None,
            }
        }
        fn subscribe<T>(result: Result<T, SubscribeError>) -> Option<ChannelConflict> {
            match result {
                Err(SubscribeError::Conflict(conflict)) => Some(conflict),
                _ => None,
            }
        }
        let socket = TestSocket::new(hub);
        let (ctx, id, lobby) = (socket.ctx(), socket.socket().id(), RawChannel::new("lobby"));
        vec![
            subscribe(socket.socket().subscribe(channel).await),
            subscribe(ctx.subscribe(channel).await),
            publish(ctx.publish(channel, said("secret")).await),
            publish(hub.publish(channel, said("secret")).await),
            publish(hub.publish(&lobby, said("secret")).and(channel).await),
            members(hub.subscribe(id, channel).await),
            members(hub.unsubscribe(id, channel).await),
            members(hub.members(channel).await),
            members(hub.count(channel).await),
            members(hub.add_members(channel, &lobby).await),
            members(hub.add_members(&lobby, channel).await),
            members(hub.remove_members(channel, &lobby).await),
            members(hub.remove_members(&lobby, channel).await),
            members(hub.leave_all(channel).await),
            members(hub.empty(channel).await),
            members(hub.close_members(channel, "closed").await),
        ]
    }

    #[tokio::test]
    async fn second_type_of_a_name_is_refused_by_every_method() {
        let hub = Hub::default();
        let mut ada = TestSocket::new(&hub);
        ada.socket().subscribe(&Room("staff")).await.unwrap();
        for (at, conflict) in uses(&hub, &Staff).await.iter().enumerate() {
            assert!(conflict.as_ref().is_some_and(is_staff), "use {at}: {conflict:?}");
        }
        // Not even a socket that has the name is taken out of it by the other type.
        ada.socket().unsubscribe(&Staff).await;
        hub.publish(&Room("staff"), said("to a room")).await.unwrap();
        assert_eq!(ada.received(), [r#"["said","to a room"]"#]);
        // Other names of the type are its own, and `RawChannel` may have any.
        let none = vec![None; uses(&hub, &Room("other")).await.len()];
        assert_eq!(uses(&hub, &Room("other")).await, none);
        assert_eq!(uses(&hub, &RawChannel::new("room:staff")).await, none);
    }

    #[tokio::test]
    async fn first_use_fixes_the_type_whatever_it_is() {
        for first in ["publish", "count", "subscribe"] {
            let (hub, other) = (Hub::default(), Hub::default());
            let staff = TestSocket::new(&hub);
            match first {
                "publish" => drop(hub.publish(&Staff, said("to nobody")).await.unwrap()),
                "count" => assert_eq!(hub.count(&Staff).await.unwrap(), 0),
                _ => drop(staff.socket().subscribe(&Staff).await.unwrap()),
            }
            let refused = TestSocket::new(&hub).socket().subscribe(&Room("staff")).await;
            assert!(matches!(refused, Err(SubscribeError::Conflict(_))), "{first}: {refused:?}");
            // A name belongs to its hub.
            TestSocket::new(&other).socket().subscribe(&Room("staff")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn conflict_says_both_types_and_what_to_do() {
        let hub = Hub::default();
        hub.count(&Room("staff")).await.unwrap();
        let text = hub.count(&Staff).await.unwrap_err().to_string();
        for words in ["\"room:staff\"", "::Room`", "\"room:{0}\"", "::Staff`", "pattern", "\"staff:room:staff\""] {
            assert!(text.contains(words), "{text}");
        }
        let error = crate::Error::from(hub.count(&Staff).await.unwrap_err());
        assert_eq!(error.status(), 500);
        assert!(!error.message().contains("Staff"), "a client reads no type: {}", error.message());
    }

    /// `RawChannel` has no stream of a type's own, so the socket would hear one of the two only.
    #[tokio::test]
    async fn name_on_two_streams_is_refused_to_one_socket() {
        let hub = Hub::default();
        for shared_first in [true, false] {
            let socket = TestSocket::new(&hub);
            let (shared, untyped) = (Shared("7"), RawChannel::new("room:7"));
            let refused = match shared_first {
                true => {
                    socket.socket().subscribe(&shared).await.unwrap();
                    socket.socket().subscribe(&untyped).await
                }
                false => {
                    socket.socket().subscribe(&untyped).await.unwrap();
                    socket.socket().subscribe(&shared).await
                }
            };
            let Err(SubscribeError::Conflict(conflict)) = refused else { panic!("{shared_first}: {refused:?}") };
            assert_eq!(conflict.first.ends_with("::Shared"), shared_first, "{conflict}");
            assert_eq!(conflict.second.ends_with("::RawChannel"), shared_first, "{conflict}");
            // Once it has left the one, it may have the other.
            socket.socket().unsubscribe(&untyped).await;
            socket.socket().subscribe(&untyped).await.unwrap();
        }
    }

    #[tokio::test]
    async fn idle_names_are_forgotten_and_those_in_use_are_kept() {
        let hub = Hub::default();
        let (own, shared) = (TestSocket::new(&hub), TestSocket::new(&hub));
        own.socket().subscribe(&Room("own")).await.unwrap();
        shared.socket().subscribe(&Shared("shared")).await.unwrap();
        for n in 0..3 * IDLE_NAMES {
            hub.count(&RawChannel::new(format!("untyped:{n}"))).await.unwrap();
            let name: &'static str = Box::leak(n.to_string().into_boxed_str());
            hub.count(&Shared(name)).await.unwrap();
        }
        let names = hub.names().lock();
        assert_eq!(names.kinds.len(), names.order.len());
        assert!(names.order.len() <= IDLE_NAMES + 2, "{}", names.order.len());
        assert!(names.kinds.contains_key("room:own") && names.kinds.contains_key("room:shared"));
    }

    #[test]
    fn shape_is_the_pattern_without_the_names_of_its_fields() {
        let shape = shape_of_pattern;
        assert_eq!(shape("room:{id}:{kind}"), shape("room:{0}:{1}"));
        for (one, other) in [("room:{id}", "room:staff"), ("room:{id}", "room:{id}:{kind}"), ("{id}", ""), ("a", "b")] {
            assert_ne!(shape(one), shape(other), "{one} {other}");
        }
        assert_eq!((shape_of::<RawChannel>(), shape_of::<Staff>()), (None, Some(shape("room:staff"))));
    }
}
