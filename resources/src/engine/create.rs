//! A new record, with what its associations lead to.

use sea_orm::{
    ConnectionTrait, DbBackend,
    sea_query::{Alias, Query},
};

use super::{
    Change, sql,
    view::{Lock, identity},
    write::{Members, Writer},
};
use crate::{
    Compat, Error, Meta,
    error::Problem,
    meta::{Row, Values},
};

impl Writer<'_> {
    pub(crate) async fn create(
        &mut self,
        meta: &'static Meta,
        values: &Values,
        members: &[Members],
    ) -> Result<Row, Error> {
        let mut problems = self.check_owners(meta, values).await?;
        let mut children = Vec::new();
        for members in members {
            let target = members.association.target();
            for id in &members.ids {
                match self.view.seen(target, id.clone(), Lock::Yes).await? {
                    Some(child) => children.push((members.association, child)),
                    None if self.compat == Compat::Sails => {}
                    None => {
                        let message = format!("there is no such {}", target.identity);
                        problems.push(Problem::of(members.association.name(), message));
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(Error::NewRecord(problems));
        }
        let row = self.insert(meta, values).await.map_err(as_new_record)?;
        self.permit(meta, &row)?;

        let added = self.owner_changes(meta, None, Some(&row)).await?;
        self.changes.extend(added);
        let mut stolen = Vec::new();
        for (association, child) in &children {
            if let Some(effects) = self.attach(meta, &row, association, child).await? {
                self.changes.extend(effects.child);
                stolen.extend(effects.stolen);
            }
        }
        self.changes.push(Change::created(meta, &row));
        self.changes.extend(stolen);
        Ok(row)
    }

    async fn insert(&self, meta: &'static Meta, values: &Values) -> Result<Row, Error> {
        let mut insert = Query::insert();
        insert.into_table(meta.table.clone()).or_default_values();
        if !values.is_empty() {
            insert.columns(values.iter().map(|(at, _)| Alias::new(meta.fields[*at].column())));
            insert.values_panic(values.iter().map(|(at, value)| meta.fields[*at].save(value.clone())));
        }
        let db = self.view.db;
        let failed = |error| Error::written(meta, error);
        if db.get_database_backend() == DbBackend::Postgres {
            let row = db.query_one(insert.returning(sql::returning(meta))).await.map_err(failed)?;
            return Ok((meta.decode)(meta, &row.ok_or(Error::NotFound)?)?);
        }
        let inserted = db.execute(&insert).await.map_err(failed)?;
        let id = match values.iter().find(|(at, _)| *at == meta.key()) {
            Some((_, id)) => id.clone(),
            None => identity(meta, inserted.last_insert_id())?,
        };
        self.view.any(meta, id, Lock::No).await?.ok_or(Error::NotFound)
    }
}

fn as_new_record(error: Error) -> Error {
    match error {
        Error::Values(problems) => Error::NewRecord(problems),
        error => error,
    }
}
