//! Requests that mean harm: each is answered, none with 500, and no text of theirs becomes SQL.

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::world::{World, query};

on_each_database! {
    no_path_does_harm
    no_query_does_harm
    no_body_does_harm
    many_writers_of_one_record_all_get_an_answer
}

/// Texts that are something else elsewhere.
const TEXTS: &[&str] = &[
    "' OR '1'='1",
    "\"; DROP TABLE \"user\"; --",
    "\u{0}",
    "a\u{0}b",
    "\\",
    "%",
    "_",
    "\u{202e}\u{feff}\u{10ffff}",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-1",
    "1e999",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "[[[[[[[[[[[[",
    "{\"$gt\": 1}",
    "1; SELECT 1",
    "0x41",
    "?",
    "$1",
    ":a",
];

async fn is_whole(world: &World) {
    assert_eq!(world.get("/user").await.ids(), [1], "the data is as it was");
}

async fn no_path_does_harm(world: World) {
    world.user("Ann").await;
    for text in TEXTS {
        let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
        for (method, target) in [
            ("GET", format!("/user/{text}")),
            ("PATCH", format!("/user/{text}")),
            ("DELETE", format!("/user/{text}")),
            ("GET", format!("/user/{text}/pets")),
            ("PUT", format!("/user/{text}/pets/{text}")),
            ("PUT", format!("/user/1/pets/{text}")),
            ("GET", format!("/user/1/{text}")),
            ("GET", format!("/{text}")),
        ] {
            let answer = world.ask(method, &target, None, None).await;
            assert!(matches!(answer.status, 400 | 404 | 405), "{method} {target}: {answer:?}");
        }
    }
    for target in ["/user/%ff", "/user/%", "/user/1%2f..%2f2", "/user//pets", "/user/1/pets/"] {
        let answer = world.get(target).await;
        assert!(matches!(answer.status, 400 | 404), "{target}: {answer:?}");
    }
    is_whole(&world).await;
}

async fn no_query_does_harm(world: World) {
    world.user("Ann").await;
    for text in TEXTS {
        for name in
            ["where", "limit", "skip", "sort", "select", "omit", "populate", "name", "age", "isAdmin", "id", text]
        {
            for path in ["/user", "/user/1", "/user/1/pets"] {
                let answer = world.get(&query(path, [(name, *text)])).await;
                assert!(matches!(answer.status, 200 | 400), "{path} {name} {text}: {answer:?}");
            }
        }
        for criteria in [
            json!({"name": text}),
            json!({"name": {"contains": text}}),
            json!({"name": {"like": text}}),
            json!({"name": {"<": text}}),
            json!({"name": [text, text]}),
            json!({"age": text}),
            json!({"isAdmin": text}),
            json!({(*text): text}),
            json!({"name": {(*text): text}}),
        ] {
            let answer = world.get(&query("/user", [("where", &*criteria.to_string())])).await;
            assert!(matches!(answer.status, 200 | 400), "{criteria}: {answer:?}");
        }
    }
    for target in ["/user?%ff=%ff", "/user?where=%ff", "/user?&&==&", "/user?populate=pets,pets,pets,,"] {
        let answer = world.get(target).await;
        assert!(matches!(answer.status, 200 | 400), "{target}: {answer:?}");
    }
    is_whole(&world).await;
}

async fn no_body_does_harm(world: World) {
    world.user("Ann").await;
    for text in TEXTS {
        for body in [
            json!({"name": text, "email": text, "password": text}),
            json!({"name": "x", "email": "@", "password": "xxx", "age": text}),
            json!({"name": "x", "email": "@", "password": "xxx", "boss": text}),
            json!({"name": "x", "email": "@", "password": "xxx", "pets": [text]}),
            json!({"name": "x", "email": "@", "password": "xxx", "pets": text}),
            json!({(*text): text}),
        ] {
            let answer = world.post("/user", body.clone()).await;
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            let answer = world.patch("/user/1", json!({"motto": text, "age": body["age"], "pets": body["pets"]})).await;
            assert!(matches!(answer.status, 200 | 400 | 404), "{body}: {answer:?}");
        }
        let answer = world.ask("PUT", "/user/1/pets", None, Some(json!([text]))).await;
        assert!(matches!(answer.status, 400 | 404), "{text}: {answer:?}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [deep.into_bytes(), b"\xff\xfe".to_vec(), b"{\"name\":\"\\ud800\"}".to_vec()] {
        let request = Request::post("/user").header("content-type", "application/json");
        let answer = world.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    is_whole(&world).await;
}

async fn many_writers_of_one_record_all_get_an_answer(world: World) {
    let [ann, bob] = [world.user("Ann").await, world.user("Bob").await];
    let rex = world.pet("Rex", Some(ann)).await;
    let toy = world.toy("ball").await;
    let asks = (0..40).map(|at| {
        let (world, owner) = (&world, if at % 2 == 0 { ann } else { bob });
        async move {
            match at % 5 {
                0 => world.put(&format!("/user/{owner}/pets/{rex}")).await,
                1 => world.patch(&format!("/pet/{rex}"), json!({"owner": owner})).await,
                2 => world.ask("PUT", &format!("/user/{owner}/pets"), None, Some(json!([rex]))).await,
                3 => world.put(&format!("/toy/{toy}/pets/{rex}")).await,
                _ => world.post("/pet", json!({"name": "New", "owner": owner, "toys": [toy]})).await,
            }
        }
    });
    for answer in futures_util::future::join_all(asks).await {
        answer.ok();
    }
    assert_eq!(world.get(&format!("/toy/{toy}/pets")).await.ids().len(), 9);
}
