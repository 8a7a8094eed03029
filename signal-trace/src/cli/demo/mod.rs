//! `demo`: entrypoints that everybody has written, each stopped once.

pub mod cases;
