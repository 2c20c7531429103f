//! Who may read and write the records of a resource.

use std::{
    any::{Any, TypeId},
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use sea_orm::{Condition, EntityTrait};
use serde_json::Value as Json;

use crate::{Error, Meta, resource::Tell};

/// Who may read and write the records of the entity `E`.
///
/// ```
/// use catamaran_resources::{Policy, Write};
/// use sea_orm::{Condition, entity::prelude::*};
/// # mod note {
/// #     use sea_orm::entity::prelude::*;
/// #     #[sea_orm::model]
/// #     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
/// #     #[sea_orm(table_name = "note")]
/// #     pub struct Model {
/// #         #[sea_orm(primary_key)]
/// #         pub id: i64,
/// #         pub public: bool,
/// #         pub author: i64,
/// #     }
/// #     impl ActiveModelBehavior for ActiveModel {}
/// # }
/// # #[derive(Clone, PartialEq, Eq, Hash)]
/// # pub struct CurrentUser { id: i64 }
///
/// /// Everybody reads public notes; the author reads and writes the own ones.
/// struct OwnNotes;
///
/// impl Policy<note::Entity> for OwnNotes {
///     type Viewer = CurrentUser;
///
///     fn scope(user: &CurrentUser) -> Condition {
///         Condition::any().add(note::Column::Public.eq(true)).add(note::Column::Author.eq(user.id))
///     }
///
///     fn can_read(user: &CurrentUser, note: &note::Model) -> bool {
///         note.public || note.author == user.id
///     }
///
///     fn can_write(user: &CurrentUser, write: Write<'_, note::Model>) -> bool {
///         let own = |note: &note::Model| note.author == user.id;
///         match write {
///             Write::Create(note) | Write::Delete(note) => own(note),
///             // The author stays the author.
///             Write::Update { from, to } => own(from) && own(to),
///             Write::Link { record, .. } => own(record),
///         }
///     }
/// }
/// ```
///
/// [`scope`](Self::scope) and [`can_read`](Self::can_read) say the same thing, once to the database and once about a
/// record in memory. [`can_write`](Self::can_write) has no default: reading never implies writing. [`Public`] allows
/// everything, and [`ReadOnly`] takes the right to write from another policy.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no policy of `{E}`",
    label = "does not implement `Policy<{E}>`",
    note = "a policy says who may read and write the records: `impl Policy<Entity> for {Self} {{ .. }}`",
    note = "a resource that is open to everybody says `policy = catamaran_resources::Public`"
)]
pub trait Policy<E: EntityTrait>: 'static {
    /// Who asks: an axum extractor for the application's state, so that it is the same over both transports.
    ///
    /// Its rejection is the answer of whom it does not let in. `()` is everybody, `Option<..>` also who has no login.
    ///
    /// Two requests of one user must give equal viewers: a socket follows a resource as one viewer, and what it asked for as
    /// another one, before a login or a logout, it follows no longer.
    type Viewer: Clone + Eq + Hash + Send + Sync + 'static;

    /// What the viewer sees, as a condition that every statement on the table gets.
    fn scope(viewer: &Self::Viewer) -> Condition;

    /// Whether the viewer sees this record.
    fn can_read(viewer: &Self::Viewer, record: &E::Model) -> bool;

    /// Whether the viewer may do this to a record.
    ///
    /// Each write asks the policy of every record that it changes, inside its transaction. If one of them refuses, the
    /// write is rolled back and answered with `403`.
    fn can_write(viewer: &Self::Viewer, write: Write<'_, E::Model>) -> bool;
}

/// A write of one record, as [`Policy::can_write`] is asked about it.
///
/// ```
/// use catamaran_resources::Write;
///
/// struct Pet {
///     owner: i64,
/// }
///
/// /// The owner alone, whatever it is: before and after.
/// fn owner_only(user: i64, write: Write<'_, Pet>) -> bool {
///     write.records().all(|pet| pet.owner == user)
/// }
///
/// let (mine, other) = (Pet { owner: 1 }, Pet { owner: 2 });
/// assert!(owner_only(1, Write::Create(&mine)));
/// assert!(!owner_only(1, Write::Update { from: &mine, to: &other }));
/// ```
#[derive(Debug)]
pub enum Write<'a, M> {
    /// The record is made, as it stands here: with its id and what the database adds.
    Create(&'a M),
    /// Columns of the record change. Keys of associations are columns: a member of a one-to-many association is an
    /// update of the member.
    Update {
        /// The record before.
        from: &'a M,
        /// The record after.
        to: &'a M,
    },
    /// The record is removed.
    Delete(&'a M),
    /// A to-many association gains or loses a member.
    ///
    /// A many-to-many association has a record at either end, and each is asked by the policy of its own resource.
    Link {
        /// The record whose association it is; its columns stay as they are.
        record: &'a M,
        /// The name of the association in this resource. If only the other resource has it, the name is qualified by
        /// that resource: `user.teams`.
        association: &'a str,
        /// The id of the record at the other end, as it is sent to clients.
        member: &'a Json,
        /// Whether the member is added; it is removed otherwise.
        added: bool,
    },
}

impl<M> Copy for Write<'_, M> {}

impl<M> Clone for Write<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, M> Write<'a, M> {
    /// Returns the record in each state that the write concerns: two states for an update, one for everything else.
    pub fn records(self) -> impl Iterator<Item = &'a M> {
        let (first, second) = match self {
            Self::Create(record) | Self::Delete(record) | Self::Link { record, .. } => (record, None),
            Self::Update { from, to } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    /// The same write of another view of the records; none if one of them has none.
    pub(crate) fn try_map<N>(self, view: impl Fn(&'a M) -> Option<&'a N>) -> Option<Write<'a, N>> {
        Some(match self {
            Self::Create(record) => Write::Create(view(record)?),
            Self::Update { from, to } => Write::Update { from: view(from)?, to: view(to)? },
            Self::Delete(record) => Write::Delete(view(record)?),
            Self::Link { record, association, member, added } => {
                Write::Link { record: view(record)?, association, member, added }
            }
        })
    }
}

/// The policy of a resource that is open to everybody, to read and to write.
#[derive(Debug)]
pub struct Public;

impl<E: EntityTrait> Policy<E> for Public {
    type Viewer = ();

    fn scope((): &()) -> Condition {
        Condition::all()
    }

    fn can_read((): &(), _: &E::Model) -> bool {
        true
    }

    fn can_write((): &(), _: Write<'_, E::Model>) -> bool {
        true
    }
}

/// The policy `P` without the right to write: `policy = ReadOnly<Public>`.
///
/// Requests read what `P` lets them read. Every write is refused, also one that comes through an association of another
/// resource. The application itself writes by [`Resources::db`](crate::Resources::db).
///
/// ```
/// pub mod country {
///     use catamaran_resources::{Public, ReadOnly, resource};
///     use sea_orm::entity::prelude::*;
///
///     #[resource(path = "/country", policy = ReadOnly<Public>, only = [find, find_one])]
///     #[sea_orm::model]
///     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
///     #[sea_orm(table_name = "country")]
///     pub struct Model {
///         #[sea_orm(primary_key)]
///         pub id: i64,
///         pub name: String,
///     }
///
///     impl ActiveModelBehavior for ActiveModel {}
/// }
/// ```
#[derive(Debug)]
pub struct ReadOnly<P>(PhantomData<P>);

impl<E: EntityTrait, P: Policy<E>> Policy<E> for ReadOnly<P> {
    type Viewer = P::Viewer;

    fn scope(viewer: &P::Viewer) -> Condition {
        P::scope(viewer)
    }

    fn can_read(viewer: &P::Viewer, record: &E::Model) -> bool {
        P::can_read(viewer, record)
    }

    fn can_write(_: &P::Viewer, _: Write<'_, E::Model>) -> bool {
        false
    }
}

/// Who asks, whatever type a policy has for it; two are equal if their types and values are.
#[derive(Clone)]
pub struct Viewer(Arc<dyn AnyViewer>);

trait AnyViewer: Any + Send + Sync {
    fn is(&self, other: &dyn Any) -> bool;
    fn feed(&self, state: &mut dyn Hasher);
}

impl<V: Eq + Hash + Send + Sync + 'static> AnyViewer for V {
    fn is(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }

    fn feed(&self, mut state: &mut dyn Hasher) {
        self.hash(&mut state);
    }
}

impl Viewer {
    pub(crate) fn new<V: Eq + Hash + Send + Sync + 'static>(viewer: V) -> Self {
        Self(Arc::new(viewer))
    }

    /// The viewer of a policy that does not ask who it is.
    pub(crate) fn everybody(meta: &Meta) -> Option<Self> {
        (meta.viewer == TypeId::of::<()>()).then(|| Self::new(()))
    }

    /// The viewer as the type that a policy has for it.
    pub(crate) fn get<V: 'static>(&self) -> Option<&V> {
        (&*self.0 as &dyn Any).downcast_ref()
    }
}

impl PartialEq for Viewer {
    fn eq(&self, other: &Self) -> bool {
        self.0.is(&*other.0)
    }
}

impl Eq for Viewer {}

impl Hash for Viewer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.feed(state);
    }
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Viewer(..)")
    }
}

/// Who asks in one request, for each type of viewer that the policies of its resources know.
///
/// A type that rejects the request is an error only once its policy is asked: a list of public records does not need
/// the login that their associations would.
#[derive(Default)]
pub struct Viewers(Vec<(TypeId, Known)>);

enum Known {
    As(Viewer),
    /// The rejection, until it is answered with.
    Not(Mutex<Option<Response>>),
}

impl Viewers {
    /// Reads who asks, in all these ways.
    pub(crate) async fn of_request<S>(ways: &[Tell<S>], parts: &mut Parts, state: &S) -> Self {
        let mut viewers = Self::default();
        for tell in ways {
            tell(&mut viewers, parts, state).await;
        }
        viewers
    }

    /// Adds the viewer of a type, unless it is known.
    pub async fn read<V, S>(&mut self, parts: &mut Parts, state: &S)
    where
        V: FromRequestParts<S> + Eq + Hash + Send + Sync + 'static,
        S: Send + Sync,
    {
        let id = TypeId::of::<V>();
        if self.0.iter().any(|(known, _)| *known == id) {
            return;
        }
        let known = match V::from_request_parts(parts, state).await {
            Ok(viewer) => Known::As(Viewer::new(viewer)),
            Err(rejection) => Known::Not(Mutex::new(Some(rejection.into_response()))),
        };
        self.0.push((id, known));
    }

    /// Whether the policy of a resource lets the request in at all.
    pub(crate) fn are_let_in(&self, meta: &Meta) -> bool {
        self.0.iter().any(|(id, known)| *id == meta.viewer && matches!(known, Known::As(_)))
    }

    /// The viewers that are known, each with its type.
    pub(crate) fn known(&self) -> impl Iterator<Item = (TypeId, &Viewer)> {
        self.0.iter().filter_map(|(id, known)| match known {
            Known::As(viewer) => Some((*id, viewer)),
            Known::Not(_) => None,
        })
    }

    /// The viewer that the policy of a resource asks for.
    pub(crate) fn of(&self, meta: &Meta) -> Result<&Viewer, Error> {
        match self.0.iter().find(|(id, _)| *id == meta.viewer) {
            Some((_, Known::As(viewer))) => Ok(viewer),
            Some((_, Known::Not(rejection))) => {
                let rejection = rejection.lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(rejection.map_or(Error::Forbidden, Error::refused))
            }
            None => Err(Error::Forbidden),
        }
    }
}
