//! Whether all has come right: who is owed what, and who was told too much.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::{Instant, sleep};

use super::*;

impl World<'_> {
    /// A client that has read everything, and asks for nothing, is subscribed to what the server delivers.
    pub(super) fn check_agreement(&self, client: usize) {
        let page = &self.clients[client];
        let Some(link) = page.link.as_ref().filter(|link| !link.connection.is_gone()) else { return };
        if !link.in_flight.is_empty() {
            return;
        }
        let differs = (0..CHANNELS.len()).find(|channel| page.is_subscribed(*channel) != link.connection.has(*channel));
        lock(&self.ledger)
            .check(differs.is_none(), || format!("{} and its server do not agree on channel {differs:?}", page.name()));
    }

    /// Waits until everybody has heard what is under way.
    pub(super) async fn calm_down(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let mut calm = 0;
        while calm < 2 {
            self.settle();
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            let unrest = self.unrest();
            calm = if unrest.is_none() { calm + 1 } else { 0 };
            if let Some(unrest) = unrest.filter(|_| begun.elapsed() > CALM_WITHIN) {
                return Err(format!("waited for {unrest}"));
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Something that is under way.
    pub(super) fn unrest(&self) -> Option<String> {
        let ledger = lock(&self.ledger);
        for slot in &self.servers {
            if slot.server.as_ref().is_some_and(Server::is_down) {
                return Some("the broker".to_owned());
            }
            if slot.publishers.iter().any(|publisher| !publisher.is_finished()) {
                return Some("a publisher".to_owned());
            }
        }
        for client in self.clients.iter().filter(|client| client.link.is_some()) {
            let who = client.name();
            if client.link.as_ref().is_some_and(|link| !link.in_flight.is_empty()) {
                return Some(format!("an answer to {who}"));
            }
            for (&channel, &since) in &client.covers {
                if !client.is_subscribed(channel) {
                    return Some(format!("{who} to come back to channel {channel}"));
                }
                if let Some(missed) = missed(&ledger, client, channel, since) {
                    return Some(format!("event {missed} for {who}"));
                }
            }
        }
        None
    }

    /// A number for all that clients were told, and when.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.clients.iter().for_each(|client| client.told.hash(&mut hasher));
        hasher.write_u64(self.stamps.next());
        hasher.finish()
    }

    /// All faults end, everybody comes back, and a last event goes to each channel.
    pub(super) async fn come_right(&mut self) {
        self.is_healing = true;
        if let Some(backend) = &self.backend {
            backend.heal();
        }
        for server in 0..self.servers.len() {
            self.servers[server].paused_until = None;
            self.start(server);
        }
        for client in &mut self.clients {
            client.kind.is_slow = false;
            client.is_forbidden = false;
        }
        for round in 0..HEALING {
            for client in 0..self.clients.len() {
                let page = &self.clients[client];
                if page.link.is_none() && !page.is_closed {
                    let server = self.random.usize(..self.servers.len());
                    self.connect(client, server, 0);
                }
            }
            if round == HEALING - 20 {
                for channel in 0..CHANNELS.len() {
                    (0..self.servers.len()).for_each(|server| self.publish(server, &[channel], None, None));
                }
            }
            sleep(HEALING_STEP).await;
            self.settle();
            if self.failure().is_some() {
                return;
            }
        }
    }

    /// Whether everybody has heard what it is owed.
    pub(super) fn judge(&mut self) {
        let mut ledger = lock(&self.ledger);
        for client in &self.clients {
            let who = client.name();
            ledger.check_order(&who, &client.heard, self.plan.has(Hazard::OrderOfStreams));
            let Some(link) = &client.link else {
                ledger.check(client.is_closed, || format!("{who} does not come back"));
                continue;
            };
            for closing in ledger.closings.clone() {
                let tagged = closing.tag == client.number % TAGS && link.since < closing.begin;
                let counts = closing.end.is_some() || self.plan.has(Hazard::CancelledClosing);
                let here = closing.server == (link.server, link.life);
                let known = self.servers[closing.server.0].life == closing.server.1 || here;
                ledger.check(!(tagged && counts && known), || {
                    format!("{who} was never closed on {} by {closing:?}", link.server_name)
                });
            }
            if !client.kind.resumes && !self.plan.has_sound_broker() && !self.plan.has(Hazard::StandardInOutage) {
                continue;
            }
            for (&channel, &since) in &client.covers {
                if !client.is_subscribed(channel) {
                    ledger.fail(|| format!("{who} is not subscribed to channel {channel} again"));
                }
                if let Some(number) = missed(&ledger, client, channel, since) {
                    let event = ledger.event(number).clone();
                    ledger
                        .fail(|| format!("{who} missed event {number} of channel {channel} since {since}: {event:?}"));
                }
            }
            if self.plan.is_calm() {
                let must_not_end = |gap: &&usize| {
                    let is_shared = CHANNELS[**gap].shares_history() && !self.plan.has(Hazard::SharedHistory);
                    let is_faulty = CHANNELS[**gap].filtered && self.plan.has(Hazard::PanickingFilter);
                    CHANNELS[**gap].keeps_all() && !CHANNELS[**gap].since_subscribe && !is_shared && !is_faulty
                };
                let gap = client.gaps.iter().find(must_not_end);
                ledger.check(gap.is_none(), || {
                    format!("{who} was told of a gap in channel {gap:?}, where nothing failed")
                });
            }
        }
        let leaks = self.servers.iter().filter_map(|slot| slot.server.as_ref()?.leaks()).next();
        ledger.check(leaks.is_none(), || format!("after all has ended: {leaks:?}"));
    }
}

/// The first event that a client should have heard of a channel.
fn missed(ledger: &Ledger, client: &Client, channel: usize, since: u64) -> Option<u64> {
    let owed = ledger.events().filter(|(number, event)| {
        let left_out = event.except.as_ref().is_some_and(|(excluded, socket)| match client.kind.resumes {
            true => *excluded == client.number,
            false => client.link.as_ref().is_some_and(|link| link.connection.id() == socket),
        });
        let is_here = event.channels.contains(&channel) && event.begin > since && !left_out;
        is_here && ledger.is_for(*number, channel, client.number) && ledger.is_owed(*number)
    });
    owed.map(|(number, _)| number).find(|number| !client.heard.contains(number))
}
