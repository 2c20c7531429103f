//! What clients do: they connect, read, subscribe and leave.

use super::*;

impl World<'_> {
    pub(super) fn connect(&mut self, client: usize, server: usize, noticed_after: u64) {
        if !self.servers[server].is_active() {
            return;
        }
        self.leave(client, noticed_after);
        let slot = &self.servers[server];
        let Some(running) = &slot.server else { return };
        let page = &mut self.clients[client];
        page.is_closed = false;
        page.connections += 1;
        let id = format!("{client}-{}", page.connections);
        let had = page.held(0..CHANNELS.len(), true);
        let secret = page.secret();
        let viewer = Viewer { number: client as u64, panics: self.plan.has(Hazard::PanickingFilter) };
        let secret = secret.as_ref().map(|(secret, connection)| (&**secret, *connection));
        let since = self.stamps.next();
        let tag = tag_name(client % TAGS);
        let Some(connection) = running.connect(&id, secret, &had, &tag, viewer) else { return };
        page.left_out = Some((connection.left_out(), id));
        page.link = Some(Link {
            connection,
            network: Default::default(),
            server,
            life: slot.life,
            server_name: running.name(),
            since,
            opened: Instant::now(),
            in_flight: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            is_restored: false,
        });
        let here = (server, slot.life);
        for ghost in &mut self.ghosts {
            if page.kind.resumes && ghost.client == client && (ghost.link.server, ghost.link.life) == here {
                while ghost.link.connection.next().is_some() {}
                ghost.is_replaced = true;
            }
        }
    }

    /// A client's connection ends, which the server notices later.
    pub(super) fn leave(&mut self, client: usize, noticed_after: u64) {
        let page = &mut self.clients[client];
        let Some(link) = page.link.take() else { return };
        lock(&self.ledger).check_order(&page.name(), &page.heard, self.plan.has(Hazard::OrderOfStreams));
        page.pause();
        let notice = Instant::now() + Duration::from_millis(noticed_after);
        if noticed_after > 0 {
            self.ghosts.push(Ghost { link, client, notice, is_replaced: false });
        }
    }

    pub(super) fn pump(&mut self, client: usize) {
        let stamp = self.stamps.next();
        self.clients[client].pump(stamp);
    }

    pub(super) fn read(&mut self, client: usize, frames: usize) {
        let losses = self.losses();
        let mut ledger = lock(&self.ledger);
        let stale_outcome = self.plan.has(Hazard::StaleOutcome);
        let mut against = Against {
            ledger: &mut ledger,
            stale_outcome,
            may_set_back: !self.plan.has(Hazard::SetBack),
            may_forget: !self.plan.has(Hazard::ForgottenChannel),
            losses,
            is_loud: self.is_loud,
        };
        self.clients[client].read(frames, &mut against);
    }

    pub(super) fn ask(
        &mut self,
        client: usize,
        repeated: Option<u64>,
        channels: Vec<usize>,
        leave: Vec<usize>,
        how: (u64, u16, Option<Duration>),
    ) {
        self.requests += 1;
        let (number, (slow, status, expires)) = (self.requests, how);
        let expires = expires.filter(|_| !self.is_healing);
        let page = &mut self.clients[client];
        let had = match repeated {
            Some(_) => page.held(channels.iter().copied(), false),
            None => page.held(0..CHANNELS.len(), false),
        };
        let had = if page.kind.resumes { had } else { BTreeMap::new() };
        let Some(link) = &mut page.link else { return };
        let of = if channels.is_empty() { leave.iter().copied().collect() } else { had.keys().copied().collect() };
        let request = Request {
            number,
            channels: channels.clone(),
            leave,
            had,
            slow: Duration::from_millis(slow),
            status,
            expires,
        };
        let answer = tokio::spawn(link.connection.answer(request, &self.stamps));
        let key = repeated.unwrap_or(number);
        let is_repeat = repeated.is_some();
        let asked = Asked { key, is_repeat, channels, had: of, expires, abort: answer.abort_handle() };
        link.in_flight.insert(number, asked);
    }

    pub(super) fn subscribe(
        &mut self,
        client: usize,
        mut channels: Vec<usize>,
        mut slow: u64,
        status: u16,
        mut expires: Option<Duration>,
    ) {
        let page = &self.clients[client];
        if !page.link.as_ref().is_some_and(|link| self.servers[link.server].is_active()) {
            return;
        }
        if !self.plan.has(Hazard::LeaveWhileAsking) && !self.plan.has(Hazard::AskTwice) {
            let first = channels[0];
            channels.retain(|channel| !page.is_subscribed(*channel) && !page.is_asking(*channel));
            if channels.is_empty() && !page.is_asking(first) {
                (channels, slow) = (vec![first], 0);
            }
        }
        if !page.kind.resumes {
            expires = None;
        }
        if !channels.is_empty() {
            self.ask(client, None, channels, Vec::new(), (slow, status, expires));
        }
    }

    pub(super) fn unsubscribe(&mut self, client: usize, channel: usize) {
        let page = &self.clients[client];
        let is_active = page.link.as_ref().is_some_and(|link| self.servers[link.server].is_active());
        let may = self.plan.has(Hazard::LeaveWhileAsking) || !page.is_asking(channel);
        if is_active && may && page.is_subscribed(channel) {
            self.ask(client, None, Vec::new(), vec![channel], (0, 200, None));
        }
    }

    /// The server subscribes a client that understands positions, or takes it out of a channel.
    pub(super) fn change(&mut self, client: usize, channel: usize, number: usize, joins: bool) {
        let page = &self.clients[client];
        let is_asking = page.is_asking(channel) && !self.plan.has(Hazard::LeaveWhileAsking);
        if !page.kind.resumes || is_asking || CHANNELS[channel].filtered || !self.servers[number].is_active() {
            return;
        }
        if let Some((server, link)) = self.servers[number].server.as_ref().zip(page.link.as_ref()) {
            let changing = tokio::spawn(server.change_membership(link.connection.id(), channel, joins));
            self.servers[number].publishers.push(changing.abort_handle());
        }
    }
}
