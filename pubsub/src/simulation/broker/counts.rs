//! What the broker counts, keeps and brings.

use super::*;

impl<E: Clone + Send + Sync + 'static> State<E> {
    pub(super) fn end_session(&mut self, node: usize) {
        self.changed.notify_waiters();
        let node = &mut self.nodes[node];
        if node.session.take().is_some() {
            node.seen = Instant::now();
            // It hears of its end whatever comes first.
            node.queued += 1;
            let _ = node.queue.send(Queued { session: None, news: News::Down, offset: 0 });
        }
    }

    /// Most of the time nothing, a turn of the others, or a few milliseconds.
    pub(super) fn jitter(&mut self) -> Option<Duration> {
        match self.random.u8(0..16) {
            0..8 => None,
            8..13 => Some(Duration::ZERO),
            _ => Some(Duration::from_millis(self.random.u64(1..6))),
        }
    }

    pub(super) fn stream(&mut self, name: &str, fresh: u64) -> &mut Stream<E> {
        let life = self.life;
        let new = || Stream {
            life,
            top: At { epoch: fresh, offset: 0 },
            kept: VecDeque::new(),
            most: 0,
            begun: Instant::now(),
        };
        let stream = self.streams.entry(name.to_owned()).or_insert_with(new);
        if stream.life != life {
            *stream = new();
        }
        stream
    }

    pub(super) fn count(
        &mut self,
        broker: &Broker<E>,
        streams: Vec<(String, usize)>,
        fresh: &mut impl FnMut() -> u64,
        make: impl FnOnce(Vec<At>) -> E,
    ) -> E {
        let mut positions = Vec::new();
        for (name, most) in &streams {
            let epoch = fresh();
            let stream = self.stream(name, epoch);
            stream.top.offset += 1;
            stream.most = stream.most.max(*most);
            positions.push(stream.top.clone());
        }
        let entry = make(positions.clone());
        for (destination, ((name, _), at)) in streams.into_iter().zip(positions).enumerate() {
            let stream = self.streams.get_mut(&name).expect("it was just counted");
            stream.kept.push_back((entry.clone(), destination));
            while stream.kept.len() > stream.most {
                stream.kept.pop_front();
            }
            for number in 0..self.nodes.len() {
                self.bring(broker, number, &name, &entry, destination, at.offset);
            }
        }
        entry
    }

    fn bring(&mut self, broker: &Broker<E>, number: usize, name: &str, entry: &E, destination: usize, offset: u64) {
        let is_spared = self.faults.spares_commands && is_for_servers(name);
        let node = &mut self.nodes[number];
        let Some(session) = node.session.filter(|_| node.attached.contains(name)) else { return };
        if node.lose > 0 && !is_spared {
            node.lose -= 1;
            if is_closing(name) {
                self.lose_connection(broker, number);
                return;
            }
            // It finds out, late.
            let (broker, name) = (broker.clone(), name.to_owned());
            let after = Duration::from_millis(self.random.u64(100..1500));
            tokio::spawn(async move {
                sleep(after).await;
                broker.push_late(number, session, News::Lost(name), 0);
            });
            return;
        }
        let news = || News::Entry(entry.clone(), destination);
        if node.late.0 > 0 && !is_spared && node.paused_until <= Instant::now() {
            node.late.0 -= 1;
            let (broker, news, after) = (broker.clone(), news(), Duration::from_millis(node.late.1));
            tokio::spawn(async move {
                sleep(after).await;
                broker.push_late(number, session, news, offset);
            });
            return;
        }
        node.push(news(), offset);
        if node.repeat > 0 {
            node.repeat -= 1;
            node.push(news(), offset);
        }
    }

    /// A connection ends with what is on it, and another is made after a while.
    fn lose_connection(&mut self, broker: &Broker<E>, number: usize) {
        let after = Duration::from_millis(self.random.u64(100..1500));
        self.end_session(number);
        let broker = broker.clone();
        tokio::spawn(async move {
            sleep(after).await;
            broker.connect(number);
        });
    }
}

impl<E: Clone + Send + Sync + 'static> Broker<E> {
    /// What was on its way comes, unless the connection has ended.
    fn push_late(&self, node: usize, session: u64, news: News<E>, offset: u64) {
        let mut state = self.lock();
        if state.nodes[node].session == Some(session) {
            state.nodes[node].push(news, offset);
        }
    }
}

impl<E> Node<E> {
    pub(super) fn push(&mut self, news: News<E>, offset: u64) {
        // A delivering task that has panicked takes nothing more.
        if self.session.is_some() {
            self.queued += 1;
            let _ = self.queue.send(Queued { session: self.session, news, offset });
        }
    }
}
