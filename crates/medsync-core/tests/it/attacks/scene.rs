//! A vault, a stick that anybody can write to, and somebody who writes whatever they like.

pub(crate) use medsync_core::crypto::envelope;
pub(crate) use medsync_core::crypto::sign::SigningKey;
pub(crate) use medsync_core::crypto::{Kdf, Suite};
pub(crate) use medsync_core::doc::{FlatChange, FlatOp, encode};
pub(crate) use medsync_core::env::SystemEnv;
pub(crate) use medsync_core::ids::{
    AuthorKey, ChainId, ChangeId, CommitId, DataKeyId, RecordId, ReplicaId, WorkspaceId,
};
pub(crate) use medsync_core::ledger::batch;
pub(crate) use medsync_core::ledger::certificate::Role;
pub(crate) use medsync_core::ledger::commit::{Commit, CommitBuilder, Intent, Tip};
pub(crate) use medsync_core::ledger::enrol::Request;
pub(crate) use medsync_core::ledger::entry::{self, ChangeEntry, ItemKind};
pub(crate) use medsync_core::ledger::wire::{SealedBatch, WireCommit, WireLeaf, seal_leaf};
pub(crate) use medsync_core::model::cell::{Cell, Review};
pub(crate) use medsync_core::model::cell_value::CellValue;
pub(crate) use medsync_core::model::json::Json;
pub(crate) use medsync_core::model::pack::{Lane, PolicyPack};
pub(crate) use medsync_core::time::Timestamp;
pub(crate) use medsync_core::vault::{ExchangeReport, NewVault, Vault};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

pub(crate) const PACK: &str = r#"{
    "format": 1, "name": "test", "version": 1,
    "kinds": {"Observation": {"fields": {
        "note": {"policy": "lww"},
        "item": {"policy": {"set": {}}, "list": {}}
    }}}
}"#;

pub(crate) const LABEL: &str = "medsync exchange (provisional)";

/// A vault, and a stick that an attacker can write to.
pub(crate) struct Scene {
    pub(crate) _home: TempDir,
    pub(crate) stick: PathBuf,
    pub(crate) vault: Vault,
    pub(crate) workspace: WorkspaceId,
    pub(crate) files: u32,
}

/// Somebody with a person's and a device's key, who writes whatever they like.
pub(crate) struct Mallory {
    pub(crate) person: SigningKey,
    pub(crate) device: SigningKey,
    pub(crate) replica: ReplicaId,
    pub(crate) data_key: [u8; 32],
    pub(crate) tip: Tip,
}

/// One record's part of a commit of Mallory's.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) record: RecordId,
    pub(crate) change: FlatChange,
    pub(crate) seen: Option<Vec<ChangeId>>,
}

pub(crate) fn env() -> medsync_core::env::SharedEnv {
    SystemEnv::shared()
}

pub(crate) fn new_vault<'a>(person: &'a str, device: &'a str) -> NewVault<'a> {
    NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person,
        device,
    }
}

pub(crate) fn record(id: &str) -> RecordId {
    RecordId::new("Observation", id).expect("a name")
}

pub(crate) fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("json")
}

pub(crate) fn pack() -> PolicyPack {
    PolicyPack::from_json(PACK.as_bytes()).expect("a pack")
}

impl Scene {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let stick = home.path().join("stick");
        fs::create_dir(&stick).expect("a folder");
        let pack = pack();
        let new = new_vault("Ana", "Clinic");
        let vault = Vault::create(&home.path().join("v"), env(), &new, "Ward", &pack);
        let vault = vault.expect("a vault").vault;
        let (workspace, _) = vault.workspace().expect("a workspace");
        Self {
            _home: home,
            stick,
            vault,
            workspace,
            files: 0,
        }
    }

    pub(crate) fn exchange(&mut self) -> ExchangeReport {
        let done = self.vault.exchange(&self.stick, &mut |_| {});
        done.expect("one bad file stops nothing")
    }

    /// Puts batches on the stick, readable for every device, in a folder that sorts by `no`.
    pub(crate) fn put(&mut self, no: u8, batches: &[SealedBatch]) {
        let bytes: Vec<Vec<u8>> = batches
            .iter()
            .map(|b| b.to_bytes().expect("fits"))
            .collect();
        let mut plain = minicbor::Encoder::new(Vec::new());
        plain
            .array(3)
            .and_then(|e| e.str(LABEL))
            .and_then(|e| e.u32(1))
            .expect("encodes");
        plain.array(bytes.len() as u64).expect("encodes");
        for batch in &bytes {
            plain.bytes(batch).expect("encodes");
        }
        self.put_file(no, "batches", &plain.into_writer());
    }

    pub(crate) fn put_file(&mut self, no: u8, name: &str, plain: &[u8]) {
        let recipients: Vec<[u8; 32]> = self
            .vault
            .devices()
            .filter_map(|device| device.recipient)
            .collect();
        let sealed = envelope::seal_to(&recipients, plain).expect("seals");
        self.files += 1;
        let dir = self.workspace_dir().join(format!("{no:016x}"));
        fs::create_dir_all(&dir).expect("a folder");
        let file = dir.join(format!("{name}-{:06}.age", self.files));
        fs::write(file, sealed).expect("a file");
    }

    pub(crate) fn workspace_dir(&self) -> PathBuf {
        let workspace = self.workspace.to_string();
        self.stick
            .join("medsync-exchange")
            .join(workspace.get(..16).expect("an id"))
    }

    /// Mallory's data key, signed by the device of Mallory's.
    pub(crate) fn put_key(&mut self, mallory: &Mallory) {
        let mut e = minicbor::Encoder::new(Vec::new());
        e.array(5)
            .and_then(|e| e.str(LABEL))
            .and_then(|e| e.u32(1))
            .expect("encodes");
        e.bytes(&self.workspace.0)
            .and_then(|e| e.bytes(&mallory.device.public()))
            .expect("encodes");
        e.array(1)
            .and_then(|e| e.array(3))
            .and_then(|e| e.bytes(&KEY.0))
            .expect("encodes");
        e.bytes(&mallory.data_key)
            .and_then(|e| e.null())
            .expect("encodes");
        let body = e.into_writer();
        let signature = mallory.device.sign("medsync v1 exchange keys", &body);
        let mut e = minicbor::Encoder::new(Vec::new());
        e.array(2)
            .and_then(|e| e.bytes(&body))
            .and_then(|e| e.bytes(&signature))
            .expect("encodes");
        self.put_file(0, "keys", &e.into_writer());
    }

    /// Writes a field in sight of what is there.
    pub(crate) fn write(&mut self, id: &str, field: &str, value: &str) {
        let mut draft = self.vault.draft(&record(id)).expect("a draft");
        draft.set(field, Json::string(value));
        self.vault.commit(vec![draft]).expect("commits");
    }

    pub(crate) fn shows(&self, id: &str) -> Option<String> {
        let view = self.vault.read(&record(id)).expect("reads");
        view.map(|view| view.json.expose().clone())
    }

    pub(crate) fn pending(&self) -> u64 {
        self.vault.status().expect("a status").pending
    }

    /// What was taken up holds, and follows from the ledger.
    pub(crate) fn assert_sound(&mut self) {
        let report = { self.vault.verify(true, &mut |_, _| {}).expect("verifies") };
        assert!(report.is_sound(), "{report:?}");
    }
}

pub(crate) const KEY: DataKeyId = DataKeyId([77; 16]);

impl Mallory {
    /// A stranger: nobody certified the keys.
    pub(crate) fn new() -> Self {
        let env = env();
        Self {
            person: SigningKey::generate(&*env),
            device: SigningKey::generate(&*env),
            replica: ReplicaId(env.bytes()),
            data_key: env.bytes(),
            tip: Tip::START,
        }
    }

    /// The same person on another replica.
    pub(crate) fn elsewhere(&self, no: u64) -> Self {
        let mut replica = [0; 16];
        replica[..8].copy_from_slice(&no.to_be_bytes());
        Self {
            person: SigningKey::from_seed(&self.person.seed()),
            device: SigningKey::from_seed(&self.device.seed()),
            replica: ReplicaId(replica),
            data_key: self.data_key,
            tip: Tip::START,
        }
    }

    /// A member like any other, until now.
    pub(crate) fn admitted(scene: &mut Scene, roles: &[Role]) -> Self {
        let mallory = Self::new();
        let recipient = x25519();
        let request = Request::new(
            &*env(),
            &mallory.device,
            recipient,
            &mallory.person,
            "Laptop",
            "Mallory",
        );
        let request = request.expect("a request").to_text();
        scene.vault.admit(&request, roles).expect("admits");
        mallory
    }

    pub(crate) fn chain(&self) -> ChainId {
        ChainId {
            author: AuthorKey(self.person.public()),
            replica: self.replica,
        }
    }

    pub(crate) fn now() -> Timestamp {
        Timestamp::new(env().now_ms(), 0)
    }

    /// A commit of these parts and items at the end of the chain.
    pub(crate) fn commit(
        &mut self,
        parts: &[Part],
        items: &[(ItemKind, Vec<u8>)],
    ) -> (Commit, WireCommit) {
        let changes = parts.iter().map(|p| encode(&p.change)).collect();
        self.commit_of(parts, changes, items)
    }

    /// A commit of a new record whose one value was written over with other bytes: what no builder
    /// makes.
    pub(crate) fn written_over(
        &mut self,
        id: &str,
        cell: Cell,
        poison: &[u8],
    ) -> (Commit, WireCommit) {
        use sha2::Digest as _;
        let value = match cell.to_value() {
            CellValue::Str(text) => text.as_bytes().to_vec(),
            CellValue::Bytes(bytes) => bytes,
        };
        let part = part(id, self.change(1, &[], &[("code", cell)]));
        let (mut change, _) = encode(&part.change);
        let at = change.windows(value.len()).position(|w| w == value);
        let at = at.expect("the value stands as it is");
        // Its tag stays: of another one a newer engine may know what it is.
        change[at + 1..at + value.len()].copy_from_slice(&poison[..value.len() - 1]);
        let hash: [u8; 32] = sha2::Sha256::digest(&change[8..]).into();
        change[4..8].copy_from_slice(&hash[..4]);
        self.commit_of(&[part], vec![(change, ChangeId(hash))], &[])
    }

    fn commit_of(
        &mut self,
        parts: &[Part],
        changes: Vec<(Vec<u8>, ChangeId)>,
        items: &[(ItemKind, Vec<u8>)],
    ) -> (Commit, WireCommit) {
        let hlc = parts
            .first()
            .map_or_else(Self::now, |p| p.change.hlc)
            .max(self.tip.hlc);
        let intent = Intent::Edit;
        let builder = CommitBuilder::new(self.chain(), self.tip, hlc, Lane::P0, intent);
        let mut builder = builder.expect("a builder");
        let mut bodies = Vec::new();
        for (part, (bytes, id)) in parts.iter().zip(changes) {
            let entry = ChangeEntry {
                record: part.record.clone(),
                patient: None,
                seen: part.seen.clone(),
                change: id,
                because: None,
                source: None,
            };
            builder.change(&entry, &self.data_key).expect("an entry");
            bodies.push(bytes);
        }
        for (kind, bytes) in items {
            builder.item(*kind, bytes).expect("an item");
        }
        let commit = builder.build().expect("a commit");
        self.tip = commit.header.tip();
        let mut leaves = Vec::new();
        for (index, sealable) in (0u32..).zip(&commit.entries) {
            leaves.push(match bodies.get(index as usize) {
                Some(change) => {
                    let sealed = seal_leaf(&*env(), &commit, index, KEY, &self.data_key, change);
                    sealed.expect("seals")
                }
                None => WireLeaf::Item(sealable.bytes.clone()),
            });
        }
        let wire = WireCommit {
            header: commit.header.bytes().to_vec(),
            leaves,
        };
        (commit, wire)
    }

    pub(crate) fn batch(&self, scene: &Scene, commits: Vec<(Commit, WireCommit)>) -> SealedBatch {
        let headers: Vec<_> = commits.iter().map(|(c, _)| c.header.clone()).collect();
        SealedBatch {
            signed: batch::seal(&self.person, scene.workspace, &headers).expect("a run"),
            commits: commits.into_iter().map(|(_, wire)| wire).collect(),
        }
    }

    /// One commit in a batch of its own.
    pub(crate) fn one(&mut self, scene: &Scene, parts: &[Part]) -> SealedBatch {
        let commit = self.commit(parts, &[]);
        self.batch(scene, vec![commit])
    }

    /// A change that writes fields of a record.
    pub(crate) fn change(
        &self,
        seq: u64,
        deps: &[&FlatChange],
        cells: &[(&str, Cell)],
    ) -> FlatChange {
        let mut ids: Vec<ChangeId> = deps.iter().map(|d| encode(d).1).collect();
        ids.sort_unstable();
        let ops = cells.iter().map(|(key, cell)| FlatOp {
            key: (*key).into(),
            cell: cell.clone(),
            pred: Vec::new(),
        });
        FlatChange {
            actor: self.chain().actor(),
            seq,
            start_op: deps.iter().map(|d| d.end_op()).max().unwrap_or(0) + 1,
            hlc: Self::now().max(self.tip.hlc),
            deps: ids,
            ops: ops.collect(),
        }
    }

    /// A new record with one field.
    pub(crate) fn fresh(&self, id: &str, field: &str, value: &str) -> Part {
        let cell = Cell::put(&Json::string(value));
        part(id, self.change(1, &[], &[(field, cell)]))
    }
}

pub(crate) fn part(id: &str, change: FlatChange) -> Part {
    Part {
        record: record(id),
        change,
        seen: None,
    }
}

/// Values as long as the bytes that are to stand in their place: JSON nested deep, as an array and as
/// objects, and reviews of reviews.
pub(crate) fn poisons() -> Vec<(Cell, Vec<u8>)> {
    let long = "y".repeat(180_000);
    let object = Cell::put(&json(&format!(r#"{{"k":"{long}"}}"#)));
    let review = Cell::Review(Box::new(Review {
        settles: Vec::new(),
        stands: Cell::put(&Json::string(&long)),
    }));
    vec![
        (object.clone(), b"[".repeat(200_000)),
        (object, br#"{"a":"#.repeat(40_000)),
        (review.clone(), b"[]\0r".repeat(50_000)),
        (review.clone(), b"[".repeat(200_000)),
        (review, vec![0xff; 200_000]),
    ]
}

pub(crate) fn x25519() -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(env().bytes::<32>());
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}
