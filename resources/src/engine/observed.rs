//! Changes that somebody else made, by what they left behind.
//!
//! The record whose association they concern is read as it is now: it may be another than right after the change, or gone.

use sea_orm::{DatabaseTransaction, Value, sea_query::sea_value_to_json_value};

use super::{Change, View, change::Membership, view::Lock, write::Writer};
use crate::{
    Compat, Error, Meta,
    meta::{Association, Row},
    policy::Viewers,
};

/// What became of a record.
pub(crate) async fn changes_of_row(
    transaction: &DatabaseTransaction,
    meta: &'static Meta,
    before: Option<&Row>,
    after: Option<&Row>,
) -> Result<Vec<Change>, Error> {
    let viewers = Viewers::default();
    let writer = Writer::new(transaction, &viewers, Compat::Strict);
    let of = async |before, after| writer.owner_changes(meta, before, after).await;
    let mut changes = Vec::new();
    match (before, after) {
        (Some(before), Some(after)) if before.id() == after.id() => {
            changes.extend(of(Some(before), Some(after)).await?);
            changes.extend(Change::updated(meta, before, after));
        }
        // With another identity it is another record.
        _ => {
            if let Some(before) = before {
                changes.push(Change::destroyed(meta, before));
                changes.extend(of(Some(before), None).await?);
            }
            if let Some(after) = after {
                changes.extend(of(None, Some(after)).await?);
                changes.push(Change::created(meta, after));
            }
        }
    }
    Ok(changes)
}

/// What a row of the table between two resources means to the record with the first of these keys.
pub(crate) async fn changes_of_membership(
    transaction: &DatabaseTransaction,
    meta: &'static Meta,
    association: &'static Association,
    (ours, theirs): (Value, Value),
    membership: Membership,
) -> Result<Option<Change>, Error> {
    let viewers = Viewers::default();
    let view = View { db: transaction, viewers: &viewers };
    let Some(parent) = view.any(meta, ours, Lock::No).await? else { return Ok(None) };
    let child = sea_value_to_json_value(&theirs);
    let member = view.any(association.target(), theirs, Lock::No).await?;
    let change = Change::membership(meta, &parent, association, child, membership);
    Ok(change.map(|change| Change { member, ..change }))
}
