//! Progress: bars on a terminal, a line for each step otherwise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use images::progress::{Progress, Silent, Task};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use runtime::text::shown;

use crate::report;

/// Progress as the user wants it.
pub fn wanted(words: &ArgMatches) -> Box<dyn Progress> {
    if words.get_flag("quiet") {
        return Box::new(Silent);
    }
    if report::is_watched() {
        return Box::new(Bars(MultiProgress::new()));
    }
    Box::new(Lines)
}

/// Bars that are gone when their work is done.
struct Bars(MultiProgress);

impl Progress for Bars {
    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Task + '_> {
        let (bar, template) = match bytes {
            Some(bytes) => {
                (ProgressBar::new(bytes), "{msg:28} [{bar:30}] {bytes}/{total_bytes} {eta}")
            }
            None => (ProgressBar::new_spinner(), "{msg:28} {spinner} {bytes}"),
        };
        let style = ProgressStyle::with_template(template);
        let bar = self.0.add(bar.with_message(shown(what).into_owned()));
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        // Not by a thread that ticks, which would end the program where there can be none.
        bar.tick();
        Box::new(Bar(bar))
    }

    fn note(&self, text: &str) {
        self.0.suspend(|| report::say(&shown(text)));
    }
}

struct Bar(ProgressBar);

impl Task for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What takes shorter is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

/// A line when something that took a while is done.
struct Lines;

impl Progress for Lines {
    fn begin(&self, what: &str, _: Option<u64>) -> Box<dyn Task + '_> {
        Box::new(Line {
            what: shown(what).into_owned(),
            bytes: AtomicU64::new(0),
            since: Instant::now(),
        })
    }

    fn note(&self, text: &str) {
        report::say(&shown(text));
    }
}

struct Line {
    what: String,
    bytes: AtomicU64,
    since: Instant,
}

impl Task for Line {
    fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        if took >= WORTH_A_LINE {
            let bytes = report::size(self.bytes.load(Ordering::Relaxed));
            report::say(&format!("{}: {bytes} in {} s", self.what, took.as_secs()));
        }
    }
}
