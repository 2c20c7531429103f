//! What was published, closed and delivered, as an all-knowing observer notes it.

use std::collections::BTreeMap;

use super::{
    driver::{Known, Outgoing},
    plan::{CHANNELS, is_shown},
};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    events: Vec<Event>,
    pub(super) closings: Vec<Closing>,
    /// The event at each position of each stream, as clients were told.
    positions: BTreeMap<(&'static str, String, u64), u64>,
    /// The order in which events were counted, for those that were.
    counted: BTreeMap<u64, u64>,
    /// Whether also that is owed which a server delivered alone after the epoch had turned.
    owes_after_turn: bool,
    /// What the simulation proved wrong first.
    pub(super) failure: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) channels: Vec<usize>,
    /// A client that is left out, and the id of its socket.
    pub(super) except: Option<(usize, String)>,
    /// The server that published it, and its life.
    pub(super) server: (usize, u64),
    pub(super) begin: u64,
    /// None as long as it is under way, and if its publisher was cancelled.
    pub(super) outcome: Option<Outgoing>,
    was_heard: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Closing {
    pub(super) tag: usize,
    pub(super) begin: u64,
    /// When it returned.
    pub(super) end: Option<u64>,
    /// When the broker had it.
    pub(super) counted: Option<u64>,
    /// The servers that it did not reach; if it knows them.
    pub(super) unreached: Option<Vec<String>>,
    pub(super) server: (usize, u64),
    /// How often the broker had lost its memory before.
    pub(super) losses: u64,
}

impl Ledger {
    pub(super) fn new(owes_after_turn: bool) -> Self {
        Self { owes_after_turn, ..Self::default() }
    }

    pub(super) fn fail(&mut self, reason: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(reason());
        }
    }

    pub(super) fn check(&mut self, so: bool, reason: impl FnOnce() -> String) {
        if !so {
            self.fail(reason);
        }
    }

    /// An event is about to be published; its number.
    pub(super) fn publish(
        &mut self,
        channels: &[usize],
        except: Option<(usize, String)>,
        server: (usize, u64),
        begin: u64,
    ) -> u64 {
        let channels = channels.to_vec();
        self.events.push(Event { channels, except, server, begin, outcome: None, was_heard: false });
        self.events.len() as u64 - 1
    }

    pub(super) fn count(&mut self, known: &Known, stamp: u64) {
        match known {
            Known::Event(number) => drop(self.counted.insert(*number, stamp)),
            // A server may give the broker an older one of the same tag again.
            Known::Closing(number) => {
                self.closings[*number].counted.get_or_insert(stamp);
            }
        }
    }

    pub(super) fn event(&self, number: u64) -> &Event {
        &self.events[usize::try_from(number).expect("a number of the ledger")]
    }

    pub(super) fn event_mut(&mut self, number: u64) -> &mut Event {
        &mut self.events[usize::try_from(number).expect("a number of the ledger")]
    }

    pub(super) fn events(&self) -> impl Iterator<Item = (u64, &Event)> {
        (0..).zip(&self.events)
    }

    pub(super) fn was_counted(&self, number: u64) -> bool {
        self.counted.contains_key(&number)
    }

    /// A client heard an event at a position of a channel's stream: all do, or none.
    pub(super) fn stands(&mut self, who: &str, number: u64, channel: usize, epoch: &str, offset: u64) {
        let stream = CHANNELS[channel].stream();
        self.event_mut(number).was_heard = true;
        let first = *self.positions.entry((stream, epoch.to_owned(), offset)).or_insert(number);
        self.check(first == number, || {
            format!("{who} heard event {number} at {stream} {epoch} {offset}, where event {first} was heard before")
        });
        let is_of = self.event(number).channels.contains(&channel);
        self.check(is_of, || format!("{who} heard event {number} as one of {channel}, where it was not published"));
    }

    /// Whether everybody who was subscribed when it was published must have heard it by now, or of a gap.
    pub(super) fn is_owed(&self, number: u64) -> bool {
        let event = self.event(number);
        match event.outcome {
            Some(Outgoing::Delivered | Outgoing::LocalOnly) => true,
            Some(Outgoing::LocalOnlyAfterTurn) => self.owes_after_turn,
            Some(Outgoing::Unknown) | None => event.was_heard || self.was_counted(number),
        }
    }

    /// Whether it may be shown to a viewer as an event of a channel.
    pub(super) fn is_for(&self, number: u64, channel: usize, viewer: usize) -> bool {
        !CHANNELS[channel].filtered || is_shown(number, viewer as u64)
    }

    /// Checks that the events of one channel, or of one stream, were heard in the order in which they were counted.
    pub(super) fn check_order(&mut self, who: &str, heard: &[u64], of_streams: bool) {
        let name = |channel: &usize| if of_streams { CHANNELS[*channel].stream() } else { CHANNELS[*channel].name };
        let mut last: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for &number in heard {
            let Some(&counted) = self.counted.get(&number) else { continue };
            let mut names = self.event(number).channels.iter().map(name);
            let name = names.next().expect("it has a channel");
            if names.any(|other| other != name) {
                continue;
            }
            let before = last.insert(name, (counted, number));
            if let Some((_, earlier)) = before.filter(|(before, _)| *before > counted) {
                self.fail(|| format!("{who} heard event {number} of {name} after event {earlier}"));
            }
        }
    }
}
