//! Sums over workloads: by namespace, team and cluster, and over everything.

use std::collections::BTreeMap;

use super::report::{Group, Shutdowns, Status, StatusCounts, Totals, Trend, WorkloadReport};
use super::score::{self, add};

/// What is summed up while workloads are judged.
#[derive(Default)]
pub(super) struct Groups {
    clusters: BTreeMap<String, Sum>,
    namespaces: BTreeMap<(String, String), Sum>,
    teams: BTreeMap<String, Sum>,
    all: Sum,
    before: Shutdowns,
}

#[derive(Default)]
struct Sum {
    totals: Totals,
    scores: Vec<f64>,
}

impl Groups {
    pub(super) fn add(&mut self, workload: &WorkloadReport, before: Shutdowns) {
        let subject = &workload.subject;
        let namespace = (subject.cluster.clone(), subject.namespace.clone());
        self.clusters.entry(subject.cluster.clone()).or_default().add(workload);
        self.namespaces.entry(namespace).or_default().add(workload);
        if let Some(team) = &workload.team {
            self.teams.entry(team.clone()).or_default().add(workload);
        }
        self.all.add(workload);
        if workload.status != Status::Skipped {
            add(&mut self.before, before);
        }
    }

    /// The groups, the totals and their trend. A cluster of which too little was watched has no score, and nothing in it.
    pub(super) fn close(
        self,
        coverages: &BTreeMap<&str, Option<f64>>,
        enough: &dyn Fn(Option<f64>) -> bool,
    ) -> (Vec<Group>, Vec<Group>, Vec<Group>, Totals, Option<Trend>) {
        let coverage = |cluster: &str| coverages.get(cluster).copied().flatten();
        let every = coverages.values().all(|share| enough(*share));
        let clusters = self.clusters.into_iter().map(|(cluster, sum)| {
            let share = coverage(&cluster);
            sum.close(cluster, String::new(), share, enough(share))
        });
        let namespaces = self.namespaces.into_iter().map(|((cluster, name), sum)| {
            let is_scored = enough(coverage(&cluster));
            sum.close(cluster, name, None, is_scored)
        });
        let teams = self.teams.into_iter().map(|(name, sum)| sum.close(String::new(), name, None, every));
        let (clusters, namespaces, teams) = (clusters.collect(), namespaces.collect(), teams.collect());
        let trend = score::trend(self.all.totals.shutdowns, self.before);
        (clusters, namespaces, teams, score::closed(self.all.totals), trend)
    }
}

impl Sum {
    fn add(&mut self, workload: &WorkloadReport) {
        self.totals.workloads += 1;
        *by_status(&mut self.totals.by_status, workload.status) += 1;
        if workload.status != Status::Skipped {
            add(&mut self.totals.shutdowns, workload.shutdowns);
            self.totals.avoidable_hours += workload.avoidable_hours;
        }
        self.scores.extend(workload.score);
    }

    fn close(self, cluster: String, name: String, coverage: Option<f64>, is_scored: bool) -> Group {
        let score = score::mean(self.scores.into_iter()).filter(|_| is_scored);
        Group { cluster, name, score, grade: score.map(score::grade), coverage, totals: score::closed(self.totals) }
    }
}

/// The count of a status.
fn by_status(counts: &mut StatusCounts, status: Status) -> &mut u64 {
    match status {
        Status::Fail => &mut counts.fail,
        Status::Warn => &mut counts.warn,
        Status::Pass => &mut counts.pass,
        Status::InsufficientData => &mut counts.insufficient_data,
        Status::Waived => &mut counts.waived,
        Status::Skipped => &mut counts.skipped,
    }
}
