//! A change survives its way to another server, whatever its columns are.

use catamaran::__resources::{EncodedEvent, FilterInput};
use serde_json::json;

use super::transfer;
use crate::{
    Meta, Resource,
    engine::{Change, Kind},
    meta::Row,
};

#[allow(unreachable_pub)]
mod sample {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[crate::resource(path = "/sample", policy = crate::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sample")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub text: String,
        pub nothing: Option<String>,
        #[field(hidden)]
        pub secret: String,
        pub small: i8,
        pub large: u32,
        pub float: f32,
        pub double: f64,
        pub yes: bool,
        pub bytes: Vec<u8>,
        pub json: Json,
        pub mood: Mood,
        /// Neither null nor not a number is in JSON.
        pub nan: f64,
        pub maybe: Option<Json>,
        pub token: Redacted,
    }

    /// Serde makes of it less than it is.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveValueType, Deserialize)]
    pub struct Redacted(pub String);

    impl Serialize for Redacted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_none()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}

    #[derive(Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
    #[sea_orm(rs_type = "i32", db_type = "Integer")]
    pub enum Mood {
        #[sea_orm(num_value = 1)]
        Good,
        #[sea_orm(num_value = 2)]
        Bad,
    }
}

fn meta() -> &'static Meta {
    sample::Entity::meta()
}

fn sample(id: i64) -> sample::Model {
    sample::Model {
        id,
        text: "é😀\"\\\u{1}".into(),
        nothing: None,
        secret: "s3cret".into(),
        small: -128,
        large: u32::MAX,
        float: 0.1,
        double: 1e-300,
        yes: true,
        bytes: vec![0, 255],
        json: json!({"deep": [{"er": null}]}),
        mood: sample::Mood::Bad,
        nan: f64::INFINITY,
        maybe: Some(json!(null)),
        token: sample::Redacted("t0ken".into()),
    }
}

fn travelled(change: &Change) -> Option<Change> {
    let message = EncodedEvent::new("sample", transfer::write(change));
    transfer::read(meta(), &FilterInput { id: (0, 0), message: &message, missed: false })
}

#[test]
fn a_record_of_any_columns_comes_through_whole() {
    let [before, after] = [sample(1), sample(i64::MAX)];
    let row = |model: &sample::Model| Row::of::<sample::Entity>(meta(), model.clone());
    let (row_before, row_after) = (row(&before), row(&after));
    let change = Change {
        meta: meta(),
        id: json!(1),
        kind: Kind::Updated(vec!["text", "mood"]),
        before: Some(row_before.clone()),
        after: Some(row_after.clone()),
        member: None,
    };
    let come = travelled(&change).unwrap();
    assert_eq!((&come.id, &come.kind), (&change.id, &change.kind));
    for (had, came, model) in [(row_before, come.before.unwrap(), before), (row_after, come.after.unwrap(), after)] {
        assert!(had.told().eq(came.told()));
        assert!((0..meta().fields.len()).all(|at| had.value(at) == came.value(at)));
        assert_eq!(came.model::<sample::Entity>(), Some(&model));
    }
}

#[test]
fn each_kind_comes_through() {
    let row = Row::of::<sample::Entity>(meta(), sample(1));
    for (kind, before, after) in [(Kind::Created, None, Some(row.clone())), (Kind::Destroyed, Some(row), None)] {
        let change = Change { meta: meta(), id: json!(1), kind: kind.clone(), before, after, member: None };
        let come = travelled(&change).unwrap();
        assert_eq!(come.kind, kind);
        assert_eq!((come.before.is_some(), come.after.is_some()), (change.before.is_some(), change.after.is_some()));
    }
}

#[test]
fn unreadable_column_is_named() {
    let mut columns = Row::of::<sample::Entity>(meta(), sample(1)).whole();
    columns.insert("large".into(), json!("s3cret"));
    assert_eq!(meta().row_of(columns).unwrap_err().to_string(), "column `large` is no value of its type");
}

#[test]
fn what_has_other_columns_is_not_told() {
    let row = Row::of::<sample::Entity>(meta(), sample(1));
    let change =
        Change { meta: meta(), id: json!(1), kind: Kind::Created, before: None, after: Some(row), member: None };
    let text = transfer::write(&change).get().replace("\"small\"", "\"smaller\"");
    let message = EncodedEvent::new("sample", serde_json::value::RawValue::from_string(text).unwrap());
    assert!(transfer::read(meta(), &FilterInput { id: (0, 0), message: &message, missed: false }).is_none());
}

/// Notes have a viewer of their own, and users are open to everybody.
#[tokio::test]
async fn gate_that_does_not_know_the_viewer_names_no_member() {
    use catamaran::__resources::EventFilter;
    use std::sync::Arc;

    use super::gate::{Changes, Follow};
    use crate::{engine::tests::viewers_of, policy::Viewers};

    let (user, note) = crate::engine::tests::user_with_note();
    let change = Change {
        meta: user.meta(),
        id: json!(1),
        kind: Kind::AddedTo { attribute: "notes", child: json!("a") },
        before: Some(user.clone()),
        after: Some(user.clone()),
        member: Some(note),
    };
    let gate = |viewers: &Viewers| {
        let gate = Follow::new(user.meta(), viewers, Arc::<Changes>::default()).ok().unwrap();
        gate.state().follow("1".to_owned());
        gate
    };
    let message = EncodedEvent::new("user", transfer::write(&change));
    let event = FilterInput { id: (0, 0), message: &message, missed: false };
    let [knows_nobody, knows_ann, knows_bob] = [None, Some(1), Some(2)];
    let knows_nobody = gate(&viewers_of(knows_nobody).await);
    assert!(knows_nobody.pass(&event).is_none());
    assert!(gate(&viewers_of(knows_bob).await).pass(&event).is_none());
    let knows_ann = gate(&viewers_of(knows_ann).await);
    assert!(knows_ann.pass(&event).is_some());
    // The policy of users knows one viewer, that of notes does not: they are told apart.
    assert!(!knows_nobody.same_viewer(&knows_ann) && !knows_ann.same_viewer(&knows_nobody));
    assert!(knows_ann.same_viewer(&gate(&viewers_of(Some(1)).await)));
    knows_ann.widen(&knows_ann);
}

#[test]
fn not_a_number_comes_through() {
    let model = sample::Model { nan: f64::NAN, ..sample(1) };
    let row = Row::of::<sample::Entity>(meta(), model);
    let change =
        Change { meta: meta(), id: json!(1), kind: Kind::Created, before: None, after: Some(row), member: None };
    let after = travelled(&change).unwrap().after.unwrap();
    assert!(after.model::<sample::Entity>().unwrap().nan.is_nan());
    assert_eq!(after.told().find(|(name, _)| *name == "token").unwrap().1, &json!(null));
}
