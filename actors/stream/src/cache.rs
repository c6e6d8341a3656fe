//! Documents in memory: two generations of which the older goes when the younger is full, so the ones in
//! use stay and nothing is ever searched. Everything in here is in the store too.

use crate::model::{Doc, DocKey};
use std::collections::HashMap;

/// The cache.
pub(crate) struct Cache {
    young: HashMap<DocKey, Doc>,
    old: HashMap<DocKey, Doc>,
    /// Documents of one generation.
    half: usize,
}

impl Cache {
    /// Holds at most `capacity` documents.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    /// Takes a document out, to be changed and put back after it is stored.
    pub(crate) fn take(&mut self, key: &DocKey) -> Option<Doc> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Puts a document in.
    pub(crate) fn put(&mut self, key: DocKey, doc: Doc) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, doc);
    }

    /// How many are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
