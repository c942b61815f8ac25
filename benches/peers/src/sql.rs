//! SQLite, with and without SQLCipher: one table of JSON texts by id, in WAL mode, every commit synced.

use medsync_core::ids::RecordId;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

const KEY: &str =
    "PRAGMA key = \"x'0707070707070707070707070707070707070707070707070707070707070707'\";";

pub(crate) struct Sql {
    path: PathBuf,
    cipher: bool,
    connection: Option<Connection>,
}

impl Sql {
    pub(crate) fn create(path: &Path, cipher: bool) -> Self {
        let mut sql = Self {
            path: path.to_owned(),
            cipher,
            connection: None,
        };
        sql.open(crate::ours::CACHE);
        let tables = "CREATE TABLE record(id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
             CREATE TABLE found(value TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY(value, id)) WITHOUT ROWID;";
        sql.connection()
            .execute_batch(tables)
            .expect("makes tables");
        sql
    }

    pub(crate) fn opened(path: &Path, cache: usize) -> Self {
        let mut sql = Self {
            path: path.to_owned(),
            cipher: true,
            connection: None,
        };
        sql.open(cache);
        sql
    }

    pub(crate) fn open(&mut self, cache: usize) {
        self.connection = None;
        let connection = Connection::open(&self.path).expect("opens");
        if self.cipher {
            connection.execute_batch(KEY).expect("takes the key");
        }
        let mode: String = connection
            .query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0))
            .expect("sets the mode");
        assert_eq!(mode, "wal");
        let settings = format!(
            "PRAGMA synchronous=FULL; PRAGMA cache_size=-{};",
            cache / 1024
        );
        connection.execute_batch(&settings).expect("sets");
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .expect("reads");
        std::hint::black_box(tables);
        self.connection = Some(connection);
    }

    pub(crate) fn close(&mut self) {
        self.connection = None;
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is open")
    }

    pub(crate) fn import(&mut self, ids: &[RecordId], texts: &[String]) {
        let txn = self.connection().transaction().expect("begins");
        {
            let mut insert = txn
                .prepare_cached("INSERT INTO record VALUES(?1, ?2)")
                .expect("prepares");
            let mut index = txn
                .prepare_cached("INSERT OR IGNORE INTO found VALUES(?1, ?2)")
                .expect("prepares");
            for (id, text) in ids.iter().zip(texts) {
                insert.execute((id.as_str(), text)).expect("inserts");
                index
                    .execute((crate::edits::indexed(text), id.as_str()))
                    .expect("inserts");
            }
        }
        txn.commit().expect("commits");
    }

    pub(crate) fn update(&mut self, id: &RecordId, text: &str) {
        let update = "UPDATE record SET json = ?2 WHERE id = ?1";
        let mut update = self.connection().prepare_cached(update).expect("prepares");
        assert_eq!(update.execute((id.as_str(), text)).expect("updates"), 1);
    }

    pub(crate) fn read(&mut self, id: &RecordId) -> String {
        let read = "SELECT json FROM record WHERE id = ?1";
        let mut read = self.connection().prepare_cached(read).expect("prepares");
        read.query_row([id.as_str()], |r| r.get(0)).expect("reads")
    }

    pub(crate) fn find(&mut self, value: &str) -> usize {
        let find = "SELECT id FROM found WHERE value = ?1 LIMIT 10";
        let mut find = self.connection().prepare_cached(find).expect("prepares");
        let rows = find
            .query_map([value], |r| r.get::<_, String>(0))
            .expect("finds");
        rows.map(|id| id.expect("reads")).count()
    }

    pub(crate) fn verify(&mut self) {
        let pragma = if self.cipher {
            "cipher_integrity_check"
        } else {
            "integrity_check"
        };
        let mut check = self
            .connection()
            .prepare(&format!("PRAGMA {pragma}"))
            .expect("prepares");
        let said = check
            .query_map([], |r| r.get::<_, String>(0))
            .expect("checks");
        let said: Vec<String> = said.map(|line| line.expect("reads")).collect();
        assert!(said.is_empty() || said == ["ok"], "{said:?}");
    }
}
