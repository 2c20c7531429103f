//! What HTML forms, jQuery and `curl -d` send, and a record that is named beside the path.

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::world::{Answer, World};

on_each_database! {
    a_form_says_what_its_fields_take
    an_empty_text_is_null_where_text_is_not_meant
    a_form_lists_members_in_each_way_that_is_known
    a_form_replaces_members
    a_value_has_one_text
    a_form_is_checked_as_json_is
    a_form_of_another_sites_page_is_refused
    a_record_is_destroyed_by_the_id_in_a_query_or_a_body
}

const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

async fn form(world: &World, method: &str, target: &str, body: &'static str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(target).header("content-type", FORM).header("user", 1);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body)).expect("a request")).await
}

async fn a_form_says_what_its_fields_take(world: World) {
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

async fn an_empty_text_is_null_where_text_is_not_meant(world: World) {
    world.user("Ann").await;
    let ann = form(&world, "PATCH", "/user/1", "age=30", &[]).await;
    assert_eq!(ann.ok()["age"], 30);
    let ann = form(&world, "PATCH", "/user/1", "age=&motto=", &[]).await;
    assert_eq!((&ann.ok()["age"], &ann.ok()["motto"]), (&json!(null), &json!("")));
    form(&world, "PATCH", "/user/1", "age=old", &[]).await.refused("E_INVALID_VALUES_TO_SET");
}

async fn a_form_lists_members_in_each_way_that_is_known(world: World) {
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

async fn a_form_replaces_members(world: World) {
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

async fn a_value_has_one_text(world: World) {
    let answer = form(&world, "POST", "/pet", "name=Rex&name=Max", &[]).await;
    answer.refused("E_INVALID_NEW_RECORD");
    assert_eq!(answer.body["problems"], json!([{"field": "name", "message": "it is said more than once"}]));
}

async fn a_form_is_checked_as_json_is(world: World) {
    for body in ["name=Rex&colour=brown", "name=", "private=true", "name=Rex&owner=7", "name=a%00b", "name=Rex&owner=x"]
    {
        form(&world, "POST", "/pet", body, &[]).await.refused("E_INVALID_NEW_RECORD");
    }
    assert_eq!(world.get("/pet").await.ids(), [0_i64; 0]);
}

async fn a_form_of_another_sites_page_is_refused(world: World) {
    let elsewhere = "http://evil.example";
    for headers in [
        [("host", "pets.example"), ("origin", elsewhere)],
        [("host", "pets.example"), ("origin", "null")],
        [("sec-fetch-site", "cross-site"), ("origin", elsewhere)],
        [("sec-fetch-site", "same-site"), ("origin", elsewhere)],
    ] {
        assert_eq!(form(&world, "POST", "/pet", "name=Rex", &headers).await.status, 403, "{headers:?}");
    }
    for headers in [
        [("host", "pets.example:8080"), ("origin", "http://pets.example:8080")],
        // The proxy says another host, and the browser that it is the page's own.
        [("sec-fetch-site", "same-origin"), ("origin", "https://pets.example")],
    ] {
        form(&world, "POST", "/pet", "name=Rex", &headers).await.ok();
    }
}

async fn a_record_is_destroyed_by_the_id_in_a_query_or_a_body(world: World) {
    for name in ["a", "b", "c", "d", "e"] {
        world.pet(name, None).await;
    }
    let ask = |target, body| world.ask("DELETE", target, None, body);
    assert_eq!(ask("/pet?id=1", None).await.ok()["name"], "a");
    assert_eq!(ask("/pet", Some(json!({"id": 2}))).await.ok()["name"], "b");
    // What the body says counts, as in Sails.
    assert_eq!(ask("/pet?id=4", Some(json!({"id": "3"}))).await.ok()["name"], "c");
    assert_eq!(form(&world, "DELETE", "/pet", "id=4", &[]).await.ok()["name"], "d");
    ask("/pet?id=1", None).await.is_missing();
    for (target, body) in [
        ("/pet", None),
        ("/pet?name=e", None),
        ("/pet?id=", None),
        ("/pet?id=5&id=5", None),
        ("/pet?id=e", None),
        ("/pet", Some(json!({"id": null}))),
        ("/pet", Some(json!({"id": [5]}))),
        ("/pet", Some(json!([5]))),
    ] {
        ask(target, body).await.refused("E_INVALID_CRITERIA");
    }
    form(&world, "DELETE", "/pet", "id=5&id=5", &[]).await.refused("E_INVALID_CRITERIA");
    assert_eq!(world.get("/pet").await.ids(), [5]);
}
