//! For which machine an image is: as `himage import` chooses, so does `himage pull`.

pub use images::platform::{Platform, choose};
