//! From one snapped place to another: which ends to enter and leave by, and the path or its length.
//!
//! A place on an edge is left towards either end that the road's directions allow, and reached likewise. When both
//! places lie on one edge, driving straight along it competes with the way around.

use crate::Speed;
use crate::error::RouteError;
use crate::hierarchy::{Hierarchy, Path, Pool};
use crate::network::{Heading, Network};
use crate::route::{Eta, Route, Trace};
use crate::snap::{Place, Snap};
use shers_contract::LatLon;

/// A way between a place on an edge and one of the edge's ends.
#[derive(Clone, Copy, Debug)]
struct Access {
    vertex: u32,
    ms: u64,
    metres: f64,
    heading: Heading,
}

/// The best way found.
enum Way {
    /// Along the one edge both places are on.
    Direct { ms: u64, metres: f64, heading: Heading },
    /// Over junctions.
    Path { path: Path, leaving: Option<Access>, arriving: Option<Access> },
}

/// A question: from here to there at this speed.
pub(crate) struct Journey<'a> {
    pub(crate) network: &'a Network,
    pub(crate) hierarchy: &'a Hierarchy,
    pub(crate) pool: &'a Pool,
    pub(crate) speed: Speed,
    pub(crate) from: Snap,
    pub(crate) to: Snap,
}

impl Journey<'_> {
    /// Time and length.
    pub(crate) fn eta(&self) -> Result<Eta, RouteError> {
        match self.way()? {
            Way::Direct { ms, metres, .. } => Ok(eta(ms, metres)),
            Way::Path { path, leaving, arriving } => {
                let mut metres = leaving.map_or(0.0, |a| a.metres) + arriving.map_or(0.0, |a| a.metres);
                for (from, to) in steps(&path) {
                    metres += self.arc_length_m(from, to).ok_or(RouteError::NoRoute)?;
                }
                Ok(eta(path.ms, metres))
            }
        }
    }

    /// The route with its shape.
    pub(crate) fn route(&self) -> Result<Route, RouteError> {
        let mut trace = Trace::new(self.from.at);
        match self.way()? {
            Way::Direct { ms, heading, .. } => {
                let shape = self.between_places(heading).ok_or(RouteError::NoRoute)?;
                trace.extend(shape.into_iter().chain([self.to.at]), ms);
            }
            Way::Path { path, leaving, arriving } => {
                self.trace_path(&mut trace, &path, leaving, arriving).ok_or(RouteError::NoRoute)?;
            }
        }
        Ok(trace.finish(self.from.distance_m, self.to.distance_m))
    }

    fn trace_path(
        &self,
        trace: &mut Trace,
        path: &Path,
        leaving: Option<Access>,
        arriving: Option<Access>,
    ) -> Option<()> {
        if let Some(access) = leaving {
            trace.extend(self.shape_after(&self.from, access.heading)?.into_iter(), access.ms);
        }
        for (from, to) in steps(path) {
            let arc = self.hierarchy.arc(from, to)?;
            let edge = self.network.edge(arc.edge)?;
            let ms = edge.whole_ms(arc.heading, self.speed)?;
            let shape = self.network.shape(edge);
            match arc.heading {
                Heading::Along => trace.extend(shape, ms),
                Heading::Against => trace.extend(shape.rev(), ms),
            }
        }
        if let Some(access) = arriving {
            let mut shape = self.shape_after(&self.to, reverse(access.heading))?;
            shape.reverse();
            trace.extend(shape.into_iter().chain([self.to.at]), access.ms);
        }
        Some(())
    }

    fn way(&self) -> Result<Way, RouteError> {
        let (leaving, arriving) = (self.accesses(&self.from, true), self.accesses(&self.to, false));
        let path = self.hierarchy.path(self.pool, &weights(&self.from, &leaving), &weights(&self.to, &arriving));
        match (self.direct(), path) {
            (Some(direct), Some(path)) if direct.0 <= path.ms => Ok(direct.into_way()),
            (Some(direct), None) => Ok(direct.into_way()),
            (_, Some(path)) => {
                let leaving = chosen(&leaving, path.vertices.first());
                let arriving = chosen(&arriving, path.vertices.last());
                Ok(Way::Path { path, leaving, arriving })
            }
            (None, None) => Err(RouteError::NoRoute),
        }
    }

    /// The junctions by which the destination is reached, each with the time from there.
    pub(crate) fn arrivals(&self) -> Vec<(u32, u64)> {
        weights(&self.to, &self.accesses(&self.to, false))
    }

    /// Time from a start on an edge to the end of it that this heading leads to.
    pub(crate) fn leaving_ms(&self, heading: Heading) -> Option<u64> {
        let Place::Edge { edge, before_m, after_m, .. } = self.from.place else { return None };
        let metres = if heading == Heading::Along { after_m } else { before_m };
        self.network.edge(edge)?.part_ms(heading, self.speed, metres)
    }

    /// Time straight along the one edge both places are on.
    pub(crate) fn direct_ms(&self) -> Option<u64> {
        self.direct().map(|direct| direct.0)
    }

    /// Along the one edge both places are on, if they are and it is open that way.
    fn direct(&self) -> Option<Direct> {
        let Place::Edge { edge, before_m: from_m, .. } = self.from.place else { return None };
        let Place::Edge { edge: to_edge, before_m: to_m, .. } = self.to.place else { return None };
        if edge != to_edge {
            return None;
        }
        let edge = self.network.edge(edge)?;
        let heading = if from_m <= to_m { Heading::Along } else { Heading::Against };
        let metres = (to_m - from_m).abs();
        let heading = if metres == 0.0 && edge.mps(heading, self.speed).is_none() { reverse(heading) } else { heading };
        Some(Direct(edge.part_ms(heading, self.speed, metres)?, metres, heading))
    }

    /// How a place is left (or reached) by the ends of its edge.
    fn accesses(&self, snap: &Snap, leaves: bool) -> Vec<Access> {
        let Place::Edge { edge, before_m, after_m, .. } = snap.place else { return Vec::new() };
        let Some(edge) = self.network.edge(edge) else { return Vec::new() };
        [Heading::Along, Heading::Against]
            .into_iter()
            .filter_map(|heading| {
                let metres = if (heading == Heading::Along) == leaves { after_m } else { before_m };
                let (first, last) = edge.ends(heading);
                let ms = edge.part_ms(heading, self.speed, metres)?;
                Some(Access { vertex: if leaves { last } else { first }, ms, metres, heading })
            })
            .collect()
    }

    /// The points of its edge that follow a place when driving on with this heading, to the edge's end.
    fn shape_after(&self, snap: &Snap, heading: Heading) -> Option<Vec<LatLon>> {
        let Place::Edge { edge, segment, .. } = snap.place else { return None };
        let shape = self.network.shape(self.network.edge(edge)?);
        let before = segment as usize + 1;
        Some(match heading {
            Heading::Along => shape.skip(before).collect(),
            Heading::Against => shape.take(before).rev().collect(),
        })
    }

    /// The points of the one edge that lie between both places.
    fn between_places(&self, heading: Heading) -> Option<Vec<LatLon>> {
        let Place::Edge { edge, segment: from, .. } = self.from.place else { return None };
        let Place::Edge { segment: to, .. } = self.to.place else { return None };
        let shape = self.network.shape(self.network.edge(edge)?);
        let (low, high) = (from.min(to) as usize, from.max(to) as usize);
        let inner = shape.skip(low + 1).take(high - low);
        Some(match heading {
            Heading::Along => inner.collect(),
            Heading::Against => inner.rev().collect(),
        })
    }

    fn arc_length_m(&self, from: u32, to: u32) -> Option<f64> {
        let arc = self.hierarchy.arc(from, to)?;
        self.network.edge(arc.edge).map(|edge| edge.length_m)
    }
}

/// Milliseconds, metres and heading along one edge.
struct Direct(u64, f64, Heading);

impl Direct {
    const fn into_way(self) -> Way {
        Way::Direct { ms: self.0, metres: self.1, heading: self.2 }
    }
}

const fn reverse(heading: Heading) -> Heading {
    match heading {
        Heading::Along => Heading::Against,
        Heading::Against => Heading::Along,
    }
}

const fn eta(ms: u64, distance_m: f64) -> Eta {
    Eta { duration_s: ms as f64 / 1_000.0, distance_m }
}

fn steps(path: &Path) -> impl Iterator<Item = (u32, u32)> {
    path.vertices.iter().copied().zip(path.vertices.iter().copied().skip(1))
}

fn weights(snap: &Snap, accesses: &[Access]) -> Vec<(u32, u64)> {
    match snap.place {
        Place::Vertex(vertex) => vec![(vertex, 0)],
        Place::Edge { .. } => accesses.iter().map(|access| (access.vertex, access.ms)).collect(),
    }
}

/// The access that the path took: both ends of a loop are one vertex, where the quicker counts.
fn chosen(accesses: &[Access], vertex: Option<&u32>) -> Option<Access> {
    accesses.iter().filter(|access| Some(&access.vertex) == vertex).min_by_key(|access| access.ms).copied()
}
