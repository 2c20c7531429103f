//! Random criteria: what the database finds is what a look at each record finds.

use serde_json::{Value as Json, json};

use crate::world::{World, query};

on_each_database! {
    random_criteria_find_what_a_look_at_each_record_finds
    random_nonsense_is_answered
}

const NAMES: &[&str] = &["ann", "bob", "cy", "50%", "a_b", "", "o'neill"];

struct Person {
    id: i64,
    label: String,
}

async fn random_criteria_find_what_a_look_at_each_record_finds(world: World) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut people = Vec::new();
    for _ in 0..20 {
        let label = random.choice(NAMES).copied().unwrap_or_default().to_owned();
        people.push(Person { id: world.toy(&label).await, label });
    }
    for _ in 0..200 {
        let (criteria, fits) = condition(&mut random, 3);
        let expected: Vec<i64> = people.iter().filter(|person| fits(person)).map(|person| person.id).collect();
        let answer = world.get(&query("/toy", [("where", &*criteria.to_string())])).await;
        assert_eq!(answer.ids(), expected, "{criteria}");
    }
}

type Fits = Box<dyn Fn(&Person) -> bool>;

/// A random condition, in the language and in Rust.
fn condition(random: &mut fastrand::Rng, depth: usize) -> (Json, Fits) {
    let name = random.choice(NAMES).copied().unwrap_or_default();
    let number = random.i64(-2..24);
    let list = [number, random.i64(-2..24), random.i64(-2..24)];
    match random.u8(..if depth == 0 { 8 } else { 10 }) {
        0 => (json!({"label": name}), Box::new(move |it| it.label == name)),
        1 => (json!({"label": {"!=": name}}), Box::new(move |it| it.label != name)),
        2 => (json!({"label": {"startsWith": name}}), Box::new(move |it| it.label.starts_with(name))),
        3 => (json!({"label": {"endsWith": name}}), Box::new(move |it| it.label.ends_with(name))),
        4 => (json!({"label": {"contains": name}}), Box::new(move |it| it.label.contains(name))),
        5 => (json!({"id": list}), Box::new(move |it| list.contains(&it.id))),
        6 => (json!({"id": {"nin": list, "<": 15}}), Box::new(move |it| !list.contains(&it.id) && it.id < 15)),
        7 => (json!({"id": {">=": number}}), Box::new(move |it| it.id >= number)),
        word => {
            let parts: Vec<(Json, Fits)> = (0..random.usize(..4)).map(|_| condition(random, depth - 1)).collect();
            let (criteria, fits): (Vec<Json>, Vec<Fits>) = parts.into_iter().unzip();
            match word {
                8 => (json!({"or": criteria}), Box::new(move |it| fits.iter().any(|fits| fits(it)))),
                _ => (json!({"and": criteria}), Box::new(move |it| fits.iter().all(|fits| fits(it)))),
            }
        }
    }
}

async fn random_nonsense_is_answered(world: World) {
    let mut random = fastrand::Rng::with_seed(11);
    world.user("Ann").await;
    for _ in 0..400 {
        let criteria = nonsense(&mut random, 4).to_string();
        let name = *random.choice(&["where", "sort", "select", "populate", "age", "name"]).unwrap_or(&"where");
        let answer = world.get(&query("/user", [(name, &*criteria)])).await;
        assert!(matches!(answer.status, 200 | 400), "{name} {criteria}: {answer:?}");
        let body = nonsense(&mut random, 3);
        let answer = world.patch("/user/1", body.clone()).await;
        assert!(matches!(answer.status, 200 | 400 | 404), "{body}: {answer:?}");
    }
}

const WORDS: &[&str] = &[
    "id", "name", "age", "boss", "isAdmin", "password", "motto", "pets", "friends", "or", "and", "in", "nin", "!=",
    "<", ">=", "contains", "like", "ASC", "-1", "\"", "%", "nobody", "email",
];

fn nonsense(random: &mut fastrand::Rng, depth: usize) -> Json {
    let word = |random: &mut fastrand::Rng| random.choice(WORDS).copied().unwrap_or_default().to_owned();
    match random.u8(..if depth == 0 { 5 } else { 9 }) {
        0 => Json::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(-3..3)),
        3 => json!(random.f64() * 1e20),
        4 => json!(word(random)),
        5 => (0..random.usize(..4)).map(|_| nonsense(random, depth - 1)).collect(),
        _ => {
            let pairs = (0..random.usize(..4)).map(|_| (word(random), nonsense(random, depth - 1)));
            Json::Object(pairs.collect())
        }
    }
}
