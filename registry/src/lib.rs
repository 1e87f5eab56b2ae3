//! Images from registries: the client's side of the OCI distribution protocol, version 2.
//!
//! [`remote::Remote`] is an image by its name in a registry, a [`images::source::Source`]. The rest is
//! what it takes to be given one:
//!
//! * **look**: [`site`] (files and variables), [`keyring`] (logins), [`resolver`] (addresses);
//! * **decide**, pure: [`url`], [`challenge`], [`config`], [`logins`], [`proxy`], [`manifest`], [`platform`],
//!   [`failure`], [`trouble`];
//! * **do**: [`http`] makes one request, [`endpoint`] asks one registry, [`blob`] reads on where a
//!   connection was cut, [`program`] asks other programs.

pub mod blob;
pub mod challenge;
pub mod config;
pub mod containers;
pub mod endpoint;
pub mod failure;
pub mod http;
pub mod keyring;
pub mod logins;
pub mod manifest;
pub mod netrc;
pub mod notes;
pub mod pace;
pub mod platform;
pub mod program;
pub mod proxy;
pub mod remote;
pub mod resolver;
pub mod site;
pub mod tls;
pub mod trouble;
pub mod url;
