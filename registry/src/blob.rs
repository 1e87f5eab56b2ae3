//! The bytes of a blob, however often the connection is cut.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use oci_spec::image::Descriptor;
use ureq::BodyReader;

use crate::endpoint::Endpoint;
use crate::failure::{Failure, Kind, Tries};
use crate::http::Answer;
use crate::pace::{Pace, TOO_SLOW, Verdict};
use crate::trouble;
use crate::url::Url;

/// Who waits for longer is told what for.
const WORTH_A_WORD: Duration = Duration::from_secs(2);

/// Reads a blob from registries that should have it, the first one first.
pub struct Blob<'a> {
    /// Who may be asked, the first one now.
    holders: VecDeque<Holder<'a>>,
    digest: String,
    size: u64,
    position: u64,
    /// What comes now, and from whom.
    current: Option<(BodyReader<'static>, Url)>,
    tries: Tries,
    pace: Pace,
}

/// Who may have a blob.
enum Holder<'a> {
    Registry(&'a Endpoint),
    /// A server that the manifest names, for what may not lie in registries.
    Server(&'a Endpoint, Url),
}

impl Holder<'_> {
    fn ask(&self, digest: &str, from: u64) -> Result<Answer, Failure> {
        match self {
            Holder::Registry(endpoint) => endpoint.blob(digest, from),
            Holder::Server(endpoint, url) => endpoint.blob_at(url, from),
        }
    }

    fn endpoint(&self) -> &Endpoint {
        match self {
            Holder::Registry(endpoint) | Holder::Server(endpoint, _) => endpoint,
        }
    }
}

impl<'a> Blob<'a> {
    /// Opens a blob at a byte.
    ///
    /// # Errors
    ///
    /// Fails if none of the registries has it, nor any server that the manifest names.
    pub fn open(endpoints: &'a [Endpoint], blob: &Descriptor, from: u64) -> Result<Self, Failure> {
        let mut holders: VecDeque<Holder> = endpoints.iter().map(Holder::Registry).collect();
        let addresses = blob.urls().iter().flatten().filter_map(|text| Url::parse(text).ok());
        if let Some(own) = endpoints.last() {
            holders.extend(addresses.map(|url| Holder::Server(own, url)));
        }
        let mut opened = Blob {
            holders,
            digest: blob.digest().to_string(),
            size: blob.size(),
            position: from,
            current: None,
            tries: Tries::default(),
            pace: Pace::begin(),
        };
        if from < opened.size {
            opened.connect()?;
        }
        Ok(opened)
    }

    /// Who gave what came last, for messages.
    pub fn server(&self) -> String {
        match self.holders.front() {
            Some(Holder::Registry(endpoint)) => endpoint.server(),
            Some(Holder::Server(_, url)) => url.server(),
            None => String::new(),
        }
    }

    /// Asks until somebody answers.
    fn connect(&mut self) -> Result<(), Failure> {
        loop {
            let Some(holder) = self.holders.front() else {
                return Err(Failure::new("there is nobody to ask"));
            };
            let answer = holder.ask(&self.digest, self.position);
            match answer.and_then(|answer| begin(answer, self.position, self.size)) {
                Ok(current) => {
                    self.current = Some(current);
                    self.pace = Pace::begin();
                    return Ok(());
                }
                Err(failure) => self.after(failure)?,
            }
        }
    }

    /// Waits before the next try, or goes on to the next registry.
    fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(endpoint) = self.holders.front().map(Holder::endpoint) else {
            return Err(failure);
        };
        let reason = failure.reason.clone();
        match self.tries.wait(failure, endpoint.was_reached()) {
            Ok(wait) => {
                if wait >= WORTH_A_WORD || reason.contains(TOO_SLOW) {
                    let seconds = wait.as_secs_f32();
                    endpoint.notes().warn(&format!("{reason}; it is asked again in {seconds} s"));
                }
                thread::sleep(wait);
            }
            Err(failure) if self.holders.len() > 1 => {
                endpoint.notes().tell(&failure.reason);
                self.holders.pop_front();
                self.tries = Tries::default();
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Reads from the connection there is; `None` if it is cut.
    fn read_on(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        let Some((body, url)) = &mut self.current else { return Ok(None) };
        let left = self.size - self.position;
        // A byte more than there should be: who sends one sends something else.
        let most = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let cut = match body.read(&mut buffer[..most]) {
            // All of it is there, whatever happens to the connection now.
            Ok(0) | Err(_) if left == 0 => return Ok(Some(0)),
            Ok(0) => {
                Failure::of(Kind::Again(None), format!("{} has cut the connection", url.server()))
            }
            Ok(count) if count as u64 > left => {
                let reason = format!(
                    "{} sends more than the {} bytes that {} has",
                    url.server(),
                    self.size,
                    self.digest
                );
                return Err(Failure::new(reason).hint(NOT_WHAT_WAS_PUSHED));
            }
            Ok(count) => {
                self.position += count as u64;
                let verdict = self.pace.count(count);
                if verdict == Verdict::Fair {
                    self.tries.progress();
                }
                if verdict != Verdict::Slow {
                    return Ok(Some(count));
                }
                // These bytes are asked for again.
                self.position -= count as u64;
                Failure::of(Kind::Again(None), format!("{} {TOO_SLOW}", url.server()))
            }
            Err(error) => trouble::in_words(ureq::Error::from(error), url, None),
        };
        if self.pace.kept_up() {
            self.tries.progress();
        }
        self.current = None;
        let reason = format!("{} (after {} of {} bytes)", cut.reason, self.position, self.size);
        self.after(Failure { reason, ..cut })?;
        Ok(None)
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.position >= self.size && self.current.is_none()) {
            return Ok(0);
        }
        loop {
            if self.current.is_none() {
                self.connect().map_err(io::Error::other)?;
            }
            if let Some(count) = self.read_on(buffer).map_err(io::Error::other)? {
                return Ok(count);
            }
        }
    }
}

/// What to do about a registry that does not have what it says.
pub const NOT_WHAT_WAS_PUSHED: &str = "the registry, or a proxy before it, does not give what was pushed: try again, and tell who runs it";

/// Begins to read an answer at the byte that was asked for.
fn begin(answer: Answer, from: u64, size: u64) -> Result<(BodyReader<'static>, Url), Failure> {
    let server = answer.url.server();
    let lies =
        |reason: String| Failure::new(format!("{server} {reason}")).hint(NOT_WHAT_WAS_PUSHED);
    let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
    if answer.status == 206 {
        let range = answer.header("content-range").unwrap_or_default();
        if range_of(range)
            .is_none_or(|(first, all)| first != from || all.is_some_and(|it| it != size))
        {
            return Err(lies(format!(
                "was asked for byte {from} of {size} on and sends '{}'",
                range.escape_debug()
            )));
        }
        return Ok((answer.body, answer.url));
    }
    if let Some(length) = length.filter(|length| *length != size) {
        return Err(lies(format!("has {length} bytes where there should be {size}")));
    }
    // It does not know how to begin in the middle.
    let mut body = answer.body;
    let (mut left, mut pace) = (from, Pace::begin());
    let mut buffer = [0; 16 << 10];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = body
            .read(&mut buffer[..most])
            .map_err(|error| trouble::in_words(ureq::Error::from(error), &answer.url, None))?;
        if count == 0 {
            let reason = format!("{server} has cut the connection");
            return Err(Failure::of(Kind::Again(None), reason));
        }
        if pace.count(count) == Verdict::Slow {
            return Err(Failure::of(Kind::Again(None), format!("{server} {TOO_SLOW}")));
        }
        left -= count as u64;
    }
    Ok((body, answer.url))
}

/// The first byte of `bytes 5-9/10`, and how many there are in all.
fn range_of(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, all) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let first = range.split_once('-')?.0.trim().parse().ok()?;
    let all = if all.trim() == "*" { None } else { Some(all.trim().parse().ok()?) };
    Some((first, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range_of("bytes 0-9/*"), Some((0, None)));
        for text in
            ["", "bytes", "bytes */10", "bytes 5-9", "items 5-9/10", "bytes -9/10", "bytes 5-9/x"]
        {
            assert_eq!(range_of(text), None, "{text}");
        }
    }
}
