//! Values on their way between servers as the database has them: what serde makes of a type for clients may be less.

use sea_orm::{
    Value,
    sea_query::{ArrayType, ValueType},
};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::resource::Unreadable;

/// A value as JSON that [`read`] understands; `shown` is what serde makes of it, for the types that have no exact form.
pub(super) fn write(value: &Value, shown: &Json) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::TinyInt(value) => (*value).into(),
        Value::SmallInt(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::BigInt(value) => (*value).into(),
        Value::TinyUnsigned(value) => (*value).into(),
        Value::SmallUnsigned(value) => (*value).into(),
        Value::Unsigned(value) => (*value).into(),
        Value::BigUnsigned(value) => (*value).into(),
        // JSON has no NaN, and a reader may round.
        Value::Float(value) => value.map(|value| value.to_string()).into(),
        Value::Double(value) => value.map(|value| value.to_string()).into(),
        Value::String(value) => value.clone().into(),
        Value::Bytes(value) => value.clone().into(),
        // So null as JSON differs from null.
        Value::Json(value) => value.as_ref().map(|value| vec![(**value).clone()]).into(),
        _ => shown.clone(),
    }
}

/// The value that [`write`] had.
pub(crate) fn read<T: DeserializeOwned + ValueType>(json: Json) -> Result<T, Unreadable> {
    let exact = value(&T::array_type(), &json).and_then(|value| <T as ValueType>::try_from(value).ok());
    exact.map_or_else(|| serde_json::from_value(json), Ok)
}

fn value(kind: &ArrayType, json: &Json) -> Option<Value> {
    /// None if it does not fit, and null if it is.
    fn of<T>(json: &Json, read: impl FnOnce(&Json) -> Option<T>) -> Option<Option<T>> {
        if json.is_null() { Some(None) } else { read(json).map(Some) }
    }
    fn number<T: TryFrom<i64>>(json: &Json) -> Option<T> {
        T::try_from(json.as_i64()?).ok()
    }
    let text = |json: &Json| json.as_str().map(str::to_owned);
    Some(match kind {
        ArrayType::Bool => Value::Bool(of(json, Json::as_bool)?),
        ArrayType::TinyInt => Value::TinyInt(of(json, number)?),
        ArrayType::SmallInt => Value::SmallInt(of(json, number)?),
        ArrayType::Int => Value::Int(of(json, number)?),
        ArrayType::BigInt => Value::BigInt(of(json, number)?),
        ArrayType::TinyUnsigned => Value::TinyUnsigned(of(json, number)?),
        ArrayType::SmallUnsigned => Value::SmallUnsigned(of(json, number)?),
        ArrayType::Unsigned => Value::Unsigned(of(json, number)?),
        ArrayType::BigUnsigned => Value::BigUnsigned(of(json, Json::as_u64)?),
        ArrayType::Float => Value::Float(of(json, |json| json.as_str()?.parse().ok())?),
        ArrayType::Double => Value::Double(of(json, |json| json.as_str()?.parse().ok())?),
        ArrayType::String => Value::String(of(json, text)?),
        ArrayType::Bytes => Value::Bytes(of(json, |json| serde_json::from_value(json.clone()).ok())?),
        ArrayType::Json => {
            let value = of(json, |json| json.as_array().filter(|list| list.len() == 1).map(|list| list[0].clone()))?;
            Value::Json(value.map(Box::new))
        }
        _ => return None,
    })
}
