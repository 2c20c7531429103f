//! The triggers of PostgreSQL, and the function that they run.
//!
//! The function runs with the rights of the outbox's owner, so that a program that writes a record needs no rights on the
//! outbox. Whatever it runs is therefore found by qualified names, on a search path that no caller can change; nobody else may
//! call it; and it is made only for an outbox of the same owner.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement, Value};

use super::{
    TABLE,
    triggers::{Watched, literal, qualified, quoted},
};

/// What the function resolves names by. Without `pg_temp` at the end, temporary tables of the caller would come first.
const SEARCH_PATH: &str = "pg_catalog, pg_temp";

/// The table of the outbox, as the search path of this connection finds it.
struct Place {
    schema: String,
    owner: String,
    /// Whether its owner is who asks.
    own: bool,
}

/// The tables that have triggers of the outbox.
pub(super) const THERE: &str = "
    select c.relname::text as name from pg_catalog.pg_trigger t
    join pg_catalog.pg_class c on c.oid = t.tgrelid join pg_catalog.pg_proc p on p.oid = t.tgfoid
    join pg_catalog.pg_class o on o.oid = pg_catalog.to_regclass('catamaran_outbox') and o.relnamespace = p.pronamespace
    where t.tgparentid = 0 and p.proname = 'catamaran_outbox'";

/// Makes the function, unless it is there as it must be, and the triggers that are missing.
pub(super) async fn make<'a>(
    transaction: &DatabaseTransaction,
    tables: impl Iterator<Item = (&'a String, &'a Watched<'a>)>,
) -> Result<(), DbErr> {
    let place = Place::find(transaction).await?;
    if !place.has_function(transaction).await? {
        place.make_function(transaction).await?;
    }
    for (name, watched) in tables {
        place.watch(transaction, name, &qualified(watched.table)).await?;
    }
    Ok(())
}

impl Place {
    async fn find(transaction: &DatabaseTransaction) -> Result<Self, DbErr> {
        let select = "
            select n.nspname::text as schema, pg_catalog.pg_get_userbyid(o.relowner)::text as owner,
                o.relowner = (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user) as own
            from pg_catalog.pg_class o join pg_catalog.pg_namespace n on n.oid = o.relnamespace
            where o.oid = pg_catalog.to_regclass($1::text)";
        let row = one(transaction, select, [TABLE.into()]).await?;
        let row = row.ok_or_else(|| DbErr::Custom(format!("there is no table `{TABLE}` on the search path")))?;
        Ok(Self { schema: row.try_get("", "schema")?, owner: row.try_get("", "owner")?, own: row.try_get("", "own")? })
    }

    fn function(&self) -> String {
        format!("{}.{TABLE}()", quoted(&self.schema))
    }

    /// What the triggers do. An update that changes nothing is not written down.
    fn body(&self) -> String {
        format!(
            "
    begin
        if tg_op operator(pg_catalog.=) 'UPDATE' then
            if old operator(pg_catalog.*=) new then
                return null;
            end if;
        end if;
        insert into {}.{TABLE} (changed_table, message, leaves_out) values (
            tg_argv[0],
            pg_catalog.json_build_array(pg_catalog.row_to_json(old), pg_catalog.row_to_json(new)),
            nullif(pg_catalog.current_setting('catamaran.leaves_out', true), '')
        );
        return null;
    end ",
            quoted(&self.schema)
        )
    }

    /// Whether the function is there as [`make_function`](Self::make_function) makes it, also in its rights.
    async fn has_function(&self, transaction: &DatabaseTransaction) -> Result<bool, DbErr> {
        let select = "
            select 1 from pg_catalog.pg_proc p
            join pg_catalog.pg_class o on o.oid = pg_catalog.to_regclass($1::text)
                and o.relnamespace = p.pronamespace and o.relowner = p.proowner
            where p.proname = $1 and p.pronargs = 0 and p.prosecdef and p.prosrc = $2
                and p.proconfig = array['search_path=' || $3::text]
                and not pg_catalog.has_function_privilege('public', p.oid, 'execute')";
        let values = [TABLE.into(), self.body().into(), SEARCH_PATH.into()];
        Ok(one(transaction, select, values).await?.is_some())
    }

    async fn make_function(&self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        self.must_be_own(&format!("make the function `{TABLE}()`"))?;
        let select = "
            select pg_catalog.pg_get_userbyid(p.proowner)::text as owner from pg_catalog.pg_proc p
            join pg_catalog.pg_namespace n on n.oid = p.pronamespace
            where p.proname = $1 and p.pronargs = 0 and n.nspname = $2 and p.proowner <> (
                select r.oid from pg_catalog.pg_roles r where r.rolname = current_user
            )";
        // To replace it would leave it to its owner, who may change what it does with the rights of others.
        if let Some(row) = one(transaction, select, [TABLE.into(), self.schema.as_str().into()]).await? {
            let owner: String = row.try_get("", "owner")?;
            return Err(DbErr::Custom(format!(
                "the function `{TABLE}()` belongs to the role `{owner}`, and its table to `{}`: drop the function",
                self.owner
            )));
        }
        let (function, body) = (self.function(), literal(&self.body()));
        let statements = format!(
            "create or replace function {function} returns trigger
             language plpgsql security definer set search_path = {SEARCH_PATH} as {body};
             revoke all on function {function} from public"
        );
        transaction.execute_unprepared(&statements).await.map(drop)
    }

    /// Makes the trigger of a table, unless it is there.
    async fn watch(&self, transaction: &DatabaseTransaction, name: &str, table: &str) -> Result<(), DbErr> {
        let select = "
            select p.pronamespace = o.relnamespace as own from pg_catalog.pg_trigger t
            join pg_catalog.pg_proc p on p.oid = t.tgfoid
            join pg_catalog.pg_class o on o.oid = pg_catalog.to_regclass($1::text)
            where t.tgname = $1 and t.tgrelid = $2::text::pg_catalog.regclass";
        let drop_former = match one(transaction, select, [TABLE.into(), table.into()]).await? {
            Some(row) if row.try_get("", "own")? => return Ok(()),
            // It writes into an outbox of another schema.
            Some(_) => format!("drop trigger {TABLE} on {table};"),
            None => String::new(),
        };
        self.must_be_own(&format!("make the trigger of the table `{name}`"))?;
        let trigger = format!(
            "{drop_former} create trigger {TABLE} after insert or update or delete on {table}
             for each row execute function {}.{TABLE}({})",
            quoted(&self.schema),
            literal(name)
        );
        transaction.execute_unprepared(&trigger).await.map(drop)
    }

    /// Whoever owns the outbox reads all records, and what its function does is done for everybody who writes one.
    fn must_be_own(&self, what: &str) -> Result<(), DbErr> {
        if self.own {
            return Ok(());
        }
        Err(DbErr::Custom(format!(
            "the table `{TABLE}` belongs to the role `{0}`, and only that may {what}: call `Resources::triggers` as `{0}`, in a \
             migration, or drop the table if that role is a stranger",
            self.owner
        )))
    }
}

async fn one<const N: usize>(
    transaction: &DatabaseTransaction,
    select: &str,
    values: [Value; N],
) -> Result<Option<QueryResult>, DbErr> {
    transaction.query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, select, values)).await
}
