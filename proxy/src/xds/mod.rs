//! Where configuration comes from: the operator's stream (`client` does its IO, `session` judges it, `whole` keeps it free of
//! dangling references) or a file. What is in use is kept for the next start (`saved` is its form, `store` its file). What comes
//! out is an [`tenbin_model::Update`]; nothing here knows what it is used for.

pub mod client;
mod connect;
pub mod file;
pub mod metrics;
pub mod saved;
pub mod session;
pub mod store;
mod whole;
