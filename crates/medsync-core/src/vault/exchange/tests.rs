//! What only a hostile device would write.

use super::files::{copy_dir, workspace_dir};
use super::keys::{self, KeyFile};
use super::manifest::Marks;
use crate::crypto::envelope::{open_with, seal_to};
use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::crypto::{Kdf, Suite};
use crate::env::SystemEnv;
use crate::ids::{AuthorKey, DeviceKey, RecordId, ReplicaId};
use crate::ledger::certificate::{Certificate, Role, Subject, Terms};
use crate::ledger::enrol::{Grant, Request};
use crate::ledger::membership::MemberItem;
use crate::model::json::Json;
use crate::model::pack::PolicyPack;
use crate::vault::core::DataKey;
use crate::vault::rows;
use crate::vault::{ExchangeReport, NewVault, Vault};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PACK: &str = r#"{"format": 1, "name": "test", "version": 1, "kinds": {}}"#;

fn exchange(vault: &mut Vault, dir: &Path) -> ExchangeReport {
    vault.exchange(dir, &mut |_| {}).expect("exchanges")
}

/// Two vaults; the second wrote a record, which lies in the folder.
fn two(home: &Path) -> (Vault, Vault, PathBuf) {
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "tablet",
    };
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
    let env = SystemEnv::shared;
    let ours = Vault::create(&home.join("a"), env(), &new, "Ward", &pack);
    let mut ours = ours.expect("a vault").vault;
    let theirs = Vault::create_alone(&home.join("b"), env(), &new, &pack);
    let mut theirs = theirs.expect("a vault").vault;
    let request = theirs.request().expect("a request");
    let grant = ours.admit(&request, &[Role::Clinician]).expect("a grant");
    theirs.join(&grant).expect("joins");
    let stick = home.join("stick");
    fs::create_dir(&stick).expect("a folder");
    exchange(&mut ours, &stick);
    // Before it has the workspace's key of the others, so that it makes one.
    let mut draft = theirs.draft(&record()).expect("a draft");
    draft.set("note", Json::parse(br#""seen""#).expect("json"));
    theirs.commit(vec![draft]).expect("commits");
    exchange(&mut theirs, &stick);
    (ours, theirs, stick)
}

fn record() -> RecordId {
    "Observation/o1".parse().expect("a name")
}

fn dir_of(vault: &Vault, stick: &Path, device: &DeviceKey, replica: ReplicaId) -> PathBuf {
    let workspace = vault.workspace().expect("a workspace").0;
    stick
        .join(workspace_dir(&workspace))
        .join(copy_dir(device, &replica))
}

#[test]
fn a_strangers_wrong_key_never_takes_the_place_of_the_true_one() {
    let home = tempfile::tempdir().expect("a folder");
    let (mut ours, theirs, stick) = two(home.path());
    let theirs_dir = dir_of(&ours, &stick, &theirs.device_key(), theirs.replica());
    let true_file = theirs_dir.join("keys-000001.age");
    let kept = fs::read(&true_file).expect("a file of keys");
    fs::remove_file(&true_file).expect("removes");
    // The stranger knows the id of the key, and for whom files are sealed.
    let stranger = SigningKey::generate(&SystemEnv);
    let known = keys::all(&theirs.store.read().expect("reads")).expect("keys");
    let wrong = |key: DataKey| DataKey {
        key: Arc::new(Secret::random(&SystemEnv)),
        ..key
    };
    let file = KeyFile {
        workspace: ours.workspace().expect("a workspace").0,
        device: DeviceKey(stranger.public()),
        keys: known.into_iter().map(wrong).collect(),
    };
    let recipient = ours.device().expect("keys").public_recipient();
    let sealed = seal_to(&[recipient], &file.sign(&stranger)).expect("seals");
    let dir = dir_of(&ours, &stick, &file.device, ReplicaId([1; 16]));
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("keys-000001.age"), sealed).expect("writes");
    let report = exchange(&mut ours, &stick);
    assert_eq!(report.received_keys, 0);
    assert!(report.received.pending > 0 && report.received.quarantined == 0);
    fs::write(&true_file, kept).expect("writes");
    let report = exchange(&mut ours, &stick);
    assert!(report.received_keys > 0 && report.received.pending == 0);
    assert!(ours.read(&record()).expect("reads").is_some());
}

#[test]
fn marks_of_another_device_or_a_stranger_suppress_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    let (mut ours, theirs, stick) = two(home.path());
    let recipient = ours.device().expect("keys").public_recipient();
    let secret = ours.device().expect("keys").recipient;
    let marks = dir_of(&ours, &stick, &theirs.device_key(), theirs.replica()).join("marks.age");
    let sealed = fs::read(&marks).expect("marks");
    let plain = open_with(secret.expose(), &sealed, 1 << 20).expect("opens");
    let stranger = SigningKey::generate(&SystemEnv);
    // As if the other device had everything that we are about to write.
    let (mut forged, _) = Marks::open(&plain).expect("marks");
    let id = crate::ids::ChainId {
        author: ours.author().expect("an author"),
        replica: ours.replica(),
    };
    forged.held.insert(id, 1, 1000);
    forged.claim.hlc = forged.claim.hlc.next();
    forged.claim.counter += 1;
    let forged = seal_to(&[recipient], &forged.sign(&stranger).0).expect("seals");
    fs::write(&marks, forged).expect("writes");
    let mut draft = ours
        .draft(&"Observation/o2".parse().expect("a name"))
        .expect("a draft");
    draft.set("note", Json::parse(br#""new""#).expect("json"));
    ours.commit(vec![draft]).expect("commits");
    let report = exchange(&mut ours, &stick);
    assert!(report.sent_commits > 0, "{report:?}");
    assert!(
        report
            .problems
            .iter()
            .any(|p| p.file.ends_with("marks.age"))
    );
}

#[test]
fn what_a_grant_claims_of_a_commit_counts_until_the_commit_is_here() {
    let home = tempfile::tempdir().expect("a folder");
    let (mut ours, _, stick) = two(home.path());
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Binh",
        device: "laptop",
    };
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
    let newcomer = Vault::create_alone(&home.path().join("c"), SystemEnv::shared(), &new, &pack);
    let mut newcomer = newcomer.expect("a vault").vault;
    let request = newcomer.request().expect("a request");
    ours.admit(&request, &[Role::Clinician]).expect("admits");
    // The admin claims that the commit before brought a certificate, which it never did.
    let friend = SigningKey::generate(&SystemEnv);
    let admin = &ours.signer.as_ref().expect("unlocked").key;
    let workspace = ours.workspace().expect("a workspace").0;
    let carrier = ours
        .core
        .membership
        .items()
        .map(|(_, c)| *c)
        .last()
        .expect("one");
    let subject = Subject::Person(AuthorKey(friend.public()));
    let terms = Terms::new(workspace, subject, "Friend", [Role::Admin], carrier.hlc);
    let forged = MemberItem::Certificate(Certificate::issue(admin, &terms).expect("issues"));
    let mut claimed = (*ours.core.membership).clone();
    claimed.extend([(forged, carrier)]);
    let request = Request::from_text(&request).expect("a request");
    let grant = Grant::answer(admin, &request, &claimed, "Ward").expect("a grant");
    newcomer.join(&grant).expect("joins");
    let knows = |v: &Vault| {
        v.core
            .membership
            .people()
            .any(|p| p.key.0 == friend.public())
    };
    assert!(knows(&newcomer) && !knows(&ours));
    exchange(&mut ours, &stick);
    assert!(exchange(&mut newcomer, &stick).received.commits > 0);
    assert!(!knows(&newcomer));
    assert_eq!(newcomer.core.membership, ours.core.membership);
    let granted = newcomer
        .store
        .read()
        .expect("reads")
        .get(&rows::meta("grant"));
    assert_eq!(granted.expect("reads"), None);
    drop(newcomer);
    let unlock = crate::store::Unlock::Passphrase("correct horse");
    let again = Vault::open(&home.path().join("c"), SystemEnv::shared(), unlock).expect("opens");
    assert_eq!(again.core.membership, ours.core.membership);
}
