//! Associations that lead to many: add, remove, replace.

use std::collections::HashSet;

use sea_orm::{
    ConnectionTrait, Value,
    sea_query::{DynIden, Expr, ExprTrait, Query},
};

use super::{
    Change, Shown,
    change::Membership,
    sql,
    view::Lock,
    write::{Members, Writer},
};
use crate::{
    Compat, Error, Meta,
    criteria::{Criteria, MAX_LIMIT},
    error::Problem,
    meta::{Association, Link, Row, key_text},
};

/// How many members a write looks at.
pub(super) const MAX_MEMBERS: u64 = MAX_LIMIT;

/// What it means to others that a record became a member, or is one no longer.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) child: Option<Change>,
    /// What the record that it was a member of before loses.
    pub(super) stolen: Option<Change>,
}

impl Writer<'_> {
    pub(super) async fn add(
        &mut self,
        meta: &'static Meta,
        id: &Value,
        association: &'static Association,
        child: &Value,
    ) -> Result<Shown, Error> {
        let parent = self.writable(meta, id).await?;
        let target = association.target();
        let child = self.view.seen(target, child.clone(), Lock::Yes).await?.ok_or(Error::NotFound)?;
        if let Some(effects) = self.attach(meta, &parent, association, &child).await? {
            self.tell(meta, &parent, association, &child, Membership::Begins);
            self.changes.extend(effects.child.into_iter().chain(effects.stolen));
        }
        self.reply_with(meta, parent, association).await
    }

    pub(super) async fn remove(
        &mut self,
        meta: &'static Meta,
        id: &Value,
        association: &'static Association,
        child: &Value,
    ) -> Result<Shown, Error> {
        let parent = self.writable(meta, id).await?;
        let target = association.target();
        let child = self.view.seen(target, child.clone(), Lock::Yes).await?.ok_or(Error::NotFound)?;
        if let Some(effects) = self.detach(meta, &parent, association, &child).await? {
            self.tell(meta, &parent, association, &child, Membership::Ends);
            self.changes.extend(effects.child);
        }
        self.reply_with(meta, parent, association).await
    }

    pub(super) async fn replace(&mut self, meta: &'static Meta, id: &Value, members: &Members) -> Result<Shown, Error> {
        let parent = self.writable(meta, id).await?;
        self.settle(meta, &parent, members).await?;
        self.reply_with(meta, parent, members.association).await
    }

    /// Makes an association lead to these records and, of those that the viewer sees, to no others.
    pub(super) async fn settle(&mut self, meta: &'static Meta, parent: &Row, members: &Members) -> Result<(), Error> {
        let Members { association, ids } = members;
        let target = association.target();
        let now = self.current(meta, parent, association).await?;
        let key = |row: &Row| key_text(row.value(target.key()));
        let (before, after) =
            (now.iter().map(key).collect::<HashSet<_>>(), ids.iter().map(key_text).collect::<HashSet<_>>());

        let mut stolen = Vec::new();
        for id in ids.iter().filter(|id| !before.contains(&key_text(id))) {
            let child = match self.view.seen(target, id.clone(), Lock::Yes).await? {
                Some(child) => child,
                None if self.compat == Compat::Sails => continue,
                None => return Err(Error::NotFound),
            };
            if let Some(effects) = self.attach(meta, parent, association, &child).await? {
                self.tell(meta, parent, association, &child, Membership::Begins);
                self.changes.extend(effects.child);
                stolen.extend(effects.stolen);
            }
        }
        self.changes.extend(stolen);
        for child in now.iter().filter(|row| !after.contains(&key(row))) {
            let id = child.value(target.key()).clone();
            let Some(child) = self.view.any(target, id, Lock::Yes).await? else { continue };
            if let Some(effects) = self.detach(meta, parent, association, &child).await? {
                self.tell(meta, parent, association, &child, Membership::Ends);
                self.changes.extend(effects.child);
            }
        }
        Ok(())
    }

    /// The members that the viewer sees, all of them.
    async fn current(&self, meta: &'static Meta, parent: &Row, association: &Association) -> Result<Vec<Row>, Error> {
        let target = association.target();
        let criteria = Criteria { limit: MAX_MEMBERS + 1, ..Criteria::first(target) };
        let parents = std::slice::from_ref(parent);
        let found = self.view.associated(meta, association, parents, &criteria, self.view.scope(target)?).await?;
        let rows: Vec<Row> = found.into_values().flatten().collect();
        if rows.len() as u64 > MAX_MEMBERS {
            let message = format!("more than {MAX_MEMBERS} members cannot be replaced at once: add and remove them");
            return Err(Error::Values(vec![Problem::of(association.name(), message)]));
        }
        Ok(rows)
    }

    /// Makes a record a member; nothing if it is one.
    pub(super) async fn attach(
        &self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
    ) -> Result<Option<Effects>, Error> {
        match meta.link(association) {
            Link::Own(at) | Link::Theirs(at) => self.give(meta, parent, association, child, *at).await,
            link => self.join(meta, parent, association, child, link).await,
        }
    }

    /// Sets the key of a child, which may take it from another parent.
    async fn give(
        &self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
        at: usize,
    ) -> Result<Option<Effects>, Error> {
        let (target, key) = (association.target(), parent.value(meta.key()));
        if key_text(child.value(at)) == key_text(key) {
            return Ok(None);
        }
        self.permit(target, child)?;
        let after = self.set(target, child, &vec![(at, key.clone())]).await?;
        self.permit(target, &after)?;
        let former = self.owner(meta, Some(child.value(at))).await?;
        let stolen = former
            .map(|former| Change::member(meta, &former, association.name(), child.id().clone(), Membership::Ends));
        Ok(Some(Effects { child: Some(Change::updated(target, child, &after)), stolen }))
    }

    /// Adds a row to the table between. Both records are locked, so nobody else adds it.
    async fn join(
        &self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
        link: &Link,
    ) -> Result<Option<Effects>, Error> {
        let target = association.target();
        let Link::Between { table, ours, theirs, .. } = link else { return Ok(None) };
        let mut select = Query::select();
        select.expr(Expr::val(1)).from(table.clone()).and_where(between(meta, parent, target, child, link));
        if self.view.db.query_one(&select).await?.is_some() {
            return Ok(None);
        }
        let value = |meta: &Meta, row: &Row| meta.fields[meta.key()].save(row.value(meta.key()).clone());
        let mut insert = Query::insert();
        insert.into_table(table.clone()).columns([ours.clone(), theirs.clone()]);
        insert.values_panic([value(meta, parent), value(target, child)]);
        self.view.db.execute(&insert).await.map_err(|error| Error::written(meta, error))?;
        Ok(Some(self.mirrored(meta, parent, association, child, Membership::Begins)))
    }

    /// Ends a membership; nothing if there is none.
    async fn detach(
        &self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
    ) -> Result<Option<Effects>, Error> {
        let target = association.target();
        match meta.link(association) {
            Link::Own(at) | Link::Theirs(at) => {
                if key_text(child.value(*at)) != key_text(parent.value(meta.key())) {
                    return Ok(None);
                }
                let field = &target.fields[*at];
                let Some(null) = field.null() else {
                    return Err(Error::Values(vec![Problem::of(field.name, "it cannot be null")]));
                };
                self.permit(target, child)?;
                let after = self.set(target, child, &vec![(*at, null)]).await?;
                self.permit(target, &after)?;
                Ok(Some(Effects { child: Some(Change::updated(target, child, &after)), stolen: None }))
            }
            link @ Link::Between { table, .. } => {
                let mut delete = Query::delete();
                delete.from_table(table.clone()).and_where(between(meta, parent, target, child, link));
                if self.view.db.execute(&delete).await?.rows_affected() == 0 {
                    return Ok(None);
                }
                Ok(Some(self.mirrored(meta, parent, association, child, Membership::Ends)))
            }
        }
    }

    /// What a membership by a table between is to the child.
    fn mirrored(
        &self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
        membership: Membership,
    ) -> Effects {
        let told = meta.inverse(association).map(|inverse| {
            Change::member(association.target(), child, inverse.name(), parent.id().clone(), membership)
        });
        Effects { child: told, stolen: None }
    }

    /// What a membership is to the parent.
    fn tell(
        &mut self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        child: &Row,
        membership: Membership,
    ) {
        let id = child.id().clone();
        self.changes.push(Change::member(meta, parent, association.name(), id, membership));
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
