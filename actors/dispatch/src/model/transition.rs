//! The table of unit statuses: what a crew may report next.
//!
//! ```text
//! assigned → enroute → on-scene → at-patient → onboard → arrived → handed-over → available | at-post
//! ```
//!
//! Sensible skips, for a crew that has its hands full: `assigned → on-scene` (it stood beside the scene),
//! `enroute → at-patient`, `on-scene → onboard`. Never skipped: `onboard` before `arrived`, and
//! `handed-over` before the unit is free, for that is when care ends and the bill begins.
//!
//! - `cancelled` frees a unit that has no patient on board. A crew that gives up before the scene leaves
//!   an incident that still needs a unit; one that clears at the scene (treated there, refused, nobody
//!   found) does not.
//! - `out-of-service` is always possible: a broken vehicle does not ask. It ends the assignment.
//! - `available` and `at-post` never end an assignment: a status must not overwrite what a busy unit does.
//! - `reserved` and `assigned` are dispatch's own words and can't be reported.

use shers_contract::dispatch::UnitStatus::{self, *};

/// What may be reported in status `current`, in the order a crew would use it. The current status itself
/// may always be repeated, without effect.
#[must_use]
pub const fn allowed_after(current: UnitStatus) -> &'static [UnitStatus] {
    match current {
        Reserved | Assigned => &[Enroute, OnScene, Cancelled, OutOfService],
        Enroute => &[OnScene, AtPatient, Cancelled, OutOfService],
        OnScene => &[AtPatient, Onboard, Cancelled, OutOfService],
        AtPatient => &[Onboard, Cancelled, OutOfService],
        Onboard => &[Arrived, OutOfService],
        Arrived => &[HandedOver, OutOfService],
        HandedOver | Cancelled => &[Available, AtPost, OutOfService],
        Available => &[AtPost, OutOfService],
        AtPost => &[Available, OutOfService],
        OutOfService => &[Available, AtPost],
    }
}

/// Whether `next` may be reported in status `current`, repeats aside.
#[must_use]
pub fn may_follow(current: UnitStatus, next: UnitStatus) -> bool {
    allowed_after(current).contains(&next)
}

/// Whether a patient is on board, so that the unit can't be called off.
#[must_use]
pub const fn carries_patient(status: UnitStatus) -> bool {
    matches!(status, Onboard | Arrived)
}

/// Whether the crew is still on its way or not even that.
#[must_use]
pub const fn is_before_scene(status: UnitStatus) -> bool {
    matches!(status, Reserved | Assigned | Enroute)
}

/// Whether the crew is at the scene or with the patient, and can clear there.
#[must_use]
pub const fn is_at_scene(status: UnitStatus) -> bool {
    matches!(status, OnScene | AtPatient)
}

/// The status of an FMS digit (German radio status). 4 is "at the scene".
#[must_use]
pub const fn from_fms(digit: u8) -> Option<UnitStatus> {
    match digit {
        1 => Some(Available),
        2 => Some(AtPost),
        3 => Some(Enroute),
        4 => Some(OnScene),
        6 => Some(OutOfService),
        7 => Some(Onboard),
        8 => Some(Arrived),
        _ => None,
    }
}
