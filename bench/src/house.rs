//! The processes under test: started on a free port and a fresh directory, ended by their own id.

use crate::http::{Connection, request};
use serde::Deserialize;
use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Seek, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub type Failure = Box<dyn std::error::Error>;

/// The administrator's token of the bench.
pub const TOKEN: &str = "bench-bench-bench-bench-bench-bench-bench";
const START_LIMIT: Duration = Duration::from_secs(120);
/// Clock ticks per second of `/proc/<pid>/stat` on Linux.
const TICKS_PER_S: f64 = 100.0;

/// A process that is killed when it is let go.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
}

impl Process {
    /// Starts `command`, whose first line on standard output names its address.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(log)?).spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let rest = line.split_once("http://").map(|(_, rest)| rest).unwrap_or_default();
        let addr = rest.split('/').next().unwrap_or_default().trim().parse();
        match addr {
            Ok(addr) => Ok(Self { child, addr }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("it did not start: {line:?}; see {}", log.display()).into())
            }
        }
    }

    fn stat(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// User and system time so far, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        let stat = self.stat("stat");
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
        (ticks(11) + ticks(12)) / TICKS_PER_S * 1e6
    }

    /// Resident memory that is no file, in bytes.
    pub fn anonymous_bytes(&self) -> f64 {
        anonymous_bytes(&self.stat("status"))
    }

    /// Waits until the process uses (nearly) no processor for half a second.
    pub fn until_quiet(&self, limit: Duration) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let before = self.cpu_us();
            std::thread::sleep(Duration::from_millis(500));
            if self.cpu_us() - before <= 10_000.0 {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err("the server does not come to rest".into());
            }
        }
    }
}

/// `RssAnon` of a `/proc/<pid>/status`, in bytes.
pub fn anonymous_bytes(status: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().map_or(f64::NAN, |kb| kb * 1024.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the areas share.
pub struct Bench {
    pub shers: PathBuf,
    pub me: PathBuf,
    /// Where databases of the bench lie: all on one disk.
    pub data: PathBuf,
    pub quick: bool,
}

impl Bench {
    /// Rounds of each comparison.
    pub const fn rounds(&self) -> usize {
        if self.quick { 2 } else { 5 }
    }
    pub const fn pick<T: Copy>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// An empty directory.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.data.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Starts `shers serve` on a data directory, with the settings a user gets.
    pub fn serve(&self, directory: &Path) -> Result<Process, Failure> {
        let mut command = Command::new(&self.shers);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHERS_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory).env("SHERS_TOKEN", TOKEN);
        let process = Process::start(command, &directory.join("log"))?;
        let started = Instant::now();
        while !self.block_on(ready(process.addr)) {
            if started.elapsed() > START_LIMIT {
                return Err("the server does not become ready".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(process)
    }

    /// Starts this very program as something else.
    pub fn child(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.me);
        command.arg("child").args(arguments);
        command
    }

    /// Runs this program as something else and reads the numbers it prints.
    pub fn measured(&self, arguments: &[&str]) -> Result<Vec<f64>, Failure> {
        let output = self.child(arguments).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("child {arguments:?} failed").into());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    /// Median time of a synced write of 4 KiB on the disk of the databases, in microseconds. It overwrites,
    /// as a write-ahead log that has found its size does: a file that grows would sync its metadata too,
    /// and make a unit that flatters.
    pub fn fdatasync_us(&self) -> Result<f64, Failure> {
        let path = self.data.join("sync");
        let mut file = fs::File::create(&path)?;
        let mut times = Vec::new();
        let writes = self.pick(100, 300);
        file.write_all(&vec![1; 4096 * writes])?;
        file.sync_all()?;
        file.rewind()?;
        for _ in 0..writes {
            file.write_all(&[7; 4096])?;
            let started = Instant::now();
            file.sync_data()?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        fs::remove_file(path)?;
        Ok(crate::report::median(&times))
    }
}

/// Runs a future on this thread.
#[expect(clippy::expect_used, reason = "a bench without a runtime can only end")]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

async fn ready(addr: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(addr).await else { return false };
    connection.send(&request("GET", "/health/ready", TOKEN, "")).await.is_ok_and(|answer| answer.status == 200)
}

/// Sends requests over so many connections at once; every answer must be a success.
pub async fn send_all(addr: SocketAddr, requests: Vec<Vec<u8>>, connections: usize) -> Result<(), Failure> {
    let queue = std::rc::Rc::new(std::cell::RefCell::new(requests.into_iter()));
    let workers = (0..connections).map(|_| {
        let queue = std::rc::Rc::clone(&queue);
        async move {
            let mut connection = Connection::open(addr).await?;
            loop {
                let Some(next) = queue.borrow_mut().next() else { return Ok::<_, Failure>(()) };
                let answer = connection.send(&next).await?;
                if !(200..300).contains(&answer.status) {
                    return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
                }
            }
        }
    });
    futures::future::try_join_all(workers).await.map(|_| ())
}

/// Registers patients `0..count`.
pub async fn register_patients(addr: SocketAddr, count: usize) -> Result<(), Failure> {
    let requests = (0..count).map(|n| {
        let id = crate::readings::patient(n);
        let (lat, lon) = place(n);
        let body = format!(
            r#"{{"name":"Bench {n}","home":{{"lat":{lat:.5},"lon":{lon:.5}}},"next_of_kin":[{{"name":"Kin","phone":"+4179{n:07}"}}]}}"#
        );
        request("PUT", &format!("/api/v1/patients/{id}"), TOKEN, &body)
    });
    send_all(addr, requests.collect(), 32).await
}

/// A place on the built-in map's roads.
pub fn place(n: usize) -> (f64, f64) {
    let spread = (n % 100) as f64 / 100_000.0;
    (47.1410 + spread, 9.5215 + spread)
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    head: u64,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    readings: Vec<Seq>,
}

#[derive(Deserialize)]
struct Seq {
    seq: u64,
}

/// What the log holds of the readings after an offset.
pub struct Counted {
    pub readings: usize,
    pub doubled: usize,
    pub head: u64,
}

/// Counts the readings in the log after an offset, over the public interface.
pub async fn count_readings(addr: SocketAddr, mut after: u64) -> Result<Counted, Failure> {
    let mut connection = Connection::open(addr).await?;
    let mut seen: HashSet<u64> = HashSet::new();
    let mut all = 0;
    loop {
        let path = format!("/api/v1/events?pattern=wearable.reading.recorded&limit=200&after={after}");
        let answer = connection.send(&request("GET", &path, TOKEN, "")).await?;
        if answer.status != 200 {
            return Err(format!("reading the log: {}", answer.status).into());
        }
        let page: Page = serde_json::from_slice(&answer.body)?;
        for item in &page.items {
            all += item.data.readings.len();
            seen.extend(item.data.readings.iter().map(|reading| reading.seq));
        }
        after = page.head;
        if page.next.is_none() {
            return Ok(Counted { readings: seen.len(), doubled: all - seen.len(), head: after });
        }
    }
}

/// The value of a counter at `/metrics`, all labels together.
pub async fn counter(connection: &mut Connection, name: &str) -> Result<f64, Failure> {
    let answer = connection.send(&request("GET", "/metrics", TOKEN, "")).await?;
    let text = String::from_utf8(answer.body)?;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_read_from_a_status() {
        assert_eq!(anonymous_bytes("VmRSS:\t 12 kB\nRssAnon:\t    1000 kB\n"), 1_024_000.0);
    }
}
