//! The parameters of a query: which records, in which order, and what of them.

mod filter;
mod sort;
mod text;

use sea_orm::{Condition, Order};

use self::text::Text;
use crate::{
    Compat, Error, Limits, Meta,
    meta::{Association, Field},
};

/// How many records a list has if nobody says.
pub(crate) const DEFAULT_LIMIT: u64 = 30;
/// How many identities a body lists at most for an association.
pub(crate) const MAX_LIMIT: u64 = 1000;

/// Which records, in which order, and what of them.
pub(crate) struct Criteria {
    pub(crate) filter: Condition,
    /// Positions of fields; the last is the primary key, so that pages do not overlap.
    pub(crate) sort: Vec<(usize, Order)>,
    pub(crate) limit: u64,
    pub(crate) skip: u64,
    /// How many records the associations of several parents lead to at most, in all.
    pub(crate) in_all: Option<u64>,
    pub(crate) shape: Shape,
}

/// What is told of each record.
#[derive(Default)]
pub(crate) struct Shape {
    /// Names of fields; all, if there is none.
    pub(crate) select: Option<Vec<&'static str>>,
    pub(crate) populate: Vec<&'static Association>,
    /// Whether the client named what to populate. What it did not name and may not see is left out.
    pub(crate) named: bool,
    /// How many records it is populated with at most, in all.
    pub(crate) max_populated: Option<u64>,
}

impl Criteria {
    /// Reads the query of a list.
    pub(crate) fn read(meta: &'static Meta, query: &str, compat: Compat, limits: &Limits) -> Result<Self, Error> {
        let text = Text::read(query, limits)?;
        let limit = text.number("limit")?.unwrap_or(DEFAULT_LIMIT.min(limits.records));
        if limit > limits.records {
            return Err(Error::criteria(format!("`limit` is at most {}", limits.records)));
        }
        Ok(Self {
            filter: filter::read(meta, &text, limits)?,
            sort: sort::read(meta, &text)?,
            limit,
            skip: text.number("skip")?.unwrap_or(0),
            in_all: None,
            shape: Shape::of(meta, &text, compat, limits)?,
        })
    }

    /// Reads the query of the list that an association leads to, which is populated with nothing.
    pub(crate) fn read_associated(
        meta: &'static Meta,
        query: &str,
        compat: Compat,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let mut criteria = Self::read(meta, query, compat, limits)?;
        let populate = std::mem::take(&mut criteria.shape.populate);
        if compat == Compat::Strict && !populate.is_empty() {
            return Err(Error::Populates("associated records cannot be populated in turn".into()));
        }
        Ok(criteria)
    }

    /// The first records that an association leads to, in the order of their keys.
    pub(crate) fn first(meta: &'static Meta) -> Self {
        Self {
            filter: Condition::all(),
            sort: sort::by_key(meta, Vec::new()),
            limit: DEFAULT_LIMIT,
            skip: 0,
            in_all: None,
            shape: Shape::default(),
        }
    }
}

impl Shape {
    /// Reads the query of one record.
    pub(crate) fn read(meta: &'static Meta, query: &str, compat: Compat, limits: &Limits) -> Result<Self, Error> {
        Self::of(meta, &Text::read(query, limits)?, compat, limits)
    }

    /// What the answer to a write tells: all associations in Sails' way, none in ours.
    pub(crate) fn written(meta: &'static Meta, compat: Compat) -> Self {
        let populate = match compat {
            Compat::Strict => Vec::new(),
            Compat::Sails => meta.associations.iter().filter(|association| meta.reads(association)).collect(),
        };
        Self { select: None, populate, named: false, max_populated: None }
    }

    fn of(meta: &'static Meta, text: &Text, compat: Compat, limits: &Limits) -> Result<Self, Error> {
        let select = match (text.list("select"), text.list("omit")) {
            (Some(_), Some(_)) if compat == Compat::Strict => {
                return Err(Error::criteria("`select` and `omit` exclude each other"));
            }
            (Some(names), _) => Some(selected(meta, &names, true)?),
            (None, Some(names)) => Some(selected(meta, &names, false)?),
            (None, None) => None,
        };
        let max_populated = Some(limits.populated);
        let populate = match text.list("populate") {
            None => return Ok(Self { select, max_populated, ..Self::written(meta, compat) }),
            Some(names) if names == ["false"] => Vec::new(),
            Some(names) => populated(meta, &names)?,
        };
        Ok(Self { select, populate, named: true, max_populated })
    }
}

/// The fields that are named, or those that are not; the primary key always stays.
fn selected(meta: &'static Meta, names: &[String], named: bool) -> Result<Vec<&'static str>, Error> {
    for name in names {
        visible(meta, name)?;
    }
    let stays = |field: &&Field| field.flags.primary_key || names.iter().any(|name| name == field.name) == named;
    Ok(meta.fields.iter().filter(|field| !field.flags.hidden).filter(stays).map(|field| field.name).collect())
}

fn populated(meta: &'static Meta, names: &[String]) -> Result<Vec<&'static Association>, Error> {
    let mut all: Vec<&Association> = Vec::new();
    for name in names {
        let association = meta
            .association(name)
            .filter(|association| meta.reads(association))
            .ok_or_else(|| Error::Populates(format!("`{name}` is no association of `{}`", meta.identity)))?;
        if all.iter().all(|known| known.name() != association.name()) {
            all.push(association);
        }
    }
    Ok(all)
}

/// A field that is told; one that is hidden is as if it were not there.
fn visible<'a>(meta: &'a Meta, name: &str) -> Result<(usize, &'a Field), Error> {
    let field = meta.field(name).filter(|(_, field)| !field.flags.hidden);
    field.ok_or_else(|| Error::criteria(format!("`{name}` is no attribute of `{}`", meta.identity)))
}

/// A field that records may be found and ordered by.
fn filterable<'a>(meta: &'a Meta, name: &str) -> Result<(usize, &'a Field), Error> {
    let (at, field) = visible(meta, name)?;
    if field.can_be_filtered() {
        return Ok((at, field));
    }
    Err(Error::criteria(format!("`{name}` of `{}` can be neither filtered nor sorted by", meta.identity)))
}
