//! A cluster of `scripts/cluster`: real RabbitMQ, PostgreSQL and nginx, processes of every service.

use super::{Client, TOKEN, gateway};
use serde_json::Value;
use shers_db::{PostgresOptions, PostgresStore};
use shers_runtime::Store;
use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

/// A running cluster, ended when dropped.
pub struct Cluster {
    directory: tempfile::TempDir,
    address: String,
    more: Vec<(&'static str, &'static str)>,
}

/// One signal to one process, by number.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "process {pid} is there to be told");
}

impl Cluster {
    /// Starts everything, so many processes of each service.
    pub fn up(replicas: usize) -> Self {
        Self::up_with(replicas, &[])
    }

    /// [`Cluster::up`] with more variables for every process.
    pub fn up_with(replicas: usize, more: &[(&'static str, &'static str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("ours");
        let address = format!("127.0.0.1:{}", gateway::free_port());
        let cluster = Self { directory, address, more: more.to_vec() };
        cluster.scale(replicas);
        cluster
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().join("cluster")
    }

    fn script(&self, command: &str, more: &[&str]) -> Output {
        let mut script = Command::new(gateway::repository().join("scripts/cluster"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHERS_") && name != "SHERS_NO_INSTALL") {
            script.env_remove(name);
        }
        script.arg(command).arg("--dir").arg(self.directory()).args(more);
        script.env("SHERS_BINARY", env!("CARGO_BIN_EXE_shers")).env("SHERS_TOKEN", TOKEN);
        // As in the test of one process: a message that is not answered is soon given up.
        script.env("SHERS_NOTIFICATION__SEND_LIMIT_MS", "150").env("SHERS_NOTIFICATION__SANDBOX_LATE_MS", "50");
        script.env("SHERS_NOTIFICATION__BACKOFF_S", "1").env("SHERS_LOG_FILTER", "info,shers=debug");
        script.envs(self.more.iter().copied()).output().expect("the script runs")
    }

    /// Brings the number of processes of each service there, and starts again what is gone.
    pub fn scale(&self, replicas: usize) {
        let up = self.script("up", &["--replicas", &replicas.to_string(), "--listen", &self.address]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(up.status.success(), "{}{}", text(&up.stdout), text(&up.stderr));
    }

    /// Whether everything runs and is ready, and how the script says it.
    pub fn status(&self) -> Result<(), String> {
        let said = self.script("status", &[]);
        if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stdout).into_owned()) }
    }

    /// Names of the processes, `service-number`.
    pub fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory().join("run")).expect("it was started");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".pid")?.to_owned())).collect();
        names.retain(|name| name != "gateway");
        names.sort();
        names
    }

    /// The process of that name.
    pub fn pid(&self, process: &str) -> u32 {
        let text = self.read(&format!("run/{process}.pid"));
        text.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process")
    }

    /// The log of the process of that name.
    pub fn log_of(&self, process: &str) -> String {
        self.read(&format!("run/{process}.log"))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory().join(name)).expect("it was started").trim().to_owned()
    }

    /// A client of one process, past the gateway.
    pub fn client_of(&self, process: &str) -> Client {
        Client::new(&format!("127.0.0.1:{}", self.read(&format!("run/{process}.port"))), TOKEN)
    }

    /// A client of the gateway, with the administrator's token.
    pub fn client(&self) -> Client {
        Client::new(&self.address, TOKEN)
    }

    /// The gateway's log.
    pub fn gateway_log(&self) -> String {
        self.read("gateway/access.log")
    }

    /// Tells the broker: `start`, `stop`, `kill` or `close-connections`.
    pub fn broker(&self, command: &str) {
        let script = gateway::repository().join("scripts/lib/rabbitmq.sh");
        let mut told = Command::new("bash");
        told.arg(script).arg(command).arg(self.directory().join("rabbitmq"));
        assert!(told.status().expect("bash runs").success(), "the broker was told: {command}");
    }

    /// Restarts PostgreSQL: `fast`, or `immediate`, as when its machine fails.
    pub fn restart_database(&self, mode: &str) {
        let line = format!(
            "source scripts/lib/postgres.sh; postgres_restart '{}' {mode}",
            self.directory().join("postgres").display()
        );
        let mut told = Command::new("bash");
        told.current_dir(gateway::repository()).args(["-c", &line]);
        assert!(told.status().expect("bash runs").success(), "PostgreSQL was restarted");
    }

    /// Documents of a service's schema, those of its partitions too.
    pub async fn documents(&self, service: &str, collection: &str) -> Vec<Value> {
        let options = PostgresOptions::new(self.read("database-url"), format!("shers_{service}"));
        let store = PostgresStore::open(&options).await.expect("the database is there");
        let own = (0..16).map(|partition| format!("{collection}.p{partition:02}"));
        let mut found = Vec::new();
        for name in std::iter::once(collection.to_owned()).chain(own) {
            let documents = store.documents(&name, &[], None, 100_000).await.expect("readable");
            found.extend(documents.iter().map(|d| serde_json::from_str::<Value>(&d.doc).expect("JSON")));
        }
        found
    }

    /// Publishes any bytes at all, so many times over, as one message to the exchange of events, as no process of the house would.
    pub fn publish_raw(&self, routing_key: &str, body: &str, times: usize) {
        let library = gateway::repository().join("scripts/lib/rabbitmq.sh");
        let bytes: Vec<String> = body.bytes().map(|byte| byte.to_string()).collect();
        let expression = format!(
            "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"shers.events\">>), <<\"{routing_key}\">>, [], binary:copy(<<{}>>, {times})).",
            bytes.join(",")
        );
        let line = format!(
            "source '{}'; rabbitmq_run '{}' rabbitmqctl --quiet eval \"$0\"",
            library.display(),
            self.directory().join("rabbitmq").display()
        );
        let told = Command::new("bash").args(["-c", &line, &expression]).output().expect("bash runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// Queues that hold messages, as the broker counts them: name and how many.
    pub fn queued(&self) -> Vec<(String, u64)> {
        let library = gateway::repository().join("scripts/lib/rabbitmq.sh");
        let line = format!(
            "source '{}'; rabbitmq_run '{}' rabbitmqctl --quiet list_queues --no-table-headers name messages",
            library.display(),
            self.directory().join("rabbitmq").display()
        );
        let told = Command::new("bash").args(["-c", &line]).output().expect("bash runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let row = |line: &str| {
            let (name, messages) = line.split_once('\t')?;
            Some((name.to_owned(), messages.trim().parse().ok()?))
        };
        text.lines().filter_map(row).filter(|(_, messages)| *messages > 0).collect()
    }
}

impl Cluster {
    /// Ends everything; shows the ends of the logs when the test failed.
    pub fn end(&self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        let down = self.script("down", &["--remove"]);
        println!("{}", String::from_utf8_lossy(&down.stdout));
    }

    /// Prints the last lines of every process.
    pub fn show_logs(&self) {
        for process in self.processes() {
            let log = self.log_of(&process);
            let tail: Vec<_> = log.lines().rev().take(8).collect();
            println!("-- {process}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}
