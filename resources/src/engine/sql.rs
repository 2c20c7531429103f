//! Statements from what the engine knows of a resource.

use sea_orm::{
    DbBackend, Order, Value,
    sea_query::{
        Alias, Expr, ExprTrait, LockType, NullOrdering, OrderedStatement, Query, ReturningClause, SelectStatement,
    },
};

use crate::Meta;

/// A column of the resource's table.
pub(crate) fn column(meta: &Meta, at: usize) -> Expr {
    Expr::col((Alias::new(meta.name), Alias::new(meta.fields[at].column())))
}

pub(crate) fn equals(meta: &Meta, at: usize, value: Value) -> Expr {
    column(meta, at).eq(meta.fields[at].save(value))
}

pub(crate) fn among(meta: &Meta, at: usize, values: Vec<Value>) -> Expr {
    column(meta, at).is_in(saved(meta, at, values))
}

pub(crate) fn not_among(meta: &Meta, at: usize, values: Vec<Value>) -> Expr {
    column(meta, at).is_not_in(saved(meta, at, values))
}

fn saved(meta: &Meta, at: usize, values: Vec<Value>) -> impl Iterator<Item = Expr> {
    values.into_iter().map(move |value| meta.fields[at].save(value))
}

/// What is never so.
pub(crate) fn never() -> Expr {
    Expr::val(1).eq(0)
}

/// All columns of a resource.
pub(crate) fn select(meta: &Meta) -> SelectStatement {
    let mut select = Query::select();
    select.from(meta.table.clone());
    for (at, field) in meta.fields.iter().enumerate() {
        select.expr_as(field.load(column(meta, at)), Alias::new(field.column()));
    }
    select
}

/// All columns of what a statement of PostgreSQL has written, which saves the question.
///
/// SQLite would say what it was told to write, and not what a trigger then made of it.
pub(crate) fn returning(meta: &Meta) -> ReturningClause {
    let columns = meta.fields.iter().enumerate().map(|(at, field)| field.load(column(meta, at)));
    Query::returning().exprs(columns)
}

/// Keeps what is read as it is until the transaction ends; SQLite has one writer at a time anyway.
pub(crate) fn lock(select: &mut SelectStatement, backend: DbBackend) {
    if backend != DbBackend::Sqlite {
        select.lock(LockType::Update);
    }
}

/// Orders by a column, with null as the smallest value: so it is in SQLite and MySQL, and PostgreSQL must be told.
pub(crate) fn order(to: &mut impl OrderedStatement, meta: &Meta, sort: &[(usize, Order)], backend: DbBackend) {
    for (at, order) in sort {
        let nulls = match order {
            Order::Desc => NullOrdering::Last,
            _ => NullOrdering::First,
        };
        if backend == DbBackend::Postgres && meta.fields[*at].flags.nullable {
            to.order_by_expr_with_nulls(column(meta, *at), order.clone(), nulls);
        } else {
            to.order_by_expr(column(meta, *at), order.clone());
        }
    }
}
