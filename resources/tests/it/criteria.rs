//! Which records a query finds, and in which order.

use serde_json::json;

use crate::world::{World, query};

on_each_database! {
    where_finds_what_it_says
    a_parameter_is_equality_unless_there_is_a_where
    lists_are_ordered_and_paged
    null_is_the_smallest_value
    what_is_selected_is_told
    wrong_criteria_are_refused_with_their_code
    a_list_is_bounded
}

/// Five users: 1 Ann 30, 2 Bob 25, 3 Cy (no age), 4 `50%_`, 5 Ann's namesake in capitals.
async fn people(world: &World) {
    for (at, (name, age)) in
        [("Ann", Some(30)), ("Bob", Some(25)), ("Cy", None), (r"50%_\x", Some(40)), ("ANN", Some(30))]
            .iter()
            .enumerate()
    {
        let email = format!("{at}@example.org");
        let boss = (at == 1).then_some(1);
        let body = json!({"name": name, "email": email, "password": "s3cret", "age": age, "boss": boss});
        world.post("/user", body).await.ok();
    }
}

async fn where_finds_what_it_says(world: World) {
    people(&world).await;
    let cases = [
        (json!({}), vec![1, 2, 3, 4, 5]),
        (json!({"name": "Bob"}), vec![2]),
        (json!({"name": "x' OR '1'='1"}), vec![]),
        (json!({"age": 30}), vec![1, 5]),
        (json!({"age": "30"}), vec![1, 5]),
        (json!({"age": null}), vec![3]),
        (json!({"age": {"!=": null}}), vec![1, 2, 4, 5]),
        (json!({"age": {"!=": 30}}), vec![2, 4]),
        (json!({"age": {"!": 30}}), vec![2, 4]),
        (json!({"age": [25, 40]}), vec![2, 4]),
        (json!({"age": []}), vec![]),
        (json!({"age": {"in": [25, 40]}}), vec![2, 4]),
        (json!({"age": {"nin": [25, 40]}}), vec![1, 5]),
        (json!({"age": {"!=": [25, 40]}}), vec![1, 5]),
        (json!({"age": {"<": 30}}), vec![2]),
        (json!({"age": {"<=": 30}}), vec![1, 2, 5]),
        (json!({"age": {">": 25, "<": 40}}), vec![1, 5]),
        (json!({"age": {">=": 40}}), vec![4]),
        (json!({"name": {"contains": "%_"}}), vec![4]),
        (json!({"name": {"contains": "\\"}}), vec![4]),
        (json!({"name": {"startsWith": "50%"}}), vec![4]),
        (json!({"name": {"endsWith": "ob"}}), vec![2]),
        (json!({"name": {"like": "_y"}}), vec![3]),
        (json!({"name": {"like": "50\\%%"}}), vec![4]),
        (json!({"or": [{"name": "Bob"}, {"age": 40}]}), vec![2, 4]),
        (json!({"or": []}), vec![]),
        (json!({"or": [{}, {"name": "Bob"}]}), vec![1, 2, 3, 4, 5]),
        (json!({"and": []}), vec![1, 2, 3, 4, 5]),
        (json!({"and": [{"age": {">": 20}}, {"or": [{"name": "Ann"}, {"name": "Bob"}]}]}), vec![1, 2]),
        (json!({"boss": 1}), vec![2]),
        (json!({"boss": null, "age": {">": 35}}), vec![4]),
        (json!({"isAdmin": false, "id": {"<": 3}}), vec![1, 2]),
    ];
    for (criteria, ids) in cases {
        let answer = world.get(&query("/user", [("where", &*criteria.to_string())])).await;
        assert_eq!(answer.ids(), ids, "{criteria}");
    }
}

async fn a_parameter_is_equality_unless_there_is_a_where(world: World) {
    people(&world).await;
    for (target, ids) in [
        ("/user?name=Bob", vec![2]),
        ("/user?age=30", vec![1, 5]),
        ("/user?age=", vec![3]),
        ("/user?age=25&age=40", vec![2, 4]),
        ("/user?isAdmin=true", vec![]),
        ("/user?age=30&name=Ann", vec![1]),
        ("/user?nobody=knows&where={\"name\":\"Bob\"}", vec![2]),
        ("/user?where=&name=Bob", vec![2]),
    ] {
        assert_eq!(world.get(&target.replace('"', "%22")).await.ids(), ids, "{target}");
    }
}

async fn lists_are_ordered_and_paged(world: World) {
    people(&world).await;
    for (sort, ids) in [
        ("id DESC", vec![5, 4, 3, 2, 1]),
        ("id desc", vec![5, 4, 3, 2, 1]),
        ("age,id DESC", vec![3, 2, 5, 1, 4]),
        ("age DESC, id DESC", vec![4, 5, 1, 2, 3]),
        (r#"{"age": -1}"#, vec![4, 1, 5, 2, 3]),
        (r#"{"isAdmin": 1, "age": "DESC"}"#, vec![4, 1, 5, 2, 3]),
        (r#"[{"age": "ASC"}, "id DESC"]"#, vec![3, 2, 5, 1, 4]),
        ("", vec![1, 2, 3, 4, 5]),
    ] {
        assert_eq!(world.get(&query("/user", [("sort", sort)])).await.ids(), ids, "{sort}");
    }
    assert_eq!(world.get("/user?limit=2&skip=1").await.ids(), [2, 3]);
    assert_eq!(world.get("/user?limit=0").await.ids(), [0; 0]);
    assert_eq!(world.get("/user?skip=9223372036854775807").await.ids(), [0; 0]);
    // Over a socket a list is a name that is said again.
    assert_eq!(world.get("/user?sort=age&sort=id%20DESC").await.ids(), [3, 2, 5, 1, 4]);
}

async fn null_is_the_smallest_value(world: World) {
    people(&world).await;
    assert_eq!(world.get("/user?sort=age").await.ids()[0], 3);
    assert_eq!(world.get("/user?sort=age%20DESC").await.ids()[4], 3);
}

async fn what_is_selected_is_told(world: World) {
    people(&world).await;
    let keys = async |target: &str| {
        let answer = world.get(target).await;
        let record = answer.ok().as_array().map_or_else(|| answer.body.clone(), |list| list[0].clone());
        record.as_object().expect("a record").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys("/user").await, ["age", "boss", "email", "id", "isAdmin", "motto", "name"]);
    assert_eq!(keys("/user?select=name,age").await, ["age", "id", "name"]);
    assert_eq!(keys("/user?select=name&select=age").await, ["age", "id", "name"]);
    assert_eq!(keys("/user?omit=name,age,id").await, ["boss", "email", "id", "isAdmin", "motto"]);
    assert_eq!(keys("/user/1?select=motto").await, ["id", "motto"]);
}

async fn wrong_criteria_are_refused_with_their_code(world: World) {
    people(&world).await;
    let nested = (0..9).fold(json!({}), |inner, _| json!({"or": [inner]}));
    let many: serde_json::Map<_, _> = [("or".to_owned(), json!(vec![json!({"age": 1}); 201]))].into_iter().collect();
    for criteria in [
        json!({"nobody": 1}),
        json!({"password": "s3cret"}),
        json!({"motto": "x"}),
        json!({"pets": 1}),
        json!({"nor": [{"age": 1}]}),
        json!({"age": {"nope": 1}}),
        json!({"age": {}}),
        json!({"age": {"contains": "3"}}),
        json!({"age": {"<": null}}),
        json!({"age": [null]}),
        json!({"age": "old"}),
        json!({"age": 3.5}),
        json!({"age": 1e30}),
        json!({"name": 5}),
        json!({"name": {"like": "x\\"}}),
        json!({"name": "a\u{0}b"}),
        json!({"name": {"contains": "a\u{0}b"}}),
        json!({"or": {"age": 1}}),
        json!({"or": [1]}),
        json!([]),
        json!("name"),
        nested,
        json!(many),
        json!({"age": vec![1; 1001]}),
        json!({"age": vec![1; 600], "id": vec![1; 600]}),
    ] {
        world.get(&query("/user", [("where", &*criteria.to_string())])).await.refused("E_INVALID_CRITERIA");
    }
    for (name, text) in [
        ("where", "{"),
        ("where", "{}x"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", "1 OFFSET 5"),
        ("skip", "9223372036854775808"),
        ("sort", "name; DROP TABLE user"),
        ("sort", "name\" --"),
        ("sort", "nobody"),
        ("sort", "password"),
        ("sort", "motto"),
        ("sort", "name,name"),
        ("sort", "name UP"),
        ("sort", "{\"name\": {}}"),
        ("sort", "[["),
        ("sort", "[[\"name\"]]"),
        ("select", "password"),
        ("select", "nobody"),
        ("select", "pets"),
        ("omit", "password"),
        ("name\" OR 1=1 --", "x"),
    ] {
        world.get(&query("/user", [(name, text)])).await.refused("E_INVALID_CRITERIA");
    }
    world.get("/user?select=name&omit=age").await.refused("E_INVALID_CRITERIA");
    world.get("/user?limit=1&limit=2").await.refused("E_INVALID_CRITERIA");
    world.get("/user?populate=nobody").await.refused("E_INVALID_POPULATES");
    world.get("/user/1?populate=name").await.refused("E_INVALID_POPULATES");
    world.get("/user/x").await.refused("E_INVALID_CRITERIA");
}

async fn a_list_is_bounded(world: World) {
    for at in 0..35 {
        world.toy(&format!("toy {at}")).await;
    }
    assert_eq!(world.get("/toy").await.ids().len(), 30);
    assert_eq!(world.get("/toy?limit=1000").await.ids().len(), 35);
}
