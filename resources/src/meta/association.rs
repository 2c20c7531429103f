//! The ways between resources, and where their keys are.

use std::{fmt, sync::OnceLock};

use sea_orm::{
    Identity, RelationDef,
    sea_query::{DynIden, TableRef},
};

use super::Meta;
use crate::{Compat, Resource};

/// A way from a resource to another, or to itself.
pub struct Association {
    name: &'static str,
    many: bool,
    access: Option<Access>,
    to: fn() -> RelationDef,
    via: Option<fn() -> RelationDef>,
    target: fn() -> &'static Meta,
    link: OnceLock<Link>,
}

impl Association {
    /// `to` leads to the other table, from the own or from the one between, to which `via` leads.
    pub(super) fn new<E: Resource>(
        name: &'static str,
        many: bool,
        to: fn() -> RelationDef,
        via: Option<fn() -> RelationDef>,
    ) -> Self {
        Self { name, many, access: None, to, via, target: E::meta, link: OnceLock::new() }
    }

    /// Requests neither read nor write it.
    pub fn hidden(&mut self) {
        self.access = Some(Access::Hidden);
    }

    /// Requests read it, whatever [`Compat`] says.
    pub fn read_only(&mut self) {
        self.access = Some(Access::ReadOnly);
    }

    /// Requests add members to it and remove them.
    pub fn writable(&mut self) {
        self.access = Some(Access::Writable);
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it leads to any number of records.
    pub(crate) fn is_many(&self) -> bool {
        self.many
    }

    /// What SeaORM knows of it.
    pub(crate) fn relation(&self) -> RelationDef {
        (self.to)()
    }

    pub(crate) fn target(&self) -> &'static Meta {
        (self.target)()
    }
}

/// What a model says that requests may do with an association.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Hidden,
    ReadOnly,
    Writable,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Where the keys of an association are.
pub(crate) enum Link {
    /// In the record: the position of the field.
    Own(usize),
    /// In the associated records: the position of their field.
    Theirs(usize),
    /// In a table between.
    Between { table: TableRef, name: DynIden, ours: DynIden, theirs: DynIden },
}

impl Meta {
    /// Where an association of this resource has its keys.
    ///
    /// # Panics
    ///
    /// If a key leads elsewhere than to a primary key.
    pub(crate) fn link<'a>(&'a self, association: &'a Association) -> &'a Link {
        association.link.get_or_init(|| self.resolve(association))
    }

    fn resolve(&self, association: &Association) -> Link {
        let (to, target) = ((association.to)(), association.target());
        let place = |meta: &Self, column: &Identity| {
            let column = only(column).to_string();
            meta.fields.iter().position(|field| field.column() == column)
        };
        let leads_to_key = |meta: &Self, column: &Identity| place(meta, column) == Some(meta.key());
        let link = match association.via {
            Some(via) => {
                let via = via();
                let fits = leads_to_key(self, &via.from_col) && leads_to_key(target, &to.to_col);
                let name = match &via.to_tbl {
                    TableRef::Table(table, _) => Some(table.1.clone()),
                    _ => None,
                };
                name.filter(|_| fits).map(|name| Link::Between {
                    table: via.to_tbl,
                    name,
                    ours: only(&via.to_col),
                    theirs: only(&to.from_col),
                })
            }
            // SeaORM calls the side that is referred to the owner.
            None if to.is_owner => {
                place(target, &to.to_col).filter(|_| leads_to_key(self, &to.from_col)).map(Link::Theirs)
            }
            None => place(self, &to.from_col).filter(|_| leads_to_key(target, &to.to_col)).map(Link::Own),
        };
        let (name, identity) = (association.name, self.identity);
        link.unwrap_or_else(|| panic!("the association `{name}` of `{identity}` does not lead to a primary key"))
    }

    /// Whether requests may know that an association is there. One whose key is hidden would tell the key.
    pub(crate) fn shows(&self, association: &Association) -> bool {
        let key_is_hidden = match self.link(association) {
            Link::Own(at) => self.fields[*at].flags.hidden,
            Link::Theirs(at) => association.target().fields[*at].flags.hidden,
            Link::Between { .. } => false,
        };
        association.access != Some(Access::Hidden) && !key_is_hidden
    }

    /// Whether requests may read what an association leads to: by its own request, populated, or in change messages.
    pub(crate) fn reads(&self, association: &Association) -> bool {
        self.does("populate") && self.shows(association)
    }

    /// Whether requests may do this to the members of an association: add, remove or replace.
    ///
    /// A member of a one-to-many association has the key, so it must be one that an update of the member could set.
    pub(crate) fn writes(&self, association: &Association, verb: &str, compat: Compat) -> bool {
        let open = match association.access {
            Some(access) => access == Access::Writable,
            None => compat == Compat::Sails,
        };
        let key_is_open = match self.link(association) {
            Link::Own(_) => false,
            Link::Theirs(at) => association.target().updates(*at),
            Link::Between { .. } => true,
        };
        association.many && open && key_is_open && self.does(verb) && self.shows(association)
    }

    /// Whether a request could update this field of a record.
    pub(crate) fn updates(&self, at: usize) -> bool {
        self.does("update") && self.fields[at].flags.update
    }

    /// The association of the other side that is the same one, if it has one.
    pub(crate) fn inverse(&self, association: &Association) -> Option<&'static Association> {
        let target = association.target();
        target.associations.iter().find(|other| {
            std::ptr::eq(other.target(), self)
                && match (self.link(association), target.link(other)) {
                    (Link::Own(one), Link::Theirs(two)) | (Link::Theirs(one), Link::Own(two)) => one == two,
                    (
                        Link::Between { name, ours, theirs, .. },
                        Link::Between { name: table, ours: mine, theirs: yours, .. },
                    ) => name == table && ours == yours && theirs == mine,
                    _ => false,
                }
        })
    }
}

/// The column of a key; one of several columns does not fit anywhere.
fn only(columns: &Identity) -> DynIden {
    match columns {
        Identity::Unary(column) => column.clone(),
        _ => "".into(),
    }
}
