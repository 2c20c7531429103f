//! Populating: the records that an association leads to, for any number of parents by one statement.

use std::collections::HashMap;

use sea_orm::{
    Condition, ConnectionTrait, Order, Value,
    sea_query::{
        Alias, Asterisk, Expr, ExprTrait, Func, OverStatement, Query, SelectStatement, WindowStatement,
        sea_value_to_json_value,
    },
};

use super::{Shown, View, sql, view::Lock};
use crate::{
    Error, Meta,
    criteria::Criteria,
    meta::{Association, Link, Row, key_text},
};

const PARENT: &str = "catamaran_parent";
const PLACE: &str = "catamaran_place";

/// Associated records by the keys of their parents.
type Associated = HashMap<String, Vec<Row>>;

impl<C: ConnectionTrait> View<'_, C> {
    /// The records that one association of one record leads to.
    pub(crate) async fn populate(
        &self,
        meta: &'static Meta,
        id: Value,
        association: &'static Association,
        criteria: &Criteria,
    ) -> Result<Vec<Shown>, Error> {
        let parent = self.seen(meta, id, Lock::No).await?.ok_or(Error::NotFound)?;
        let scope = self.scope(association.target())?;
        let found = self.associated(meta, association, std::slice::from_ref(&parent), criteria, scope).await?;
        let rows: Vec<Row> = found.into_values().flatten().collect();
        self.show(association.target(), rows, &criteria.shape).await
    }

    /// The records that the association leads to from each parent, as many of each as the criteria say.
    pub(super) async fn associated(
        &self,
        meta: &'static Meta,
        association: &Association,
        parents: &[Row],
        criteria: &Criteria,
        scope: Condition,
    ) -> Result<Associated, Error> {
        if parents.is_empty() {
            return Ok(Associated::new());
        }
        match meta.link(association) {
            Link::Own(at) => self.owners(meta, association.target(), *at, parents, criteria, scope).await,
            link => self.members(meta, association.target(), link, parents, criteria, scope).await,
        }
    }

    /// Records that parents hold the keys of.
    async fn owners(
        &self,
        meta: &Meta,
        target: &'static Meta,
        at: usize,
        parents: &[Row],
        criteria: &Criteria,
        scope: Condition,
    ) -> Result<Associated, Error> {
        let key = &target.fields[target.key()];
        // The value has the type of the parent's field, which may be `Option`.
        let ids = parents.iter().filter_map(|row| key.parse(&sea_value_to_json_value(row.value(at))).ok());
        let mut ids: Vec<Value> = ids.collect();
        ids.dedup();
        let condition =
            Condition::all().add(sql::among(target, target.key(), ids)).add(scope).add(criteria.filter.clone());
        let found = self.matching(target, condition, Lock::No, None).await?;
        let by_key: HashMap<_, _> = found.into_iter().map(|row| (key_text(row.value(target.key())), row)).collect();
        let owner = |parent: &Row| by_key.get(&key_text(parent.value(at))).cloned();
        let parents = parents.iter().map(|row| (key_text(row.value(meta.key())), owner(row).into_iter().collect()));
        Ok(parents.collect())
    }

    /// Records that hold the keys of parents, or share a table with them: numbered for each parent, since a limit for
    /// each is none for all.
    async fn members(
        &self,
        meta: &Meta,
        target: &'static Meta,
        link: &Link,
        parents: &[Row],
        criteria: &Criteria,
        scope: Condition,
    ) -> Result<Associated, Error> {
        let key = &meta.fields[meta.key()];
        let ids = parents.iter().map(|row| key.save(row.value(meta.key()).clone()));
        let (mut select, parent) = joined(target, link);
        select
            .cond_where(Condition::all().add(parent.clone().is_in(ids)).add(scope).add(criteria.filter.clone()))
            .expr_as(key.load(parent.clone()), Alias::new(PARENT));
        let mut place = WindowStatement::new();
        place.add_partition_by(parent);
        sql::order(&mut place, target, &criteria.sort, self.backend());
        select.expr_window_as(Func::cust(Alias::new("ROW_NUMBER")), place, Alias::new(PLACE));

        // The places are signed numbers.
        let [skip, limit] = [criteria.skip, criteria.limit].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let place = || Expr::col(Alias::new(PLACE));
        let mut page = Query::select();
        page.expr(Expr::col(Asterisk))
            .from_subquery(select, Alias::new("catamaran_members"))
            .and_where(place().gt(skip))
            .and_where(place().lte(skip.saturating_add(limit)))
            .order_by_expr(place(), Order::Asc);
        if let Some(in_all) = criteria.in_all {
            page.limit(in_all);
        }
        let mut found = Associated::new();
        for row in self.db.query_all(&page).await? {
            let parent = key_text(&key.read(&row, PARENT)?);
            found.entry(parent).or_default().push((target.decode)(target, &row)?);
        }
        Ok(found)
    }
}

/// The table of a target, with the column that holds the keys of the parents.
fn joined(target: &Meta, link: &Link) -> (SelectStatement, Expr) {
    let mut select = sql::select(target);
    match link {
        Link::Own(at) | Link::Theirs(at) => (select, sql::column(target, *at)),
        Link::Between { table, name, ours, theirs } => {
            let theirs = Expr::col((name.clone(), theirs.clone()));
            select.inner_join(table.clone(), theirs.eq(sql::column(target, target.key())));
            (select, Expr::col((name.clone(), ours.clone())))
        }
    }
}
