//! The one door of every write: each statement that changes a record or a link stands here, beside the question to the
//! policy of each record that it changes.

use std::borrow::Cow;

use sea_orm::{
    ConnectionTrait, DbBackend, Value,
    sea_query::{Alias, DynIden, Expr, ExprTrait, Query},
};
use serde_json::Value as Json;

use super::{
    sql,
    view::{Lock, identity},
    write::Writer,
};
use crate::{
    Error, Meta, Write,
    error::Violation,
    meta::{Association, Link, Presets, Row, Values, key_text},
};

impl Writer<'_> {
    /// Refuses a write that the policy of its record does not allow.
    fn permit(&self, meta: &Meta, write: Write<'_, Row>) -> Result<(), Error> {
        if meta.can_write(self.view.viewers.of(meta)?, write) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Refuses what requests may not do to an association: `add`, `remove` or `replace`.
    pub(super) fn opens(&self, meta: &Meta, association: &Association, verb: &str) -> Result<(), Error> {
        match (meta.writes(association, verb, self.compat), meta.shows(association)) {
            (true, _) => Ok(()),
            (false, true) => Err(Error::ReadOnly { identity: meta.identity, association: association.name() }),
            (false, false) => Err(Error::NotFound),
        }
    }

    /// The values with those that the server says beside them.
    fn preset(&self, meta: &Meta, values: &[(usize, Value)], presets: Presets) -> Result<Values, Error> {
        let preset = presets(self.view.viewers.of(meta)?).ok_or(Error::Forbidden)?;
        Ok([values, &preset].concat())
    }

    /// Makes a record.
    pub(super) async fn insert(&self, meta: &'static Meta, values: &Values) -> Result<Row, Error> {
        let row = self.insert_row(meta, &self.preset(meta, values, meta.on_create)?).await?;
        self.permit(meta, Write::Create(&row))?;
        Ok(row)
    }

    async fn insert_row(&self, meta: &'static Meta, values: &Values) -> Result<Row, Error> {
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

    /// Changes values of a record that was read in this transaction, and reads it again.
    pub(super) async fn change(&self, meta: &'static Meta, from: &Row, values: &Values) -> Result<Row, Error> {
        let changed = self.update_row(meta, from, values).await;
        // A viewer who may not write the record is not told what the database says of the values.
        let to = match &changed {
            Err(error) if error.is_about_values() => from,
            Ok(to) => to,
            Err(_) => return changed,
        };
        self.permit(meta, Write::Update { from, to })?;
        changed
    }

    async fn update_row(&self, meta: &'static Meta, row: &Row, values: &Values) -> Result<Row, Error> {
        let (db, id) = (self.view.db, row.value(meta.key()).clone());
        if !values.is_empty() {
            let mut update = Query::update();
            update.table(meta.table.clone()).and_where(sql::equals(meta, meta.key(), id.clone()));
            for (at, value) in self.preset(meta, values, meta.on_update)? {
                let field = &meta.fields[at];
                update.value(Alias::new(field.column()), field.save(value));
            }
            let failed = |error| Error::written(meta, error);
            if db.get_database_backend() == DbBackend::Postgres {
                let row = db.query_one(update.returning(sql::returning(meta))).await.map_err(failed)?;
                return Ok((meta.decode)(meta, &row.ok_or(Error::NotFound)?)?);
            }
            db.execute(&update).await.map_err(failed)?;
        }
        self.again(meta, row).await
    }

    /// Changes one value of records that were read in this transaction, and gives each before and after.
    pub(super) async fn change_all(
        &self,
        meta: &'static Meta,
        from: Vec<Row>,
        value: (usize, Value),
    ) -> Result<Vec<(Row, Row)>, Error> {
        if from.is_empty() {
            return Ok(Vec::new());
        }
        let key = meta.key();
        let among = || sql::among(meta, key, from.iter().map(|row| row.value(key).clone()).collect());
        let mut update = Query::update();
        update.table(meta.table.clone()).and_where(among());
        for (at, value) in self.preset(meta, &[value], meta.on_update)? {
            let field = &meta.fields[at];
            update.value(Alias::new(field.column()), field.save(value));
        }
        self.view.db.execute(&update).await.map_err(|error| Error::written(meta, error))?;
        let mut after = self.view.by_key(meta, among()).await?;
        let pairs = from.into_iter().filter_map(|from| Some((after.remove(&key_text(from.value(key)))?, from)));
        let pairs: Vec<(Row, Row)> = pairs.map(|(to, from)| (from, to)).collect();
        for (from, to) in &pairs {
            self.permit(meta, Write::Update { from, to })?;
        }
        Ok(pairs)
    }

    /// Refuses the end of a record before anything is done about it.
    pub(super) fn permit_delete(&self, meta: &Meta, row: &Row) -> Result<(), Error> {
        self.permit(meta, Write::Delete(row))
    }

    /// Removes a record whose end is [permitted](Self::permit_delete).
    pub(super) async fn delete(&self, meta: &'static Meta, row: &Row) -> Result<(), Error> {
        let key = row.value(meta.key());
        let mut delete = Query::delete();
        delete.from_table(meta.table.clone()).and_where(sql::equals(meta, meta.key(), key.clone()));
        let failed = |error| match Error::written(meta, error) {
            Error::Violation(violation) => {
                Error::Violation(Box::new(Violation { ended: Some(key.clone()), ..*violation }))
            }
            error => error,
        };
        self.view.db.execute(&delete).await.map_err(failed)?;
        Ok(())
    }

    /// Refuses a link at the end that has the association.
    pub(super) fn permit_link(
        &self,
        meta: &Meta,
        association: &Association,
        record: &Row,
        member: &Json,
        added: bool,
    ) -> Result<(), Error> {
        self.permit(meta, Write::Link { record, association: association.name(), member, added })
    }

    /// Refuses a link at the end that the association leads to; its resource may have no association that leads back.
    pub(super) fn permit_link_back(
        &self,
        meta: &Meta,
        association: &Association,
        parent: &Row,
        child: &Row,
        added: bool,
    ) -> Result<(), Error> {
        let name: Cow<'_, str> = match meta.inverse(association) {
            Some(inverse) => inverse.name().into(),
            None => format!("{}.{}", meta.identity, association.name()).into(),
        };
        let link = Write::Link { record: child, association: &name, member: parent.id(), added };
        self.permit(association.target(), link)
    }

    /// Adds a row to the table between two records; false if it is there. Both are locked, so nobody else adds it.
    pub(super) async fn link(
        &self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
    ) -> Result<bool, Error> {
        self.permit_link(meta, association, parent, child.id(), true)?;
        self.permit_link_back(meta, association, parent, child, true)?;
        let (target, link) = (association.target(), meta.link(association));
        let Link::Between { table, ours, theirs, .. } = link else { return Ok(false) };
        let mut select = Query::select();
        select.expr(Expr::val(1)).from(table.clone()).and_where(between(meta, parent, target, child, link));
        if self.view.db.query_one(&select).await?.is_some() {
            return Ok(false);
        }
        let value = |meta: &Meta, row: &Row| meta.fields[meta.key()].save(row.value(meta.key()).clone());
        let mut insert = Query::insert();
        insert.into_table(table.clone()).columns([ours.clone(), theirs.clone()]);
        insert.values_panic([value(meta, parent), value(target, child)]);
        self.view.db.execute(&insert).await.map_err(|error| Error::written(meta, error))?;
        Ok(true)
    }

    /// Removes the row of the table between two records; false if there is none.
    pub(super) async fn unlink(
        &self,
        meta: &Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
    ) -> Result<bool, Error> {
        self.permit_link(meta, association, parent, child.id(), false)?;
        self.permit_link_back(meta, association, parent, child, false)?;
        let (target, link) = (association.target(), meta.link(association));
        let Link::Between { table, .. } = link else { return Ok(false) };
        let mut delete = Query::delete();
        delete.from_table(table.clone()).and_where(between(meta, parent, target, child, link));
        Ok(self.view.db.execute(&delete).await?.rows_affected() > 0)
    }

    /// Removes all rows of the table between that lead from a record, each of which was permitted at its other end.
    pub(super) async fn unlink_all(&self, meta: &Meta, row: &Row, association: &Association) -> Result<(), Error> {
        let Link::Between { table, ours, .. } = meta.link(association) else { return Ok(()) };
        let key = meta.fields[meta.key()].save(row.value(meta.key()).clone());
        let mut delete = Query::delete();
        delete.from_table(table.clone()).and_where(Expr::col(ours.clone()).eq(key));
        self.view.db.execute(&delete).await?;
        Ok(())
    }
}

/// The row of the table between that joins two records.
fn between(meta: &Meta, parent: &Row, target: &Meta, child: &Row, link: &Link) -> Expr {
    let Link::Between { name, ours, theirs, .. } = link else { return sql::never() };
    let is = |column: &DynIden, meta: &Meta, row: &Row| {
        let key = meta.key();
        Expr::col((name.clone(), column.clone())).eq(meta.fields[key].save(row.value(key).clone()))
    };
    is(ours, meta, parent).and(is(theirs, target, child))
}
