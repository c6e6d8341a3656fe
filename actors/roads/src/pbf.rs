//! Reads an `.osm.pbf` into what the router needs: drivable ways, their nodes, and the places of the emergency service.
//!
//! Two passes, for ways come after nodes in such a file: the first keeps the ways, the second only the nodes they use.

use crate::error::MapError;
use crate::facilities::{self, Facility, FacilityKind};
use crate::network::{Coordinate, GraphBuilder};
use crate::tags::{self, Tags};
use osmpbf::{Element, ElementReader};
use shers_contract::LatLon;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// Where the bytes of a map are.
pub(crate) enum Source<'a> {
    /// In memory, under this name.
    Bytes(&'static str, &'static [u8]),
    /// In a file.
    File(&'a Path),
}

/// What was read.
pub(crate) struct RawMap {
    /// Drivable ways with their nodes.
    pub(crate) graph: GraphBuilder,
    /// Hospitals and stations.
    pub(crate) facilities: Vec<Facility>,
    /// Ways of any kind.
    pub(crate) ways: usize,
}

impl Source<'_> {
    /// How errors call it.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Bytes(name, _) => PathBuf::from(name),
            Self::File(path) => path.to_path_buf(),
        }
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, MapError> {
        match self {
            Self::Bytes(_, bytes) => Ok(Box::new(Cursor::new(*bytes))),
            Self::File(path) => match File::open(path) {
                Ok(file) => Ok(Box::new(BufReader::with_capacity(1 << 16, file))),
                Err(source) => Err(self.unreadable(source)),
            },
        }
    }

    fn unreadable(&self, source: std::io::Error) -> MapError {
        MapError::Unreadable { path: self.path(), source }
    }

    fn for_each(&self, visit: impl for<'a> FnMut(Element<'a>)) -> Result<(), MapError> {
        ElementReader::new(self.open()?)
            .for_each(visit)
            .map_err(|source| MapError::Damaged { path: self.path(), source })
    }

    /// Looks at the first bytes, so that the commonest mistakes get an answer of their own.
    fn check_beginning(&self) -> Result<(), MapError> {
        let mut head = Vec::with_capacity(64);
        self.open()?.take(64).read_to_end(&mut head).map_err(|source| self.unreadable(source))?;
        let looks_like = |magic: &[u8]| head.starts_with(magic);
        let contains = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
        let (found, remedy) = if head.is_empty() {
            return Err(MapError::Empty { path: self.path() });
        } else if contains(b"OSMHeader") || contains(b"OSMData") {
            return Ok(());
        } else if contains(b"<osm") || looks_like(b"<?xml") {
            ("looks like OSM XML", "convert it first: osmium cat map.osm -o map.osm.pbf")
        } else if looks_like(b"BZh") || looks_like(&[0x1f, 0x8b]) || looks_like(b"PK") || looks_like(&[0xfd, b'7']) {
            (
                "is a compressed archive",
                "unpack it; if OSM XML is inside, convert it: osmium cat map.osm -o map.osm.pbf",
            )
        } else if contains(b"<html") || contains(b"<!DOCTYPE") || contains(b"<!doctype") {
            ("is a web page", "the download gave an error page or the page around the link: fetch the file itself")
        } else {
            ("does not begin with an OSM header", "use an extract in the format .osm.pbf")
        };
        Err(MapError::NotPbf { path: self.path(), found, remedy })
    }
}

/// Reads all of it.
pub(crate) fn read(source: &Source<'_>) -> Result<RawMap, MapError> {
    source.check_beginning()?;
    let mut graph = GraphBuilder::new();
    let mut ways = 0;
    let mut outlines: Vec<(FacilityKind, String, Vec<i64>)> = Vec::new();
    source.for_each(|element| {
        let Element::Way(way) = element else { return };
        ways += 1;
        let tags = Tags(way.tags().collect());
        if let Some(drive) = tags::drive(&tags) {
            graph.way(way.refs(), drive);
        }
        if let Some((kind, name)) = facilities::from_tags(&tags) {
            outlines.push((kind, name, way.refs().collect()));
        }
    })?;
    let wanted = graph.node_ids();
    let outline_ids: HashSet<i64> = outlines.iter().flat_map(|(_, _, refs)| refs.iter().copied()).collect();
    let mut outline_points = std::collections::HashMap::with_capacity(outline_ids.len());
    let mut found = Vec::new();
    let mut node = |id: i64, at: Option<Coordinate>, tags: Tags<'_>| {
        let Some(at) = at else { return };
        if wanted.binary_search(&id).is_ok() {
            graph.node(id, at, tags::blocks(&tags));
        }
        if outline_ids.contains(&id) {
            outline_points.insert(id, at);
        }
        if let Some((kind, name)) = facilities::from_tags(&tags) {
            found.push(Facility { kind, name, location: at.lat_lon() });
        }
    };
    source.for_each(|element| match element {
        Element::DenseNode(n) => {
            node(n.id(), Coordinate::new(n.decimicro_lat(), n.decimicro_lon()), Tags(n.tags().collect()))
        }
        Element::Node(n) => {
            node(n.id(), Coordinate::new(n.decimicro_lat(), n.decimicro_lon()), Tags(n.tags().collect()))
        }
        Element::Way(_) | Element::Relation(_) => {}
    })?;
    for (kind, name, refs) in outlines {
        let corners: Vec<LatLon> =
            refs.iter().filter_map(|id| outline_points.get(id)).map(|at: &Coordinate| at.lat_lon()).collect();
        if let Some(location) = facilities::middle(&corners) {
            found.push(Facility { kind, name, location });
        }
    }
    Ok(RawMap { graph, facilities: facilities::without_repeats(found), ways })
}
