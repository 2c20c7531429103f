//! A new record, with what its associations lead to.

use super::{
    Change,
    view::Lock,
    write::{Members, Writer},
};
use crate::{
    Compat, Error, Meta,
    error::{Problem, Violation},
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
            self.opens(meta, members.association, "add")?;
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
}

fn as_new_record(error: Error) -> Error {
    match error {
        Error::Values(problems) => Error::NewRecord(problems),
        Error::Violation(violation) => Error::Violation(Box::new(Violation { is_new: true, ..*violation })),
        error => error,
    }
}
