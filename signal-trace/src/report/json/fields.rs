//! The field types of a record: names from closed sets, seconds, times, signals.
//!
//! Each writes itself, reads itself back and describes itself for the schema.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::Signal;
use crate::judge::shutdown::{
    Cause, Confidence, Delivery, Finding, GraceSource, InitDisposition, KilledBy, Outcome, Trigger, Where,
};

/// A set of values that each have a name and are all known.
pub trait Closed: Copy + 'static {
    /// The set's name in the schema.
    const TITLE: &'static str;
    /// What the set is about.
    const ABOUT: &'static str;
    /// Its values.
    const VALUES: &'static [Self];
    /// The name of one.
    fn name_of(self) -> &'static str;
}

macro_rules! closed {
    ($($set:ident: $about:literal;)*) => {$(
        impl Closed for $set {
            const TITLE: &'static str = stringify!($set);
            const ABOUT: &'static str = $about;
            const VALUES: &'static [Self] = &Self::ALL;
            fn name_of(self) -> &'static str {
                self.name()
            }
        }
    )*};
}

closed! {
    Outcome: "How the container ended: the first axis of the verdict.";
    Cause: "Where the stop signal's way broke: the second axis of the verdict.";
    Confidence: "What the verdict rests on: a kernel fact (proven), the sequence of signals and exits (observed), or a shutdown that was not seen whole (partial).";
    Trigger: "Why the container was stopped. `probe`: restarted in the same pod after a failed liveness or startup probe.";
    InitDisposition: "What the container's init itself did with the stop signal.";
    GraceSource: "Where the configured grace was read.";
    Where: "Where a signal came from, as seen from the container. `exec_session`: a process that entered the container, or what it left behind. `host`: the host's own init.";
    KilledBy: "Who killed what was killed. `teardown`: the kernel, as it took the dying init's pid namespace down.";
    Finding: "Advice that is no verdict.";
    Delivery: "What became of a signal. `ignored`: the kernel dropped it, because the target ignores it or, as a namespace init, has no handler for it. `teardown`: sent by the kernel as it took a pid namespace down. `already_dying`: the target was exiting.";
}

/// A value of a closed set, written as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<T>(pub T);

impl<T: Closed> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name_of())
    }
}

impl<'de, T: Closed> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let known = T::VALUES.iter().find(|value| value.name_of() == text);
        known.copied().map(Self).ok_or_else(|| de::Error::custom(format_args!("no {}: {text:?}", T::TITLE)))
    }
}

impl<T: Closed> JsonSchema for Name<T> {
    fn schema_name() -> Cow<'static, str> {
        T::TITLE.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = T::VALUES.iter().map(|value| value.name_of()).collect();
        json_schema!({ "description": T::ABOUT, "type": "string", "enum": names })
    }
}

/// A time span, kept in microseconds and written in seconds: so it reads back as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u64);

impl Seconds {
    /// The most that is told apart from its neighbours in a double: 142 years.
    const MOST_MICROS: u64 = 1 << 52;

    /// The same span as the core knows it.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl From<Duration> for Seconds {
    fn from(span: Duration) -> Self {
        let micros = span.as_nanos().saturating_add(500) / 1000;
        Self(u64::try_from(micros).unwrap_or(u64::MAX).min(Self::MOST_MICROS))
    }
}

impl Serialize for Seconds {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 by MOST_MICROS")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e6)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map(Self::from).map_err(de::Error::custom)
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// An instant on the wall clock, RFC 3339 with microseconds and `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.6}", self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$";
        json_schema!({ "type": "string", "format": "date-time", "pattern": pattern })
    }
}

/// A signal, written as `SIGTERM` or `SIGRTMIN+3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalName(pub Signal);

impl Serialize for SignalName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SignalName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Signal::parse(&text).map(Self).ok_or_else(|| de::Error::custom(format_args!("no signal: {text:?}")))
    }
}

impl JsonSchema for SignalName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Signal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^SIG([A-Z]+[0-9]?|RTMIN\+[0-9]{1,2}|3[23])$" })
    }
}

/// The name and version of this contract; a record of another one does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaTag;

impl SchemaTag {
    /// As it stands in every record.
    pub const TEXT: &'static str = "signal-trace.dev/shutdown/v1";
}

impl Serialize for SchemaTag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::TEXT)
    }
}

impl<'de> Deserialize<'de> for SchemaTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        if text == Self::TEXT {
            return Ok(Self);
        }
        Err(de::Error::custom(format_args!("schema {text:?} is not {}", Self::TEXT)))
    }
}

impl JsonSchema for SchemaTag {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SchemaTag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": Self::TEXT })
    }
}
