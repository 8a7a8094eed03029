//! Which cluster a person means: a kubeconfig, a context of it, or the cluster around.

use std::path::PathBuf;

use clap::Args;

use crate::kube::client::{Clients, ConnectError};

/// How to get to an API server.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    /// The kubeconfig; without it, what kubectl would use
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; without it, the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Cluster {
    /// Clients that were not used yet.
    pub(super) async fn connect(&self) -> Result<Clients, ConnectError> {
        Clients::connect_to(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }
}
