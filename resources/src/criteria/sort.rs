//! `sort`: `name DESC`, `name,age DESC`, `{"name": -1}`, `[{"name": "ASC"}, "age DESC"]`.

use std::fmt;

use sea_orm::Order;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value as Json;

use super::{filterable, text::Text};
use crate::{Error, Meta};

type Sort = Vec<(usize, Order)>;

pub(super) fn read(meta: &Meta, text: &Text) -> Result<Sort, Error> {
    let mut sort = Vec::new();
    // Over a socket an array is a name that is said again and again.
    for (_, texts) in text.all().filter(|(name, _)| *name == "sort") {
        for text in texts {
            if text.trim_start().starts_with(['[', '{']) {
                let wrong = |error| Error::criteria(format!("`sort` is no valid JSON: {error}"));
                directive(meta, serde_json::from_str(text).map_err(wrong)?, &mut sort)?;
            } else {
                words(meta, text, &mut sort)?;
            }
        }
    }
    Ok(by_key(meta, sort))
}

/// Ends an order with the primary key, so that it is one.
pub(super) fn by_key(meta: &Meta, mut sort: Sort) -> Sort {
    let key = meta.key();
    if sort.iter().all(|(at, _)| *at != key) {
        sort.push((key, Order::Asc));
    }
    sort
}

/// What stands in JSON, in the order in which it stands there.
#[derive(Deserialize)]
#[serde(untagged)]
enum Directive {
    Text(String),
    Names(Pairs),
    List(Vec<Self>),
}

struct Pairs(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("attributes with their directions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn directive(meta: &Meta, directive: Directive, sort: &mut Sort) -> Result<(), Error> {
    match directive {
        Directive::Text(text) => words(meta, &text, sort),
        Directive::Names(Pairs(pairs)) => pairs.iter().try_for_each(|(name, direction)| match direction {
            Json::String(direction) => add(meta, name, direction, sort),
            direction => add(meta, name, &direction.to_string(), sort),
        }),
        Directive::List(list) => list.into_iter().try_for_each(|item| match item {
            Directive::List(_) => Err(Error::criteria("`sort` is a list of attributes, not of lists")),
            item => self::directive(meta, item, sort),
        }),
    }
}

/// `name`, `name DESC`, and several of them between commas.
fn words(meta: &Meta, text: &str, sort: &mut Sort) -> Result<(), Error> {
    for part in text.split(',') {
        match part.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            [name] => add(meta, name, "ASC", sort)?,
            [name, direction] => add(meta, name, direction, sort)?,
            _ => return Err(Error::criteria(format!("`sort` is written as `name ASC`, not as {part:?}"))),
        }
    }
    Ok(())
}

fn add(meta: &Meta, name: &str, direction: &str, sort: &mut Sort) -> Result<(), Error> {
    let (at, _) = filterable(meta, name)?;
    let order = match direction.to_ascii_uppercase().as_str() {
        "ASC" | "1" => Order::Asc,
        "DESC" | "-1" => Order::Desc,
        _ => return Err(Error::criteria(format!("`sort` goes ASC or DESC, not {direction:?}"))),
    };
    if sort.iter().any(|(known, _)| *known == at) {
        return Err(Error::criteria(format!("`sort` names `{name}` twice")));
    }
    sort.push((at, order));
    Ok(())
}
