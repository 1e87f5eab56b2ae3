//! `CUDA_VISIBLE_DEVICES` in a container that gets fewer GPUs than the host has open.
//!
//! CUDA counts the GPUs a program can open. As long as a container has all that the host has open,
//! every value means the same there and passes byte for byte. With fewer it has to be written
//! anew, and where nobody but CUDA could know what it means, that is refused.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use super::gpus::{Gpu, is_id, with_uuid};
use super::selection::{Chosen, open};
use crate::error::{Error, Result};
use crate::plan::Note;

const NAME: &str = "CUDA_VISIBLE_DEVICES";

/// With this in `CUDA_DEVICE_ORDER`, CUDA counts as the bus does; else the fastest come first.
const BUS_ORDER: &str = "PCI_BUS_ID";

/// What becomes of the variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is, set or not.
    Keep,
    /// It gets another value.
    Set {
        /// The value.
        value: String,
        /// The value counts by the bus: `CUDA_DEVICE_ORDER=PCI_BUS_ID` has to be set, too.
        by_bus: bool,
    },
}

/// What becomes of the variable, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// The change.
    pub change: Change,
    /// Why the value is not what the host has.
    pub notes: Vec<Note>,
}

/// What the host's value means.
enum Value<'a> {
    /// Places in the slice of GPUs, by CUDA's count.
    Places(Vec<usize>),
    /// UUIDs, as they are written, and the GPU of each if it is known.
    Ids(Vec<(&'a str, Option<usize>)>),
}

/// Says what the variable has to be when of the GPUs that open only some were chosen.
///
/// `value` and `order` are the host's `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER`.
///
/// # Errors
///
/// Says why nobody can know what the value means, and what to do.
pub fn narrow(
    value: Option<&OsStr>,
    order: Option<&OsStr>,
    gpus: &[Gpu],
    chosen: &Chosen,
) -> Result<Narrowed> {
    let open = open(gpus);
    if chosen.gpus == open && chosen.mig.is_empty() {
        return Ok(Narrowed::unchanged());
    }
    let Some(value) = value else { return Ok(without_value(chosen)) };
    let text = value.to_string_lossy();
    let (words, cut) = valid_words(&text, gpus, &open);
    if words.is_empty() {
        // It means no GPU here and inside.
        return Ok(Narrowed::unchanged());
    }
    let narrowing = Narrowing { text: &text, order, gpus, open: &open, chosen };
    let mut narrowed = narrowing.rewrite(&words)?;
    let cut = cut.map(|word| format!("{NAME}={text} ends before {word:?} for CUDA, too"));
    narrowed.notes.extend(cut.map(Note::info));
    Ok(narrowed)
}

/// Without a value CUDA takes what it can open; a MIG device that hrun cannot tell from others has
/// to be named.
fn without_value(chosen: &Chosen) -> Narrowed {
    let ids: Vec<&str> = chosen.mig.iter().map(|device| device.id.as_str()).collect();
    let is_seen = chosen.mig.iter().all(|device| device.gpu.is_some());
    if is_seen || !ids.iter().all(|id| is_mig(id)) {
        return Narrowed::unchanged();
    }
    Narrowed::to(&ids, false)
}

/// The words up to the first that CUDA does not know, and that one.
fn valid_words<'a>(text: &'a str, gpus: &[Gpu], open: &[usize]) -> (Vec<&'a str>, Option<&'a str>) {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_valid = |word: &&str| match place(word) {
        Some(place) => place < open.len(),
        None => is_mig(word) || is_id(word, "GPU-") && is_possible(word, gpus, open),
    };
    let valid = words.iter().take_while(|word| is_valid(word)).count();
    (words[..valid].to_vec(), words.get(valid).copied().filter(|word| !word.is_empty()))
}

fn place(word: &str) -> Option<usize> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| is_number)
}

fn is_mig(word: &str) -> bool {
    word.strip_prefix("MIG-").is_some_and(|rest| !rest.is_empty())
}

/// Whether a UUID names one GPU, or could name one whose UUID nobody knows yet.
fn is_possible(word: &str, gpus: &[Gpu], open: &[usize]) -> bool {
    let fitting = fitting(word, gpus, open);
    let is_unknown = open.iter().any(|place| gpus[*place].uuid.is_none());
    fitting.len() == 1 || fitting.is_empty() && is_unknown
}

fn fitting(word: &str, gpus: &[Gpu], open: &[usize]) -> Vec<usize> {
    with_uuid(gpus, word).into_iter().filter(|place| open.contains(place)).collect()
}

/// What a value is written anew by.
struct Narrowing<'a> {
    text: &'a str,
    order: Option<&'a OsStr>,
    gpus: &'a [Gpu],
    open: &'a [usize],
    chosen: &'a Chosen,
}

impl Narrowing<'_> {
    fn rewrite(&self, words: &[&str]) -> Result<Narrowed> {
        if self.chosen.gpus.is_empty() {
            return Ok(Narrowed::to(&[] as &[&str], false));
        }
        match self.read(words)? {
            Value::Places(places) => self.rewrite_places(&places),
            Value::Ids(ids) => self.rewrite_ids(&ids),
        }
    }

    fn read<'w>(&self, words: &[&'w str]) -> Result<Value<'w>> {
        let places: Vec<usize> = words.iter().filter_map(|word| place(word)).collect();
        if places.is_empty() {
            return Ok(Value::Ids(words.iter().map(|word| (*word, self.gpu_of(word))).collect()));
        }
        if places.len() < words.len() {
            return Err(self.refusal("it has both numbers and UUIDs"));
        }
        if !self.chosen.mig.is_empty() {
            return Err(self.refusal("its numbers do not say which MIG devices they mean"));
        }
        self.check_order()?;
        Ok(Value::Places(places.into_iter().map(|place| self.open[place]).collect()))
    }

    /// Numbers can be read where CUDA counts by the bus, or where all GPUs are equally fast.
    fn check_order(&self) -> Result<()> {
        let mut open = self.open.iter().map(|place| &self.gpus[*place]);
        if open.clone().any(|gpu| gpu.bus.is_empty()) {
            return Err(self.refusal("/proc/driver/nvidia does not say in what order the GPUs are"));
        }
        let first = &self.gpus[self.open[0]].model;
        let are_alike = !first.is_empty() && open.all(|gpu| gpu.model == *first);
        if are_alike || self.order.is_some_and(|order| order == BUS_ORDER) {
            return Ok(());
        }
        Err(self.refusal("CUDA counts GPUs of different models by their speed"))
    }

    fn gpu_of(&self, word: &str) -> Option<usize> {
        let parent = word.strip_prefix("MIG-").and_then(|word| word.split('/').next());
        match fitting(parent.unwrap_or(word), self.gpus, self.open).as_slice() {
            [place] => Some(*place),
            _ => None,
        }
    }

    fn rewrite_places(&self, places: &[usize]) -> Result<Narrowed> {
        let kept = each_once(places.iter().filter(|place| self.chosen.gpus.contains(place)));
        let uuids: Option<Vec<&str>> =
            kept.iter().map(|place| self.gpus[**place].uuid.as_deref()).collect();
        if let Some(uuids) = uuids {
            return Ok(self.result(&uuids, false));
        }
        let rank = |place: &usize| self.chosen.gpus.iter().position(|chosen| chosen == place);
        let ranks: Vec<String> =
            kept.into_iter().filter_map(rank).map(|rank| rank.to_string()).collect();
        Ok(self.result(&ranks, true))
    }

    fn rewrite_ids(&self, ids: &[(&str, Option<usize>)]) -> Result<Narrowed> {
        let mut kept = Vec::new();
        for (id, gpu) in ids {
            if self.is_chosen(id, *gpu)? {
                kept.push(*id);
            }
        }
        Ok(self.result(&each_once(kept.into_iter()), false))
    }

    fn is_chosen(&self, id: &str, gpu: Option<usize>) -> Result<bool> {
        match gpu {
            _ if !self.chosen.mig.is_empty() => self.is_chosen_mig(id),
            Some(gpu) => Ok(self.chosen.gpus.contains(&gpu)),
            None => Err(self.refusal(&format!("only the driver knows on which GPU {id} is"))),
        }
    }

    /// Names of one kind can be compared; no others.
    fn is_chosen_mig(&self, id: &str) -> Result<bool> {
        let kind = |id: &str| (is_mig(id), id.starts_with("MIG-GPU-"));
        let chosen = || self.chosen.mig.iter().map(|device| device.id.as_str());
        if chosen().any(|own| own.eq_ignore_ascii_case(id)) {
            return Ok(true);
        }
        if chosen().all(|own| kind(own) == kind(id)) {
            return Ok(false);
        }
        Err(self.refusal(&format!("only the driver knows whether {id} is what was chosen")))
    }

    fn result(&self, words: &[impl AsRef<str>], by_bus: bool) -> Narrowed {
        let mut narrowed = Narrowed::to(words, by_bus);
        let Change::Set { value, by_bus } = &narrowed.change else { return narrowed };
        if value == self.text && !by_bus {
            return Narrowed::unchanged();
        }
        let text = self.text;
        narrowed.notes.push(match value.as_str() {
            "" => Note::warning(format!(
                "{NAME}={text} names none of the chosen GPUs: programs will see no GPU"
            )),
            value => Note::info(format!("{NAME}={text} is {value} among the chosen GPUs")),
        });
        narrowed
    }

    fn refusal(&self, reason: &str) -> Error {
        let attempt = format!("choose GPUs where {NAME} is {}", self.text);
        Error::new(attempt, reason).hint(format!(
            "choose no GPUs, as {NAME} does; or have UUIDs in it; or unset it; for numbers, \
             CUDA_DEVICE_ORDER={BUS_ORDER} says what they mean"
        ))
    }
}

/// What comes, without what has come before: CUDA does not read lists that repeat themselves.
fn each_once<T: Ord + Copy>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(*one)).collect()
}

impl Narrowed {
    fn unchanged() -> Self {
        Narrowed { change: Change::Keep, notes: Vec::new() }
    }

    fn to(words: &[impl AsRef<str>], by_bus: bool) -> Self {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let by_bus = by_bus && !words.is_empty();
        Narrowed { change: Change::Set { value: words.join(","), by_bus }, notes: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
