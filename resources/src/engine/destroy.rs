//! The end of a record, and what it means to those that were associated with it.

use sea_orm::{Condition, sea_query::ExprTrait};

use super::{Change, change::Membership, members::MAX_MEMBERS, sql, view::Lock, write::Writer};
use crate::{
    Error, Meta,
    criteria::Criteria,
    meta::{Association, Link, Row},
};

impl Writer<'_> {
    /// Ends a record. What was associated with it is changed by that, so the policies of these records are asked as well.
    pub(crate) async fn destroy(&mut self, meta: &'static Meta, row: &Row) -> Result<(), Error> {
        self.permit_delete(meta, row)?;
        self.changes.push(Change::destroyed(meta, row));
        let ended = self.changes.len();
        for association in &meta.associations {
            match meta.link(association) {
                Link::Own(_) => {}
                Link::Theirs(at) => self.release(meta, row, association, *at).await?,
                Link::Between { .. } => self.part(meta, row, association).await?,
            }
        }
        let owners = self.owner_changes(meta, Some(row), None).await?;
        self.changes.extend(owners);
        // A record may lead to itself: of one that is gone there is nothing else to say.
        let mut at = 0;
        self.changes.retain(|change| {
            at += 1;
            at <= ended || !std::ptr::eq(change.meta, meta) || change.id != *row.id()
        });
        self.delete(meta, row).await
    }

    /// Sets to null the keys that lead to a record, and tells of each.
    ///
    /// A key that may not be null is the database's to decide about. One that no request could change is not changed
    /// in this way either, so the record stays.
    async fn release(
        &mut self,
        meta: &'static Meta,
        row: &Row,
        association: &Association,
        at: usize,
    ) -> Result<(), Error> {
        let target = association.target();
        let Some(null) = target.fields[at].null() else { return Ok(()) };
        let mut led = Condition::all().add(sql::equals(target, at, row.value(meta.key()).clone()));
        if std::ptr::eq(meta, target) {
            led = led.add(sql::equals(meta, meta.key(), row.value(meta.key()).clone()).not());
        }
        if !target.updates(at) {
            return match self.view.matching(target, led, Lock::No, Some(1)).await?.is_empty() {
                true => Ok(()),
                false => Err(Error::Needed("other records lead to this one, by a key that cannot be changed".into())),
            };
        }
        let mut page = self.view.matching(target, led.clone(), Lock::Yes, Some(MAX_MEMBERS)).await?;
        while let Some(last) = page.last() {
            let key = target.fields[target.key()].save(last.value(target.key()).clone());
            let is_last = (page.len() as u64) < MAX_MEMBERS;
            let after_last = led.clone().add(sql::column(target, target.key()).gt(key));
            for (before, after) in self.change_all(target, page, (at, null.clone())).await? {
                self.changes.extend(Change::updated(target, &before, &after));
            }
            if is_last {
                break;
            }
            page = self.view.matching(target, after_last, Lock::Yes, Some(MAX_MEMBERS)).await?;
        }
        Ok(())
    }

    /// Ends the links of a record, and tells the others that they lead to it no longer.
    async fn part(&mut self, meta: &'static Meta, row: &Row, association: &Association) -> Result<(), Error> {
        let target = association.target();
        let mut criteria = Criteria { limit: MAX_MEMBERS, ..Criteria::first(target) };
        loop {
            let (everybody, parents) = (Condition::all(), std::slice::from_ref(row));
            let found = self.view.associated(meta, association, parents, &criteria, everybody).await?;
            let others: Vec<Row> = found.into_values().flatten().collect();
            for other in &others {
                self.permit_link_back(meta, association, row, other, false)?;
                if let Some(inverse) = meta.inverse(association) {
                    self.changes.extend(Change::member(target, other, inverse, row, Membership::Ends));
                }
            }
            if (others.len() as u64) < MAX_MEMBERS {
                break;
            }
            criteria.skip += MAX_MEMBERS;
        }
        self.unlink_all(meta, row, association).await
    }
}
