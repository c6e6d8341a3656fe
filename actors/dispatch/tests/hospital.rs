//! Which hospital a crew drives to.

use serde_json::{Value, json};
use shers_contract::care::Hospital;
use shers_dispatch::model::hospital::{DoorTimes, Drive, Heading, at_the_door_s, by_suitability, choose};

const TIMES: DoorTimes = DoorTimes { default_offload_s: 1_200, per_unit_s: 300 };

fn hospital(id: &str, more: Value) -> Hospital {
    let mut body = json!({"hospital_id": id, "name": id, "location": {"lat": 47.0, "lon": 9.5}});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    serde_json::from_value(body).expect("a hospital")
}

fn check(a: Value, b: Value, drives_s: [u32; 2], heading_to_a: u32, wanted: &str) {
    let hospitals = [hospital("a", a), hospital("b", b)];
    let refs: Vec<&Hospital> = hospitals.iter().collect();
    let heading: Heading = [(hospitals[0].hospital_id.clone(), heading_to_a)].into();
    let drive = |hospital: &'_ Hospital| {
        let drive_s = drives_s[usize::from(hospital.hospital_id.as_str() == "b")];
        (drive_s, at_the_door_s(hospital, &heading, &TIMES))
    };
    let groups: Vec<_> = by_suitability(&refs, &["trauma".into()], &heading)
        .into_iter()
        .map(|(suits, group)| {
            let drives = group.into_iter().map(|hospital| {
                let (drive_s, door_s) = drive(hospital);
                Drive { hospital, drive_s, distance_m: 1_000, door_s }
            });
            (suits, drives.collect::<Vec<_>>())
        })
        .collect();
    let choice = choose(&groups, "test").expect("a choice");
    assert_eq!(choice.hospital_id.as_str(), wanted, "{}", choice.reason);
    // The second best is shown whenever there is one, also a less suitable one.
    let open = groups.iter().map(|(_, drives)| drives.len()).sum::<usize>();
    assert_eq!((choice.reason.contains("next is"), choice.next.is_some()), (open > 1, open > 1), "{}", choice.reason);
    if let Some(next) = choice.next {
        assert_ne!(next.hospital_id, choice.hospital_id);
        assert!(choice.reason.contains(&format!("next is {}", next.name)), "{}", choice.reason);
    }
}

#[test]
fn drive_offload_beds_state_capability_and_units_on_their_way_decide() {
    check(json!({}), json!({}), [300, 400], 0, "a");
    check(json!({}), json!({}), [300, 400], 1, "b");
    check(json!({"expected_offload_min": 40}), json!({"expected_offload_min": 10}), [300, 600], 0, "b");
    check(json!({"expected_offload_min": 10}), json!({}), [600, 300], 0, "a");
    check(json!({"beds_free": 0}), json!({}), [300, 900], 0, "b");
    check(json!({"beds_free": 2}), json!({}), [300, 9_000], 1, "a");
    check(json!({"beds_free": 2}), json!({}), [300, 9_000], 2, "b");
    check(json!({"state": "diverting"}), json!({}), [300, 9_000], 0, "b");
    check(json!({"state": "closed"}), json!({}), [300, 9_000], 0, "b");
    check(json!({}), json!({"capabilities": ["trauma"]}), [300, 9_000], 0, "b");
}
