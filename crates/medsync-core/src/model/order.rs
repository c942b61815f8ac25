//! Fractional indexes: the place of an item in a list, as a short text between its neighbours.

use serde::{Deserialize, Serialize};

/// A place in a list: compares as text; there is always room between two different places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order(Box<str>);

impl Order {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
