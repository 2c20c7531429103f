//! Which routes cannot stand in one table.
