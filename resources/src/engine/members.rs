//! Associations that lead to many: add, remove, replace.

use std::collections::HashSet;

use sea_orm::Value;

use super::{
    Change, Shown,
    change::Membership,
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
pub(super) struct Effects {
    /// The record as it is, or was, while it is a member.
    member: Row,
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
        self.opens(meta, association, "add")?;
        let (parent, child) = self.both(meta, id, association, child).await?;
        if let Some(effects) = self.attach(meta, &parent, association, &child).await? {
            self.tell(meta, &parent, association, &effects.member, Membership::Begins);
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
        self.opens(meta, association, "remove")?;
        let (parent, child) = self.both(meta, id, association, child).await?;
        if let Some(effects) = self.detach(meta, &parent, association, &child).await? {
            self.tell(meta, &parent, association, &effects.member, Membership::Ends);
            self.changes.extend(effects.child);
        }
        self.reply_with(meta, parent, association).await
    }

    /// Both ends of a link, which the viewer must see.
    async fn both(
        &self,
        meta: &'static Meta,
        id: &Value,
        association: &Association,
        child: &Value,
    ) -> Result<(Row, Row), Error> {
        let parent = self.record(meta, id).await?;
        let child = self.record(association.target(), child).await?;
        Ok((parent, child))
    }

    pub(super) async fn replace(&mut self, meta: &'static Meta, id: &Value, members: &Members) -> Result<Shown, Error> {
        let parent = self.record(meta, id).await?;
        self.settle(meta, &parent, members).await?;
        self.reply_with(meta, parent, members.association).await
    }

    /// Makes an association lead to these records and, of those that the viewer sees, to no others.
    pub(super) async fn settle(&mut self, meta: &'static Meta, parent: &Row, members: &Members) -> Result<(), Error> {
        let Members { association, ids } = members;
        self.opens(meta, association, "replace")?;
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
                self.tell(meta, parent, association, &effects.member, Membership::Begins);
                self.changes.extend(effects.child);
                stolen.extend(effects.stolen);
            }
        }
        self.changes.extend(stolen);
        for child in now.iter().filter(|row| !after.contains(&key(row))) {
            let id = child.value(target.key()).clone();
            let Some(child) = self.view.any(target, id, Lock::Yes).await? else { continue };
            if let Some(effects) = self.detach(meta, parent, association, &child).await? {
                self.tell(meta, parent, association, &effects.member, Membership::Ends);
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
            Link::Between { .. } => {
                let linked = self.link(meta, parent, association, child).await?;
                Ok(linked.then(|| mirrored(meta, parent, association, child, Membership::Begins)))
            }
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
        self.permit_link(meta, association, parent, child.id(), true)?;
        let (target, key) = (association.target(), parent.value(meta.key()));
        if key_text(child.value(at)) == key_text(key) {
            return Ok(None);
        }
        let former = self.owner(meta, child.value(at)).await?;
        if let Some(former) = &former {
            self.permit_link(meta, association, former, child.id(), false)?;
        }
        let after = self.change(target, child, &vec![(at, key.clone())]).await?;
        let stolen = former.and_then(|former| Change::member(meta, &former, association, child, Membership::Ends));
        Ok(Some(Effects { child: Change::updated(target, child, &after), stolen, member: after }))
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
                self.permit_link(meta, association, parent, child.id(), false)?;
                if key_text(child.value(*at)) != key_text(parent.value(meta.key())) {
                    return Ok(None);
                }
                let field = &target.fields[*at];
                let Some(null) = field.null() else {
                    return Err(Error::Values(vec![Problem::of(field.name, "it cannot be null")]));
                };
                let after = self.change(target, child, &vec![(*at, null)]).await?;
                let change = Change::updated(target, child, &after);
                Ok(Some(Effects { child: change, stolen: None, member: child.clone() }))
            }
            Link::Between { .. } => {
                let unlinked = self.unlink(meta, parent, association, child).await?;
                Ok(unlinked.then(|| mirrored(meta, parent, association, child, Membership::Ends)))
            }
        }
    }

    /// What a membership is to the parent.
    fn tell(
        &mut self,
        meta: &'static Meta,
        parent: &Row,
        association: &Association,
        member: &Row,
        membership: Membership,
    ) {
        self.changes.extend(Change::member(meta, parent, association, member, membership));
    }
}

/// What a membership by a table between is to the child.
fn mirrored(
    meta: &'static Meta,
    parent: &Row,
    association: &Association,
    child: &Row,
    membership: Membership,
) -> Effects {
    let inverse = meta.inverse(association);
    let told = inverse.and_then(|inverse| Change::member(association.target(), child, inverse, parent, membership));
    Effects { child: told, stolen: None, member: child.clone() }
}
