//! What people and programs read of a judged shutdown.
//!
//! Pure rendering: a value goes in, text comes out. [`json`] is the public contract, [`text`] the terminal block,
//! [`explain`] the words for every name that a verdict can have. Nothing here knows how a verdict was found, reads a
//! clock, or decides anything; what a stranger may have named is escaped ([`escape`]) before it is printed. Two modules
//! hold state: [`metrics`] what was counted, and [`http`] the connections of those who ask for it.

pub mod clock;
pub mod escape;
pub mod explain;
pub mod http;
pub mod json;
pub(crate) mod line;
pub mod metrics;
pub mod style;
pub mod summary;
pub mod table;
pub mod text;
mod timeline;
mod way;
pub(crate) mod words;

#[cfg(test)]
mod any;
#[cfg(test)]
mod fixtures;
