//! What must hold for any bytes whatever: one module for each fuzzer, with one function that fails where a law does. Rows with known
//! outcomes are in other tests.
#![allow(dead_code, reason = "each fuzzer uses one of them, the test all")]

pub(crate) mod addresses;
pub(crate) mod contexts;
pub(crate) mod cookies;
pub(crate) mod discovery;
pub(crate) mod files;
pub(crate) mod paths;
pub(crate) mod requests;
pub(crate) mod resources;
pub(crate) mod snapshots;
pub(crate) mod tokens;

mod fields;
pub(crate) mod world;
