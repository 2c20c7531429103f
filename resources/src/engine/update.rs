//! Changes to a record.

use sea_orm::Value;

use super::{
    Change,
    write::{Members, Writer},
};
use crate::{
    Error, Meta,
    meta::{Row, Values},
};

impl Writer<'_> {
    pub(crate) async fn update(
        &mut self,
        meta: &'static Meta,
        id: &Value,
        values: &Values,
        members: &[Members],
    ) -> Result<Row, Error> {
        let before = self.record(meta, id).await?;
        let problems = self.check_owners(meta, values).await?;
        if !problems.is_empty() {
            return Err(Error::Values(problems));
        }
        let after = self.change(meta, &before, values).await?;
        let owners = self.owner_changes(meta, Some(&before), Some(&after)).await?;
        self.changes.extend(owners);
        self.changes.extend(Change::updated(meta, &before, &after));
        if members.is_empty() {
            return Ok(after);
        }
        for members in members {
            self.settle(meta, &after, members).await?;
        }
        // A member may be the record itself.
        self.again(meta, &after).await
    }
}
