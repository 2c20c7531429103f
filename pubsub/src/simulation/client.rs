//! A client as it is in a page: it tracks positions as docs/wire.md says, and repeats its requests.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::Value;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    driver::{Connection, LeftOut, Standing},
    ledger::Ledger,
    plan::{CHANNELS, ClientKind},
};

pub(super) struct Client {
    pub(super) number: usize,
    pub(super) kind: ClientKind,
    pub(super) connections: u64,
    pub(super) link: Option<Link>,
    pub(super) positions: BTreeMap<usize, Destination>,
    /// The requests that subscribed.
    pub(super) made: Vec<Made>,
    pub(super) heard: Vec<u64>,
    /// Each event, and by which channel it was heard.
    known: BTreeMap<u64, Option<usize>>,
    /// Those that were heard by a channel which the client has left since.
    forgotten: BTreeSet<u64>,
    /// Since which stamp the client has everything of a channel.
    pub(super) covers: BTreeMap<usize, u64>,
    /// The server closed it, and it does not come back by itself.
    pub(super) is_closed: bool,
    /// The next request that it repeats is refused.
    pub(super) is_forbidden: bool,
    /// Who is left out with it.
    pub(super) left_out: Option<(LeftOut, String)>,
    /// What it was told of each channel, in which step.
    pub(super) told: Vec<(usize, usize, String)>,
    pub(super) step: usize,
    /// The channels of which it was told a gap.
    pub(super) gaps: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) standing: Standing,
    /// The server delivers it on this connection.
    pub(super) live: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) key: u64,
    pub(super) channels: BTreeSet<usize>,
    pub(super) expires: Option<Duration>,
}

/// A connection, and what is on its way.
pub(super) struct Link {
    pub(super) connection: Connection,
    /// Frames, with the stamp at which each was seen.
    pub(super) network: VecDeque<(u64, String)>,
    pub(super) server: usize,
    pub(super) life: u64,
    pub(super) server_name: String,
    pub(super) since: u64,
    pub(super) opened: Instant,
    pub(super) in_flight: BTreeMap<u64, Asked>,
    /// What a standard client was answered that it is subscribed to, since which stamp.
    pub(super) subscribed: BTreeMap<usize, u64>,
    /// The requests were repeated.
    pub(super) is_restored: bool,
}

pub(super) struct Asked {
    pub(super) key: u64,
    pub(super) is_repeat: bool,
    pub(super) channels: Vec<usize>,
    pub(super) had: BTreeSet<usize>,
    pub(super) expires: Option<Duration>,
    pub(super) abort: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.in_flight.values().for_each(|asked| asked.abort.abort());
        self.connection.end();
    }
}

/// What a frame is checked against.
pub(super) struct Against<'a> {
    pub(super) ledger: &'a mut Ledger,
    /// A later request must not be told the outcome of the reconnect.
    pub(super) stale_outcome: bool,
    /// Whether a channel whose history begins with the subscription may repeat an event.
    pub(super) may_set_back: bool,
    /// Whether an event may be repeated by another channel than the one that was left.
    pub(super) may_forget: bool,
    /// How often the broker has lost its memory.
    pub(super) losses: u64,
    pub(super) is_loud: bool,
}

impl Client {
    pub(super) fn new(number: usize, kind: ClientKind) -> Self {
        Self {
            number,
            kind,
            connections: 0,
            link: None,
            positions: BTreeMap::new(),
            made: Vec::new(),
            heard: Vec::new(),
            known: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            covers: BTreeMap::new(),
            is_closed: false,
            is_forbidden: false,
            left_out: None,
            told: Vec::new(),
            step: 0,
            gaps: BTreeSet::new(),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("client {}", self.number)
    }

    /// The secret by which it is known again, and the number of this connection.
    pub(super) fn secret(&self) -> Option<(String, u64)> {
        self.kind.resumes.then(|| (format!("secret-of-client-{}", self.number), self.connections))
    }

    /// Where it stands in the channels that the server does not deliver on this connection, or in all.
    pub(super) fn held(&self, channels: impl Iterator<Item = usize>, all: bool) -> BTreeMap<usize, Standing> {
        let held = channels.filter_map(|channel| Some((channel, self.positions.get(&channel)?)));
        held.filter(|(_, destination)| all || !destination.live)
            .map(|(channel, destination)| (channel, destination.standing.clone()))
            .collect()
    }

    pub(super) fn is_subscribed(&self, channel: usize) -> bool {
        match &self.link {
            Some(_) if self.kind.resumes => self.positions.get(&channel).is_some_and(|destination| destination.live),
            Some(link) => link.subscribed.contains_key(&channel),
            None => false,
        }
    }

    pub(super) fn is_asking(&self, channel: usize) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.in_flight.values().any(|asked| asked.channels.contains(&channel)))
    }

    /// The connection has ended.
    pub(super) fn pause(&mut self) {
        self.positions.values_mut().for_each(|destination| destination.live = false);
        // Nothing is promised to a standard client from one connection to the next.
        if !self.kind.resumes {
            self.covers.clear();
            self.heard.clear();
            self.known.clear();
        }
    }

    /// Takes what is on the wire to the client.
    pub(super) fn pump(&mut self, stamp: u64) {
        let Some(link) = &mut self.link else { return };
        while let Some(frame) = link.connection.next() {
            link.network.push_back((stamp, frame));
        }
    }

    pub(super) fn read(&mut self, frames: usize, against: &mut Against<'_>) {
        for _ in 0..frames {
            let Some((stamp, frame)) = self.link.as_mut().and_then(|link| link.network.pop_front()) else { return };
            let frame: Vec<Value> = serde_json::from_str(&frame).expect("a frame is JSON");
            self.receive(stamp, &frame, against);
        }
    }

    fn receive(&mut self, stamp: u64, frame: &[Value], against: &mut Against<'_>) {
        let who = self.name();
        if against.is_loud {
            println!("    {who} reads what was seen at {stamp}: {}", Value::from(frame));
        }
        let name = text(&frame[0]);
        if name == "ack" {
            return self.acked(stamp, frame, against);
        }
        against.ledger.check(!self.is_closed, || format!("{who} was sent {frame:?} after it was closed"));
        if name == "event" {
            let number = number(&frame[1]);
            let channels = against.ledger.event(number).channels.clone();
            let subscribed = channels.iter().any(|channel| self.is_subscribed(*channel));
            against.ledger.check(subscribed, || format!("{who} heard event {number} of {channels:?}, where it is not"));
            return self.hear(number, None, stamp, against);
        }
        against.ledger.check(self.kind.resumes, || format!("{who} is a standard client and was sent {frame:?}"));
        if name == "$left" && frame[1].is_null() {
            self.is_closed = true;
            self.positions.clear();
            self.covers.clear();
            self.made.clear();
            return;
        }
        let channel = channel(&frame[1]);
        match name {
            "$" => self.deliver(channel, &frame[2..], stamp, against),
            "$replay" => {
                for entry in frame[2].as_array().expect("a list of entries") {
                    self.deliver(channel, entry.as_array().expect("an entry"), stamp, against);
                }
            }
            "$gap" => {
                self.gaps.insert(channel);
                self.note(channel, || "gap".to_owned());
                self.start(channel, text(&frame[2]), number(&frame[3]), stamp);
            }
            "$join" => {
                let (epoch, offset) = (text(&frame[2]), number(&frame[3]));
                self.note(channel, || "join".to_owned());
                match self.positions.get_mut(&channel) {
                    Some(destination)
                        if destination.standing.epoch == epoch && destination.standing.offset >= offset =>
                    {
                        destination.live = true
                    }
                    _ => self.start(channel, epoch, offset, stamp),
                }
            }
            "$left" if text(&frame[2]) == "expired" && self.is_made(channel) => {
                if let Some(destination) = self.positions.get_mut(&channel) {
                    destination.live = false;
                }
            }
            "$left" => {
                self.note(channel, || "left".to_owned());
                self.forget(channel);
            }
            other => panic!("a frame that no client knows: {other}"),
        }
    }

    fn note(&mut self, channel: usize, what: impl FnOnce() -> String) {
        self.told.push((self.step, channel, what()));
    }

    /// An entry of a channel: `[offset, event, number]`, or `[offset]`.
    fn deliver(&mut self, channel: usize, entry: &[Value], stamp: u64, against: &mut Against<'_>) {
        let (who, offset) = (self.name(), number(&entry[0]));
        let Some(destination) = self.positions.get_mut(&channel).filter(|destination| destination.live) else {
            return against.ledger.fail(|| format!("{who} was sent {entry:?} of channel {channel}, where it is not"));
        };
        if offset <= destination.standing.offset {
            return;
        }
        destination.standing.offset = offset;
        let epoch = destination.standing.epoch.clone();
        if let Some(event) = entry.get(2) {
            against.ledger.stands(&who, number(event), channel, &epoch, offset);
            self.hear(number(event), Some(channel), stamp, against);
        }
    }

    fn hear(&mut self, number: u64, via: Option<usize>, stamp: u64, against: &mut Against<'_>) {
        let who = self.name();
        let ledger = &mut *against.ledger;
        let is_first = self.known.insert(number, via).is_none();
        if !is_first && against.may_forget && self.forgotten.contains(&number) {
            return;
        }
        if !is_first && against.may_set_back && via.is_some_and(|via| CHANNELS[via].since_subscribe) {
            return;
        }
        ledger.check(is_first, || format!("{who} heard event {number} twice"));
        self.heard.push(number);
        let event = ledger.event(number).clone();
        let link = self.link.as_ref().expect("it reads from a connection");
        if let Some((client, socket)) = &event.except {
            let excluded = if self.kind.resumes { *client == self.number } else { *socket == link.connection.id() };
            ledger.check(!excluded, || format!("{who} heard event {number}, which leaves it out"));
        }
        let mut channels = event.channels.iter().filter(|channel| via.is_none_or(|via| via == **channel));
        let shown = channels.any(|&channel| self.is_subscribed(channel) && ledger.is_for(number, channel, self.number));
        ledger.check(shown, || format!("{who} heard event {number}, which its filter hides"));
        let tag = self.number % super::plan::TAGS;
        for closing in ledger.closings.clone() {
            let closed = closing.tag == tag && link.since < closing.begin;
            // A server that was named closes as soon as it hears of it: what the broker counts later comes later.
            let here = (link.server, link.life);
            let unreached = closing.unreached.as_ref().filter(|_| closing.server != here);
            let is_named = unreached.is_some_and(|names| names.is_empty() || names.contains(&link.server_name));
            let since = if is_named { closing.counted.max(closing.end) } else { closing.end };
            let is_counted = !is_named || closing.counted.is_some();
            let after = is_counted && since.is_some_and(|since| since < event.begin && since < stamp);
            // Nothing is promised of what a lonely server tells its own sockets, nor if the broker has forgotten the closing.
            let is_lonely = event.server == here && !ledger.was_counted(number);
            if closed && after && !is_lonely && closing.losses == against.losses {
                ledger.fail(|| format!("{who} heard event {number} after {closing:?} on {}", link.server_name));
            }
        }
        self.note(event.channels[0], || format!("event {number}"));
    }

    /// Goes on from a position, which is new to the client.
    fn start(&mut self, channel: usize, epoch: &str, offset: u64, covers: u64) {
        // Of another epoch it does not say any more what it has.
        self.lose(channel);
        let standing = Standing { epoch: epoch.to_owned(), offset, since: offset };
        self.positions.insert(channel, Destination { standing, live: true });
        self.covers.insert(channel, covers);
    }

    fn is_made(&self, channel: usize) -> bool {
        self.made.iter().any(|made| made.channels.contains(&channel))
    }

    /// The client no longer says where it was in a channel, so the server does not know what it heard there.
    fn lose(&mut self, channel: usize) {
        let heard = self.known.iter().filter(|(_, via)| **via == Some(channel));
        self.forgotten.extend(heard.map(|(number, _)| *number));
        self.positions.remove(&channel);
        self.covers.remove(&channel);
    }

    fn forget(&mut self, channel: usize) {
        self.lose(channel);
        self.made.iter_mut().for_each(|made| made.channels.retain(|made| *made != channel));
        self.made.retain(|made| !made.channels.is_empty());
        if let Some(link) = &mut self.link {
            link.subscribed.remove(&channel);
        }
    }

    /// Channels that nothing restores are gaps, of which the client tells its page itself.
    pub(super) fn report_unrestored(&mut self, channels: &BTreeSet<usize>) {
        for &channel in channels {
            if self.positions.get(&channel).is_some_and(|destination| !destination.live) && !self.is_made(channel) {
                self.lose(channel);
            }
        }
    }

    fn acked(&mut self, stamp: u64, frame: &[Value], against: &mut Against<'_>) {
        let [_, request, status, channels, left, subscribed] = frame else { panic!("{frame:?} is no ack") };
        let link = self.link.as_mut().expect("it reads from a connection");
        let asked = link.in_flight.remove(&number(request));
        let who = format!("client {}", self.number);
        let Some(asked) = asked else {
            return against.ledger.fail(|| format!("{who} was answered twice: {frame:?}"));
        };
        let status = number(status);
        if status >= 400 {
            if asked.is_repeat && status < 500 {
                self.made.retain(|made| made.key != asked.key);
                for &channel in &asked.channels {
                    // The server may have subscribed it meanwhile.
                    let is_live = self.positions.get(&channel).is_some_and(|destination| destination.live);
                    if !self.is_made(channel) && !is_live {
                        self.lose(channel);
                    }
                }
            }
            return;
        }
        // The stamp at which `subscribe` had returned, and what.
        let subscribed: BTreeMap<usize, (u64, String)> =
            list(subscribed).map(|one| (index(&one[0]), (number(&one[1]), text(&one[2]).to_owned()))).collect();
        let mut named = BTreeSet::new();
        if self.kind.resumes {
            for one in list(channels) {
                let (channel, epoch, offset, outcome) = (index(&one[0]), text(&one[1]), number(&one[2]), text(&one[3]));
                named.insert(channel);
                self.note(channel, || outcome.to_owned());
                if outcome == "gap" {
                    self.gaps.insert(channel);
                }
                let was_live = self.positions.get(&channel).is_some_and(|destination| destination.live);
                let stale = outcome == "recovered" && was_live && !asked.had.contains(&channel);
                against.ledger.check(!stale || !against.stale_outcome, || {
                    format!("{who} asked again for channel {channel} and is told that it recovered")
                });
                // At a gap the page reads again, whatever the action has read: it may be a later gap than that of `subscribe`.
                let begun = subscribed.get(&channel).filter(|(_, then)| then == outcome && outcome != "gap");
                match self.positions.get_mut(&channel) {
                    Some(destination)
                        if destination.standing.epoch == epoch && (destination.live || outcome == "recovered") =>
                    {
                        destination.live = true;
                    }
                    _ => self.start(channel, epoch, offset, begun.map_or(stamp, |(begun, _)| *begun)),
                }
            }
        } else {
            let link = self.link.as_mut().expect("it reads from a connection");
            for (channel, (begun, _)) in subscribed {
                named.insert(channel);
                link.subscribed.entry(channel).or_insert(begun);
                self.covers.entry(channel).or_insert(begun);
            }
            for &channel in &asked.channels {
                self.note(channel, || "answered".to_owned());
            }
        }
        let before = self.made.iter().position(|made| made.key == asked.key).map(|at| self.made.remove(at));
        if !named.is_empty() {
            self.made.push(Made { key: asked.key, channels: named, expires: asked.expires });
        }
        if let Some(before) = before {
            self.report_unrestored(&before.channels);
        }
        for channel in list_of(left) {
            self.forget(channel);
        }
        if !self.kind.resumes && asked.channels.is_empty() {
            // An answer to a standard client says nothing of channels: it knows what it asked to leave.
            for channel in asked.had {
                self.forget(channel);
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn index(value: &Value) -> usize {
    usize::try_from(number(value)).expect("an index")
}

fn channel(value: &Value) -> usize {
    CHANNELS.iter().position(|channel| channel.name == text(value)).expect("a channel of the simulation")
}

fn list(value: &Value) -> impl Iterator<Item = &Vec<Value>> {
    value.as_array().expect("a list").iter().map(|one| one.as_array().expect("a list"))
}

fn list_of(value: &Value) -> impl Iterator<Item = usize> {
    value.as_array().expect("a list").iter().map(index)
}
