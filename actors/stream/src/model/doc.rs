//! One document of any collection: how it is read, folded, filed and written.

use super::{
    Fact, bill::BillDoc, hospital::HospitalDoc, incident::IncidentDoc, kpi::KpiDoc, notification::NotificationDoc,
    unit::UnitDoc,
};

/// The collections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Collection {
    /// What is being handled.
    Incident,
    /// The fleet.
    Unit,
    /// Hospitals.
    Hospital,
    /// Bills.
    Bill,
    /// Messages to next of kin.
    Notification,
    /// The times of one incident.
    Kpi,
}

impl Collection {
    /// Its name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Unit => "unit",
            Self::Hospital => "hospital",
            Self::Bill => "bill",
            Self::Notification => "notification",
            Self::Kpi => "kpi",
        }
    }
}

/// Which document.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DocKey {
    /// Collection.
    pub collection: Collection,
    /// Id within it.
    pub id: String,
}

/// How a document is filed: what lists filter and sort by, and its JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Filter word.
    pub tag: &'static str,
    /// Sort key, ascending.
    pub rank: i64,
    /// JSON.
    pub json: String,
}

/// Tag of a document of which only foreign events are known: kept, and not shown.
pub const UNKNOWN: &str = "unknown";

/// A document in memory.
#[derive(Clone, PartialEq, Debug)]
pub enum Doc {
    /// Incident.
    Incident(Box<IncidentDoc>),
    /// Unit.
    Unit(Box<UnitDoc>),
    /// Hospital.
    Hospital(Box<HospitalDoc>),
    /// Bill.
    Bill(Box<BillDoc>),
    /// Notification.
    Notification(Box<NotificationDoc>),
    /// Times of an incident.
    Kpi(Box<KpiDoc>),
}

impl Doc {
    /// A document of which nothing is known yet.
    #[must_use]
    pub fn empty(key: &DocKey) -> Self {
        let id = key.id.as_str();
        match key.collection {
            Collection::Incident => Self::Incident(Box::new(IncidentDoc::empty(id))),
            Collection::Unit => Self::Unit(Box::new(UnitDoc::empty(id))),
            Collection::Hospital => Self::Hospital(Box::new(HospitalDoc::empty(id))),
            Collection::Bill => Self::Bill(Box::new(BillDoc::empty(id))),
            Collection::Notification => Self::Notification(Box::new(NotificationDoc::empty(id))),
            Collection::Kpi => Self::Kpi(Box::new(KpiDoc::empty(id))),
        }
    }

    /// Reads a stored document.
    ///
    /// # Errors
    /// The text was written by a build with another form.
    pub fn read(collection: Collection, json: &str) -> Result<Self, serde_json::Error> {
        Ok(match collection {
            Collection::Incident => Self::Incident(serde_json::from_str(json)?),
            Collection::Unit => Self::Unit(serde_json::from_str(json)?),
            Collection::Hospital => Self::Hospital(serde_json::from_str(json)?),
            Collection::Bill => Self::Bill(serde_json::from_str(json)?),
            Collection::Notification => Self::Notification(serde_json::from_str(json)?),
            Collection::Kpi => Self::Kpi(serde_json::from_str(json)?),
        })
    }

    /// Folds `fact`. True when the document changed.
    pub fn fold(&mut self, fact: &Fact) -> bool {
        match self {
            Self::Incident(doc) => doc.fold(fact),
            Self::Unit(doc) => doc.fold(fact),
            Self::Hospital(doc) => doc.fold(fact),
            Self::Bill(doc) => doc.fold(fact),
            Self::Notification(doc) => doc.fold(fact),
            Self::Kpi(_) => false,
        }
    }

    /// How it is filed.
    ///
    /// # Errors
    /// Never with these types; serde's signature.
    pub fn stored(&self) -> Result<Stored, serde_json::Error> {
        let (tag, rank, json) = match self {
            Self::Incident(doc) => (doc.tag(), doc.rank(), serde_json::to_string(doc)?),
            Self::Unit(doc) => (doc.tag(), 0, serde_json::to_string(doc)?),
            Self::Hospital(doc) => (doc.tag(), 0, serde_json::to_string(doc)?),
            Self::Bill(doc) => (doc.tag(), doc.rank(), serde_json::to_string(doc)?),
            Self::Notification(doc) => (doc.tag(), doc.rank(), serde_json::to_string(doc)?),
            Self::Kpi(doc) => (doc.tag(), doc.rank(), serde_json::to_string(doc)?),
        };
        Ok(Stored { tag, rank, json })
    }
}
