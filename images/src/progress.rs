//! How far a long piece of work has come, for whoever waits.

/// Is told what is done; of several threads at once.
pub trait Progress: Sync {
    /// A piece of work begins, of so many bytes where that is known; it ends when the task is dropped.
    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task + '_>;

    /// Something worth a line happened.
    fn note(&self, text: &str);
}

/// A piece of work that is under way.
pub trait Task: Send + Sync {
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) -> Box<dyn Task + '_> {
        Box::new(Silent)
    }

    fn note(&self, _: &str) {}
}

impl Task for Silent {
    fn advance(&self, _: u64) {}
}
