//! What is worth knowing beside the result: warnings, and where a setting came from.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Where notes go. Each is said once, however many requests come upon it.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// What takes a warning.
    pub warn: Option<fn(&str)>,
    /// What takes the rest, which only some want to read.
    pub tell: Option<fn(&str)>,
    said: Arc<Mutex<BTreeSet<String>>>,
}

impl Notes {
    /// Notes that go to these two.
    pub fn new(warn: Option<fn(&str)>, tell: Option<fn(&str)>) -> Self {
        Notes { warn, tell, said: Arc::default() }
    }

    /// Says what the user has to know.
    pub fn warn(&self, text: &str) {
        self.say(self.warn, text);
    }

    /// Says what explains a result.
    pub fn tell(&self, text: &str) {
        self.say(self.tell, text);
    }

    fn say(&self, to: Option<fn(&str)>, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = to
            && said.insert(text.to_owned())
        {
            to(text);
        }
    }
}
