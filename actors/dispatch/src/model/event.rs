//! Events of a unit's stream: what happens to the unit, and the decisions of dispatch about it. Both stand
//! in one stream so that neither can exist without the other.

use serde_json::value::RawValue;
use shers_contract::{
    DecodeError, DomainEvent, Kind,
    dispatch::{DispatchEvent, UnitEvent},
};

/// An event in stream `unit/<id>`.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetEvent {
    /// Of the unit.
    Unit(UnitEvent),
    /// About it.
    Dispatch(DispatchEvent),
}

impl DomainEvent for FleetEvent {
    fn kind(&self) -> Kind {
        match self {
            Self::Unit(event) => event.kind(),
            Self::Dispatch(event) => event.kind(),
        }
    }
    fn schema_version(&self) -> u16 {
        match self {
            Self::Unit(event) => event.schema_version(),
            Self::Dispatch(event) => event.schema_version(),
        }
    }
    fn to_data(&self) -> Box<RawValue> {
        match self {
            Self::Unit(event) => event.to_data(),
            Self::Dispatch(event) => event.to_data(),
        }
    }
    fn from_data(kind: Kind, v: u16, data: &RawValue) -> Option<Result<Self, DecodeError>> {
        match UnitEvent::from_data(kind, v, data) {
            Some(event) => Some(event.map(Self::Unit)),
            None => DispatchEvent::from_data(kind, v, data).map(|event| event.map(Self::Dispatch)),
        }
    }
}
