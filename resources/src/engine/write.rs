//! Writing: one transaction for each request, and what it changed.

use axum::http::StatusCode;
use catamaran::Socket;
use sea_orm::{DatabaseTransaction, Value, sea_query::sea_value_to_json_value};
use tokio::sync::oneshot;

use super::{
    Change, Shown, View,
    attempt::{Attempt, Ready},
    change::Membership,
    named::named,
    stripes::{Held, stripe},
    view::{Lock, identity},
};
use crate::{
    Compat, Error, Meta, Resources,
    criteria::Shape,
    error::Problem,
    meta::{Association, Link, Row, Values, key_text},
    policy::Viewers,
};

/// How often a write that met another is begun anew.
const MAX_ATTEMPTS: usize = 5;

/// What is to be written.
pub(crate) enum Work {
    Create { values: Values, members: Vec<Members> },
    Update { id: Value, values: Values, members: Vec<Members> },
    Destroy { id: Value },
    Add { id: Value, association: &'static Association, child: Value },
    Remove { id: Value, association: &'static Association, child: Value },
    Replace { id: Value, members: Members },
}

/// All that an association is to lead to.
pub(crate) struct Members {
    pub(crate) association: &'static Association,
    pub(crate) ids: Vec<Value>,
}

/// A write that is done.
#[derive(Debug)]
pub(crate) struct Written {
    /// The answer to the request.
    pub(crate) reply: Shown,
    pub(crate) changes: Changes,
}

/// What a write changed, in the order in which it is told.
///
/// As long as this lives nobody else writes these records, so hand the changes on before it is dropped.
#[derive(Debug)]
pub struct Changes {
    list: Vec<Change>,
    _held: Held,
}

impl Changes {
    pub(super) fn new(list: Vec<Change>, held: Held) -> Self {
        Self { list, _held: held }
    }

    /// The changes, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.list.iter()
    }
}

/// Carries out a write, and begins anew when another one is in its way. The socket by which it came hears nothing of it.
///
/// As long as it waits, nothing is written. So it ends then if its request does, whose end closes the channel.
pub(crate) async fn write(
    resources: &Resources,
    viewers: &Viewers,
    meta: &'static Meta,
    work: &Work,
    except: Option<&Socket>,
    request: &mut oneshot::Sender<()>,
) -> Result<Written, Error> {
    let mut wanted = work.stripes(meta);
    let mut number = 1;
    loop {
        let ready = async {
            let held = match number {
                MAX_ATTEMPTS => resources.stripes.hold_all().await,
                _ => resources.stripes.hold(wanted).await,
            };
            Ready::with(resources, held).await
        };
        let ready = tokio::select! {
            biased;
            ready = ready => ready,
            () = request.closed() => return Err(abandoned()),
        };
        let mut attempt = Attempt::begin(resources, ready, except).await?;
        if request.is_closed() {
            attempt.rollback().await?;
            return Err(abandoned());
        }
        let mut writer = Writer::new(&attempt.transaction, viewers, resources.compat);
        let outcome = writer.run(meta, work).await;
        let list = writer.changes;
        let touched: Vec<usize> = list.iter().filter_map(Change::stripe).collect();
        let (held, error) = match outcome {
            Ok(_) if !resources.stripes.extend(&mut attempt.held, &touched) => {
                wanted = [attempt.rollback().await?.stripes(), touched].concat();
                number += 1;
                continue;
            }
            Ok(reply) => match attempt.commit(meta, list).await {
                Ok(changes) => return Ok(Written { reply, changes }),
                Err(failed) => failed,
            },
            Err(error) => (attempt.rollback().await?, error),
        };
        if !error.is_retryable() || number == MAX_ATTEMPTS {
            return Err(named(error, &resources.db).await);
        }
        wanted = held.stripes();
        number += 1;
    }
}

/// Nobody reads it.
fn abandoned() -> Error {
    let message = "the request ended before its write began";
    Error::Own(catamaran::Error::new(StatusCode::SERVICE_UNAVAILABLE, message))
}

impl Work {
    /// The stripes of the records that the request names.
    fn stripes(&self, meta: &'static Meta) -> Vec<usize> {
        let own = |id: &Value| stripe(meta, &key_text(id));
        let other = |association: &Association, id: &Value| stripe(association.target(), &key_text(id));
        let all = |members: &Members| members.ids.iter().map(|id| other(members.association, id)).collect::<Vec<_>>();
        match self {
            Self::Create { values, members } => [owners(meta, values), members.iter().flat_map(all).collect()].concat(),
            Self::Update { id, values, members } => {
                [vec![own(id)], owners(meta, values), members.iter().flat_map(all).collect()].concat()
            }
            Self::Destroy { id } => vec![own(id)],
            Self::Add { id, association, child } | Self::Remove { id, association, child } => {
                vec![own(id), other(association, child)]
            }
            Self::Replace { id, members } => [vec![own(id)], all(members)].concat(),
        }
    }
}

/// The stripes of the records whose keys are among the values.
fn owners(meta: &'static Meta, values: &Values) -> Vec<usize> {
    let owners = meta.associations.iter().filter_map(|association| match meta.link(association) {
        Link::Own(at) => {
            let (_, value) = values.iter().find(|(position, _)| position == at)?;
            Some(stripe(association.target(), &key_text(value)))
        }
        _ => None,
    });
    owners.collect()
}

/// What writes in a transaction.
pub(crate) struct Writer<'a> {
    pub(super) view: View<'a, DatabaseTransaction>,
    pub(super) compat: Compat,
    pub(crate) changes: Vec<Change>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(db: &'a DatabaseTransaction, viewers: &'a Viewers, compat: Compat) -> Self {
        Self { view: View { db, viewers }, compat, changes: Vec::new() }
    }

    async fn run(&mut self, meta: &'static Meta, work: &Work) -> Result<Shown, Error> {
        match work {
            Work::Create { values, members } => {
                let row = self.create(meta, values, members).await?;
                self.reply(meta, &row).await
            }
            Work::Update { id, values, members } => {
                let row = self.update(meta, id, values, members).await?;
                self.reply(meta, &row).await
            }
            Work::Destroy { id } => {
                let row = self.record(meta, id).await?;
                let reply = self.reply(meta, &row).await?;
                self.destroy(meta, &row).await?;
                Ok(reply)
            }
            Work::Add { id, association, child } => self.add(meta, id, association, child).await,
            Work::Remove { id, association, child } => self.remove(meta, id, association, child).await,
            Work::Replace { id, members } => self.replace(meta, id, members).await,
        }
    }

    /// A record that the viewer sees, locked.
    pub(crate) async fn record(&self, meta: &'static Meta, id: &Value) -> Result<Row, Error> {
        self.view.seen(meta, id.clone(), Lock::Yes).await?.ok_or(Error::NotFound)
    }

    /// Reads a record again that was read in this transaction.
    pub(super) async fn again(&self, meta: &'static Meta, row: &Row) -> Result<Row, Error> {
        let id = row.value(meta.key()).clone();
        self.view.any(meta, id, Lock::No).await?.ok_or(Error::NotFound)
    }

    /// Refuses keys of records that the viewer does not see.
    pub(super) async fn check_owners(&self, meta: &'static Meta, values: &Values) -> Result<Vec<Problem>, Error> {
        let mut problems = Vec::new();
        for association in &meta.associations {
            let Link::Own(at) = meta.link(association) else { continue };
            let Some((_, value)) = values.iter().find(|(position, _)| position == at) else { continue };
            let key = sea_value_to_json_value(value);
            if key.is_null() {
                continue;
            }
            let target = association.target();
            let id = identity(target, key)?;
            if self.view.seen(target, id, Lock::No).await?.is_none() {
                let message = format!("there is no such {}", target.identity);
                problems.push(Problem::of(meta.fields[*at].name, message));
            }
        }
        Ok(problems)
    }

    /// What a new value of a key, or a key that is gone, means to the records that it led to and leads to.
    pub(super) async fn owner_changes(
        &self,
        meta: &'static Meta,
        before: Option<&Row>,
        after: Option<&Row>,
    ) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for association in &meta.associations {
            let Link::Own(at) = meta.link(association) else { continue };
            let Some(inverse) = meta.inverse(association) else { continue };
            let key = |row: Option<&Row>| row.map(|row| key_text(row.value(*at)));
            if key(before) == key(after) {
                continue;
            }
            for (row, membership) in [(before, Membership::Ends), (after, Membership::Begins)] {
                let Some(row) = row else { continue };
                if let Some(owner) = self.owner(association.target(), row.value(*at)).await? {
                    changes.extend(Change::member(association.target(), &owner, inverse, row, membership));
                }
            }
        }
        Ok(changes)
    }

    /// The record that a key leads to.
    pub(super) async fn owner(&self, target: &'static Meta, key: &Value) -> Result<Option<Row>, Error> {
        let key = sea_value_to_json_value(key);
        if key.is_null() {
            return Ok(None);
        }
        self.view.any(target, identity(target, key)?, Lock::No).await
    }

    /// The answer to a write on a record.
    pub(super) async fn reply(&self, meta: &'static Meta, row: &Row) -> Result<Shown, Error> {
        self.view.show_one(meta, row.clone(), &Shape::written(meta, self.compat)).await
    }

    /// The answer to a write on an association of a record.
    pub(super) async fn reply_with(
        &self,
        meta: &'static Meta,
        row: Row,
        association: &'static Association,
    ) -> Result<Shown, Error> {
        // A member may be the record itself.
        let row = self.again(meta, &row).await?;
        let mut shape = Shape::written(meta, self.compat);
        if self.compat == Compat::Strict && meta.reads(association) {
            shape.populate.push(association);
        }
        self.view.show_one(meta, row, &shape).await
    }
}
