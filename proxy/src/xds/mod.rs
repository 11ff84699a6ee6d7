//! Where configuration comes from: the operator's stream (`client` does its IO, `session` judges it, `whole` keeps it free of
//! dangling references) or a file. What comes out is an [`tenbin_model::Update`]; nothing here knows what it is used for.

pub mod client;
mod connect;
pub mod file;
pub mod metrics;
pub mod session;
mod whole;
