//! What goes wrong at the broker, and comes right again.

use super::*;

impl<E: Clone + Send + Sync + 'static> Broker<E> {
    /// A connection ends; another is made after a while.
    fn cut(&self, node: usize, millis: u64) {
        {
            let mut state = self.lock();
            if !state.nodes[node].is_running {
                return;
            }
            state.end_session(node);
        }
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(millis)).await;
            broker.connect(node);
        });
    }

    /// A server connects, unless it is connected or has ended.
    pub(in crate::simulation) fn connect(&self, node: usize) {
        let mut state = self.lock();
        let session = state.sessions + 1;
        let known = &mut state.nodes[node];
        if !known.is_running || known.session.is_some() {
            return;
        }
        known.session = Some(session);
        known.attached.clear();
        known.push(News::Up, 0);
        state.sessions = session;
    }

    /// All that is wrong comes right.
    pub(in crate::simulation) fn heal(&self) {
        let nodes = {
            let mut state = self.lock();
            state.paused_until = Instant::now();
            state.changed.notify_waiters();
            for node in &mut state.nodes {
                node.paused_until = Instant::now();
                (node.lose, node.repeat, node.late, node.unknown, node.refuse) = (0, 0, (0, 0), None, false);
            }
            state.nodes.len()
        };
        (0..nodes).for_each(|node| self.connect(node));
    }

    pub(in crate::simulation) fn pause_server(&self, node: usize, millis: u64) {
        let mut state = self.lock();
        let now = Instant::now();
        let node = &mut state.nodes[node];
        node.seen = now;
        node.paused_until = now + Duration::from_millis(millis);
    }

    /// The number of a server stands for the node that it is now.
    pub(in crate::simulation) fn suffer(
        &self,
        fault: &Fault,
        node: impl Fn(usize) -> Option<usize>,
        stream: impl Fn(usize) -> String,
    ) {
        match *fault {
            Fault::Down { server, millis } => {
                if let Some(node) = node(server) {
                    self.cut(node, millis);
                }
            }
            Fault::Lose { server, count } => self.with(node(server), |node| node.lose = count),
            Fault::Repeat { server, count } => self.with(node(server), |node| node.repeat = count),
            Fault::Late { server, count, millis } => self.with(node(server), |node| node.late = (count, millis)),
            Fault::Unknown { server, counted } => self.with(node(server), |node| node.unknown = Some(counted)),
            Fault::Refuse { server } => self.with(node(server), |node| node.refuse = true),
            Fault::Pause { millis } => self.pause(Duration::from_millis(millis)),
            Fault::FailOver { age, millis } => {
                let mut state = self.lock();
                let older = state.snapshots.iter().rev().nth(age).or(state.snapshots.front()).cloned();
                state.streams = older.unwrap_or_default();
                state.life += u64::from(!state.faults.keeps_its_name);
                state.losses += 1;
                drop(state);
                self.cut_all(millis);
            }
            Fault::Restart { millis } => {
                let mut state = self.lock();
                state.streams.clear();
                state.life += 1;
                state.losses += 1;
                drop(state);
                self.cut_all(millis);
            }
            Fault::Evict { channel } => {
                self.lock().streams.remove(&stream(channel));
            }
            Fault::Trim { channel } => {
                if let Some(stream) = self.lock().streams.get_mut(&stream(channel)) {
                    stream.kept.clear();
                }
            }
        }
    }

    fn with(&self, node: Option<usize>, change: impl FnOnce(&mut Node<E>)) {
        if let Some(node) = node {
            change(&mut self.lock().nodes[node]);
        }
    }

    fn cut_all(&self, millis: u64) {
        let nodes = self.lock().nodes.len();
        for node in 0..nodes {
            let apart = self.lock().random.u64(0..1000);
            self.cut(node, millis + apart);
        }
    }

    /// Nothing is answered for a while. After a few seconds the servers give their connections up.
    fn pause(&self, time: Duration) {
        let now = Instant::now();
        self.lock().paused_until = now + time;
        if time <= PATIENCE {
            return;
        }
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(PATIENCE).await;
            let still = broker.lock().paused_until.saturating_duration_since(Instant::now());
            if !still.is_zero() {
                broker.cut_all(u64::try_from(still.as_millis()).unwrap_or(u64::MAX));
            }
        });
    }

    /// A snapshot for a failover.
    pub(in crate::simulation) fn snapshot(&self) {
        let mut state = self.lock();
        let streams = state.streams.clone();
        state.snapshots.push_back(streams);
        if state.snapshots.len() > SNAPSHOTS {
            state.snapshots.pop_front();
        }
    }
}
