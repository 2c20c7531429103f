//! The end of a record, and what it means to those that were associated with it.

use sea_orm::{
    Condition, ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};

use super::{Change, change::Membership, members::MAX_MEMBERS, sql, view::Lock, write::Writer};
use crate::{
    Error, Meta,
    criteria::Criteria,
    meta::{Association, Link, Row},
};

impl Writer<'_> {
    /// Ends a record that may be written.
    pub(crate) async fn destroy(&mut self, meta: &'static Meta, row: &Row) -> Result<(), Error> {
        self.changes.push(Change::destroyed(meta, row));
        for association in &meta.associations {
            match meta.link(association) {
                Link::Own(_) => {}
                Link::Theirs(at) => self.release(meta, row, association, *at).await?,
                Link::Between { table, ours, .. } => {
                    self.part(meta, row, association).await?;
                    let mut delete = Query::delete();
                    let ours = Expr::col(ours.clone()).eq(meta.fields[meta.key()].save(row.value(meta.key()).clone()));
                    delete.from_table(table.clone()).and_where(ours);
                    self.view.db.execute(&delete).await?;
                }
            }
        }
        let owners = self.owner_changes(meta, Some(row), None).await?;
        self.changes.extend(owners);
        let mut delete = Query::delete();
        delete.from_table(meta.table.clone()).and_where(sql::equals(meta, meta.key(), row.value(meta.key()).clone()));
        self.view.db.execute(&delete).await.map_err(|error| Error::written(meta, error))?;
        Ok(())
    }

    /// Sets to null the keys that lead to a record, and tells of the first of them; a key that may not be null is the
    /// database's to decide about.
    async fn release(
        &mut self,
        meta: &'static Meta,
        row: &Row,
        association: &Association,
        at: usize,
    ) -> Result<(), Error> {
        let target = association.target();
        let field = &target.fields[at];
        let Some(null) = field.null() else { return Ok(()) };
        let theirs = sql::equals(target, at, row.value(meta.key()).clone());
        let condition = Condition::all().add(theirs.clone());
        let children = self.view.matching(target, condition, Lock::Yes, Some(MAX_MEMBERS)).await?;
        let mut update = Query::update();
        update.table(target.table.clone()).value(Alias::new(field.column()), field.save(null)).and_where(theirs);
        self.view.db.execute(&update).await.map_err(|error| Error::written(target, error))?;
        for before in children {
            if let Some(after) = self.view.any(target, before.value(target.key()).clone(), Lock::No).await? {
                self.changes.push(Change::updated(target, &before, &after));
            }
        }
        Ok(())
    }

    /// Tells the first of those that share a table with a record that they lead to it no longer.
    async fn part(&mut self, meta: &'static Meta, row: &Row, association: &Association) -> Result<(), Error> {
        let Some(inverse) = meta.inverse(association) else { return Ok(()) };
        let criteria = Criteria { limit: MAX_MEMBERS, ..Criteria::first(association.target()) };
        let everybody = Condition::all();
        let parents = std::slice::from_ref(row);
        let found = self.view.associated(meta, association, parents, &criteria, everybody).await?;
        for other in found.into_values().flatten() {
            let (id, ends) = (row.id().clone(), Membership::Ends);
            self.changes.push(Change::member(association.target(), &other, inverse.name(), id, ends));
        }
        Ok(())
    }
}
