//! The containers of a manifest as trials, each with its own image, command, stop signal and hook.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Check;
use super::hook::left_after;
use super::image::{Engined, Trial, given_grace};
use super::manifest::{self, Member, Workload};
use crate::cli::stopping::follow_while;
use crate::daemon::Daemon;
use crate::engine::{Engine, Image, Plan, Source};
use crate::event::Signal;
use crate::judge::shutdown::{Grace, GraceSource, PodFacts, Workload as Owner};

impl Check {
    /// A trial for each container, with every image at hand.
    pub(super) async fn pod_trials(&self, daemon: &mut Daemon, file: &Path) -> anyhow::Result<Vec<Trial>> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let manifest = manifest::read(&text).map_err(|problem| anyhow::anyhow!("{}: {problem}", file.display()))?;
        if manifest.workloads.is_empty() {
            let others = manifest.others.join(", ");
            bail!("{} has no pod and no template of one ({others}): name another file", file.display());
        }
        if !manifest.others.is_empty() {
            eprintln!("signal-trace: without a pod: {}", manifest.others.join(", "));
        }
        let engines = follow_while(daemon, Engine::usable(&self.engines())).await?;
        let mut images: BTreeMap<&str, Rc<Image>> = BTreeMap::new();
        let mut trials = Vec::new();
        for workload in &manifest.workloads {
            say_unmet(&format!("{}/{}", workload.kind, workload.name), &workload.unmet);
            for member in &workload.members {
                let title = format!("{}/{}, container {}", workload.kind, workload.name, member.name);
                say_unmet(&title, &member.unmet);
                let image = match images.get(&*member.image) {
                    Some(image) => Rc::clone(image),
                    None => {
                        let source = Source::Name(member.image.clone());
                        let image = follow_while(daemon, Image::provide(&engines, &source)).await;
                        let image = Rc::new(image.with_context(|| title.clone())?);
                        images.insert(&member.image, Rc::clone(&image));
                        image
                    }
                };
                let engined = self.engined(workload, member, image).with_context(|| title.clone())?;
                trials.push(Trial::Engine(Box::new(engined)));
            }
        }
        Ok(trials)
    }

    fn engined(&self, workload: &Workload, member: &Member, image: Rc<Image>) -> anyhow::Result<Engined> {
        let words = image.config().words(member.command.as_deref(), member.arguments.as_deref());
        if words.is_empty() {
            bail!("neither the manifest nor {} says what to run", image.name());
        }
        if member.user.is_some() && !image.engine().takes_user() {
            say_unmet(&member.name, &["runAsUser (ctr has no option for it)".to_owned()]);
        }
        let owner = Owner { kind: workload.kind.clone(), name: workload.name.clone() };
        let pod = PodFacts {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            uid: String::new(),
            revision: None,
            workload: (workload.kind != "Pod").then_some(owner),
        };
        let stop_signal = self.signal.or(member.stop_signal).or(image.config().stop_signal()).unwrap_or(Signal::TERM);
        let given = given_grace(self.grace, image.engine().kind())?;
        let grace = given.unwrap_or_else(|| grace_of(workload.grace));
        let plan = Plan {
            words,
            environment: member.environment.clone(),
            directory: member.directory.clone(),
            user: member.user.clone(),
            stop_signal,
        };
        Ok(Engined {
            name: member.name.clone(),
            pod: Some(pod),
            image,
            plan,
            grace,
            ready: self.ready.clone().or_else(|| member.ready.clone()).unwrap_or_else(|| self.ready()),
            pre_stop: member.pre_stop.clone(),
        })
    }
}

/// What the kubelet makes of it: never less than its floor.
fn grace_of(asked: Duration) -> Grace {
    let period = left_after(asked, Duration::ZERO);
    let source = if period == asked { GraceSource::Spec } else { GraceSource::Floor };
    Grace { period: Some(period), source }
}

fn say_unmet(what: &str, unmet: &[String]) {
    if !unmet.is_empty() {
        eprintln!("signal-trace: {what}: not as in the cluster: {}", unmet.join(", ").escape_debug());
    }
}
