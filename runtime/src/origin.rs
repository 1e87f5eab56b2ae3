//! Where a wish came from: the option, variable, file, image or injector that asked for a step.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// Says who asked for a step, a mount or a variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// What hrun does unless told otherwise.
    Default,
    /// IMAGE and COMMAND, as they stand on the command line.
    CommandLine,
    /// A variable of the environment hrun was started in.
    Host,
    /// One option, as it was written, and the layer it was written in.
    Setting {
        /// The option and its value, for example `--bind /scratch`.
        option: String,
        /// The layer of configuration.
        layer: Layer,
    },
    /// One line of an environment file.
    EnvFile {
        /// The file.
        file: Text,
        /// The line, counted from 1.
        line: usize,
    },
    /// Metadata of the image; the text names the file and the field.
    Image(String),
    /// One injector of [`crate::inject`], by name.
    Injector(Cow<'static, str>),
}

/// Names the layer of configuration a setting was read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The command line.
    CommandLine,
    /// An environment variable, by name.
    Variable(String),
    /// A line of a configuration file.
    Config {
        /// The file.
        file: Text,
        /// The line, counted from 1.
        line: usize,
    },
}

impl Origin {
    /// Makes the origin of a line in an environment file.
    pub fn env_file(file: &Path, line: usize) -> Self {
        Origin::EnvFile { file: Text::from(PathBuf::from(file)), line }
    }

    /// Makes the origin of an injector.
    pub fn injector(name: &'static str) -> Self {
        Origin::Injector(Cow::Borrowed(name))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Host => f.write_str("host environment"),
            Origin::Setting { option, layer: Layer::CommandLine } => f.write_str(option),
            Origin::Setting { option, layer } => write!(f, "{option} ({layer})"),
            Origin::EnvFile { file, line } => write!(f, "{file}:{line}"),
            Origin::Image(source) => write!(f, "image: {source}"),
            Origin::Injector(name) => write!(f, "injector {name}"),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layer::CommandLine => f.write_str("command line"),
            Layer::Variable(name) => write!(f, "variable {name}"),
            Layer::Config { file, line } => write!(f, "config {file}:{line}"),
        }
    }
}
