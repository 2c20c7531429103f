//! The overlap check refuses a table exactly when axum's router would panic on it.

use std::{
    cell::Cell,
    panic::{self, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};
use catamaran::{
    __private::{check, clash},
    Method, Route,
};

const SEGMENTS: [&str; 6] = ["a", "b", "{x}", "{y}", "{*r}", "{*s}"];
const TABLES: usize = 60_000;

thread_local! {
    /// Set while axum may panic; a panic at any other time is a failed test and prints as usual.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn silence_expected_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            print(info);
        }
    }));
}

/// All paths of up to three segments, and some that end with a slash.
fn paths() -> Vec<&'static str> {
    let mut all = vec!["/".to_owned()];
    let mut open = vec![String::new()];
    for _ in 0..3 {
        let longer = open.iter().flat_map(|path| SEGMENTS.map(|segment| format!("{path}/{segment}")));
        let longer: Vec<String> = longer.collect();
        open = longer.iter().filter(|path| !path.contains('*')).cloned().collect();
        all.extend(longer);
    }
    all.extend(["/a/", "/{x}/", "/a/{y}/", "/b/{x}/"].map(str::to_owned));
    all.into_iter().map(|path| &*path.leak()).collect()
}

fn route(path: &'static str, method: Method) -> Route {
    Route { path, method, ..Route::NONE }
}

fn ours_refuses<const N: usize>(routes: &[Route; N]) -> bool {
    let refused = clash(routes).is_some();
    assert_eq!(refused, check(routes, &[]).is_err(), "the checks while compiling and at start differ: {routes:?}");
    refused
}

fn axum_refuses(routes: &[Route]) -> bool {
    async fn handler() {}
    QUIET.set(true);
    let built = catch_unwind(|| {
        routes.iter().fold(Router::<()>::new(), |router, route| {
            let service: MethodRouter = if route.method == Method::Get { get(handler) } else { post(handler) };
            router.route(route.path, service)
        })
    });
    QUIET.set(false);
    built.is_err()
}

/// Asserts that both agree, and says whether they refuse.
fn refused<const N: usize>(routes: &[Route; N]) -> bool {
    let (ours, axum) = (ours_refuses(routes), axum_refuses(routes));
    let lines = routes.map(|route| format!("{} {}", route.method, route.path));
    assert_eq!(ours, axum, "ours {ours}, axum {axum}: {lines:?}");
    ours
}

/// Runs jobs on all cores; a failed assertion in one of them fails the test.
fn in_parallel(jobs: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(4, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= jobs {
                        break;
                    }
                    job(at);
                }
            });
        }
    });
}

#[test]
fn every_pair_of_paths_is_judged_as_axum_judges_it() {
    silence_expected_panics();
    let paths = paths();
    let (pairs, refusals) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_parallel(paths.len(), |at| {
        for second in &paths {
            for method in [Method::Get, Method::Post] {
                let refused = refused(&[route(paths[at], Method::Get), route(second, method)]);
                pairs.fetch_add(1, Ordering::Relaxed);
                refusals.fetch_add(usize::from(refused), Ordering::Relaxed);
            }
        }
    });
    let (pairs, refusals) = (pairs.into_inner(), refusals.into_inner());
    println!("{pairs} pairs of {} paths, {refusals} refused", paths.len());
    assert!(pairs >= 30_000 && refusals >= 2_000);
}

#[test]
fn every_random_table_is_judged_as_axum_judges_it() {
    silence_expected_panics();
    let paths = paths();
    let refusals = AtomicUsize::new(0);
    in_parallel(TABLES, |seed| {
        let mut random = Random(seed as u64);
        let table: [Route; 6] = std::array::from_fn(|_| {
            let method = if random.below(2) == 0 { Method::Get } else { Method::Post };
            route(paths[random.below(paths.len())], method)
        });
        refusals.fetch_add(usize::from(refused(&table)), Ordering::Relaxed);
    });
    let refusals = refusals.into_inner();
    println!("{TABLES} tables, {refusals} refused");
    assert!((TABLES / 10..TABLES * 9 / 10).contains(&refusals), "both answers occur often");
}

/// SplitMix64: the same tables on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 33) as usize % end
    }
}
