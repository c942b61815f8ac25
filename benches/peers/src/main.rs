//! Benchmarks beside SQLite and SQLCipher, which hold the same JSON in the same run.
//!
//! Rounds alternate between the three, one operation each in turn, so that whatever else the machine
//! does falls on all of them; what counts is the ratio within a round. `docs/benchmarks.md` records
//! what this prints. None of it asserts a time.

mod edits;
mod measure;
mod ours;
#[allow(dead_code, reason = "the other benchmarks use all of it")]
#[path = "../../src/records.rs"]
mod records;
mod sql;

use clap::{Parser, Subcommand, ValueEnum};
use measure::{Row, us};
use medsync_core::error::Result;
use medsync_core::ids::RecordId;
use ours::Ours;
use sql::Sql;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

// As the command does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of medsync beside SQLite and SQLCipher.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every row of the table.
    All(All),
    /// Opens a vault or a database that `all` left, waits, and prints the memory it takes.
    #[command(hide = true)]
    Idle {
        path: PathBuf,
        mib: usize,
        words: Option<String>,
    },
}

#[derive(clap::Args)]
struct All {
    /// How many records.
    #[arg(long, default_value_t = 10_000)]
    records: usize,
    /// Which records.
    #[arg(long, value_enum, default_value_t = Shape::Chart)]
    shape: Shape,
    /// How many rounds.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Operations of a round.
    #[arg(long, default_value_t = 60)]
    ops: usize,
    /// Where the files are made; a folder of the disk to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leaves out what checks and makes again all records.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Shape {
    /// A generated clinic's resources, about 850 B.
    Synthea,
    /// Chart-like records of about 5 kB.
    Chart,
}

fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<()> {
    match Args::parse().what {
        What::All(args) => all(&args),
        What::Idle { path, mib, words } => idle(&path, mib, words.as_deref()),
    }
}

/// The records, and the three that hold them.
struct Bench {
    ids: Vec<RecordId>,
    texts: Vec<String>,
    ours: Ours,
    cipher: Sql,
    plain: Sql,
    spread: usize,
}

fn all(args: &All) -> Result<()> {
    let temp = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let temp = temp.expect("a temporary folder");
    let dir = temp.path();
    let texts: Vec<String> = records::texts(args.shape, args.records).collect();
    let ids: Vec<RecordId> = texts.iter().map(|t| records::parse(t).0).collect();
    let json: usize = texts.iter().map(String::len).sum();
    println!(
        "{} records of {} B, {} rounds of {} operations",
        ids.len(),
        json / ids.len().max(1),
        args.rounds,
        args.ops
    );
    println!("{}", Row::head());
    let mut bench = Bench {
        ids,
        texts,
        ours: Ours::create(&dir.join("vault"))?,
        cipher: Sql::create(&dir.join("cipher.db"), true),
        plain: Sql::create(&dir.join("plain.db"), false),
        spread: 12345,
    };
    bench.import().print();
    let imported = sizes(dir);
    let took = us(|| bench.ours.compact()) / 1e6;
    let compacted = sizes(dir);
    bench.edit(args).print();
    bench.writers(args).print();
    bench.warm(args).print();
    bench.search(args).print();
    let words = bench.ours.words();
    bench.cold(args, dir)?.print();
    bench.open(args, dir)?.print();
    bench.verify(args, dir)?.print();
    if !args.quick {
        bench.whole()?;
    }
    bench.close(dir);
    let print = |when: &str, bytes: [u64; 3]| {
        let of = |n: u64| {
            format!(
                "{:.2} x ({} B a record)",
                n as f64 / json as f64,
                n as usize / args.records
            )
        };
        println!(
            "on disk {when}: medsync {}, SQLCipher {}, SQLite {}",
            of(bytes[0]),
            of(bytes[1]),
            of(bytes[2])
        );
    };
    print("after the import, open", imported);
    println!("compacting took {took:.1} s");
    print("after compacting", compacted);
    print("after all of it, closed", sizes(dir));
    idle_memory(dir, &words);
    Ok(())
}

impl Bench {
    fn next(&mut self) -> usize {
        self.spread = self
            .spread
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695);
        (self.spread >> 20) % self.ids.len()
    }

    /// Every record, a thousand to a transaction, each transaction durable.
    fn import(&mut self) -> Row {
        let mut row = Row::new("import of 1,000 records", "ms");
        let (ids, texts) = (&self.ids, &self.texts);
        for (ids, texts) in ids.chunks(1000).zip(texts.chunks(1000)) {
            let full = 1000.0 / ids.len() as f64;
            let ours = us(|| self.ours.import(texts)) * full / 1e3;
            let cipher = us(|| self.cipher.import(ids, texts)) * full / 1e3;
            let plain = us(|| self.plain.import(ids, texts)) * full / 1e3;
            row.round([vec![ours], vec![cipher], vec![plain]]);
        }
        row
    }

    /// One durable edit of one member of a random record.
    fn edit(&mut self, args: &All) -> Row {
        let mut row = Row::new("durable edit", "us");
        for round in 0..args.rounds {
            let mut samples = [vec![], vec![], vec![]];
            for op in 0..args.ops {
                let at = self.next();
                let value = edits::value(args.shape, round * args.ops + op);
                let text = edits::edited(args.shape, &self.texts[at], &value);
                let id = &self.ids[at];
                samples[0].push(us(|| self.ours.edit(id, args.shape, &value)));
                samples[1].push(us(|| self.cipher.update(id, &text)));
                samples[2].push(us(|| self.plain.update(id, &text)));
            }
            row.round(samples);
        }
        row
    }

    /// Eight threads edit at once: wall time by edits. Beside it, the peers' single edits.
    fn writers(&mut self, args: &All) -> Row {
        const THREADS: usize = 8;
        let mut row = Row::new("edit, each of eight writers'", "us");
        for round in 0..args.rounds {
            let mut picks: Vec<Vec<RecordId>> = vec![Vec::new(); THREADS];
            for op in 0..THREADS * args.ops {
                let at = self.next();
                picks[op % THREADS].push(self.ids[at].clone());
            }
            let wall = us(|| self.ours.edit_at_once(&picks, args.shape, round));
            let mut samples = [vec![wall / (THREADS * args.ops) as f64], vec![], vec![]];
            for op in 0..args.ops {
                let at = self.next();
                let value = edits::value(args.shape, round * args.ops + op + 7);
                let text = edits::edited(args.shape, &self.texts[at], &value);
                let id = &self.ids[at];
                samples[1].push(us(|| self.cipher.update(id, &text)));
                samples[2].push(us(|| self.plain.update(id, &text)));
            }
            row.round(samples);
        }
        row
    }

    /// Reads of records that each side's page cache holds.
    fn warm(&mut self, args: &All) -> Row {
        let mut row = Row::new("warm read", "us");
        // Few enough for every cache: 32 MiB.
        let few: Vec<usize> = (0..1000).map(|_| self.next()).collect();
        let mut round = |count: bool| {
            let mut samples = [vec![], vec![], vec![]];
            for at in &few {
                let id = &self.ids[*at];
                samples[0].push(us(|| self.ours.read(id)));
                samples[1].push(us(|| self.cipher.read(id)));
                samples[2].push(us(|| self.plain.read(id)));
            }
            if count {
                row.round(samples);
            }
        };
        (0..2).for_each(|_| round(false));
        (0..args.rounds).for_each(|_| round(true));
        row
    }

    /// First reads after opening, with page caches of 1 MiB. The system's cache is warm.
    fn cold(&mut self, args: &All, dir: &Path) -> Result<Row> {
        let mut row = Row::new("cold read", "us");
        for _ in 0..args.rounds {
            self.close(dir);
            self.reopen(dir, 1 << 20)?;
            let mut samples = [vec![], vec![], vec![]];
            for _ in 0..args.ops.max(200) {
                let at = self.next();
                let id = &self.ids[at];
                samples[0].push(us(|| self.ours.read(id)));
                samples[1].push(us(|| self.cipher.read(id)));
                samples[2].push(us(|| self.plain.read(id)));
            }
            row.round(samples);
        }
        self.close(dir);
        self.reopen(dir, ours::CACHE)?;
        Ok(row)
    }

    /// By value of an index: the peers have an index over the same member.
    fn search(&mut self, args: &All) -> Row {
        let mut row = Row::new("search by an index, 10 found", "us");
        for _ in 0..args.rounds {
            let mut samples = [vec![], vec![], vec![]];
            for _ in 0..args.ops {
                let at = self.next();
                let value = edits::indexed(&self.texts[at]);
                samples[0].push(us(|| self.ours.find(args.shape, &value)));
                samples[1].push(us(|| self.cipher.find(&value)));
                samples[2].push(us(|| self.plain.find(&value)));
            }
            row.round(samples);
        }
        row
    }

    /// Without the cost of a passphrase on any side. Ours checks every page in use on the way.
    fn open(&mut self, args: &All, dir: &Path) -> Result<Row> {
        let mut row = Row::new("open (ours verifies all pages)", "ms");
        for _ in 0..args.rounds {
            self.close(dir);
            let ours = us(|| self.ours.open(dir, ours::CACHE));
            let cipher = us(|| self.cipher.open(ours::CACHE));
            let plain = us(|| self.plain.open(ours::CACHE));
            row.round([vec![ours / 1e3], vec![cipher / 1e3], vec![plain / 1e3]]);
        }
        Ok(row)
    }

    /// Every page authenticated: ours by opening, SQLCipher by `cipher_integrity_check`, SQLite by
    /// `integrity_check`, which knows no authentication.
    fn verify(&mut self, args: &All, dir: &Path) -> Result<Row> {
        let mut row = Row::new("verify every page", "ms");
        for _ in 0..args.rounds {
            self.close(dir);
            let ours = us(|| self.ours.open(dir, ours::CACHE));
            self.cipher.open(ours::CACHE);
            self.plain.open(ours::CACHE);
            let cipher = us(|| self.cipher.verify());
            let plain = us(|| self.plain.verify());
            row.round([vec![ours / 1e3], vec![cipher / 1e3], vec![plain / 1e3]]);
        }
        Ok(row)
    }

    /// What no peer has: every commit, signature and record against Automerge, and every derived
    /// row made again.
    fn whole(&mut self) -> Result<()> {
        let records = self.ids.len() as f64;
        let verify = us(|| self.ours.verify(false));
        let rebuild = us(|| self.ours.verify(true)) - verify;
        println!(
            "verify of the ledger, every record against Automerge: {:.0} us a record; rebuild: {:.0} us a record",
            verify / records,
            rebuild / records
        );
        Ok(())
    }

    fn close(&mut self, _: &Path) {
        self.ours.close();
        self.cipher.close();
        self.plain.close();
    }

    fn reopen(&mut self, dir: &Path, cache: usize) -> Result<()> {
        self.ours.open(dir, cache);
        self.cipher.open(cache);
        self.plain.open(cache);
        Ok(())
    }
}

/// Bytes on disk: the vault's folder, and each database with its write-ahead log.
fn sizes(dir: &Path) -> [u64; 3] {
    let of = |path: PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
    let with_log = |name: &str| of(dir.join(name)) + of(dir.join(format!("{name}-wal")));
    let files = ["vault.db", "vault.keys", "vault.lock"];
    let ours = files.iter().map(|f| of(dir.join("vault").join(f))).sum();
    [ours, with_log("cipher.db"), with_log("plain.db")]
}

fn idle_memory(dir: &Path, words: &str) {
    let me = std::env::current_exe().expect("this program");
    let run = |path: &Path, mib: usize, words: Option<&str>| {
        let mut idle = std::process::Command::new(&me);
        let out = idle.arg("idle").arg(path).arg(mib.to_string()).args(words).output();
        String::from_utf8_lossy(&out.expect("runs").stdout).trim().to_owned()
    };
    for mib in [32, 16, 8] {
        println!(
            "idle after opening with {mib} MiB of cache, resident: medsync {}, SQLCipher {}",
            run(dir, mib, Some(words)),
            run(&dir.join("cipher.db"), mib, None)
        );
    }
}

fn idle(path: &Path, mib: usize, words: Option<&str>) -> Result<()> {
    let ours = match words {
        Some(words) => Some(Ours::opened(path, words, mib << 20)?),
        None => None,
    };
    let sql = words.is_none().then(|| Sql::opened(path, mib << 20));
    std::thread::sleep(Duration::from_secs(5));
    println!(
        "{:.1} MiB (peak {:.1})",
        measure::memory_mib("VmRSS"),
        measure::memory_mib("VmHWM")
    );
    drop((ours, sql));
    Ok(())
}
