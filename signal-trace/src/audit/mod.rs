//! The fleet: which workloads shut down gracefully, which do not, who is at fault, and what it costs.
//!
//! [`source`] counts what was recorded, [`fn@assess`] makes one [`report::Report`] of the counts, [`render`] writes it in many
//! formats. All but the sources and [`mod@write`] is pure: `now` is an argument, and two sources that counted the same give
//! the same report. How the score comes about is said in [`score`].

mod assess;
pub mod baseline;
mod durations;
mod findings;
mod groups;
mod interval;
mod recommend;
pub mod render;
pub mod report;
pub mod score;
pub mod source;
pub mod tally;
pub mod write;

pub use assess::assess;
pub use durations::Durations;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
