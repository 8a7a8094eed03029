//! The page of one scrape: every metric of the agent, each named here and nowhere else.
//!
//! A page is a copy of the numbers, so that it can be written out at leisure on another thread while the event loop
//! goes on counting. What a metric means to a person stands beside its name below, because a scraper shows it.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::held::Durations;
use super::labels::{One, Whose, WhoseKiller, WhoseVerdict};
use super::{Build, Gauges};

/// Samples of one metric.
pub(super) type Samples<L, V> = Vec<(L, V)>;

/// All samples, a field for each metric, in the order of the page. Durations are in seconds.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// `signal_trace_shutdowns_total`: one for every container that was stopped, by its verdict.
    pub(super) shutdowns: Samples<WhoseVerdict, u64>,
    /// `signal_trace_shutdown_duration_seconds`: from the stop signal to init's exit.
    pub(super) shutdown_duration: Samples<Whose, Durations>,
    /// `signal_trace_shutdown_grace_seconds`: what was configured, as last seen.
    pub(super) shutdown_grace: Samples<Whose, f64>,
    /// `signal_trace_avoidable_wait_seconds_total`: waited for a container that could not end by itself.
    pub(super) avoidable_wait: Samples<Whose, f64>,
    /// `signal_trace_processes_killed_total`: processes alive at the stop that died of SIGKILL, by who killed them.
    pub(super) processes_killed: Samples<WhoseKiller, u64>,
    /// `signal_trace_kill_to_exit_seconds`: from the runtime's SIGKILL to init's exit, or until the wait for it was given
    /// up, all containers together.
    pub(super) kill_to_exit: Option<Durations>,
    /// `signal_trace_kernel_events_total`: records of the kernel programs that were read, by kind.
    pub(super) kernel_events: Samples<One, u64>,
    /// `signal_trace_kernel_events_lost_total`: records that were not, by reason.
    pub(super) kernel_events_lost: Samples<One, u64>,
    /// `signal_trace_unattributed_shutdowns_total`: shutdowns of which it is not known whose they are, by reason.
    pub(super) unattributed_shutdowns: Samples<One, u64>,
    /// `signal_trace_kube_events_total`: Kubernetes events, by what became of them.
    pub(super) kube_events: Samples<One, u64>,
    /// `signal_trace_open_shutdowns`, `signal_trace_tracked_containers`, `signal_trace_cached_pods`,
    /// `signal_trace_detached` and `signal_trace_program_seconds_total`.
    pub(super) gauges: Gauges,
    /// `signal_trace_refused_total`: what found no room within a bound, by what it was.
    pub(super) refused: Samples<One, u64>,
    /// `signal_trace_series_refused_total`: times that a label set found no room and counted under `_other`.
    pub(super) series_refused: u64,
    /// `signal_trace_early_increments_total`: series that showed an increment before their 0 had been scraped.
    pub(super) early_increments: u64,
    /// `signal_trace_connections_refused_total`: connections to this page's port above the limit.
    pub(super) connections_refused: u64,
    /// `signal_trace_last_event_timestamp_seconds`: Unix time of the last record; none before the first.
    pub(super) last_event: Option<f64>,
    /// `signal_trace_build_info`: always 1.
    pub(super) build: Build,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.encode_workloads(&mut encoder)?;
        self.encode_kernel(&mut encoder)?;
        self.encode_agent(&mut encoder)
    }
}

impl Page {
    fn encode_workloads(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let text =
            ("shutdowns", "Containers that were stopped, by how they ended and where the stop signal's way broke.");
        counters(encoder, text, None, &self.shutdowns)?;
        let text = ("shutdown_duration", "Time from the stop signal to the exit of the container's init.");
        histograms(encoder, text, &self.shutdown_duration)?;
        let text = ("shutdown_grace", "Configured grace period of the container, as last seen.");
        gauges(encoder, text, Some(&Unit::Seconds), &self.shutdown_grace)?;
        let text = ("avoidable_wait", "Time waited for containers that could not have ended by themselves.");
        counters(encoder, text, Some(&Unit::Seconds), &self.avoidable_wait)?;
        let text = ("processes_killed", "Processes alive at the stop signal that died of SIGKILL, by who killed them.");
        counters(encoder, text, None, &self.processes_killed)
    }

    fn encode_kernel(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(durations) = &self.kill_to_exit {
            let text =
                ("kill_to_exit", "Time from the runtime's SIGKILL to the exit of the container's init, or so far.");
            let unit = Some(&Unit::Seconds);
            durations.histogram().encode(describe(encoder, text, unit, MetricType::Histogram)?)?;
        }
        let text = ("kernel_events", "Records of the kernel programs that were read, by kind.");
        counters(encoder, text, None, &self.kernel_events)?;
        let text = ("kernel_events_lost", "Records of the kernel programs that were lost, by reason.");
        counters(encoder, text, None, &self.kernel_events_lost)?;
        match self.last_event {
            Some(time) => {
                let text = ("last_event_timestamp", "Unix time of the last record of the kernel programs.");
                gauge(encoder, text, Some(&Unit::Seconds), &time)
            }
            None => Ok(()),
        }
    }

    fn encode_agent(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let text = ("unattributed_shutdowns", "Shutdowns of which it is not known whose they are, by reason.");
        counters(encoder, text, None, &self.unattributed_shutdowns)?;
        let text = ("kube_events", "Kubernetes events about shutdowns, by what became of them.");
        counters(encoder, text, None, &self.kube_events)?;
        let Gauges { open_shutdowns, tracked_containers, cached_pods, detached, program_time } = &self.gauges;
        gauge(encoder, ("open_shutdowns", "Containers that are being stopped now."), None, open_shutdowns)?;
        gauge(encoder, ("tracked_containers", "Containers that are watched now."), None, tracked_containers)?;
        gauge(encoder, ("cached_pods", "Pods whose names are known now."), None, cached_pods)?;
        let text = ("detached", "1 once the kernel programs were let go of because they and the agent cost too much.");
        gauge(encoder, text, None, &u32::from(*detached))?;
        let text = ("program", "Time spent in the kernel programs; 0 unless kernel.bpf_stats_enabled is set.");
        let mut spent = describe(encoder, text, Some(&Unit::Seconds), MetricType::Counter)?;
        spent.encode_counter::<NoLabelSet, _, f64>(&program_time.as_secs_f64(), None)?;
        let text = ("refused", "What found no room within a bound of the agent, by what it was.");
        counters(encoder, text, None, &self.refused)?;
        let text = ("series_refused", "Times that a label set found no room and was counted under _other.");
        counter(encoder, text, &self.series_refused)?;
        let text = ("early_increments", "Series that showed an increment before their 0 had been scraped.");
        counter(encoder, text, &self.early_increments)?;
        let text = ("connections_refused", "Connections to the metrics port that were refused above the limit.");
        counter(encoder, text, &self.connections_refused)?;
        let text = ("build", "What is running, as labels; the value is always 1.");
        describe(encoder, text, None, MetricType::Info)?.encode_info(&self.build)
    }
}

/// A metric's name without prefix, unit and suffix, and what it says of itself.
pub(super) type Text = (&'static str, &'static str);

/// One gauge.
pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    text: Text,
    unit: Option<&Unit>,
    value: &impl EncodeGaugeValue,
) -> Result<(), Error> {
    describe(encoder, text, unit, MetricType::Gauge)?.encode_gauge(value)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, text: Text, value: &u64) -> Result<(), Error> {
    describe(encoder, text, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, f64>(value, None)
}

fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    text: Text,
    unit: Option<&Unit>,
    samples: &Samples<L, V>,
) -> Result<(), Error> {
    family(encoder, text, unit, MetricType::Counter, samples, |mut encoder, value| {
        encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
    })
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    text: Text,
    unit: Option<&Unit>,
    samples: &Samples<L, f64>,
) -> Result<(), Error> {
    family(encoder, text, unit, MetricType::Gauge, samples, |mut encoder, value| encoder.encode_gauge(value))
}

fn histograms<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    text: Text,
    samples: &Samples<L, Durations>,
) -> Result<(), Error> {
    family(encoder, text, Some(&Unit::Seconds), MetricType::Histogram, samples, |encoder, value| {
        value.histogram().encode(encoder)
    })
}

/// A metric without samples is left out, its description too.
fn family<L: EncodeLabelSet, V>(
    encoder: &mut DescriptorEncoder<'_>,
    text: Text,
    unit: Option<&Unit>,
    kind: MetricType,
    samples: &Samples<L, V>,
    encode: impl Fn(MetricEncoder<'_>, &V) -> Result<(), Error>,
) -> Result<(), Error> {
    if samples.is_empty() {
        return Ok(());
    }
    let mut encoder = describe(encoder, text, unit, kind)?;
    for (labels, value) in samples {
        encode(encoder.encode_family(labels)?, value)?;
    }
    Ok(())
}

fn describe<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    (name, help): Text,
    unit: Option<&'e Unit>,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, Error> {
    encoder.encode_descriptor(name, help, unit, kind)
}
