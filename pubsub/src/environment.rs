//! What a run depends on beside what it is asked: the wall clock, random names and the order of maps. A simulation replaces it.

#[cfg(not(test))]
pub(crate) use real::{RandomState, now, random};
#[cfg(test)]
pub(crate) use simulated::{RandomState, now, random, simulate};

/// A map whose order a simulation repeats.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
/// A set whose order a simulation repeats.
pub(crate) type HashSet<T> = std::collections::HashSet<T, RandomState>;

#[cfg(not(test))]
mod real {
    pub(crate) use std::hash::RandomState;
    use std::time::SystemTime;

    /// The wall clock.
    pub(crate) fn now() -> SystemTime {
        SystemTime::now()
    }

    /// A number for a name, if a simulation chooses it.
    pub(crate) fn random() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod simulated {
    use std::{
        cell::RefCell,
        hash::{BuildHasher, DefaultHasher, Hasher},
        time::{Duration, SystemTime},
    };

    use tokio::time::Instant;

    thread_local! {
        static SIMULATION: RefCell<Option<Simulation>> = const { RefCell::new(None) };
    }

    struct Simulation {
        random: fastrand::Rng,
        start: Instant,
    }

    /// From now on this thread is a simulation's, until the value is dropped.
    #[must_use]
    pub(crate) fn simulate(seed: u64) -> Simulated {
        let simulation = Simulation { random: fastrand::Rng::with_seed(seed), start: Instant::now() };
        SIMULATION.set(Some(simulation));
        Simulated
    }

    pub(crate) struct Simulated;

    impl Drop for Simulated {
        fn drop(&mut self) {
            SIMULATION.take();
        }
    }

    /// The wall clock, which a simulation moves with tokio's.
    pub(crate) fn now() -> SystemTime {
        const BEGIN: Duration = Duration::from_secs(1_800_000_000);
        let start = SIMULATION.with_borrow(|simulation| simulation.as_ref().map(|simulation| simulation.start));
        start.map_or_else(SystemTime::now, |start| SystemTime::UNIX_EPOCH + BEGIN + start.elapsed())
    }

    /// A number for a name, if a simulation chooses it.
    pub(crate) fn random() -> Option<u64> {
        SIMULATION.with_borrow_mut(|simulation| simulation.as_mut().map(|simulation| simulation.random.u64(..)))
    }

    /// That of the standard library, or one that a simulation repeats.
    #[derive(Clone, Debug)]
    pub(crate) enum RandomState {
        Real(std::hash::RandomState),
        Seeded(u64),
    }

    impl RandomState {
        pub(crate) fn new() -> Self {
            random().map_or_else(|| Self::Real(std::hash::RandomState::new()), Self::Seeded)
        }
    }

    impl Default for RandomState {
        fn default() -> Self {
            Self::new()
        }
    }

    impl BuildHasher for RandomState {
        type Hasher = DefaultHasher;

        fn build_hasher(&self) -> DefaultHasher {
            match self {
                Self::Real(state) => state.build_hasher(),
                Self::Seeded(seed) => {
                    let mut hasher = DefaultHasher::new();
                    hasher.write_u64(*seed);
                    hasher
                }
            }
        }
    }
}
