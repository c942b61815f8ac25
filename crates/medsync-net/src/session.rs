//! One session over one transport.

use crate::transport::{Reading, Transport, Writing};
use medsync_core::error::{Error, Result};
use medsync_core::ids::DeviceKey;
use medsync_core::sync::session::Settings;
use medsync_core::sync::step::{Ending, Notice};
use medsync_core::vault::SharedVault;
use medsync_core::vault::connect::{Connection, Counts, Happening, Turn};
use serde::Serialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How often a session looks whether it waited too long.
const TICK: Duration = Duration::from_secs(5);

/// What came of a session.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What it moved.
    #[serde(flatten)]
    pub counts: Counts,
    /// How often it waited for the peer after it had said something.
    pub round_trips: u64,
    /// Batches of this side that the peer receipted.
    pub receipted: u64,
    /// The peer's device, once it had shown itself.
    #[serde(serialize_with = "shown")]
    pub peer: Option<DeviceKey>,
    /// Why it ended; `None` when the line broke.
    #[serde(skip)]
    pub ending: Option<Ending>,
}

fn shown<S: serde::Serializer>(
    peer: &Option<DeviceKey>,
    s: S,
) -> std::result::Result<S::Ok, S::Error> {
    peer.map(|peer| peer.to_string()).serialize(s)
}

impl Report {
    /// Whether both sides were found to hold the same.
    pub fn is_in_sync(&self) -> bool {
        self.ending == Some(Ending::InSync)
    }
}

/// Calls a peer over a transport: one that was met before by its device, `None` for whoever answers.
///
/// # Errors
/// As [`medsync_core::vault::Vault::connect`], and [`Error::Storage`] where the vault's disk fails.
/// A line that breaks is no error: the report has no ending then.
pub async fn call(
    vault: &SharedVault,
    transport: impl Transport,
    peer: Option<DeviceKey>,
    settings: Settings,
) -> Result<Report> {
    let begin =
        move |vault: SharedVault| vault.with_mut(|vault| vault.connect(peer.as_ref(), settings));
    let (connection, turn) = blocking(vault, begin).await?;
    Line::new(vault, transport, connection).run(turn).await
}

/// Answers whoever calls over a transport.
///
/// # Errors
/// As [`call`].
pub async fn answer(
    vault: &SharedVault,
    transport: impl Transport,
    settings: Settings,
) -> Result<Report> {
    let begin = move |vault: SharedVault| vault.with_mut(|vault| vault.accept(settings));
    let connection = blocking(vault, begin).await?;
    Line::new(vault, transport, connection)
        .run(Turn::default())
        .await
}

/// Runs what waits for the disk beside what waits for wires.
async fn blocking<T: Send + 'static>(
    vault: &SharedVault,
    job: impl FnOnce(SharedVault) -> Result<T> + Send + 'static,
) -> Result<T> {
    const GONE: Error = Error::Storage {
        what: "a session's work ended early",
        kind: std::io::ErrorKind::Other,
    };
    let vault = vault.clone();
    let done = tokio::task::spawn_blocking(move || job(vault)).await;
    done.unwrap_or(Err(GONE))
}

/// What happened on the line.
enum Heard {
    Received(Vec<u8>),
    Written(usize),
    Tick,
    Broken,
}

struct Line {
    vault: SharedVault,
    reading: Reading,
    writing: Writing,
    connection: Option<Connection>,
    waiting: Vec<u8>,
    report: Report,
    said: bool,
}

impl Line {
    fn new(vault: &SharedVault, transport: impl Transport, connection: Connection) -> Self {
        let (reading, writing) = transport.split();
        Self {
            vault: vault.clone(),
            reading,
            writing,
            connection: Some(connection),
            waiting: Vec::new(),
            report: Report::default(),
            said: false,
        }
    }

    async fn run(mut self, first: Turn) -> Result<Report> {
        let mut broken = false;
        self.absorb(first)?;
        while self.report.ending.is_none() || !self.waiting.is_empty() {
            if broken {
                break;
            }
            let heard = self.listen().await;
            broken = matches!(heard, Heard::Broken);
            self.tell(heard).await?;
        }
        // What the peer said after its last word is of no interest.
        self.writing.shutdown().await.unwrap_or_default();
        if broken && !self.report.is_in_sync() {
            self.report.ending = None;
        }
        Ok(self.report)
    }

    async fn listen(&mut self) -> Heard {
        let mut buf = vec![0; READ_BYTES];
        let over = self.report.ending.is_some();
        tokio::select! {
            read = self.reading.read(&mut buf), if !over => match read {
                Ok(0) | Err(_) => Heard::Broken,
                Ok(count) => {
                    buf.truncate(count);
                    Heard::Received(buf)
                }
            },
            written = self.writing.write(&self.waiting), if !self.waiting.is_empty() => match written {
                Ok(0) | Err(_) => Heard::Broken,
                Ok(count) => {
                    self.waiting.drain(..count);
                    match self.writing.flush().await {
                        Ok(()) => Heard::Written(count),
                        Err(_) => Heard::Broken,
                    }
                }
            },
            () = tokio::time::sleep(TICK) => Heard::Tick,
        }
    }

    async fn tell(&mut self, heard: Heard) -> Result<()> {
        if matches!(heard, Heard::Received(_)) && std::mem::take(&mut self.said) {
            self.report.round_trips += 1;
        }
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let job = move |vault: SharedVault| {
            vault.with_mut(|vault| {
                let happening = match &heard {
                    Heard::Received(bytes) => Happening::Received(bytes),
                    Heard::Written(count) => Happening::Written(*count),
                    Heard::Tick => Happening::Tick,
                    Heard::Broken => Happening::Stop,
                };
                let turn = connection.step(vault, happening);
                Ok((connection, turn))
            })
        };
        let (connection, turn) = blocking(&self.vault, job).await?;
        self.report.counts = *connection.counts();
        self.report.peer = connection.session().peer();
        self.connection = Some(connection);
        self.absorb(turn)
    }

    fn absorb(&mut self, turn: Turn) -> Result<()> {
        self.said |= !turn.frames.is_empty();
        self.waiting.extend(turn.frames.concat());
        for notice in turn.notices {
            match notice {
                Notice::Receipted(batches) => self.report.receipted += batches.len() as u64,
                Notice::Ended(ending) => self.report.ending = Some(ending),
                _ => {}
            }
        }
        turn.fault.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use medsync_core::crypto::{Kdf, Suite};
    use medsync_core::env::SystemEnv;
    use medsync_core::ids::RecordId;
    use medsync_core::ledger::certificate::Role;
    use medsync_core::model::json::Json;
    use medsync_core::model::pack::PolicyPack;
    use medsync_core::sync::transfer::Link;
    use medsync_core::vault::{NewVault, Vault};
    use std::path::Path;
    use tokio::net::{TcpListener, TcpStream};

    const PACK: &str = r#"{"format": 1, "name": "test", "version": 1, "kinds": {}}"#;
    const FAST: Settings = Settings {
        link: Link::FAST,
        live: false,
    };

    fn write(vault: &SharedVault, name: &str) {
        let id: RecordId = name.parse().expect("a name");
        let draft = vault.with(|vault| vault.draft(&id)).expect("a draft");
        let mut draft = draft;
        draft.set("note", Json::parse(b"\"seen\"").expect("json"));
        vault.commit(vec![draft]).expect("commits");
    }

    fn has(vault: &SharedVault, name: &str) -> bool {
        let id: RecordId = name.parse().expect("a name");
        vault.read(&id).expect("reads").is_some()
    }

    fn two(home: &Path) -> [SharedVault; 2] {
        let new = |device| NewVault {
            passphrase: "correct horse",
            suite: Suite::default(),
            kdf: Kdf::new(19 * 1024, 2, 1).expect("the floor"),
            person: "Asha",
            device,
        };
        let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
        let env = SystemEnv::shared;
        let ours = Vault::create(&home.join("a"), env(), &new("a"), "Ward", &pack);
        let mut ours = ours.expect("a vault").vault;
        let theirs = Vault::create_alone(&home.join("b"), env(), &new("b"), &pack);
        let mut theirs = theirs.expect("a vault").vault;
        let request = theirs.request().expect("a request");
        let grant = ours.admit(&request, &[Role::Clinician]).expect("a grant");
        theirs.join(&grant).expect("joins");
        [ours.share(), theirs.share()]
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_vaults_meet_over_tcp() {
        let home = tempfile::tempdir().expect("a folder");
        let [a, b] = two(home.path());
        write(&a, "Patient/p1");
        write(&b, "Patient/p2");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        for peer in [None, Some(b.with(|b| Ok(b.device_key())).expect("a key"))] {
            let there = b.clone();
            let answers = async {
                let (stream, _) = listener.accept().await.expect("a call");
                answer(&there, stream, FAST).await
            };
            let calls = async {
                let stream = TcpStream::connect(address).await.expect("connects");
                call(&a, stream, peer, FAST).await
            };
            let (answered, called) = tokio::join!(answers, calls);
            let (answered, called) = (answered.expect("answers"), called.expect("calls"));
            assert!(answered.is_in_sync() && called.is_in_sync());
            assert_eq!(answered.counts.bytes_sent, called.counts.bytes_received);
        }
        assert!(has(&a, "Patient/p2") && has(&b, "Patient/p1"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_line_that_breaks_is_no_error_and_the_next_session_goes_on() {
        let home = tempfile::tempdir().expect("a folder");
        let [a, b] = two(home.path());
        for at in 0..20 {
            write(&a, &format!("Patient/p{at}"));
        }
        let (left, right) = tokio::io::duplex(256);
        let answers = tokio::spawn({
            let b = b.clone();
            async move { answer(&b, right, FAST).await }
        });
        let calls = call(&a, left, None, FAST);
        // The caller goes away in the middle: its half of the line is dropped with it.
        let cut = tokio::time::timeout(Duration::from_millis(30), calls).await;
        let answered = answers.await.expect("ends").expect("no error");
        if cut.is_err() {
            assert!(!answered.is_in_sync());
        }
        let (left, right) = tokio::io::duplex(256);
        let (called, answered) = tokio::join!(call(&a, left, None, FAST), answer(&b, right, FAST));
        assert!(called.expect("calls").is_in_sync() && answered.expect("answers").is_in_sync());
        assert!(has(&b, "Patient/p19"));
    }
}
