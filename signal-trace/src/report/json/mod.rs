//! One shutdown as one line of JSON: the public contract `signal-trace.dev/shutdown/v1`.
//!
//! A shape of its own beside the core's types, so that those may change and this may not: within a version fields may
//! be added, none is renamed or removed. Every field is always there; what is not known is null, never 0. The
//! enumerations and their names come from the core, so the schema cannot fall behind it.

mod fields;
mod line;
mod schema;
mod shape;

pub use fields::{Closed, Name, SchemaTag, Seconds, SignalName, Time};
pub use line::{ReadError, read_line, write_line};
pub use schema::{schema, schema_text};
pub use shape::{
    ContainerRecord, ExitRecord, GraceRecord, MissedRecord, PodRecord, ProcessCounts, ProcessRecord, Record,
    SenderRecord, StepRecord, What, WorkloadRecord,
};

#[cfg(test)]
mod tests;
