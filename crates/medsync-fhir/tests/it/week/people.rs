//! People who come, go, and are known here later than elsewhere; and packs that change.

use super::ward;
use crate::world::{Device, SENIOR, diagnosis, patient, values};
use medsync_core::doc::shown::Why;
use medsync_core::model::pack::PolicyRow;

#[test]
fn what_a_locum_wrote_is_unconfirmed_until_the_certificate_arrives() {
    let mut world = ward();
    let c = "Condition/c";
    world.devices[0].put(&diagnosis("c", "p", "fever"));
    world.converge();
    // Head office admits a locum, whose first stop is a branch that has not heard of it.
    let locum = world.join("Chandra", &SENIOR);
    world.meet(&[0, locum]);
    world.carry_half(locum, 1, |device| {
        device.set(c, "code", r#"{"text":"malaria"}"#);
    });
    let branch = &mut world.devices[1];
    let question = branch.question(c, "code");
    assert_eq!(question.why, Why::Unconfirmed);
    assert!(question.candidates.iter().any(|c| !c.confirmed));
    assert_eq!(branch.shows(c, "code.text"), r#""fever""#);
    branch.assert_sound();
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(c, "code.text"), r#""malaria""#);
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn what_somebody_wrote_before_they_were_revoked_stands_and_what_came_later_is_asked_about() {
    let mut world = ward();
    let p = "Patient/p";
    world.devices[1].set(p, "gender", r#""other""#);
    world.converge();
    let bala = world.devices[1].vault.author().expect("a person");
    let revoked = world.devices[0].vault.revoke(&bala.0, "left the clinic");
    revoked.expect("revokes");
    // Bala's device has not heard of it.
    world.devices[1].set(p, "birthDate", r#""1990-01-01""#);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(p, "gender"), r#""other""#);
        assert_eq!(device.shows(p, "birthDate"), r#""1980-02-03""#);
        let question = device.question(p, "birthDate");
        assert_eq!(question.why, Why::Unconfirmed);
        assert_eq!(values(&question), [r#""1980-02-03""#, r#""1990-01-01""#]);
        assert_eq!(device.questions().len(), 1);
    }
    // A reviewer may accept what came after the cut.
    world.devices[0].keep(p, "birthDate", "1990");
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(p, "birthDate"), r#""1990-01-01""#);
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn a_new_pack_judges_everything_again_and_everywhere_the_same() {
    let mut world = ward();
    let p = "Patient/p";
    world.devices[0].set(p, "gender", r#""other""#);
    world.devices[1].set(p, "gender", r#""male""#);
    world.devices[0].put(&patient("q"));
    world.converge();
    assert_eq!(world.devices[0].asked(), ["Patient/p gender"]);
    let mut pack = medsync_fhir::pack::clinical();
    pack.version += 1;
    let fields = &mut pack.kinds.get_mut("Patient").expect("a kind").fields;
    fields.get_mut("gender").expect("a field").policy = PolicyRow::Lww;
    let name = fields.get("birthDate").expect("a field").clone();
    fields.insert("maritalStatus".to_owned(), name);
    pack.rules.retain(|rule| rule.name != "blood-group");
    world.devices[0]
        .vault
        .install_pack(&pack)
        .expect("installs");
    assert_eq!(world.devices[0].asked(), [""; 0]);
    // Bala works on by the old pack.
    world.devices[1].set(p, "maritalStatus", r#"{"text":"single"}"#);
    world.devices[0].set(p, "maritalStatus", r#"{"text":"married"}"#);
    world.converge();
    let latest = world.devices[0].shows(p, "gender");
    assert!([r#""male""#, r#""other""#].contains(&&*latest), "{latest}");
    let version = |device: &Device| device.vault.status().expect("a status").pack.1;
    for device in &world.devices {
        assert_eq!(version(device), pack.version);
        assert_eq!(device.shows(p, "gender"), latest);
        assert_eq!(device.asked(), ["Patient/p maritalStatus"]);
        assert_eq!(device.shows(p, "maritalStatus"), "");
    }
}

#[test]
fn a_new_pack_and_edits_that_meet_it_are_the_same_after_a_restart() {
    let mut world = ward();
    let mut pack = medsync_fhir::pack::clinical();
    pack.version += 1;
    world.devices[1].set("Patient/p", "gender", r#""other""#);
    world.devices[0]
        .vault
        .install_pack(&pack)
        .expect("installs");
    world.converge();
    let before: Vec<_> = world.devices.iter().map(Device::digests).collect();
    world.devices = world.devices.into_iter().map(Device::reopen).collect();
    let after: Vec<_> = world.devices.iter().map(Device::digests).collect();
    assert_eq!(before, after);
    world.converge();
}
