//! What HTML forms, jQuery and `curl -d` send, and bodies of other types.

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::world::{Answer, World};

on_each_database! {
    form_is_read_by_the_types_of_fields
    empty_text_is_null_where_text_does_not_fit
    form_lists_members_in_each_known_way
    form_replaces_members
    duplicate_value_is_refused
    form_is_checked_as_json_is
    form_of_another_site_is_refused
    bodies_of_other_types_are_415_and_empty_ones_are_none
    form_names_the_record_to_destroy
}

const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

async fn form(world: &World, method: &str, target: &str, body: &'static str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(target).header("content-type", FORM).header("user", 1);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body)).expect("a request")).await
}

async fn form_is_read_by_the_types_of_fields(world: World) {
    let body = "name=12&email=ann%40example.org&password=s3cret&age=30&motto=on";
    let ann = form(&world, "POST", "/user", body, &[]).await;
    assert_eq!((&ann.ok()["name"], &ann.ok()["age"], &ann.ok()["motto"]), (&json!("12"), &json!(30), &json!("on")));
    let rex = form(&world, "POST", "/pet", "name=null&private=on&owner=1", &[]).await;
    assert_eq!(rex.ok(), &json!({"id": 1, "name": "null", "private": true, "owner": 1, "vet": null}));
    let rex = form(&world, "PATCH", "/pet/1", "id=9&private=false&name=a+b", &[]).await;
    assert_eq!(rex.ok(), &json!({"id": 1, "name": "a b", "private": false, "owner": 1, "vet": null}));
    let note = form(&world, "POST", "/note", "id=1&text=&mood=good&user=1", &[]).await;
    assert_eq!(note.ok(), &json!({"id": "1", "text": "", "mood": "good", "user": 1}));
}

async fn empty_text_is_null_where_text_does_not_fit(world: World) {
    world.user("Ann").await;
    let ann = form(&world, "PATCH", "/user/1", "age=30", &[]).await;
    assert_eq!(ann.ok()["age"], 30);
    let ann = form(&world, "PATCH", "/user/1", "age=&motto=", &[]).await;
    assert_eq!((&ann.ok()["age"], &ann.ok()["motto"]), (&json!(null), &json!("")));
    form(&world, "PATCH", "/user/1", "age=old", &[]).await.refused("E_INVALID_VALUES_TO_SET");
}

async fn form_lists_members_in_each_known_way(world: World) {
    for label in ["ball", "bone", "rope"] {
        world.toy(label).await;
    }
    for (id, (said, ids)) in (1..).zip([
        ("toys=1&toys=2", vec![1, 2]),
        ("toys[]=2&toys[]=3", vec![2, 3]),
        ("toys%5B%5D=3", vec![3]),
        ("toys=1", vec![1]),
        ("toys[]=", vec![]),
    ]) {
        form(&world, "POST", "/pet", Box::leak(format!("name=Rex&{said}").into_boxed_str()), &[]).await.ok();
        assert_eq!(world.get(&format!("/pet/{id}/toys")).await.ids(), ids, "{said}");
    }
    form(&world, "POST", "/pet", "name=Rex&toys=ball", &[]).await.refused("E_INVALID_NEW_RECORD");
}

async fn form_replaces_members(world: World) {
    world.pet("Rex", None).await;
    for label in ["ball", "bone"] {
        world.toy(label).await;
    }
    let toys = |answer: Answer| answer.ok()["toys"].as_array().map(Vec::len);
    assert_eq!(toys(form(&world, "PUT", "/pet/1/toys", "toys=1&toys=2", &[]).await), Some(2));
    assert_eq!(toys(form(&world, "PUT", "/pet/1/toys", "toys[]=2", &[]).await), Some(1));
    form(&world, "PUT", "/pet/1/toys", "others=1", &[]).await.refused("E_INVALID_ASSOCIATED_IDS");
    assert_eq!(world.get("/pet/1/toys").await.ids(), [2]);
}

async fn duplicate_value_is_refused(world: World) {
    let answer = form(&world, "POST", "/pet", "name=Rex&name=Max", &[]).await;
    answer.refused("E_INVALID_NEW_RECORD");
    assert_eq!(answer.body["problems"], json!([{"field": "name", "message": "duplicate value"}]));
}

async fn form_is_checked_as_json_is(world: World) {
    for body in ["name=Rex&colour=brown", "name=", "private=true", "name=Rex&owner=7", "name=a%00b", "name=Rex&owner=x"]
    {
        form(&world, "POST", "/pet", body, &[]).await.refused("E_INVALID_NEW_RECORD");
    }
    assert_eq!(world.get("/pet").await.ids(), [0_i64; 0]);
}

/// Over HTTP; the product of all that a page can say is tried beside the runtime.
async fn form_of_another_site_is_refused(world: World) {
    let elsewhere = "http://evil.example";
    for headers in [
        [("host", "pets.example"), ("origin", elsewhere)],
        [("host", "pets.example"), ("origin", "null")],
        [("sec-fetch-site", "cross-site"), ("origin", elsewhere)],
        [("sec-fetch-site", "same-site"), ("origin", elsewhere)],
    ] {
        for body in ["name=Rex", ""] {
            for (method, target) in [("POST", "/pet"), ("PUT", "/pet/1/toys"), ("DELETE", "/pet/1")] {
                assert_eq!(form(&world, method, target, body, &headers).await.status, 403, "{method} {headers:?}");
            }
        }
    }
    assert_eq!(world.get("/pet").await.ids(), [0_i64; 0]);
    for headers in [
        [("host", "pets.example:8080"), ("origin", "http://pets.example:8080")],
        // The proxy says another host, and the browser that it is the page's own.
        [("sec-fetch-site", "same-origin"), ("origin", "https://pets.example")],
    ] {
        form(&world, "POST", "/pet", "name=Rex", &headers).await.ok();
    }
}

async fn bodies_of_other_types_are_415_and_empty_ones_are_none(world: World) {
    let send = async |content_type: Option<&str>, body: &'static str| {
        let mut request = Request::post("/pet").header("user", 1);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        world.send(request.body(Body::from(body)).expect("a request")).await
    };
    let multipart = "--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\nRex\r\n--b--\r\n";
    for (content_type, body) in [
        (Some("multipart/form-data; boundary=b"), multipart),
        (Some("text/plain"), r#"{"name": "Rex"}"#),
        (Some("text/plain;charset=UTF-8"), "name=Rex"),
        (Some("application/octet-stream"), r#"{"name": "Rex"}"#),
        (Some("application/x-www-form-urlencoded-2"), "name=Rex"),
        (Some("text/html, application/json"), r#"{"name": "Rex"}"#),
        (None, r#"{"name": "Rex"}"#),
    ] {
        let answer = send(content_type, body).await;
        assert_eq!(answer.status, 415, "{content_type:?}: {answer:?}");
    }
    for content_type in
        [None, Some("text/plain"), Some("multipart/form-data; boundary=b"), Some("application/json"), Some(FORM)]
    {
        // A pet needs a name, so its absence is what is wrong.
        send(content_type, "").await.refused("E_INVALID_NEW_RECORD");
    }
    world.pet("Rex", None).await;
    assert_eq!(world.ask("PATCH", "/pet/1", None, None).await.ok()["name"], "Rex");
}

async fn form_names_the_record_to_destroy(world: World) {
    world.pet("Rex", None).await;
    form(&world, "DELETE", "/pet", "id=1&id=1", &[]).await.refused("E_INVALID_CRITERIA");
    assert_eq!(form(&world, "DELETE", "/pet", "id=1", &[]).await.ok()["name"], "Rex");
}
