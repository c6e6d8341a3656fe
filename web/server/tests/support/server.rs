//! The real binary as a child process.

use super::{Client, SOON, TOKEN, eventually_within};
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

/// A command line of the binary, before it runs.
pub struct Start {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Start {
    /// `serve` on a free port.
    pub fn serve(data_dir: &Path) -> Self {
        Self::serve_on("127.0.0.1:0", data_dir)
    }

    /// `serve` on an address.
    pub fn serve_on(listen: &str, data_dir: &Path) -> Self {
        Self::with(&["serve", "--listen", listen, "--data-dir", &data_dir.to_string_lossy()])
    }

    /// Any arguments, with the tests' token.
    pub fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self { arguments, environment: vec![("SHERS_TOKEN".to_owned(), TOKEN.to_owned())], wrapper: Vec::new() }
    }

    /// More arguments.
    pub fn arguments(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(|a| (*a).to_owned()));
        self
    }

    /// A variable of the environment; the last one of a name counts.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs under another program, such as strace.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_shers");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary);
                command
            }
        };
        // Variables of the test run are not the server's configuration.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHERS_")) {
            command.env_remove(name);
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it is ready to serve.
    pub async fn ready(self) -> Server {
        let mut server = Server::spawn(&self);
        server.until_ready().await;
        server
    }

    /// Starts it and waits for its end, for starts that must fail. One that goes on is killed.
    pub async fn ends(self, limit: Duration) -> Output {
        let mut server = Server::spawn(&self);
        let status = server.exit(limit).await;
        let (stdout, stderr) = server.read_rest();
        Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
    }

    /// Starts it and returns at once.
    pub fn spawn(self) -> Server {
        Server::spawn(&self)
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A running server, ended when dropped.
pub struct Server {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
    address: Option<String>,
}

fn collect(from: impl Read + Send + 'static, into: &Lines) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            into.lock().expect("no panic while holding it").push(line);
        }
    })
}

impl Server {
    fn spawn(start: &Start) -> Self {
        let mut child = start.command().spawn().expect("the binary starts");
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            collect(child.stdout.take().expect("piped"), &stdout),
            collect(child.stderr.take().expect("piped"), &stderr),
        ];
        Self { child, stdout, stderr, readers, address: None }
    }

    /// Waits for the link, then for readiness.
    pub async fn until_ready(&mut self) {
        let address = eventually_within(SOON, "the link", async || {
            self.check_alive();
            self.link().ok_or_else(|| self.log_tail())
        })
        .await;
        self.address = Some(address);
        let client = self.client();
        eventually_within(SOON, "readiness", async || {
            self.check_alive();
            match client.try_get("/health/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body.to_string()),
                Err(error) => Err(error),
            }
        })
        .await;
    }

    /// `host:port` of the printed link, once it is printed.
    fn link(&self) -> Option<String> {
        let lines = self.stdout.lock().expect("no panic while holding it");
        let line = lines.iter().find(|line| line.contains("http://"))?;
        let rest = line.split_once("http://")?.1;
        Some(rest.split('/').next()?.to_owned())
    }

    fn check_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child of ours") {
            panic!("the server ended: {status}\n{}", self.log_tail());
        }
    }

    /// `host:port` it listens on.
    pub fn address(&self) -> &str {
        self.address.as_deref().expect("it was ready")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client with the administrator's token.
    pub fn client(&self) -> Client {
        Client::new(self.address(), TOKEN)
    }

    /// SIGKILL, and reaps.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.child.kill();
        self.child.wait().expect("a child of ours");
    }

    /// SIGTERM, then waits for the end.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "the process is there to be told");
        self.exit(limit).await
    }

    /// Waits for it to end by itself.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        eventually_within(limit, "the end of the process", async || {
            self.child.try_wait().expect("a child of ours").ok_or_else(|| self.log_tail())
        })
        .await
    }

    /// Standard output and error to their end; only after the process ended.
    pub fn read_rest(&mut self) -> (String, String) {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        let text = |lines: &Lines| lines.lock().expect("no panic while holding it").join("\n");
        (text(&self.stdout), text(&self.stderr))
    }

    /// Log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.stderr.lock().expect("no panic while holding it").clone()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        log.iter().skip(log.len().saturating_sub(15)).cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory for data, removed afterwards.
pub fn data_dir() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data");
    (directory, path)
}
