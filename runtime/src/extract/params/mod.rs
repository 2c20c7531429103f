//! `Params`: all that a request says, as one value.

mod text;

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map},
};

use axum::{
    RequestExt,
    body::Bytes,
    extract::{FromRequest, RawPathParams, Request, rejection::RawPathParamsRejection},
    http::{HeaderMap, StatusCode, header},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, Visitor, value::Error as Mismatch},
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;
use text::{Text, Texts, without_position};

use crate::Error;

/// All parameters of a request as one value: its path over its body over its query.
///
/// It is what Sails calls `allParams`: where a client puts a parameter does not matter to the action.
///
/// ```
/// use catamaran::{Params, prelude::*};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Search {
///     id: u64,             // from the path
///     #[serde(default)]
///     tags: Vec<String>,   // from the query `?tags=a&tags=b`, or from the body `{"tags": ["a", "b"]}`
///     limit: Option<u32>,
/// }
///
/// #[action(post "/rooms/{id}/search")]
/// async fn search(Params(search): Params<Search>) -> String {
///     format!("{} of room {}, at most {:?}", search.tags.join(" and "), search.id, search.limit)
/// }
/// ```
///
/// - **A JSON body** keeps its types, and must be an object. A form body is read like a query.
/// - **Text**, from the path, the query or a form, becomes what the type asks for: a number, a boolean (`true`,
///   `false`, `1`, `0`), the name of an enum's variant. A repeated name is a sequence. Where the type asks for a struct
///   or a map, the text is read as JSON, which is how the data of a GET writes an object. Empty text is `None` for an
///   `Option`, because the data of a GET writes `null` so.
/// - **A parameter of the wrong type** is answered with 400 and a message that names it.
///
/// Fields under `#[serde(flatten)]` and in untagged enums hide from serde what type they ask for, so their text stays
/// text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Params<T> {
    type Rejection = Error;

    async fn from_request(mut request: Request, _: &S) -> Result<Self, Error> {
        let path: RawPathParams = request
            .extract_parts()
            .await
            .map_err(|refusal: RawPathParamsRejection| Error::new(refusal.status(), refusal.body_text()))?;
        let uri = request.uri().clone();
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, &())
            .await
            .map_err(|refusal| Error::new(refusal.status(), refusal.body_text()))?;
        let mut fields = Fields::default();
        fields.add_form(uri.query().unwrap_or_default().as_bytes());
        fields.add_body(&headers, &body)?;
        for (name, value) in &path {
            fields.0.insert(name.into(), Field::Text(vec![value.into()]));
        }
        T::deserialize(fields).map(Self).map_err(|mismatch| bad(mismatch.to_string()))
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(StatusCode::BAD_REQUEST, message)
}

/// All parameters by name; a later source replaces an earlier one.
#[derive(Default)]
struct Fields<'a>(BTreeMap<Cow<'a, str>, Field<'a>>);

enum Field<'a> {
    /// What a path, a query or a form says, once for each time that it says it.
    Text(Vec<Cow<'a, str>>),
    /// What a JSON body says.
    Json(&'a RawValue),
}

impl<'a> Fields<'a> {
    fn add_form(&mut self, form: &'a [u8]) {
        let mut texts = BTreeMap::<_, Vec<_>>::new();
        for (name, text) in form_urlencoded::parse(form) {
            texts.entry(name).or_default().push(text);
        }
        self.0.extend(texts.into_iter().map(|(name, texts)| (name, Field::Text(texts))));
    }

    fn add_body(&mut self, headers: &HeaderMap, body: &'a [u8]) -> Result<(), Error> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if body.is_empty() {
            return Ok(());
        }
        if essence == "application/json" || essence.ends_with("+json") {
            self.add_json(body)
        } else if essence == "application/x-www-form-urlencoded" {
            self.add_form(body);
            Ok(())
        } else {
            let message = format!("the body must be JSON or a form, its content type is {content_type:?}");
            Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }

    fn add_json(&mut self, body: &'a [u8]) -> Result<(), Error> {
        let broken = |error: serde_json::Error| bad(format!("the body is not valid JSON: {error}"));
        let json: &RawValue = serde_json::from_slice(body).map_err(broken)?;
        if json.get() == "null" {
            return Ok(());
        }
        if !json.get().starts_with('{') {
            return Err(bad("the body must be a JSON object, whose fields are the parameters"));
        }
        let fields: BTreeMap<Name<'a>, &RawValue> = serde_json::from_str(json.get()).map_err(broken)?;
        self.0.extend(fields.into_iter().map(|(Name(name), json)| (name, Field::Json(json))));
        Ok(())
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A type takes its parameters as a map from names to values.
impl<'de> Deserializer<'de> for Fields<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Entries { left: self.0.into_iter(), value: None })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries<'a> {
    left: btree_map::IntoIter<Cow<'a, str>, Field<'a>>,
    value: Option<(Cow<'a, str>, Field<'a>)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let Some((name, field)) = self.left.next() else { return Ok(None) };
        let key = seed.deserialize(Text(name.clone()))?;
        self.value = Some((name, field));
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let (name, field) = self.value.take().ok_or_else(|| Mismatch::custom("a value was asked before its name"))?;
        let outcome = match field {
            Field::Text(texts) => seed.deserialize(Texts(texts)),
            Field::Json(json) => seed.deserialize(json).map_err(|error| without_position(&error)),
        };
        outcome.map_err(|mismatch| Mismatch::custom(format!("`{name}`: {mismatch}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::{Router, body::Body, routing::any};
    use serde::Serialize;
    use serde_json::{Value, json};
    use tower_service::Service;

    use super::*;

    /// The parameters as JSON, or the refusal.
    async fn taken<T: DeserializeOwned + Serialize + Send + 'static>(target: &str, kind: &str, body: &str) -> Value {
        let take = any(async |Params(taken): Params<T>| axum::Json(taken));
        let mut router: Router = Router::new().route("/{id}", take);
        let request = Request::builder().uri(target).header("content-type", kind).body(Body::from(body.to_owned()));
        let response = router.call(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        if status == 200 { body } else { format!("{} {}", status.as_u16(), body["message"].as_str().unwrap()).into() }
    }

    async fn from_query<T: DeserializeOwned + Serialize + Send + 'static>(query: &str) -> Value {
        taken::<T>(&format!("/7?{query}"), "", "").await
    }

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";

    #[derive(Deserialize, Serialize)]
    struct One<T> {
        v: T,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
        Custom { code: u8 },
    }

    #[tokio::test]
    async fn the_path_wins_over_the_body_over_the_query() {
        type All = HashMap<String, Value>;
        let taken = taken::<All>("/7?id=1&a=1&b=1", JSON, r#"{"id":2,"a":2,"c":2}"#).await;
        assert_eq!(taken, json!({"id": "7", "a": 2, "b": "1", "c": 2}));
    }

    #[tokio::test]
    async fn text_becomes_what_the_type_asks_for() {
        assert_eq!(from_query::<One<u64>>("v=18446744073709551615").await["v"], json!(u64::MAX));
        assert_eq!(from_query::<One<i8>>("v=-1").await["v"], json!(-1));
        assert_eq!(from_query::<One<f64>>("v=1.5").await["v"], json!(1.5));
        assert_eq!(from_query::<One<char>>("v=%C3%A9").await["v"], json!("é"));
        assert_eq!(from_query::<One<String>>("v=5").await["v"], json!("5"));
        assert_eq!(from_query::<One<(u8, bool)>>("v=5&v=1").await["v"], json!([5, true]));
        for (text, value) in [("true", true), ("1", true), ("false", false), ("0", false)] {
            assert_eq!(from_query::<One<bool>>(&format!("v={text}")).await["v"], json!(value));
        }
        assert_eq!(from_query::<One<Color>>("v=red").await["v"], json!("red"));
    }

    #[tokio::test]
    async fn a_repeated_name_is_a_sequence() {
        assert_eq!(from_query::<One<Vec<u8>>>("v=1&v=2").await["v"], json!([1, 2]));
        assert_eq!(from_query::<One<Vec<u8>>>("v=1").await["v"], json!([1]));
        assert_eq!(from_query::<One<u8>>("v=1&v=2").await, json!("400 `v`: invalid type: sequence, expected u8"));
    }

    #[tokio::test]
    async fn empty_text_is_no_value() {
        assert_eq!(from_query::<One<Option<u8>>>("v=").await["v"], json!(null));
        assert_eq!(from_query::<One<Option<u8>>>("").await["v"], json!(null));
        assert_eq!(from_query::<One<Option<u8>>>("v=3").await["v"], json!(3));
        assert_eq!(from_query::<One<Vec<Option<u8>>>>("v=&v=3").await["v"], json!([null, 3]));
    }

    #[tokio::test]
    async fn an_object_in_a_query_is_json() {
        let object = "v=%7B%22code%22%3A3%7D";
        assert_eq!(from_query::<One<HashMap<String, u8>>>(object).await["v"], json!({"code": 3}));
        assert_eq!(from_query::<One<Vec<HashMap<String, u8>>>>(object).await["v"], json!([{"code": 3}]));
        assert_eq!(from_query::<One<Vec<Vec<u8>>>>("v=[1,2]&v=[3]").await["v"], json!([[1, 2], [3]]));
        let custom = from_query::<One<Color>>("v=%7B%22custom%22%3A%7B%22code%22%3A3%7D%7D").await;
        assert_eq!(custom["v"], json!({"custom": {"code": 3}}));
    }

    #[tokio::test]
    async fn a_json_body_keeps_its_types() {
        let body = r#"{"v":{"n":12345678901234567890,"s":"5","z":null}}"#;
        assert_eq!(taken::<One<Value>>("/7", JSON, body).await, serde_json::from_str::<Value>(body).unwrap());
        assert_eq!(
            taken::<One<u8>>("/7", JSON, r#"{"v":"5"}"#).await,
            json!("400 `v`: invalid type: string \"5\", expected u8")
        );
        let kind = "application/vnd.api+json; charset=utf-8";
        assert_eq!(taken::<One<u8>>("/7", kind, r#"{"v":1,"v":5}"#).await["v"], json!(5));
    }

    #[tokio::test]
    async fn a_form_is_read_like_a_query() {
        assert_eq!(taken::<One<Vec<u8>>>("/7?v=9", FORM, "v=1&v=2").await["v"], json!([1, 2]));
    }

    #[tokio::test]
    async fn no_body_and_null_say_nothing() {
        assert_eq!(taken::<One<u8>>("/7?v=9", JSON, "null").await["v"], json!(9));
        assert_eq!(taken::<One<u8>>("/7?v=9", JSON, "").await["v"], json!(9));
    }

    #[tokio::test]
    async fn a_refusal_names_the_parameter() {
        for (query, words) in [
            ("v=x", "400 `v`: invalid value: string \"x\", expected u8"),
            ("v=300", "400 `v`: invalid value: string \"300\", expected u8"),
            ("w=1", "400 missing field `v`"),
        ] {
            assert_eq!(from_query::<One<u8>>(query).await, words);
        }
        assert_eq!(
            from_query::<One<Color>>("v=blue").await,
            "400 `v`: unknown variant `blue`, expected `red` or `custom`"
        );
        assert_eq!(from_query::<One<HashMap<String, u8>>>("v={").await, "400 `v`: EOF while parsing an object");
        assert_eq!(from_query::<One<HashMap<String, u8>>>("v={}x").await, "400 `v`: trailing characters");
        for (kind, body, words) in [
            (JSON, "[1]", "400 the body must be a JSON object"),
            (JSON, "{", "400 the body is not valid JSON: EOF"),
            ("text/plain", "x", "415 the body must be JSON or a form, its content type is \"text/plain\""),
        ] {
            let refusal = taken::<One<u8>>("/7", kind, body).await;
            assert!(refusal.as_str().unwrap().starts_with(words), "{refusal}");
        }
    }
}
