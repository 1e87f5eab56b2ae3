//! Control groups with limits, as a plan has them.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A control group that is made in another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The group it is made in.
    pub parent: Text,
    /// Controllers that groups in it are given first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub enable: Vec<String>,
    /// What is written to its files, in order.
    pub settings: Vec<Setting>,
}

/// A file of a control group, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// The file.
    pub file: String,
    /// What it is set to.
    pub value: String,
    /// A kernel without the file has no use for it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub optional: bool,
}
