//! What triggers write down is read as it was.

use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel, Statement, TransactionTrait};
use serde_json::json;

use super::image;
use crate::{Resource, Resources, engine::Change};

#[allow(unreachable_pub)]
mod sample {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[crate::resource(path = "/sample", policy = crate::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "the \"sample's\"")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[sea_orm(column_name = "a.text's")]
        pub text: String,
        pub nothing: Option<String>,
        pub small: i16,
        pub float: f32,
        pub double: f64,
        pub whole: f64,
        pub yes: bool,
        pub bytes: Vec<u8>,
        pub json: Json,
        pub mood: Mood,
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

async fn written(resources: &Resources) -> Vec<Change> {
    let transaction = resources.db().begin().await.unwrap();
    let backend = transaction.get_database_backend();
    let rows = "select changed_table, message from catamaran_outbox order by seq";
    let mut changes = Vec::new();
    for row in transaction.query_all_raw(Statement::from_string(backend, rows)).await.unwrap() {
        let [table, message]: [String; 2] = ["changed_table", "message"].map(|name| row.try_get("", name).unwrap());
        let mut ended = image::Ended::since(0);
        let read = image::changes(&transaction, &[sample::Entity::meta()], &table, &message, &mut ended).await;
        changes.extend(read.unwrap());
    }
    changes
}

async fn a_row_of_any_columns_comes_through_whole(url: &str) {
    let resources = Resources::open(url).await.unwrap();
    resources.sync(|schema| schema.register(sample::Entity)).await.unwrap();
    let (resources, _relay) = resources.triggers([sample::Entity::meta()]).await.unwrap();
    let first = sample::Model {
        id: i64::MAX,
        text: "é😀\"\\\u{1}'".into(),
        nothing: None,
        small: -128,
        float: 0.1,
        double: 0.1 + 0.2,
        whole: 3.0,
        yes: true,
        bytes: vec![0, 255],
        json: json!({"deep": [{"er": null}]}),
        mood: sample::Mood::Bad,
    };
    let changed = sample::Model { nothing: Some("{}".into()), double: 1e-300, bytes: vec![], ..first.clone() };
    let last = sample::Model { id: i64::MIN, json: json!("text"), yes: false, ..changed.clone() };
    first.clone().into_active_model().insert(resources.db()).await.unwrap();
    changed.clone().into_active_model().reset_all().update(resources.db()).await.unwrap();
    last.clone().into_active_model().insert(resources.db()).await.unwrap();
    sample::Entity::delete_by_id(last.id).exec(resources.db()).await.unwrap();

    let changes = written(&resources).await;
    let model = |row: &Option<crate::Row>| row.as_ref().map(|row| row.model::<sample::Entity>().unwrap().clone());
    let models: Vec<_> = changes.iter().map(|change| [&change.before, &change.after].map(model)).collect();
    assert_eq!(
        models,
        [[None, Some(first.clone())], [Some(first), Some(changed)], [None, Some(last.clone())], [Some(last), None]]
    );
}

#[tokio::test]
async fn a_row_of_sqlite_comes_through_whole() {
    a_row_of_any_columns_comes_through_whole("sqlite::memory:").await;
}

#[cfg(feature = "backends")]
#[tokio::test]
async fn a_row_of_postgres_comes_through_whole() {
    let database = crate::engine::tests::postgres::Database::new().await;
    a_row_of_any_columns_comes_through_whole(&database.url).await;
}
