//! Blocks that were read lately, up to so many bytes; shared by threads.
//!
//! Threads that want the same block at once wait for the one that reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::Flaw;

/// So many locks share the entries.
const SHARDS: usize = 8;

/// Values by the place they were read from.
pub(crate) struct Cache<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    /// The bytes that a shard may hold.
    budget: usize,
}

struct Shard<V> {
    entries: FxHashMap<u64, Entry<V>>,
    used: usize,
    clock: u64,
}

struct Entry<V> {
    slot: Arc<Slot<V>>,
    last_use: u64,
    /// In bytes; zero until the value is there.
    size: usize,
}

/// A place for a value; locked while it is read.
type Slot<V> = Mutex<Option<V>>;

/// What a cache keeps: cheap to clone, of a known size.
pub(crate) trait Kept: Clone {
    /// In bytes.
    fn size(&self) -> usize;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Kept> Cache<V> {
    /// A cache that holds about so many bytes.
    pub(crate) fn new(budget: usize) -> Self {
        let shard = || Shard { entries: FxHashMap::default(), used: 0, clock: 0 };
        Cache { shards: std::array::from_fn(|_| Mutex::new(shard())), budget: budget / SHARDS }
    }

    /// Gives the value of a place if it is there, or being read.
    pub(crate) fn peek(&self, place: u64) -> Option<V> {
        let slot = lock(self.shard(place)).entries.get(&place)?.slot.clone();
        lock(&slot).clone()
    }

    /// The part of the cache that a place belongs to.
    fn shard(&self, place: u64) -> &Mutex<Shard<V>> {
        // Multiplied, as places have common factors.
        let hash = place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        &self.shards[hash as usize % SHARDS]
    }

    /// Gives the value of a place, reading it if it is not there.
    pub(crate) fn get(
        &self,
        place: u64,
        read: impl FnOnce() -> Result<V, Flaw>,
    ) -> Result<V, Flaw> {
        let shard = self.shard(place);
        let slot = lock(shard).slot(place);
        let mut value = lock(&slot);
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        let result = read();
        let mut shard = lock(shard);
        match result {
            Ok(found) => {
                *value = Some(found.clone());
                shard.settle(place, &slot, found.size(), self.budget);
                Ok(found)
            }
            Err(flaw) => {
                shard.forget(place, &slot);
                Err(flaw)
            }
        }
    }
}

impl<V: Kept> Shard<V> {
    fn slot(&mut self, place: u64) -> Arc<Slot<V>> {
        self.clock += 1;
        let last_use = self.clock;
        let new = || Entry { slot: Arc::new(Mutex::new(None)), last_use, size: 0 };
        let entry = self.entries.entry(place).or_insert_with(new);
        entry.last_use = last_use;
        entry.slot.clone()
    }

    /// Counts a value that was read, and lets go of those not used for longest.
    fn settle(&mut self, place: u64, slot: &Arc<Slot<V>>, size: usize, budget: usize) {
        // Another thread may have let go of it, after a failure.
        match self.entries.get_mut(&place) {
            Some(entry) if Arc::ptr_eq(&entry.slot, slot) => entry.size = size,
            _ => return,
        }
        self.used += size;
        while self.used > budget {
            // What is being read, or just was, has to stay.
            let others = self.entries.iter().filter(|(at, entry)| **at != place && entry.size > 0);
            let oldest = others.min_by_key(|(_, entry)| entry.last_use);
            let Some(oldest) = oldest.map(|(at, _)| *at) else { break };
            self.used -= self.entries.remove(&oldest).map_or(0, |entry| entry.size);
        }
    }

    /// Lets go of a place that could not be read.
    fn forget(&mut self, place: u64, slot: &Arc<Slot<V>>) {
        if self.entries.get(&place).is_some_and(|entry| Arc::ptr_eq(&entry.slot, slot)) {
            self.entries.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Kept for Arc<[u8]> {
        fn size(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn keeps_within_its_budget_and_reads_again() {
        let cache: Cache<Arc<[u8]>> = Cache::new(SHARDS * 3000);
        for round in 0..3u8 {
            for place in 0..500u64 {
                let value = cache.get(place, || Ok(Arc::from(vec![round; 1000]))).unwrap();
                assert_eq!(value.len(), 1000);
            }
        }
        for shard in &cache.shards {
            let shard = lock(shard);
            assert!(shard.used <= 3000 && shard.entries.len() <= 3, "{}", shard.used);
            assert_eq!(shard.used, shard.entries.values().map(|entry| entry.size).sum::<usize>());
        }
    }

    #[test]
    fn keeps_what_is_used_and_no_failure() {
        let cache: Cache<Arc<[u8]>> = Cache::new(SHARDS * 2000);
        let flaw = Flaw::TooLarge { what: "test" };
        assert_eq!(cache.get(7, || Err(flaw)), Err(flaw));
        let one = || Ok(Arc::from(vec![1; 1000]));
        let first = cache.get(7, one).unwrap();
        for place in 8..100 {
            cache.get(place, one).unwrap();
            let again = cache.get(7, || panic!("it was let go of")).unwrap();
            assert!(Arc::ptr_eq(&first, &again));
        }
    }

    #[test]
    fn a_value_larger_than_the_budget_is_given_all_the_same() {
        let cache: Cache<Arc<[u8]>> = Cache::new(0);
        assert_eq!(cache.get(1, || Ok(Arc::from(vec![0; 10]))).unwrap().len(), 10);
        assert_eq!(cache.get(9, || Ok(Arc::from(vec![0; 10]))).unwrap().len(), 10);
    }
}
