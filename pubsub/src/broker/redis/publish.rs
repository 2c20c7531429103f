//! Publishing: one call counts all that came while the one before it was under way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::Cmd;
use tokio::sync::oneshot;

use super::{
    message,
    outbox::Waiting,
    script::Script,
    session::{Failure, Session},
};
use crate::{
    History, Position, PublishedEvent,
    broker::{Sent, encoding},
    epoch,
};

/// No history is kept longer than this by Redis: its times are of limited size.
const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Session {
    /// Publishes an entry, together with others that come meanwhile.
    pub(super) async fn publish(self: Arc<Self>, entry: PublishedEvent) -> Sent {
        let text = encoding::encode(&entry);
        let (done, sent) = oneshot::channel();
        {
            let mut outbox = self.outbox.lock();
            if outbox.failed {
                return Sent::Not(entry);
            }
            outbox.waiting.push(Waiting { entry, text, done });
            if !std::mem::replace(&mut outbox.sending, true) {
                // What is on its way goes on when whoever asked for it is gone.
                tokio::spawn(Sending { session: self.clone(), done: false }.run());
            }
        }
        sent.await.unwrap_or(Sent::Unknown)
    }

    /// Has entries counted; gives the positions of each.
    async fn count(&self, entries: &[Waiting]) -> Result<Vec<Vec<Position>>, Failure> {
        let streams = StreamRegistry::of(entries);
        let names = streams.list.iter();
        let keys = names.flat_map(|(name, _)| [self.keys.meta(name), self.keys.history(name)]);
        let keys: Vec<_> = keys.chain([self.keys.generation()]).collect();
        let answers = self.call::<Vec<String>>(Script::Publish, &keys, |command| {
            command.arg(&*epoch()).arg(streams.list.len());
            for (name, History { entries, bytes, age, .. }) in &streams.list {
                let age = age.map_or(0, |age| u64::try_from(age.min(MAX_AGE).as_millis()).unwrap_or_default());
                command.arg(self.keys.channel(name)).arg(entries).arg(bytes).arg(age);
            }
            entries.iter().for_each(|waiting| streams.write(waiting, command));
        });
        positions(entries, &answers.await?).ok_or_else(|| self.lost("it counted something else"))
    }
}

/// The positions of all destinations of some entries, from an answer for each.
fn positions(entries: &[Waiting], answers: &[String]) -> Option<Vec<Vec<Position>>> {
    if answers.len() != entries.len() {
        return None;
    }
    let all = entries.iter().zip(answers).map(|(waiting, answer)| {
        let positions = message::positions(answer)?;
        (positions.len() == waiting.entry.destinations.len()).then_some(positions)
    });
    all.collect()
}

/// A task that sends what waits until nothing does. If a call fails or the task ends early, whoever still waits is told that
/// nothing was sent.
struct Sending {
    session: Arc<Session>,
    done: bool,
}

impl Sending {
    async fn run(mut self) {
        loop {
            let entries = self.session.outbox.next();
            if entries.is_empty() {
                self.done = true;
                return;
            }
            match self.session.count(&entries).await {
                Ok(positions) => {
                    for (waiting, positions) in entries.into_iter().zip(positions) {
                        waiting.end(|mut entry| {
                            for (destination, position) in entry.destinations.iter_mut().zip(positions) {
                                destination.position = Some(position);
                            }
                            Sent::Counted(Arc::new(entry))
                        });
                    }
                }
                Err(failure) => {
                    drop(self);
                    for waiting in entries {
                        waiting.end(|entry| match failure {
                            Failure::Refused(_) => Sent::Not(entry),
                            Failure::Lost => Sent::Unknown,
                        });
                    }
                    return;
                }
            }
        }
    }
}

impl Drop for Sending {
    /// Sends nothing more on this connection, which is about to be given up.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let waiting = {
            let mut state = self.session.outbox.lock();
            state.failed = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|waiting| waiting.end(Sent::Not));
    }
}

/// The streams of some entries, each once, with the most history that any of its channels asks for.
struct StreamRegistry<'a> {
    list: Vec<(&'a str, History)>,
    /// Where each of them is in the list.
    numbers: HashMap<&'a str, usize>,
}

impl<'a> StreamRegistry<'a> {
    fn of(entries: &'a [Waiting]) -> Self {
        let mut streams = Self { list: Vec::new(), numbers: HashMap::new() };
        for target in
            entries.iter().flat_map(|waiting| &waiting.entry.destinations).map(|destination| &destination.target)
        {
            let number = *streams.numbers.entry(&*target.stream).or_insert(streams.list.len());
            match streams.list.get_mut(number) {
                Some((_, history)) => *history = history.and(target.history),
                None => streams.list.push((&*target.stream, target.history)),
            }
        }
        streams
    }

    /// Writes an entry as the script reads it.
    fn write(&self, waiting: &Waiting, command: &mut Cmd) {
        let destinations = &waiting.entry.destinations;
        command.arg(&*waiting.text).arg(destinations.len());
        for destination in destinations {
            command.arg(self.numbers[&*destination.target.stream] + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::outbox::tests::waiting, *};

    #[test]
    fn entries_share_streams_with_the_most_history() {
        let entries = [waiting(&[("a", 1), ("b", 2)], "one"), waiting(&[("b", 9), ("b", 3)], "two")];
        let streams = StreamRegistry::of(&entries);
        assert_eq!(streams.list, [("a", History::of(1)), ("b", History::of(9))]);
        let mut command = Cmd::new();
        entries.iter().for_each(|waiting| streams.write(waiting, &mut command));
        let packed = command.get_packed_command();
        let words: Vec<_> = std::str::from_utf8(&packed).unwrap().split("\r\n").skip(2).step_by(2).collect();
        assert_eq!(words, ["one", "2", "1", "2", "two", "2", "2", "2"]);
    }

    #[test]
    fn answers_that_do_not_fit_the_entries_are_none() {
        let entries = [waiting(&[("a", 1), ("b", 2)], "one")];
        let read = |answers: &[&str]| {
            positions(&entries, &answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(&["e 1 f 2"]).map(|all| all[0].len()), Some(2));
        for answers in [&["e 1"][..], &[], &["e 1 f 2", "e 1"], &["e 1 f"], &["e 1 f x"], &[""]] {
            assert!(read(answers).is_none(), "{answers:?}");
        }
    }
}
