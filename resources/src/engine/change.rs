//! What a write did, record by record.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value as Json;

use super::stripes::stripe;
use crate::{
    Meta,
    meta::{Association, Row, key_text},
};

/// What happened to one record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// The resource of the record.
    pub meta: &'static Meta,
    /// The identity of the record.
    pub id: Json,
    /// What happened.
    pub kind: Kind,
    /// The record before; none if there was none.
    pub before: Option<Row>,
    /// The record after; none if there is none.
    pub after: Option<Row>,
    /// The record at the other end of an association that gains or loses it, as it was while it was a member; none for
    /// other changes, and if that record is gone by the time when the change is read.
    pub member: Option<Row>,
}

/// What can happen to a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// It is new.
    Created,
    /// The values of these fields are others.
    Updated(Vec<&'static str>),
    /// It is gone.
    Destroyed,
    /// An association leads from it to one record more.
    AddedTo {
        /// The association.
        attribute: &'static str,
        /// The identity of the other record.
        child: Json,
    },
    /// An association leads from it to one record less.
    RemovedFrom {
        /// The association.
        attribute: &'static str,
        /// The identity of the other record.
        child: Json,
    },
}

impl Change {
    pub(super) fn created(meta: &'static Meta, row: &Row) -> Self {
        Self { meta, id: row.id().clone(), kind: Kind::Created, before: None, after: Some(row.clone()), member: None }
    }

    /// None if no value differs. If only hidden ones do, a viewer may still gain or lose the sight of the record.
    pub(super) fn updated(meta: &'static Meta, before: &Row, after: &Row) -> Option<Self> {
        let differs = |at: &usize| before.value(*at) != after.value(*at);
        let fields: Vec<_> = (0..meta.fields.len()).filter(differs).map(|at| &meta.fields[at]).collect();
        if fields.is_empty() {
            return None;
        }
        let changed = fields.iter().filter(|field| !field.flags.hidden).map(|field| field.name).collect();
        let (id, kind) = (after.id().clone(), Kind::Updated(changed));
        Some(Self { meta, id, kind, before: Some(before.clone()), after: Some(after.clone()), member: None })
    }

    pub(super) fn destroyed(meta: &'static Meta, row: &Row) -> Self {
        Self { meta, id: row.id().clone(), kind: Kind::Destroyed, before: Some(row.clone()), after: None, member: None }
    }

    /// A number that tells it from others of the same row, and stays when the record has changed since.
    pub(crate) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.meta.identity(), &self.id, &self.kind).hash(&mut hasher);
        hasher.finish()
    }

    /// The stripe of the record.
    pub(super) fn stripe(&self) -> Option<usize> {
        let row = self.before.as_ref().or(self.after.as_ref())?;
        Some(stripe(self.meta, &key_text(row.value(self.meta.key()))))
    }

    /// An association of a record that leads to another, or no longer does; none if requests do not read it. `member` is
    /// the other record as it was while it was a member.
    pub(super) fn member(
        meta: &'static Meta,
        row: &Row,
        association: &Association,
        member: &Row,
        membership: Membership,
    ) -> Option<Self> {
        let change = Self::membership(meta, row, association, member.id().clone(), membership)?;
        Some(Self { member: Some(member.clone()), ..change })
    }

    /// The same, of a record that may be gone.
    pub(super) fn membership(
        meta: &'static Meta,
        row: &Row,
        association: &Association,
        child: Json,
        membership: Membership,
    ) -> Option<Self> {
        let attribute = association.name();
        let kind = match membership {
            Membership::Begins => Kind::AddedTo { attribute, child },
            Membership::Ends => Kind::RemovedFrom { attribute, child },
        };
        let (id, row) = (row.id().clone(), Some(row.clone()));
        meta.reads(association).then(|| Self { meta, id, kind, before: row.clone(), after: row, member: None })
    }
}

/// Which way a membership goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    Begins,
    Ends,
}
