//! Who may read and write the records of a resource.

use std::{
    any::{Any, TypeId},
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use sea_orm::{Condition, EntityTrait};

use crate::{Error, Meta, resource::Tell};

/// Who may read and write the records of the entity `E`.
///
/// ```
/// use catamaran_resources::Policy;
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
/// pub struct OwnNotes;
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
///     fn can_write(user: &CurrentUser, note: &note::Model) -> bool {
///         note.author == user.id
///     }
/// }
/// ```
///
/// [`scope`](Self::scope) and [`can_read`](Self::can_read) say the same thing, once to the database and once about a
/// record in memory.
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
    type Viewer: Clone + Eq + Hash + Send + Sync + 'static;

    /// What the viewer sees, as a condition that every statement on the table gets.
    fn scope(viewer: &Self::Viewer) -> Condition;

    /// Whether the viewer sees this record.
    fn can_read(viewer: &Self::Viewer, record: &E::Model) -> bool;

    /// Whether the viewer may change a record that is like this, or to be like this.
    ///
    /// It is asked before and after each write, which is undone if either answer is no.
    fn can_write(viewer: &Self::Viewer, record: &E::Model) -> bool {
        Self::can_read(viewer, record)
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
