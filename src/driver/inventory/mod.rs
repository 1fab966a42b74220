//! What runs already: the containers of a Docker Engine, the objects of a namespace. Everything is
//! only read. The repositories of an account are listed where Amazon's services are.

pub mod docker;
pub mod namespace;
