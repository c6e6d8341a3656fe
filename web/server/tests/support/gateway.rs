//! The gateway: the real nginx with the configuration that ships.

use super::{Client, SOON, TOKEN, eventually_within};
use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The services that a gateway sends requests to.
pub const BEHIND: [&str; 7] = ["wearable", "triage", "incidents", "dispatch", "billing", "insurance", "stream"];

/// A running nginx, ended when dropped.
pub struct Gateway {
    child: Child,
    directory: tempfile::TempDir,
    address: String,
}

/// The repository's directory.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("web/server lies in it").to_owned()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

impl Gateway {
    /// Starts one in front of these addresses, `host:port` by service, with more variables of its script.
    pub async fn start(behind: &[(&str, String)], more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Started by root, its workers are somebody else, who must get through to their files.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("ours");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(repository().join("docker/nginx/gateway.sh"));
        command.stdin(Stdio::null()).env("SHERS_GATEWAY_RUN_DIR", directory.path());
        command.env("SHERS_GATEWAY_LISTEN", &address).env("SHERS_GATEWAY_WORKERS", "1");
        command.env("SHERS_GATEWAY_ACCESS_LOG", directory.path().join("access.log"));
        command.env("SHERS_GATEWAY_ERROR_LOG", directory.path().join("error.log"));
        for (service, addresses) in behind {
            command.env(format!("SHERS_GATEWAY_{}", service.to_uppercase()), addresses);
        }
        let child = command.envs(more.iter().copied()).spawn().expect("the script runs");
        let mut gateway = Self { child, directory, address };
        let client = gateway.client();
        eventually_within(SOON, "the gateway", async || {
            if let Some(status) = gateway.child.try_wait().expect("a child of ours") {
                panic!("the gateway ended: {status}; nginx and envsubst (gettext-base) are needed");
            }
            match client.try_get("/health/gateway").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body.to_string()),
                Err(error) => Err(error),
            }
        })
        .await;
        gateway
    }

    /// One in front of a process that runs everything.
    pub async fn before(address: &str) -> Self {
        let behind: Vec<_> = BEHIND.iter().map(|service| (*service, address.to_owned())).collect();
        Self::start(&behind, &[]).await
    }

    /// `host:port` it listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client with the administrator's token.
    pub fn client(&self) -> Client {
        Client::new(&self.address, TOKEN)
    }

    /// All that it logged.
    pub fn logged(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("access.log") + &read("error.log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Its workers end with their master; a killed one would leave them.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
