//! What one socket hears of a resource.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use catamaran::__resources::{EncodedEvent, EventFilter, FilterInput};

use super::{
    transfer,
    verb::{self, Look},
};
use crate::{
    Error, Limits, Meta, Viewer,
    engine::{Change, Kind},
    meta::Row,
    policy::Viewers,
};

/// What an identity takes beside its text: its place in a set, and what it is allocated with.
const ENTRY_BYTES: usize = 64;
/// How many of the records that are gone it still remembers: a gate may be asked again about what it let through.
const REMEMBERED: usize = 256;
/// How many changes are kept as they were read, for the sockets that are yet to be asked.
const RECENT: usize = 64;
/// How many bytes of JSON these had, but for the newest.
const RECENT_BYTES: usize = 4 * 1024 * 1024;

/// The gate of one socket to the changes of one resource.
pub(super) struct Follow {
    meta: &'static Meta,
    viewer: Viewer,
    /// The same viewer as other policies know it, which are asked about members of associations.
    known: HashMap<TypeId, Viewer>,
    changes: Arc<Changes>,
    state: Mutex<State>,
}

/// What a socket hears of.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    max: Bound,
    /// The identities of records, and the bytes that they take.
    followed: HashSet<String>,
    bytes: usize,
    /// All records, since there are too many.
    all: bool,
    /// Those of them that are gone, the newest last.
    gone: VecDeque<String>,
    /// New records, too.
    watches: bool,
    /// Which records it had asked for is not known after a reconnect, as they stood in a list: what became of them
    /// meanwhile is told of all.
    lists: bool,
}

/// How many records are followed, and how many bytes their identities take, before all records are.
#[derive(Clone, Copy, Debug)]
struct Bound {
    records: usize,
    bytes: usize,
}

impl Default for Bound {
    fn default() -> Self {
        let Limits { followed, followed_bytes, .. } = Limits::default();
        Self { records: followed, bytes: followed_bytes }
    }
}

impl Follow {
    /// The gate of a request, whose viewers are these.
    pub(super) fn new(meta: &'static Meta, viewers: &Viewers, changes: Arc<Changes>) -> Result<Self, Error> {
        let viewer = viewers.of(meta)?.clone();
        let known = viewers.known().map(|(id, viewer)| (id, viewer.clone())).collect();
        Ok(Self { meta, viewer, known, changes, state: Mutex::default() })
    }

    /// Whether the viewer may know which record became a member, or is one no longer. A record that is gone, or whose
    /// policy does not know the viewer, is not told.
    fn may_name(&self, change: &Read) -> bool {
        let (Kind::AddedTo { .. } | Kind::RemovedFrom { .. }) = change.change.kind else { return true };
        let Some(member) = &change.change.member else { return false };
        let viewer = self.known.get(&member.meta().viewer).cloned();
        viewer.or_else(|| Viewer::everybody(member.meta())).is_some_and(|viewer| change.names(member, viewer))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("resource", &self.meta.identity()).finish_non_exhaustive()
    }
}

impl EventFilter for Follow {
    fn pass(&self, event: &FilterInput<'_>) -> Option<Arc<EncodedEvent>> {
        let change = self.changes.read(self.meta, event)?;
        if !self.may_name(&change) {
            return None;
        }
        // The policy is asked before the state is locked.
        let sight = change.sight(&self.viewer);
        let look = self.state().look(&change.change, sight, event.missed)?;
        Some(change.message(look))
    }

    fn same_viewer(&self, other: &dyn EventFilter) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<Self>().is_some_and(|other| self.viewer == other.viewer && self.known == other.known)
    }

    fn viewer(&self) -> u64 {
        // All servers of one build agree on it, and the order of what is known does not count.
        let number = |viewer: &Viewer| BuildHasherDefault::<DefaultHasher>::default().hash_one(viewer);
        let known = self.known.values().map(number).fold(0, u64::wrapping_add);
        known.wrapping_mul(31).wrapping_add(number(&self.viewer)) >> 11
    }

    fn widen(&self, by: &dyn EventFilter) {
        let by: &dyn Any = by;
        if let Some(by) = by.downcast_ref::<Self>() {
            // One lock after the other: both may be the same.
            let by = by.state().clone();
            self.state().add_all(by);
        }
    }
}

impl State {
    /// Follows a record, which its identity names as it stands in JSON.
    pub(super) fn follow(&mut self, id: String) {
        if self.all {
            return;
        }
        self.gone.retain(|gone| *gone != id);
        let bytes = id.len() + ENTRY_BYTES;
        if self.followed.insert(id) {
            self.bytes += bytes;
        }
        if self.followed.len() > self.max.records || self.bytes > self.max.bytes {
            self.follow_all();
        }
    }

    /// Follows all records, and forgets which these were.
    fn follow_all(&mut self) {
        *self = Self { max: self.max, all: true, watches: self.watches, lists: self.lists, ..Self::default() };
    }

    /// Sets how much is followed before all is.
    pub(super) fn bound(&mut self, limits: &Limits) {
        self.max = Bound { records: limits.followed, bytes: limits.followed_bytes };
    }

    /// Hears of new records.
    pub(super) fn watch(&mut self) {
        self.watches = true;
    }

    /// Follows what stands in a list.
    pub(super) fn list(&mut self) {
        self.lists = true;
    }

    fn add_all(&mut self, other: Self) {
        self.watches |= other.watches;
        self.lists |= other.lists;
        if other.all {
            self.follow_all();
        }
        other.followed.into_iter().for_each(|id| self.follow(id));
    }

    fn leave(&mut self, id: String) {
        // Its bytes count until it is forgotten.
        self.follow(id.clone());
        if self.all {
            return;
        }
        self.gone.push_back(id);
        if self.gone.len() > REMEMBERED
            && let Some(oldest) = self.gone.pop_front()
            && self.followed.remove(&oldest)
        {
            self.bytes -= oldest.len() + ENTRY_BYTES;
        }
    }

    /// How a change looks to the socket; none if it hears nothing of it.
    fn look(&mut self, change: &Change, sight: Sight, missed: bool) -> Option<Look> {
        let id = change.id.to_string();
        let follows = self.all || self.followed.contains(&id) || (missed && self.lists);
        let look = match (&change.kind, follows && sight.before, sight.after) {
            (Kind::Created, _, true) if self.watches => Look::Itself,
            (Kind::Updated(_), true, true) => Look::Itself,
            (Kind::Updated(_), true, false) => Look::Vanishes,
            (Kind::Updated(_), false, true) if self.watches && !sight.before => Look::Appears,
            (Kind::Destroyed | Kind::AddedTo { .. } | Kind::RemovedFrom { .. }, true, _) => Look::Itself,
            _ => return None,
        };
        match (look, &change.kind) {
            (Look::Vanishes, _) | (_, Kind::Destroyed) => self.leave(id),
            _ => self.follow(id),
        }
        let is_silent = look == Look::Itself && matches!(&change.kind, Kind::Updated(fields) if fields.is_empty());
        (!is_silent).then_some(look)
    }
}

/// Whether somebody sees a record as it was, and as it is.
#[derive(Clone, Copy)]
struct Sight {
    before: bool,
    after: bool,
}

/// The newest changes, each read once for all sockets.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    list: VecDeque<(EventId, usize, Option<Arc<Read>>)>,
    bytes: usize,
}

type EventId = (u64, u64);

/// A change as it was read, and what was made of it.
struct Read {
    change: Change,
    /// What viewers see of it: the policy is asked once for each.
    sights: Mutex<HashMap<Viewer, Sight>>,
    /// Who may know the member that it is about, by the viewers of the policy of that.
    names: Mutex<HashMap<Viewer, bool>>,
    itself: OnceLock<Arc<EncodedEvent>>,
    appears: OnceLock<Arc<EncodedEvent>>,
    vanishes: OnceLock<Arc<EncodedEvent>>,
}

impl Changes {
    fn read(&self, meta: &'static Meta, event: &FilterInput<'_>) -> Option<Arc<Read>> {
        let mut recent = lock(&self.0);
        if let Some((_, _, read)) = recent.list.iter().rev().find(|(id, ..)| *id == event.id) {
            return read.clone();
        }
        let read = transfer::read(meta, event).map(|change| Arc::new(Read::of(change)));
        let bytes = event.message.argument().map_or(0, |text| text.get().len());
        recent.push(event.id, bytes, read.clone());
        read
    }
}

impl Recent {
    fn push(&mut self, id: EventId, bytes: usize, read: Option<Arc<Read>>) {
        self.bytes += bytes;
        while self.list.len() == RECENT || self.bytes > RECENT_BYTES {
            let Some((_, oldest, _)) = self.list.pop_front() else { break };
            self.bytes -= oldest;
        }
        self.list.push_back((id, bytes, read));
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("resource", &self.change.meta.identity()).finish_non_exhaustive()
    }
}

impl Read {
    fn of(change: Change) -> Self {
        let [itself, appears, vanishes] = [const { OnceLock::new() }; 3];
        Self { change, sights: Mutex::default(), names: Mutex::default(), itself, appears, vanishes }
    }

    fn sight(&self, viewer: &Viewer) -> Sight {
        if let Some(sight) = lock(&self.sights).get(viewer) {
            return *sight;
        }
        let Change { meta, before, after, .. } = &self.change;
        let [before, after] = [before, after].map(|row| row.as_ref().is_some_and(|row| meta.can_read(viewer, row)));
        *lock(&self.sights).entry(viewer.clone()).or_insert(Sight { before, after })
    }

    fn names(&self, member: &Row, viewer: Viewer) -> bool {
        if let Some(known) = lock(&self.names).get(&viewer) {
            return *known;
        }
        let names_it = member.meta().can_read(&viewer, member);
        *lock(&self.names).entry(viewer).or_insert(names_it)
    }

    fn message(&self, look: Look) -> Arc<EncodedEvent> {
        let made = match look {
            Look::Itself => &self.itself,
            Look::Appears => &self.appears,
            Look::Vanishes => &self.vanishes,
        };
        made.get_or_init(|| Arc::new(verb::message(&self.change, look))).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(records: usize, bytes: usize) -> State {
        State { max: Bound { records, bytes }, ..State::default() }
    }

    /// The bytes of all identities that a state keeps.
    fn kept(state: &State) -> usize {
        state.followed.iter().chain(&state.gone).map(|id| id.len() + ENTRY_BYTES).sum()
    }

    #[test]
    fn identities_of_any_length_stay_within_the_bytes() {
        for length in [1, 100, 10_000, 2_000_000] {
            let mut state = bounded(10_000, 1024 * 1024);
            for number in 0..20_000 {
                let id = format!("{}{number}", "x".repeat(length));
                if number % 3 == 0 {
                    state.leave(id)
                } else {
                    state.follow(id)
                }
                assert!(kept(&state) <= 2 * 1024 * 1024, "{length}: {}", kept(&state));
                if state.all {
                    break;
                }
            }
            assert!(state.all && kept(&state) == 0, "{length}: all are followed, and none is kept by its name");
            state.leave("x".repeat(length));
            assert_eq!(kept(&state), 0);
        }
    }

    #[test]
    fn recent_changes_stay_within_the_bytes() {
        let mut recent = Recent::default();
        for number in 0..1_000 {
            let bytes = [10, 100_000, 1_000_000, 2 * RECENT_BYTES][number % 4];
            recent.push((0, number as u64), bytes, None);
            let kept: usize = recent.list.iter().map(|(_, bytes, _)| bytes).sum();
            assert!(recent.list.len() <= RECENT && kept == recent.bytes);
            assert!(kept <= RECENT_BYTES || recent.list.len() == 1);
        }
    }

    #[test]
    fn records_that_are_gone_make_room() {
        let mut state = bounded(1_000, 1024 * 1024);
        for number in 0..10_000 {
            let id = number.to_string();
            state.follow(id.clone());
            state.leave(id);
        }
        assert!(!state.all && state.followed.len() == REMEMBERED && state.gone.len() == REMEMBERED);
        let bytes: usize = state.followed.iter().map(|id| id.len() + ENTRY_BYTES).sum();
        assert_eq!(state.bytes, bytes);
    }

    #[test]
    fn merged_states_stay_within_the_bound() {
        let (mut one, mut other) = (bounded(3, 10_000), bounded(3, 10_000));
        ["1", "2"].into_iter().for_each(|id| one.follow(id.into()));
        ["3", "4"].into_iter().for_each(|id| other.follow(id.into()));
        one.add_all(other);
        assert!(one.all && kept(&one) == 0);
        let mut few = bounded(3, 10_000);
        few.follow("1".into());
        few.add_all(one);
        assert!(few.all && kept(&few) == 0);
    }
}
