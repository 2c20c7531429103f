//! An event: a value with a name, and what a subscriber receives of it.

use catamaran_pubsub::EncodedEvent;
use serde::{
    Serialize, Serializer,
    ser::{self, Impossible},
};
use serde_json::value::{RawValue, to_raw_value};

/// What is published to a channel; `#[derive(Event)]` implements it beside `Serialize`.
///
/// An event's name is its variant's in camelCase, or what `#[event(name = "..")]`, `#[serde(rename = "..")]` or
/// `#[serde(rename_all = "..")]` says, the first of them that is there. A subscriber receives what stands
/// *inside* the variant: fields as one object, a single unnamed field as its value, several as several arguments, nothing
/// as none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "expected a type that derives `Event`",
    note = "write `#[derive(catamaran::Event, serde::Serialize)]` above the enum"
)]
pub trait Event {
    #[doc(hidden)]
    fn message(&self) -> Result<EncodedEvent, EncodeError>;
}

/// An event that cannot be published: it cannot be written as JSON, such as one with a map whose keys are no strings, or
/// its name has a meaning of its own.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EncodeError(Unfit);

#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the event cannot be written as JSON: {0}")]
    Value(#[source] serde_json::Error),
    #[error("{0:?} is an event of Socket.IO, its clients or the runtime itself: publish it under another name")]
    Reserved(String),
    #[error("an event needs a name")]
    Nameless,
}

impl EncodeError {
    pub(crate) fn of_value(error: serde_json::Error) -> Self {
        Self(Unfit::Value(error))
    }
}

/// Refuses a name that a listener would take for an event of Socket.IO, its clients or the runtime, as the derive does.
pub(crate) fn check_name(name: &str) -> Result<(), EncodeError> {
    if name.is_empty() {
        return Err(EncodeError(Unfit::Nameless));
    }
    if name.starts_with('$') || catamaran_macros::reserved_events!().contains(&name) {
        return Err(EncodeError(Unfit::Reserved(name.chars().take(100).collect())));
    }
    Ok(())
}

/// The message of an event that has this name.
pub fn message<E: Serialize>(name: &str, event: &E) -> Result<EncodedEvent, EncodeError> {
    let arguments = event.serialize(Inside).map_err(EncodeError::of_value)?;
    Ok(EncodedEvent { name: name.to_owned(), arguments })
}

type Arguments = Vec<Box<RawValue>>;
type Error = serde_json::Error;

fn no_event<T>() -> Result<T, Error> {
    Err(ser::Error::custom("an event is an enum or a struct"))
}

/// Takes the name of a variant off, and the rest as arguments.
struct Inside;

macro_rules! no_events {
    ($($method:ident: $ty:ty;)*) => {
        $(fn $method(self, _: $ty) -> Result<Arguments, Error> { no_event() })*
    };
}

impl Serializer for Inside {
    type Ok = Arguments;
    type Error = Error;
    type SerializeSeq = Impossible<Arguments, Error>;
    type SerializeTuple = Impossible<Arguments, Error>;
    type SerializeTupleStruct = Several;
    type SerializeTupleVariant = Several;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    no_events! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_f32: f32;
        serialize_f64: f64;
        serialize_char: char;
        serialize_str: &str;
        serialize_bytes: &[u8];
    }

    fn serialize_none(self) -> Result<Arguments, Error> {
        no_event()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Arguments, Error> {
        no_event()
    }

    fn serialize_unit(self) -> Result<Arguments, Error> {
        no_event()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        no_event()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        no_event()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Arguments, Error> {
        Ok(Vec::new())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Arguments, Error> {
        Ok(Vec::new())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Arguments, Error> {
        Ok(vec![to_raw_value(value)?])
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Arguments, Error> {
        Ok(vec![to_raw_value(value)?])
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Several, Error> {
        Ok(Several(Vec::with_capacity(length)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Several, Error> {
        Ok(Several(Vec::with_capacity(length)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields, Error> {
        Ok(Fields::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Error> {
        Ok(Fields::default())
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Fields, Error> {
        Ok(Fields::default())
    }
}

/// Unnamed fields, each of them an argument.
struct Several(Arguments);

impl ser::SerializeTupleVariant for Several {
    type Ok = Arguments;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.0.push(to_raw_value(value)?);
        Ok(())
    }

    fn end(self) -> Result<Arguments, Error> {
        Ok(self.0)
    }
}

impl ser::SerializeTupleStruct for Several {
    type Ok = Arguments;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        ser::SerializeTupleVariant::serialize_field(self, value)
    }

    fn end(self) -> Result<Arguments, Error> {
        Ok(self.0)
    }
}

/// Named fields, together one argument.
#[derive(Default)]
struct Fields {
    /// The members of the object so far, as JSON text.
    text: String,
}

impl Fields {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let key = serde_json::to_string(key)?;
        if !key.starts_with('"') {
            return Err(ser::Error::custom("the key of a field must be a string"));
        }
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&key);
        self.text.push(':');
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.text.push_str(&serde_json::to_string(value)?);
        Ok(())
    }

    fn object(self) -> Result<Arguments, Error> {
        Ok(vec![RawValue::from_string(format!("{{{}}}", self.text))?])
    }
}

impl ser::SerializeStructVariant for Fields {
    type Ok = Arguments;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<Arguments, Error> {
        self.object()
    }
}

impl ser::SerializeStruct for Fields {
    type Ok = Arguments;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<Arguments, Error> {
        self.object()
    }
}

impl ser::SerializeMap for Fields {
    type Ok = Arguments;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<Arguments, Error> {
        self.object()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(rename_all_fields = "camelCase")]
    enum RoomEvent {
        Said {
            from_whom: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            at: Option<u32>,
        },
        Renamed(String),
        Moved(i32, i32),
        Closed,
    }

    #[derive(Serialize)]
    struct Tagged {
        #[serde(flatten)]
        rest: std::collections::BTreeMap<&'static str, u8>,
        own: bool,
    }

    fn frame(name: &str, event: &impl Serialize) -> String {
        serde_json::to_string(&message(name, event).unwrap().arguments).unwrap()
    }

    #[test]
    fn a_subscriber_receives_what_stands_inside_the_variant() {
        assert_eq!(frame("said", &RoomEvent::Said { from_whom: "ada".into(), at: None }), r#"[{"fromWhom":"ada"}]"#);
        assert_eq!(
            frame("said", &RoomEvent::Said { from_whom: "a\"".into(), at: Some(3) }),
            r#"[{"fromWhom":"a\"","at":3}]"#
        );
        assert_eq!(frame("renamed", &RoomEvent::Renamed("x".into())), r#"["x"]"#);
        assert_eq!(frame("moved", &RoomEvent::Moved(1, -2)), "[1,-2]");
        assert_eq!(frame("closed", &RoomEvent::Closed), "[]");
        assert_eq!(frame("tagged", &Tagged { rest: [("a", 1)].into(), own: true }), r#"[{"a":1,"own":true}]"#);
    }

    #[test]
    fn reserved_name_is_refused() {
        let names = ["", "$", "$left", "$drain", "$replay", "$anything", "$x"];
        for name in names.into_iter().chain(catamaran_macros::reserved_events!()) {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains("name"), "{name}: {error}");
        }
        for name in ["said", "connected", "Connect", "a$", "room:closed", "é"] {
            check_name(name).unwrap();
        }
        assert!(check_name(&format!("${}", "x".repeat(70_000))).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        assert!(message("x", &5).is_err());
        assert!(message("x", &vec![1]).is_err());
        let keys = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert!(message("x", &keys).is_err());
    }
}
