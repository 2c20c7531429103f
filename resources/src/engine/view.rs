//! Reading: what somebody sees of a database, or of a transaction.

use std::collections::HashMap;

use sea_orm::{
    Condition, ConnectionTrait, DbBackend, DbErr, Order, Value,
    sea_query::{Expr, SelectStatement},
};
use serde_json::Value as Json;

use super::{Shown, sql};
use crate::{
    Error, Meta,
    criteria::{Criteria, Shape},
    meta::{Association, Row, key_text},
    policy::Viewers,
    refusal::Cause,
};

/// A connection or a transaction, and who asks.
pub(crate) struct View<'a, C> {
    pub(crate) db: &'a C,
    pub(crate) viewers: &'a Viewers,
}

impl<C: ConnectionTrait> View<'_, C> {
    /// A list.
    pub(crate) async fn find(&self, meta: &'static Meta, criteria: &Criteria) -> Result<Vec<Shown>, Error> {
        let mut select = sql::select(meta);
        select
            .cond_where(Condition::all().add(self.scope(meta)?).add(criteria.filter.clone()))
            .limit(criteria.limit)
            .offset(criteria.skip);
        sql::order(&mut select, meta, &criteria.sort, self.backend());
        let rows = self.rows(meta, &select).await?;
        self.show(meta, rows, &criteria.shape).await
    }

    /// One record; none if the viewer does not see it.
    pub(crate) async fn find_one(&self, meta: &'static Meta, id: &str, shape: &Shape) -> Result<Shown, Error> {
        let row = self.seen(meta, identity(meta, id)?, Lock::No).await?.ok_or(Error::NotFound)?;
        self.show_one(meta, row, shape).await
    }

    /// A record that the viewer sees.
    pub(super) async fn seen(&self, meta: &'static Meta, id: Value, lock: Lock) -> Result<Option<Row>, Error> {
        let condition = Condition::all().add(sql::equals(meta, meta.key(), id)).add(self.scope(meta)?);
        Ok(self.matching(meta, condition, lock, None).await?.pop())
    }

    /// A record, whoever sees it: what a write has to know, and nobody is told who may not.
    pub(super) async fn any(&self, meta: &'static Meta, id: Value, lock: Lock) -> Result<Option<Row>, Error> {
        let condition = Condition::all().add(sql::equals(meta, meta.key(), id));
        Ok(self.matching(meta, condition, lock, None).await?.pop())
    }

    /// Records by the texts of their keys, whoever sees them.
    pub(super) async fn by_key(&self, meta: &'static Meta, condition: Expr) -> Result<HashMap<String, Row>, Error> {
        let found = self.matching(meta, Condition::all().add(condition), Lock::No, None).await?;
        Ok(found.into_iter().map(|row| (key_text(row.value(meta.key())), row)).collect())
    }

    pub(super) async fn matching(
        &self,
        meta: &'static Meta,
        condition: Condition,
        lock: Lock,
        limit: Option<u64>,
    ) -> Result<Vec<Row>, Error> {
        let mut select = sql::select(meta);
        select.cond_where(condition);
        if let Some(limit) = limit {
            sql::order(&mut select, meta, &[(meta.key(), Order::Asc)], self.backend());
            select.limit(limit);
        }
        if lock == Lock::Yes {
            sql::lock(&mut select, self.backend());
        }
        self.rows(meta, &select).await
    }

    pub(super) async fn rows(&self, meta: &'static Meta, select: &SelectStatement) -> Result<Vec<Row>, Error> {
        let rows = self.db.query_all(select).await.map_err(|error| incomparable(meta, error))?;
        Ok(rows.iter().map(|row| (meta.decode)(meta, row)).collect::<Result<_, _>>()?)
    }

    /// What the policy of a resource lets the viewer see.
    pub(super) fn scope(&self, meta: &Meta) -> Result<Condition, Error> {
        Ok((meta.scope)(self.viewers.of(meta)?))
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    /// Records as they go out, with what they are populated with.
    pub(super) async fn show(&self, meta: &'static Meta, rows: Vec<Row>, shape: &Shape) -> Result<Vec<Shown>, Error> {
        let mut populated = Vec::new();
        let mut left = shape.max_populated;
        let seen = |it: &&&'static Association| shape.named || self.viewers.are_let_in(it.target());
        for &association in shape.populate.iter().filter(seen) {
            // One more shows that there are too many.
            let in_all = left.map(|left| left.saturating_add(1));
            let criteria = Criteria { in_all, ..Criteria::first(association.target()) };
            let scope = self.scope(association.target())?;
            let found = self.associated(meta, association, &rows, &criteria, scope).await?;
            if let Some(left) = &mut left {
                let count: usize = found.values().map(Vec::len).sum();
                *left = left.checked_sub(count as u64).ok_or_else(|| {
                    let most = shape.max_populated.unwrap_or_default();
                    Error::Populates(format!("a list is populated with at most {most} records: use a smaller `limit`"))
                })?;
            }
            populated.push((association, found));
        }
        let show = |row: Row| {
            let with = populated.iter_mut().map(|(association, found)| {
                (*association, found.remove(&key_text(row.value(meta.key()))).unwrap_or_default())
            });
            Shown { populated: with.collect(), select: shape.select.clone(), row }
        };
        Ok(rows.into_iter().map(show).collect())
    }

    pub(super) async fn show_one(&self, meta: &'static Meta, row: Row, shape: &Shape) -> Result<Shown, Error> {
        self.show(meta, vec![row], shape).await?.pop().ok_or(Error::NotFound)
    }
}

/// Says which columns PostgreSQL could not compare.
fn incomparable(meta: &Meta, error: DbErr) -> Error {
    let json = meta.fields.iter().filter(|field| field.is_json() && field.can_be_filtered());
    let names: Vec<_> = json.map(|field| format!("`{}`", field.name)).collect();
    if Cause::of(&error) != Some(Cause::Incomparable) || names.is_empty() {
        return error.into();
    }
    let names = names.join(", ");
    Error::criteria(format!("this database cannot compare or sort JSON: {names} can only be compared with null"))
}

/// Whether what is read stays as it is until the transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    Yes,
    No,
}

/// The identity of a record, from a path or a body.
pub(crate) fn identity(meta: &Meta, id: impl Into<Json>) -> Result<Value, Error> {
    let (id, field) = (id.into(), &meta.fields[meta.key()]);
    let value = if id.is_null() { Err("null identifies nothing".into()) } else { field.parse(&id) };
    value.map_err(|wrong| Error::criteria(format!("`{}`: {wrong}", field.name)))
}
