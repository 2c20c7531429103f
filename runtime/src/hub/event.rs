//! An event: a name and arguments, as Socket.IO sends them.

use serde::{Serialize, Serializer, ser};
use serde_json::{
    Error, Value,
    value::{RawValue, to_raw_value},
};

/// The arguments of an event, each as JSON text.
pub type Arguments = Vec<Box<RawValue>>;

/// What is published to a channel; `#[derive(Event)]` implements it for what is `Serialize`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "cannot be published",
    note = "write `#[derive(catamaran::Event, serde::Serialize)]` above `{Self}`"
)]
pub trait Event: Send {
    /// The name that clients listen for.
    fn name(&self) -> &str;

    /// What their listeners are called with.
    ///
    /// # Errors
    ///
    /// A value that has no JSON form, such as a map whose keys are not texts.
    fn arguments(&self) -> Result<Arguments, Error>;
}

/// The event of an [`Untyped`](super::Untyped) channel: its name, and its one argument.
impl Event for (String, Value) {
    fn name(&self) -> &str {
        &self.0
    }

    fn arguments(&self) -> Result<Arguments, Error> {
        Ok(vec![to_raw_value(&self.1)?])
    }
}

/// What serde writes inside a variant, or for a struct: fields are one object, a tuple is several arguments, a single
/// value is itself, and a unit is nothing.
pub fn arguments(event: &impl Serialize) -> Result<Arguments, Error> {
    event.serialize(Inside)
}

/// A serializer that leaves the outermost name away.
struct Inside;

fn one(value: &(impl Serialize + ?Sized)) -> Result<Arguments, Error> {
    Ok(vec![to_raw_value(value)?])
}

macro_rules! values {
    ($($method:ident: $ty:ty,)*) => {$(
        fn $method(self, value: $ty) -> Result<Arguments, Error> {
            one(&value)
        }
    )*};
}

impl Serializer for Inside {
    type Ok = Arguments;
    type Error = Error;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Object;
    type SerializeStruct = Object;
    type SerializeStructVariant = Object;

    values! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
    }

    fn serialize_none(self) -> Result<Arguments, Error> {
        one(&())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Arguments, Error> {
        one(value)
    }

    fn serialize_unit(self) -> Result<Arguments, Error> {
        Ok(Vec::new())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Arguments, Error> {
        Ok(Vec::new())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Arguments, Error> {
        Ok(Vec::new())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Arguments, Error> {
        one(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Arguments, Error> {
        one(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, Error> {
        Ok(List { items: Vec::new(), together: true })
    }

    fn serialize_tuple(self, _: usize) -> Result<List, Error> {
        Ok(List { items: Vec::new(), together: true })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List, Error> {
        Ok(List { items: Vec::new(), together: false })
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<List, Error> {
        Ok(List { items: Vec::new(), together: false })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object, Error> {
        Ok(Object::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object, Error> {
        Ok(Object::default())
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Object, Error> {
        Ok(Object::default())
    }
}

/// The items of a tuple, which are one argument each, or of a sequence, which is one argument as a whole.
struct List {
    items: Arguments,
    together: bool,
}

impl List {
    fn push(&mut self, item: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.items.push(to_raw_value(item)?);
        Ok(())
    }

    fn finish(self) -> Result<Arguments, Error> {
        if self.together { one(&self.items) } else { Ok(self.items) }
    }
}

macro_rules! lists {
    ($($name:ident: $method:ident,)*) => {$(
        impl ser::$name for List {
            type Ok = Arguments;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.push(item)
            }

            fn end(self) -> Result<Arguments, Error> {
                self.finish()
            }
        }
    )*};
}

lists! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

/// The fields of a struct, as the text between the braces.
#[derive(Default)]
struct Object(String);

impl Object {
    fn key(&mut self, key: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let key = serde_json::to_string(key)?;
        if !key.starts_with('"') {
            return Err(ser::Error::custom("the key of a map in an event must be a text"));
        }
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&key);
        Ok(())
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.0.push(':');
        self.0.push_str(&serde_json::to_string(value)?);
        Ok(())
    }

    fn finish(self) -> Result<Arguments, Error> {
        Ok(vec![RawValue::from_string(format!("{{{}}}", self.0))?])
    }
}

impl ser::SerializeMap for Object {
    type Ok = Arguments;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<Arguments, Error> {
        self.finish()
    }
}

macro_rules! objects {
    ($($name:ident,)*) => {$(
        impl ser::$name for Object {
            type Ok = Arguments;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
                self.key(key)?;
                self.value(value)
            }

            fn end(self) -> Result<Arguments, Error> {
                self.finish()
            }
        }
    )*};
}

objects! { SerializeStruct, SerializeStructVariant, }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Mixed {
        Unit,
        Newtype(Vec<u8>),
        Tuple(u8, &'static str),
        #[serde(rename_all = "camelCase")]
        Fields {
            first_name: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            age: Option<u8>,
        },
    }

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        more: BTreeMap<&'static str, bool>,
    }

    #[track_caller]
    fn assert_arguments(event: &impl Serialize, expected: &[&str]) {
        let arguments = arguments(event).unwrap();
        let texts: Vec<&str> = arguments.iter().map(|argument| argument.get()).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn the_payload_is_what_stands_inside_the_variant() {
        assert_arguments(&Mixed::Unit, &[]);
        assert_arguments(&Mixed::Newtype(vec![1, 2]), &["[1,2]"]);
        assert_arguments(&Mixed::Tuple(1, "a"), &["1", "\"a\""]);
        assert_arguments(&Mixed::Fields { first_name: "ada", age: None }, &[r#"{"firstName":"ada"}"#]);
        assert_arguments(&Mixed::Fields { first_name: "a\"b", age: Some(3) }, &[r#"{"firstName":"a\"b","age":3}"#]);
    }

    #[test]
    fn a_struct_is_its_own_payload() {
        assert_arguments(&Unit, &[]);
        assert_arguments(&Flat { id: 7, more: BTreeMap::from([("new", true)]) }, &[r#"{"id":7,"new":true}"#]);
    }

    #[test]
    fn a_key_that_is_no_text_is_an_error() {
        let error = arguments(&BTreeMap::from([((), 1)])).unwrap_err();
        assert_eq!(error.to_string(), "the key of a map in an event must be a text");
    }
}
