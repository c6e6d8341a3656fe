//! Notices that a unit takes another way than it is expected to.
//!
//! The expected way is remembered from where a unit was first seen driving to its destination. A fix farther from it than
//! `off_route_m` has left it: the arrival is computed at once, from there, and the way from there is the expected one
//! now, so that a unit is noticed again only when it leaves that one too.

use crate::book::Way;
use crate::desk::Desk;
use crate::model::way::distance_m;
use crate::tracking::DriveNow;
use shers_contract::UnitId;

impl Desk {
    /// How far the unit is from its expected way, in metres, if that is too far.
    pub(crate) fn off_route(&self, unit: &UnitId, drive: &DriveNow) -> Option<u32> {
        let off_m = {
            let book = self.book.borrow();
            let way = book.ways.get(unit).filter(|way| way.incident_id == drive.incident_id && way.to == drive.to);
            way.map(|way| distance_m(drive.from, &way.points))
        };
        let limit_m = f64::from(self.settings.off_route_m);
        match off_m {
            Some(off_m) if off_m <= limit_m => None,
            left => {
                self.expect_way(unit, drive);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float to integer cast saturates, and distances are not negative"
                )]
                left.filter(|off_m| off_m.is_finite()).map(|off_m| off_m.round() as u32)
            }
        }
    }

    fn expect_way(&self, unit: &UnitId, drive: &DriveNow) {
        let points = self.eta.way(drive.from, drive.to, drive.driving);
        let mut book = self.book.borrow_mut();
        match points.filter(|points| !points.is_empty()) {
            Some(points) => {
                let way = Way { incident_id: drive.incident_id.clone(), to: drive.to, points };
                book.ways.insert(unit.clone(), way);
            }
            None => {
                book.ways.remove(unit);
            }
        }
    }
}
