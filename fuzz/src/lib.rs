//! What several fuzz targets ask for.

pub mod devices;
