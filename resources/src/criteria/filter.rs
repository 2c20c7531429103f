//! `where`: the criteria language of Waterline, as a condition.
//!
//! Names of columns come from the resource alone; values are always bound.

use sea_orm::{
    Condition, Value,
    sea_query::{Expr, ExprTrait, LikeExpr},
};
use serde_json::{Map, Value as Json};

use super::{filterable, text::Text};
use crate::{Error, Limits, Meta, engine::sql, meta::Field};

/// The parameters that are no attributes.
const RESERVED: &[&str] = &["where", "limit", "skip", "sort", "select", "omit", "populate"];

pub(super) fn read(meta: &Meta, text: &Text, limits: &Limits) -> Result<Condition, Error> {
    let mut reader = Reader { meta, limits, conditions: 0, values: 0, pattern_bytes: 0, wildcards: 0 };
    match text.one("where")? {
        Some(json) => {
            let wrong = |error| Error::criteria(format!("`where` is no valid JSON: {error}"));
            reader.all(&serde_json::from_str(json).map_err(wrong)?, 0)
        }
        None => reader.equal(text),
    }
}

struct Reader<'a> {
    meta: &'a Meta,
    limits: &'a Limits,
    conditions: usize,
    values: usize,
    pattern_bytes: usize,
    wildcards: usize,
}

impl Reader<'_> {
    /// Without `where`, each other parameter is an attribute with its value, or its values.
    fn equal(&mut self, text: &Text) -> Result<Condition, Error> {
        let mut all = Condition::all();
        for (name, texts) in text.all().filter(|(name, _)| !RESERVED.contains(name)) {
            self.count()?;
            let (at, field) = filterable(self.meta, name)?;
            let condition = match texts {
                [text] if text.is_empty() && field.flags.nullable && !field.is_text() => Json::Null,
                [text] => text.as_str().into(),
                texts => texts.into(),
            };
            all = all.add(self.compare(at, &condition)?);
        }
        Ok(all)
    }

    /// `{"a": 1, "or": [..]}`: all of it.
    fn all(&mut self, json: &Json, depth: usize) -> Result<Condition, Error> {
        if depth > self.limits.depth {
            return Err(Error::criteria(format!("`where` is nested deeper than {} levels", self.limits.depth)));
        }
        let Json::Object(parts) = json else {
            return Err(Error::criteria("`where` is an object, e.g. {\"name\": \"Ann\"}"));
        };
        let mut all = Condition::all();
        for (name, json) in parts {
            self.count()?;
            all = all.add(match name.as_str() {
                "and" => self.list(Condition::all(), name, json, depth)?,
                // Nothing fits a choice of nothing.
                "or" if json.as_array().is_some_and(Vec::is_empty) => Condition::all().add(sql::never()),
                "or" => self.list(Condition::any(), name, json, depth)?,
                name => self.compare(filterable(self.meta, name)?.0, json)?,
            });
        }
        Ok(all)
    }

    fn list(&mut self, start: Condition, name: &str, json: &Json, depth: usize) -> Result<Condition, Error> {
        let Json::Array(parts) = json else {
            return Err(Error::criteria(format!("`{name}` is a list of criteria")));
        };
        parts.iter().try_fold(start, |all, part| Ok(all.add(self.all(part, depth + 1)?)))
    }

    fn count(&mut self) -> Result<(), Error> {
        self.conditions += 1;
        if self.conditions > self.limits.conditions {
            return Err(Error::criteria(format!("`where` has more than {} conditions", self.limits.conditions)));
        }
        Ok(())
    }

    /// Counts what a database has to compare each record with.
    fn count_pattern(&mut self, operator: &str, text: &str) -> Result<(), Error> {
        let Limits { pattern_bytes, wildcards, .. } = *self.limits;
        self.pattern_bytes += text.len();
        if self.pattern_bytes > pattern_bytes {
            return Err(Error::criteria(format!("the patterns in `where` have more than {pattern_bytes} bytes")));
        }
        self.wildcards += match operator {
            "contains" => 2,
            "like" => text.bytes().filter(|byte| matches!(byte, b'%' | b'_')).count(),
            _ => 1,
        };
        if self.wildcards > wildcards {
            return Err(Error::criteria(format!("the patterns in `where` have more than {wildcards} wildcards")));
        }
        Ok(())
    }

    /// What is said of one attribute: a value, values of which one fits, or operators.
    fn compare(&mut self, at: usize, json: &Json) -> Result<Condition, Error> {
        let operators = match json {
            Json::Object(operators) => operators,
            Json::Array(list) => return Ok(Condition::all().add(sql::among(self.meta, at, self.values(at, list)?))),
            json => return Ok(Condition::all().add(self.equals(at, json)?)),
        };
        if operators.is_empty() {
            let name = self.meta.fields[at].name;
            return Err(Error::criteria(format!("`{name}`: an operator is missing, e.g. {{\"<\": 5}}")));
        }
        self.operators(at, operators)
    }

    fn operators(&mut self, at: usize, operators: &Map<String, Json>) -> Result<Condition, Error> {
        let (meta, field) = (self.meta, &self.meta.fields[at]);
        let column = || sql::column(meta, at);
        let mut all = Condition::all();
        for (operator, json) in operators {
            self.count()?;
            all = all.add(match (operator.as_str(), json) {
                ("in", Json::Array(list)) => sql::among(meta, at, self.values(at, list)?),
                ("nin" | "!=" | "!", Json::Array(list)) => sql::not_among(meta, at, self.values(at, list)?),
                ("!=" | "!", Json::Null) => column().is_not_null(),
                ("!=" | "!", json) => column().ne(self.value(at, json)?),
                ("<", json) => column().lt(self.value(at, json)?),
                ("<=", json) => column().lte(self.value(at, json)?),
                (">", json) => column().gt(self.value(at, json)?),
                (">=", json) => column().gte(self.value(at, json)?),
                ("contains" | "startsWith" | "endsWith" | "like", Json::String(text)) if field.is_text() => {
                    self.count_pattern(operator, text)?;
                    column().like(LikeExpr::new(pattern(operator, text, field)?).escape('\\'))
                }
                _ => {
                    let message = format!("`{}`: the operator `{operator}` does not exist or does not fit", field.name);
                    return Err(Error::criteria(message));
                }
            });
        }
        Ok(all)
    }

    fn equals(&self, at: usize, json: &Json) -> Result<Expr, Error> {
        match json {
            Json::Null => Ok(sql::column(self.meta, at).is_null()),
            json => Ok(sql::column(self.meta, at).eq(self.value(at, json)?)),
        }
    }

    fn value(&self, at: usize, json: &Json) -> Result<Expr, Error> {
        Ok(self.meta.fields[at].save(self.plain(at, json)?))
    }

    fn values(&mut self, at: usize, list: &[Json]) -> Result<Vec<Value>, Error> {
        // Databases bound how many values a statement has.
        self.values += list.len();
        if self.values > self.limits.values {
            let message = format!("the lists in `where` have more than {} values", self.limits.values);
            return Err(Error::criteria(message));
        }
        list.iter().map(|json| self.plain(at, json)).collect()
    }

    fn plain(&self, at: usize, json: &Json) -> Result<Value, Error> {
        let field = &self.meta.fields[at];
        let value = match json {
            // By SQL nothing equals null, and nothing is smaller.
            Json::Null => Err("null can only be compared by itself, or by `!=`".into()),
            json => field.parse(json),
        };
        value.map_err(|wrong| Error::criteria(format!("`{}`: {wrong}", field.name)))
    }
}

/// The pattern of a text operator, in which only `like` has wildcards.
fn pattern(operator: &str, text: &str, field: &Field) -> Result<String, Error> {
    let wrong = |message| Err(Error::criteria(format!("`{}`: {message}", field.name)));
    if text.contains('\0') {
        return wrong("text cannot contain the character U+0000");
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            plain.push('\\');
        }
        plain.push(c);
    }
    Ok(match operator {
        "contains" => format!("%{plain}%"),
        "startsWith" => format!("{plain}%"),
        "endsWith" => format!("%{plain}"),
        _ if text.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 => {
            return wrong("a pattern cannot end with a `\\` that escapes nothing");
        }
        _ => text.to_owned(),
    })
}
